/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `top` shows of each array, from events. */
#ifndef LLB_MODEL_ACTIVITY_H
#define LLB_MODEL_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>
#include "loads.h"

/* Counters only grow; rates are the caller's differences. */
struct llb_activity {
	uint64_t key; /* llb_load_key() */
	int32_t level;
	uint32_t members;
	uint64_t chunks;
	uint64_t chunk_sectors;
	uint64_t states[LLB_NR_STATES + 1]; /* chunks by state; last: not known */
	uint64_t actions[LLB_NR_ACTIONS]; /* chunks changed */
	uint64_t transitions; /* events */
	uint64_t writebacks; /* finished */
	uint64_t writeback_errors;
	uint64_t waits; /* writers that waited for a page */
	uint64_t wait_ns;
	uint64_t timeouts; /* drains that gave up */
	uint64_t passes; /* of the daemon */
	uint64_t cleaned; /* chunks */
	uint64_t errors; /* error events */
	uint64_t sync_sector; /* last seen in a sync event */
	bool syncing;
	bool unloaded;
	uint8_t *shadow; /* state byte of each chunk, for the chunk map; NULL: no room */
};

struct llb_activities {
	struct llb_activity item[LLB_LOADS];
	unsigned int nr;
	struct llb_guesses guesses;
	struct llb_unwatched unwatched;
	uint64_t lost; /* events, of the kinds that matter */
	uint64_t missing; /* sequence numbers; the caller's to set */
	uint64_t first_ns;
	uint64_t last_ns;
};

struct llb_activities *llb_activities_new(void);
void llb_activities_free(struct llb_activities *activities);
/* Returns 0 or -ENOMEM. An unloaded one makes room for a new one. */
int llb_activities_event(void *activities, const struct llb_event *event);

#endif
