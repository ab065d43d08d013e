/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Map values that the BPF programs and a running session share. Unlike
 * llbitmap_abi.h nothing of this is ever stored: change it freely.
 */
#ifndef LLBITMAP_LIVE_H
#define LLBITMAP_LIVE_H

#include "llbitmap_abi.h"
#include "../tools/llbitmapctl/model/measured.h"
#include "../tools/llbitmapctl/model/numbers.h"

#define LLB_NO_SLOT (~0u)
#define LLB_LOG_SIZE 16384
#define LLB_BUCKETS 48 /* log2 of nanoseconds: the last one is 1.6 days and more */

/*
 * How a session ends: all at once, in a step that no event can fall into. Programs
 * that are detached one after the other miss what the others still judge by.
 */
enum llb_phase {
	LLB_PHASE_RUNS = 0,
	LLB_PHASE_ENDS = 1, /* loads that begin are not of this session any more */
	LLB_PHASE_OVER = 2, /* nothing is seen any more; what one page tells ends at one event */
};

/*
 * Which transitions the stream is to have. The programs leave out others, for
 * their price, but not those that the session has to know of; it does the rest.
 */
struct llb_wanted {
	__u32 states; /* set of states, from or to */
	__u32 actions; /* set of enum llb_action */
	__u64 first; /* chunks, both included */
	__u64 last;
};

static inline __attribute__((always_inline)) int
llb_wants(const struct llb_wanted *w, __u64 first, __u64 count, __u8 from, __u8 to,
	  __u8 action)
{
	__u32 states = 0;

	if (first > w->last || first + count <= w->first)
		return 0;
	if (action < 32 && !(w->actions & 1u << action))
		return 0;
	if (from < LLB_NR_STATES)
		states |= 1u << from;
	if (to < LLB_NR_STATES)
		states |= 1u << to;
	return !states || (states & w->states);
}

enum llb_slot_state {
	LLB_SLOT_FREE = 0,
	LLB_SLOT_LIVE = 1,
	LLB_SLOT_ENDED = 2, /* unloaded; the session harvests and frees it */
};

/*
 * One watched load of a bitmap. The session reads and writes it through mmap.
 *
 * The sequence numbers from `base` up to, but not including, `end` are counted,
 * 0: not known. While base is 0, numbers go to the log instead; while
 * `closing` is set they go to the log as well as to the count. So the session
 * can say exactly which numbers between two points were seen, although
 * events of different pages arrive in any order.
 */
struct llb_slot {
	__u32 state; /* enum llb_slot_state */
	__u32 dev;
	__u32 load; /* 0: learnt from the first event */
	__u32 closing;
	__u64 base;
	__u64 end;
	__u64 logged; /* numbers in the log, more than LLB_LOG_SIZE: overrun */
	__u64 last; /* unload: the last number used */
	__u64 chunks; /* 0: not known; the end of a snapshot tells, load and resize do */
	__u64 daemon_begin; /* ns, 0: no pass runs */
	__u32 parity;
	__u32 snapshots; /* complete snapshots seen */
	__u32 fresh; /* loaded for the first time: chunks are None before Init */
	struct llb_drains drains; /* pages are suspended by one thread at a time: one writer */
};

/*
 * One page of a slot's bitmap. Written only under the kernel's lock of that
 * page, which is held while its events are raised.
 *
 * A chunk's word is its history: the low byte is the newest entry. An entry is
 * action << 4 | state, action 0xf for "seen in a snapshot"; 0 is no entry, as
 * Startwrite never leads to Unwritten.
 */
#define LLB_SEEN 0xf0
struct llb_page {
	__u64 seq; /* highest seen */
	struct llb_stored stored;
	__u64 word[LLB_PAGE_SIZE];
};

/* When each chunk of a page entered the state it is in; 0: not known. */
struct llb_stamps {
	__u64 ns[LLB_PAGE_SIZE];
};

struct llb_latencies {
	struct {
		__u64 bucket[LLB_BUCKETS]; /* [b]: 2^b <= ns < 2^(b+1) */
		__u64 max;
		__u64 sum;
	} kind[LLB_NR_LATENCIES];
};

/* Programs that judge. */
enum llb_judge {
	LLB_JUDGE_TRANSITION = 0,
	LLB_JUDGE_SNAPSHOT = 1,
	LLB_JUDGE_WRITEBACK = 2,
	LLB_JUDGE_UNLOAD = 3,
	LLB_JUDGE_RESIZE = 4,
	LLB_JUDGES,
};

/* Per slot and CPU. Each member is written by one program only. */
struct llb_slot_stats {
	struct llb_numbers counted[LLB_JUDGES]; /* of what has sequence numbers */
	__u64 seq_max[LLB_JUDGES];
	__u64 transitions[LLB_NR_ACTIONS]; /* events */
	__u64 chunks[LLB_NR_ACTIONS];
	__u64 rules[LLB_NR_RULES]; /* legal transitions by the rule that decided */
	__u64 cells[LLB_NR_ACTIONS][8]; /* ... by action and from; 5 bad byte, 6 None */
	__u64 violations[LLB_JUDGES][LLB_NR_RULES];
	__u64 writes; /* bitmap writes ended */
	__u64 write_sectors;
	__u64 write_errors;
	__u64 waits; /* writers that waited for a page */
	__u64 wait_ns;
	__u64 suspends;
	__u64 timeouts;
	__u64 passes; /* daemon passes ended */
	__u64 cleaned;
	__u64 errors;
	/* no figures: the last legal transition that this CPU judged, and its rule */
	__u64 judged;
	__u64 judged_rule;
};

#endif
