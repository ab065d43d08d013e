/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What session.c and its parts share. */
#ifndef LLB_LIVE_SESSION_INT_H
#define LLB_LIVE_SESSION_INT_H

#include "ksyms.h"
#include "llbitmap.skel.h"
#include "session.h"

#define STACK_DEPTH 32
#define STACK_TEXT 4096

/* Values of maps lie so far apart. */
#define ROUND8(n) (((n) + 7) & ~7ul)

struct stack_text {
	int id;
	char *text;
};

struct session {
	struct session_config config;
	struct llbitmap *skel;
	struct ring_buffer *ring;
	struct ksyms *ksyms;
	int cpus;

	/* Maps, as memory. */
	struct llb_slot *slots;
	struct llb_page *pages;
	struct llb_stamps *stamps;
	uint64_t *writes;
	uint64_t *seqs;
	void *percpu; /* room for one value of every CPU */
	int outer; /* map of one map, `inner`: see quiesce() */
	int inner;

	struct session_load *loads;
	size_t nloads;
	struct llb_latencies *done; /* of loads without a slot, by kind; all arrays together */

	uint64_t told[LLB_NR_LOSS_KINDS]; /* losses that the sink knows of */
	uint64_t lost_accounts;
	bool detached;
	uint64_t looked_ns; /* when sysfs was last searched for new arrays */

	struct llb_audit audit;
	struct llb_audit forgotten; /* sums of loads that are not in the list any more */
	struct stack_text *stacks;
	size_t nstacks;

	/* of the session_poll() that runs */
	const struct llb_sink *sink;
	int sink_result;
};

/* filter.c: what the programs are told; does an event that they sent belong to the stream? */
struct llb_wanted filter_wanted(const struct session_filter *f);
bool filter_wants(const struct session_filter *f, const struct llb_event *e);

/* slots.c */
int slots_map(struct session *s);
void slots_unmap(struct session *s);
/* Frees the list of loads. */
void slots_forget(struct session *s);
struct session_load *slots_find(struct session *s, uint32_t dev, uint32_t load);
/* A load event came: the BPF side has chosen a slot, or found none. */
struct session_load *slots_loaded(struct session *s, const struct llb_event *e);
/* Gives back the slots of unloaded bitmaps, and finds arrays. 0 or -ENOMEM. */
int slots_tend(struct session *s);
/* The last snapshot, and the end: no more events come. */
void slots_finish(struct session *s);
/* Closes the accounts, once all events were looked at. 0 or -ENOMEM. */
int slots_close(struct session *s);

/* session.c */
void session_detach(struct session *s);

/* figures.c */
int figures_room(struct session *s);
/* 0 or -errno. */
int slots_stats(struct session *s, uint32_t slot, struct llb_slot_stats *sum);
/* Adds a slot's latencies to @to. 0 or -errno. */
int slots_latencies(struct session *s, uint32_t slot, struct llb_latencies *to);

/* findings.c */
void findings_violation(struct session *s, const struct llb_event *e);
/* Keeps the figures of a load that leaves the list. */
void findings_forget(struct session *s, size_t i);
/* Numbers of the load came twice, which no event shows by itself. */
void findings_repeated(struct session *s, const struct session_load *l);

#endif
