/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What verify.c (events) and watch.c (loads and what is found in them) share. */
#ifndef LLB_MODEL_VERIFY_INT_H
#define LLB_MODEL_VERIFY_INT_H

#include "loads.h"
#include "measured.h"
#include "sequence.h"
#include "verify.h"

#define MEMOS 64 /* power of two */
#define PENDING 64
#define likely(x) __builtin_expect(!!(x), 1)

/*
 * A kind of legal transition (context, from, to, action), as it was judged
 * before: few kinds occur, so that most events only count up theirs.
 */
struct memo {
	uint64_t key;         /* kind_of() */
	uint64_t events;
	uint64_t more_chunks; /* beyond one for each event */
	uint8_t from;         /* nibble of a history's entry */
	uint8_t entry;        /* LLB_PAST_ENTRY that it leaves */
	bool relied;          /* llb_is_relied_on() */
};

/*
 * Breaks of continuity that an event which did not come may explain: they
 * count once all numbers before them are there.
 */
struct pending {
	unsigned int nr;
	uint64_t more;     /* for which there was no room */
	uint64_t more_seq; /* the highest number of those */
	struct llb_violation violation[PENDING];
};

/*
 * Findings by what was measured (see measured.h), which an event that was lost
 * may explain. Nobody knows of the other events how many there were, so they
 * count if nothing at all was lost.
 */
struct doubtful {
	unsigned int nr;
	uint64_t more[LLB_NR_RULES]; /* for which there was no room */
	struct llb_violation violation[PENDING];
};

/* A load whose chunks are followed. */
struct watched {
	uint64_t key;      /* llb_load_key(), 0: free */
	uint64_t limit;    /* chunks that may be named */
	bool sure;         /* limit is what the array has */
	struct llb_chunks history; /* LLB_PAST_ENTRY; those at and above `limit` are gone */
	struct llb_sequence sequence;
	uint64_t page_seq[LLB_MAX_PAGES + 1];
	struct memo memo[MEMOS];
	struct llb_drains drains;
	struct llb_stored stored[LLB_MAX_PAGES];
	bool parity;
	uint64_t snapshot_next; /* chunk that the running snapshot tells next */
	bool snapshot_runs;
	struct pending *pending; /* NULL: none yet */
	struct llb_audit_load info;
};

struct llb_verifier {
	struct watched *last; /* of the event before, or NULL */
	struct llb_guesses guesses;
	unsigned int max_loads;
	unsigned int room; /* pages for histories */
	struct watched *watched;
	struct llb_audit_load ended[LLB_AUDIT_LOADS]; /* unloaded or unwatched, oldest first */
	unsigned int nr_ended;
	struct doubtful doubtful;
	struct llb_audit audit;
};

struct watched *llb_find_watched(struct llb_verifier *v, uint64_t key);

static inline struct watched *find_watched(struct llb_verifier *v, const struct llb_event *e)
{
	uint64_t key = llb_load_key(e);

	return likely(v->last && v->last->key == key) ? v->last : llb_find_watched(v, key);
}

/* A load that is not followed any more, or could not be; NULL: not known. */
struct llb_audit_load *llb_find_ended(struct llb_verifier *v, uint32_t dev, uint32_t load);

/* Begin to follow the load of an event; NULL: no room. */
struct watched *llb_begin_watch(struct llb_verifier *v, const struct llb_event *e, uint64_t chunks);
void llb_end_watch(struct llb_verifier *v, struct watched *w);

/* Makes room for the histories of chunks. False: there is none, the load is not followed any more. */
bool llb_need_histories(struct llb_verifier *v, struct watched *w, uint64_t first, uint64_t count);

/* The array has another number of chunks; those from @old on begin anew. */
void llb_resize_watch(struct llb_verifier *v, struct watched *w, uint64_t old, uint64_t chunks);

/* Moves the counts of a kind into the figures. */
void llb_settle(struct llb_verifier *v, struct watched *w, struct memo *m);

/* A rule is broken; info NULL: by no load in particular. */
void llb_violate(struct llb_verifier *v, struct llb_audit_load *info, enum llb_rule rule,
		 uint64_t chunk, uint64_t history, const struct llb_event *e);

/* The same by what was measured: unless a lost event explains it. */
void llb_violate_measured(struct llb_verifier *v, struct llb_audit_load *info, enum llb_rule rule,
			  uint64_t chunk, uint64_t history, const struct llb_event *e);

/* Continuity is broken, unless a missing event explains it. 0 or -ENOMEM. */
int llb_break_continuity(struct llb_verifier *v, struct watched *w, uint64_t chunk,
			 uint64_t history, const struct llb_event *e);

#endif
