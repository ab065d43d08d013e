/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequence numbers that are missing in a stream of events, for who does not
 * verify it. What counts is what counts for verify.c.
 */
#ifndef LLB_MODEL_GAPS_H
#define LLB_MODEL_GAPS_H

#include <stdint.h>
#include "loads.h"

/* Of LLB_LOADS at the same time; the oldest is then given up. */
struct llb_gaps;

/* NULL: no memory. */
struct llb_gaps *llb_gaps_new(void);
void llb_gaps_free(struct llb_gaps *gaps);

void llb_gaps_event(struct llb_gaps *gaps, const struct llb_event *event);

/* Numbers known to be missing so far; events of other pages may still bring some of them. */
uint64_t llb_gaps_missing(const struct llb_gaps *gaps);

#endif
