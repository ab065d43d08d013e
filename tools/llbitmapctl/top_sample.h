/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The figures of top: one row per array, rates since the sample before. */
#ifndef LLB_TOP_SAMPLE_H
#define LLB_TOP_SAMPLE_H

#include "live/session.h"

struct top_row {
	struct array_info array;
	uint32_t dev;
	uint32_t load;
	bool gone; /* unloaded; shown until the next array takes its place */
	struct llb_slot_stats now;
	struct llb_slot_stats before;
	double seconds; /* between the two; 0: first sample */
};

enum top_sort { TOP_BY_NAME, TOP_BY_TRANSITIONS, TOP_BY_DIRTY, TOP_BY_WRITES, TOP_NR_SORTS };
extern const char *const top_sorts[TOP_NR_SORTS];

struct top {
	struct session *session;
	struct top_row *row;
	size_t nrow;
	uint64_t taken_ns;
	uint64_t lost; /* events, of the kinds that matter */
	uint64_t unwatched;
	enum top_sort sort;
};

/* Takes a new sample. 0 or -errno. */
int top_sample(struct top *top);
/* Puts the rows in the order of top->sort. */
void top_order(struct top *top);
void top_free(struct top *top);

/* Per second since the sample before. */
double top_rate(const struct top_row *row, uint64_t now, uint64_t before);
double top_action_rate(const struct top_row *row, int action); /* chunks */
double top_transition_rate(const struct top_row *row); /* chunks, all actions */

#endif
