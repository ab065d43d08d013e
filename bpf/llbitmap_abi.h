/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the BPF programs and the tool tell each other, and what a recording
 * keeps. Enums are append-only: recordings outlive the tool that made them.
 */
#ifndef LLBITMAP_ABI_H
#define LLBITMAP_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define LLB_EVENT_VERSION 1

/* Limits of the on-disk format: 256 sectors, states from byte 1024 on. */
#define LLB_MAX_CHUNKS 130048
#define LLB_PAGE_SIZE 4096
#define LLB_FIRST_BYTE 1024
#define LLB_MAX_PAGES 32

#define LLB_COMM_LEN 16

/* States, as bytes on disk. The last two are never on disk. */
enum llb_state {
	LLB_UNWRITTEN = 0,
	LLB_CLEAN = 1,
	LLB_DIRTY = 2,
	LLB_NEEDSYNC = 3,
	LLB_SYNCING = 4,
	LLB_NR_STATES = 5,
	LLB_UNKNOWN = 0xfe, /* shadow only: not yet told by a snapshot */
	LLB_NONE = 0xff, /* before Init */
};

enum llb_action {
	LLB_STARTWRITE = 0,
	LLB_STARTSYNC = 1,
	LLB_ENDSYNC = 2,
	LLB_ABORTSYNC = 3,
	LLB_RELOAD = 4,
	LLB_DAEMON = 5,
	LLB_DISCARD = 6,
	LLB_STALE = 7,
	LLB_INIT = 8,
	LLB_NR_ACTIONS = 9,
};

/* Context of a transition: which rules apply to it. */
enum llb_flag {
	LLB_F_DEGRADED = 0x0001, /* the array was degraded at that moment */
	LLB_F_PARITY = 0x0002, /* RAID4/5/6 */
	LLB_F_RECOVERING = 0x0004, /* a recovery runs */
	LLB_F_DRAINED = 0x0008, /* page suspended, all writes to it completed */
	LLB_F_FLUSHED = 0x0010, /* the members' caches were flushed since */
	LLB_F_DISCARD = 0x0020, /* this Startwrite came from a discard */
	LLB_F_WHOLE = 0x0040, /* the discard covers every chunk of the event */
	LLB_F_ASSUME_CLEAN = 0x0080, /* Init of an array created --assume-clean */
	LLB_F_BAD_BYTE = 0x0100, /* from is a byte above 4, found at load */
	LLB_F_USER = 0x0200, /* asked for through sysfs */
	LLB_F_DURABLE = 0x0400, /* the Startwrite before this Discard was durable */
	LLB_F_SYNCED = 0x0800, /* chunk synced to its end */
	LLB_F_COPIES = 0x1000, /* more than one in-sync copy exists */
	LLB_F_CHECK = 0x2000, /* a `check` runs */
	LLB_F_ALL_DISCARDED = 0x4000, /* every member discarded, without error */
	LLB_F_SYNC_IO = 0x8000, /* sync I/O is really issued */
};

enum llb_snapshot_flag {
	LLB_SNAPSHOT_FIRST = 1, /* first event of a snapshot */
	LLB_SNAPSHOT_LAST = 2, /* last one */
};

enum llb_event_type {
	LLB_EV_NONE = 0,
	LLB_EV_TRANSITION = 1,
	LLB_EV_SNAPSHOT = 2,
	LLB_EV_LOAD = 3,
	LLB_EV_UNLOAD = 4,
	LLB_EV_WRITEBACK = 5,
	LLB_EV_BARRIER = 6,
	LLB_EV_DAEMON = 7,
	LLB_EV_SYNC = 8,
	LLB_EV_ERROR = 9,
	LLB_EV_LOSS = 10, /* made by the tool: events were lost before this one */
	LLB_EV_RESIZE = 11,
	LLB_NR_EVENT_TYPES,
};

enum llb_load_decision {
	LLB_LOAD_FIRST_USE = 0,
	LLB_LOAD_RELOAD = 1,
	LLB_LOAD_STALE = 2,
	LLB_LOAD_RUNNING = 255, /* made by the tool: was loaded before the session */
};

