/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Verifies a stream of events: every transition against table and rules, the
 * chunks' continuity, the sequence numbers. The stream must hold the events
 * of one page in order; between pages they may come in any order.
 * Memory is bounded by the configuration, whatever the stream says.
 */
#ifndef LLB_MODEL_VERIFY_H
#define LLB_MODEL_VERIFY_H

#include <stddef.h>
#include "audit.h"

struct llb_verifier;

struct llb_verify_config {
	unsigned int max_loads; /* followed at the same time; 0: LLB_LOADS, which is the most */
};

/**
 * llb_verifier_new() - a verifier
 * @config: limits, or NULL for the defaults
 *
 * Returns NULL without memory.
 */
struct llb_verifier *llb_verifier_new(const struct llb_verify_config *config);
void llb_verifier_free(struct llb_verifier *v);

/**
 * llb_verify_event() - judge the next event
 *
 * Returns 0, or -ENOMEM. What it objects to is in llb_verifier_audit().
 */
int llb_verify_event(struct llb_verifier *v, const struct llb_event *event);

/**
 * llb_verifier_audit() - what was found so far
 *
 * Brings the figures up to date. The result lives as long as the verifier;
 * the caller may set `name` of a load, `cut_short` and `damaged`.
 */
struct llb_audit *llb_verifier_audit(struct llb_verifier *v);

#endif
