/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A live session: the BPF programs attached, the arrays they watch, the events
 * and counters they give. One thread. Prints nothing; functions return 0 or a
 * negative errno.
 */
#ifndef LLB_LIVE_SESSION_H
#define LLB_LIVE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../../../bpf/llbitmap_live.h"
#include "../model/audit.h"
#include "../model/hist.h"
#include "../model/loads.h"
#include "../source.h"
#include "arrays.h"

#define SESSION_SLOTS 16 /* default */
#define SESSION_SLOTS_MAX LLB_LOADS
#define SESSION_COMM_MAX (LLB_COMM_LEN - 1)

/* Which events of the stream are wanted; zeroed: all. */
struct session_filter {
	uint32_t types;	  /* set of enum llb_event_type, 0: all */
	uint32_t states;  /* set of states, from or to, 0: all */
	uint32_t actions; /* set of enum llb_action, 0: all */
	bool chunks;	  /* only transitions that touch these: */
	uint64_t first;
	uint64_t last;
	uint32_t pid;	  /* 0: all */
	char comm[LLB_COMM_LEN];
};

struct session_config {
	const struct array_roots *roots;
	uint32_t slots;	 /* loads of bitmaps followed at the same time, 0: SESSION_SLOTS */
	bool all;	 /* arrays that appear are watched too */
	bool stream;	 /* give all events, not only violations, loads and errors */
	bool latencies;	 /* measure them */
	bool count_only; /* judge nothing: no violations, no coverage */
	bool stacks;	 /* of all streamed events */
	bool snapshot;	 /* know every chunk's state from the start: for a verdict */
	size_t ring;	 /* bytes, power of two, 0: 16 MiB with stream, else 1 MiB */
	struct session_filter filter;
};

/* What went wrong in session_open(), for the message. */
enum session_fault {
	SESSION_FAULT_NONE,
	SESSION_FAULT_PRIVILEGE,   /* no CAP_BPF or CAP_PERFMON */
	SESSION_FAULT_TRACEPOINTS, /* the kernel has no llbitmap tracepoints */
	SESSION_FAULT_LOAD,	   /* the kernel refuses our programs or maps */
};

/* One load of a bitmap that the session watches or watched. */
struct session_load {
	uint32_t dev;
	uint32_t load; /* 0: no event yet */
	char name[32];
	char uuid[40];
	int32_t level;
	uint32_t members;
	uint64_t chunks;
	uint64_t chunk_sectors;
	uint32_t slot;	/* LLB_NO_SLOT: not watched, or given back */
	bool unloaded;
	bool unwatched; /* there was no slot for it */
	bool based;	/* every chunk is known */
	int open_ended; /* -errno of the last snapshot, which shows bytes that changed without event */
	/* internal */
	bool announced;	   /* its load event was given to the sink */
	bool from_start;   /* and was the kernel's: its numbers begin with 1 */
	int snapshot_fd;   /* its attribute `snapshot`, or negative */
	uint64_t base;	   /* sequence numbers: first and last that count, and which were seen */
	uint64_t last;
	struct llb_numbers received;
	struct llb_numbers early; /* before `base` was known */
	bool overrun;	   /* more than the log takes: nobody knows which */
	uint64_t missing;  /* numbers that never came, or came twice, once all is told */
	uint64_t repeated;
	uint64_t snapshots;
	struct llb_slot_stats sum; /* once it has no slot any more */
};

struct session;

/* CLOCK_MONOTONIC in nanoseconds, as events carry it. */
uint64_t session_now(void);

/**
 * session_open() - load and attach
 * @fault: what the errno means
 */
int session_open(const struct session_config *config, struct session **out,
		 enum session_fault *fault);

/*
 * Watches an array whose bitmap is loaded; its snapshot, and what came meanwhile, go to @sink (may
 * be NULL). -ENOSPC: no slot left, it is kept in the list as not watched. Errors of the snapshot
 * file: -EACCES, -ENOENT.
 */
int session_watch(struct session *s, const struct array_info *array, const struct llb_sink *sink);

/* Bytes of kernel memory that a session takes, most of them for each slot. */
size_t session_memory(const struct session_config *config);

/* Drops all capabilities of the process for good. */
int session_drop_privileges(void);

/*
 * Gives what has come to @sink (may be NULL), at most @timeout_ms later; looks after arrays that
 * come and go. Returns 0, what the sink returned, or -errno; a signal is not an error.
 */
int session_poll(struct session *s, int timeout_ms, const struct llb_sink *sink);

/*
 * Ends the session: a last snapshot against the shadow (if the config says snapshot), then
 * detaches, gives the rest to @sink and closes the accounts. The figures stay readable.
 * Returns what session_poll() does.
 */
int session_finish(struct session *s, const struct llb_sink *sink);

/* Detaches if that is still to be done, and frees. */
void session_close(struct session *s);

/*
 * Loads in the order in which they were seen. Of those that ended or had no slot the last
 * LLB_AUDIT_LOADS are kept; session_audit() has the sums of all.
 */
size_t session_loads(const struct session *s);
const struct session_load *session_load_at(const struct session *s, size_t i);

/* Where that load is until the next poll, or SIZE_MAX. */
size_t session_load_find(const struct session *s, uint32_t dev, uint32_t load);

/* Name of the array with this dev_t: "md0", or NULL. */
const char *session_name(const struct session *s, uint32_t dev);

/* Counters of one load, so far. */
int session_stats(struct session *s, size_t i, struct llb_slot_stats *sum);

/* Sum over all CPUs; loss includes recursion misses and accounts that do not close. */
int session_counters(struct session *s, struct llb_counters *sum);

/* Latencies of one load, or of all with i == SIZE_MAX. */
int session_latency(struct session *s, size_t i, enum llb_latency kind, struct llb_hist *hist);

/* Newest history entry of each chunk of a watched load; see llbitmap_live.h. 0: unknown. */
uint8_t session_shadow(const struct session *s, size_t i, uint64_t chunk);

/* What was found; exact after session_finish(). Lives as long as the session. */
const struct llb_audit *session_audit(struct session *s);

/* Text of a stack, one frame a line, innermost first; NULL: unknown. Takes a struct session. */
const char *session_stack(void *session, int id);

#endif