enum llb_begin_end { LLB_BEGIN = 0, LLB_END = 1 };

enum llb_barrier_op {
	LLB_BARRIER_WAIT = 0,
	LLB_BARRIER_SUSPEND = 1,
	LLB_BARRIER_RESUME = 2,
	LLB_BARRIER_TIMEOUT = 3,
	LLB_NR_BARRIER_OPS,
};

enum llb_sync_op {
	LLB_SYNC_START = 0,
	LLB_SYNC_SKIP = 1,
	LLB_SYNC_END = 2,
	LLB_SYNC_ABORT = 3,
	LLB_NR_SYNC_OPS,
};

enum llb_error_kind {
	LLB_ERR_WRITE = 0,
	LLB_ERR_READ = 1,
	LLB_ERR_FLUSH = 2,
	LLB_ERR_BAD_BYTE = 3,
	LLB_ERR_BADBLOCKS = 4,
	LLB_ERR_REFUSED = 5,
	LLB_ERR_DRAIN = 6,
	LLB_ERR_NO_MEMBER = 7, /* the array goes on without bitmap */
	LLB_NR_ERROR_KINDS,
};

/* What is measured: by the programs, and in the tool from a recording. */
enum llb_latency {
	LLB_LAT_DIRTY = 0, /* Dirty until the daemon made it Clean */
	LLB_LAT_NEEDSYNC = 1, /* NeedSync until Syncing */
	LLB_LAT_WRITE = 2, /* bitmap write, begin to end */
	LLB_LAT_BARRIER = 3, /* a writer waited for a suspended page */
	LLB_LAT_DAEMON = 4, /* daemon pass */
	LLB_NR_LATENCIES,
};

/* Why something was not seen. Any of these turns a pass into inconclusive. */
enum llb_loss_kind {
	LLB_LOSS_RINGBUF = 0, /* ring buffer full */
	LLB_LOSS_MAP = 1, /* a map was full or an update failed */
	LLB_LOSS_SLOT = 2, /* array not watched: no shadow slot left */
	LLB_LOSS_RECURSION = 3, /* program skipped: raised inside a program */
	LLB_LOSS_STACK = 4, /* stack not kept: harmless for the verdict */
	LLB_NR_LOSS_KINDS,
};

/*
 * One event. Fixed size, host byte order (little endian in a recording).
 *
 * word[0..2] are what differs from event to event, word[3..5] what mostly
 * repeats; the recording codes them so. A new member must keep to that.
 * Unused bytes are zero.
 *
 * In the events that are judged, `rule` (enum llb_rule), `at`, `shadow` and
 * `history` are what the BPF side's verification found; rule 0 means nothing
 * to object. `history` has the last changes of chunk `at`, newest first, each
 * action << 4 | state; action 0xf: seen in a snapshot; a 0 byte: no entry.
 */
