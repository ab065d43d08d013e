/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a verification found, whoever did it: the BPF side of a live session
 * or verify.c on a recording. The audit command prints it.
 */
#ifndef LLB_MODEL_AUDIT_H
#define LLB_MODEL_AUDIT_H

#include <stdbool.h>
#include <stdint.h>
#include "rules.h"

#define LLB_AUDIT_VIOLATIONS 64 /* kept in full; all are counted */
#define LLB_AUDIT_LOADS 256 /* kept in full; all are counted */

/*
 * A chunk's last changes, newest in the low byte: action << 4 | state entered.
 * Action 0xf: seen in a snapshot; state 0xf: None; entry 0: nothing known.
 */
#define LLB_PAST_ENTRY(action, state) ((uint8_t)((action) << 4 | ((state) & 0xf)))
#define LLB_PAST_SEEN 0xf

/* The state in the newest entry of a history. */
static inline uint8_t llb_past_state(uint64_t history)
{
	uint8_t entry = (uint8_t)history, state = entry & 0xf;

	if (!entry)
		return LLB_UNKNOWN;
	return state == 0xf ? LLB_NONE : state;
}

struct llb_violation {
	enum llb_rule rule;
	uint64_t chunk; /* first chunk concerned */
	uint64_t history; /* of the chunk before this event: LLB_PAST_ENTRY */
	struct llb_event event; /* LLB_EV_NONE: none alone shows it; word[0]: how often it was */
};

/* One load of a bitmap, as far as the session saw it. */
struct llb_audit_load {
	uint32_t dev;
	uint32_t load;
	char name[32]; /* "md0"; empty: not known */
	int32_t level;
	uint32_t members;
	uint64_t chunks;
	uint64_t chunk_sectors;
	uint64_t transitions; /* events */
	uint64_t changed; /* chunks, summed over the events */
	uint64_t snapshots; /* complete ones */
	uint64_t seq_min; /* lowest and highest number seen, 0: none */
	uint64_t seq_max;
	uint64_t missing; /* numbers between them that never came */
	uint64_t violations;
	bool known; /* its geometry was told by a load event */
	bool based; /* first use, or a complete snapshot: nothing was assumed */
	bool unloaded;
	bool unwatched; /* no room to follow its chunks */
};

struct llb_audit {
	uint64_t events[LLB_NR_EVENT_TYPES];
	uint64_t cells[LLB_NR_STATES + 2][LLB_NR_ACTIONS]; /* chunks; rows: states, bad byte, None */
	uint64_t applied[LLB_NR_RULES]; /* events that each context rule decided */
	uint64_t broken[LLB_NR_RULES]; /* violations by rule */
	uint64_t loss[LLB_NR_LOSS_KINDS];
	uint64_t violations; /* all */
	uint64_t nr_loads; /* all */
	struct llb_violation violation[LLB_AUDIT_VIOLATIONS];
	unsigned int nr_violation; /* kept */
	struct llb_audit_load load[LLB_AUDIT_LOADS];
	unsigned int nr_load; /* kept */
	/* Sums over loads that are no longer in load[]. */
	uint64_t forgotten_missing;
	uint64_t forgotten_baseless;
	uint64_t unwatched; /* loads without room for their chunks */
	bool cut_short; /* the recording ends before its end mark */
	bool damaged; /* it could not be read to its end */
};

enum llb_verdict { LLB_PASS, LLB_FAIL, LLB_INCONCLUSIVE };

/* Why a verdict is not a pass, for output; bits. */
enum llb_doubt {
	LLB_DOUBT_LOSS = 1, /* events lost */
	LLB_DOUBT_GAP = 2, /* sequence numbers missing */
	LLB_DOUBT_CUT = 4, /* recording incomplete */
	LLB_DOUBT_BASE = 8, /* a load without a complete snapshot */
	LLB_DOUBT_UNWATCHED = 16, /* no slot for an array */
	LLB_DOUBT_EMPTY = 32, /* no array seen at all */
	LLB_DOUBT_DAMAGED = 64, /* recording not read to its end */
};

/* Row of cells[] for a state byte. */
static inline unsigned int llb_cell_row(uint8_t from)
{
	if (from < LLB_NR_STATES)
		return from;
	return from == LLB_NONE ? LLB_NR_STATES + 1 : LLB_NR_STATES;
}

/* All sequence numbers known to be missing. */
uint64_t llb_audit_missing(const struct llb_audit *audit);

/* A stack that was not kept changes no figure and no verdict. */
static inline bool llb_loss_matters(unsigned int kind)
{
	return kind != LLB_LOSS_STACK;
}

/* Adds LLB_EV_LOSS to @loss[LLB_NR_LOSS_KINDS]. A kind that only newer tools know is loss, too. */
static inline void llb_count_loss(uint64_t *loss, const struct llb_event *e)
{
	loss[e->loss.kind < LLB_NR_LOSS_KINDS ? e->loss.kind : LLB_LOSS_MAP] += e->loss.count;
}

/* All events counted as lost, of the kinds that matter. */
uint64_t llb_audit_lost(const struct llb_audit *audit);

/* Bits of enum llb_doubt. */
unsigned int llb_audit_doubts(const struct llb_audit *audit);

/* A violation beats doubt, doubt beats a pass. */
enum llb_verdict llb_audit_verdict(const struct llb_audit *audit);

#endif