struct llb_event {
	__u64 ts_ns; /* CLOCK_MONOTONIC */
	__u32 dev; /* kernel's dev_t: major << 20 | minor */
	__u32 load; /* number of the load since the module was loaded */
	__u8 type; /* enum llb_event_type */
	__u8 version; /* LLB_EVENT_VERSION */
	__u16 cpu;
	__s32 stack; /* stack id, or negative: none kept */
	__u32 pid; /* process (tgid) */
	__u32 tid; /* thread */
	char comm[LLB_COMM_LEN];
	union {
		__u64 word[6];
		struct {
			__u64 seq;
			__u64 first; /* chunk */
			__u32 count; /* chunks */
			__u32 pad;
			__u32 flags; /* enum llb_flag */
			__u8 from;
			__u8 to;
			__u8 action;
			__u8 rule;
			__u64 at; /* first chunk that breaks the rule */
			__u8 shadow; /* what its shadow byte was */
			__u8 history[7]; /* changes before this one, see below */
		} transition;
		struct { /* same places as in transition */
			__u64 seq;
			__u64 first;
			__u32 count;
			__u32 pad;
			__u32 flags; /* enum llb_snapshot_flag */
			__u8 state;
			__u8 pad1[2];
			__u8 rule;
			__u64 at;
			__u8 shadow;
			__u8 history[7];
		} snapshot;
		struct {
			__u64 chunks;
			__u64 bitmap_events;
			__u64 array_events;
			__s32 level;
			__u32 members;
			__u64 chunk_sectors;
			__u32 degraded;
			__u8 decision; /* enum llb_load_decision */
			__u8 pad[3];
		} load_info;
		struct {
			__u64 seq; /* last one used by this load */
			__u64 pad[2];
			__u8 pad1[7];
			__u8 rule;
		} unload;
		/*
		 * Numbered like transitions: before the first of a chunk that is
		 * new, after the last of one that goes; in order with those of page 0.
		 */
		struct {
			__u64 seq;
			__u32 chunks; /* saturated */
			__u32 old_chunks;
			__u64 bitmap_events;
			__u32 degraded;
			__u8 pad[3];
			__u8 rule; /* where all have it */
			__u64 array_events;
			__u32 chunk_sectors;
			__u16 members;
			__s16 level;
		} resize;
		struct {
			__u64 seq; /* begin: highest of this page in the write; end: that is durable */
			__u32 page;
			__u32 blocks; /* 512-byte sectors written to each member */
			__u64 pad;
			__s32 error; /* end: 0 or -errno */
			__u8 op; /* enum llb_begin_end */
			__u8 pad2[2];
			__u8 rule;
			__u64 at;
		} writeback;
		struct { /* what was found in any of the events that are judged */
			__u64 pad[3];
			__u8 pad1[7];
			__u8 rule;
			__u64 at;
			__u8 shadow;
			__u8 history[7];
		} judged;
		struct {
			__u64 ns;
			__u64 page;
			__u64 pad;
			__u8 op; /* enum llb_barrier_op */
			__u8 pad2[7];
		} barrier;
		struct {
			__u32 pages; /* looked at */
			__u32 skipped;
			__u64 cleaned; /* chunks */
			__u64 pad;
			__u8 op; /* enum llb_begin_end */
			__u8 pad2[7];
		} daemon;
		struct {
			__u64 sector;
			__u64 sectors;
			__u64 pad;
			__u8 op; /* enum llb_sync_op */
			__u8 reason; /* skip: the state that allowed it; else 0xff */
			__u8 pad2[6];
		} sync;
		struct {
			__u64 info; /* chunk or page */
			__u32 member; /* dev_t, or 0 */
			__s32 error; /* errno */
			__u64 pad;
			__u8 kind; /* enum llb_error_kind */
			__u8 pad2[7];
		} error;
		struct {
			__u64 count;
			__u64 pad;
			__u64 pad2;
			__u8 kind; /* enum llb_loss_kind */
			__u8 pad3[7];
		} loss;
	};
};

_Static_assert(sizeof(struct llb_event) == 96, "struct llb_event is a file format");

/* The rule that the BPF side found broken; 0: none. */
static inline __u8 llb_event_rule(const struct llb_event *e)
{
	switch (e->type) {
	case LLB_EV_TRANSITION:
	case LLB_EV_SNAPSHOT:
	case LLB_EV_UNLOAD:
	case LLB_EV_WRITEBACK:
	case LLB_EV_RESIZE:
		return e->judged.rule;
	default:
		return 0;
	}
}

/* What the BPF side counts; one per CPU, summed by the tool. */
struct llb_counters {
	__u64 events[LLB_NR_EVENT_TYPES]; /* seen, by type */
	__u64 loss[LLB_NR_LOSS_KINDS];
};

/* Page of the bitmap area that holds a chunk's byte. */
static inline __u32 llb_page_of(__u64 chunk)
{
	return (__u32)((LLB_FIRST_BYTE + chunk) / LLB_PAGE_SIZE);
}

/* The first chunk whose byte is in this page. */
static inline __u64 llb_page_first(__u32 page)
{
	return page ? (__u64)page * LLB_PAGE_SIZE - LLB_FIRST_BYTE : 0;
}

#endif
