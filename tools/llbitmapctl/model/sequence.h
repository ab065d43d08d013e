/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sequence numbers of one load: proves gaps and repeats although events
 * of different pages arrive in any order. A number that is ahead opens a
 * hole, a late one fills its place.
 */
#ifndef LLB_MODEL_SEQUENCE_H
#define LLB_MODEL_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#define LLB_HOLES 64 /* open at the same time; the oldest is then given up */

struct llb_sequence {
	uint64_t min; /* first number that counts; 0: none seen yet */
	uint64_t max;
	uint64_t given_up; /* numbers in holes that were given up */
	uint64_t horizon; /* below it, a late number fills given_up */
	struct {
		uint64_t lo, hi; /* both missing */
	} hole[LLB_HOLES];
	unsigned int nr_holes;
	bool from_start; /* numbers begin at 1 */
};

/**
 * llb_sequence_slow() - take a number that is not max + 1
 *
 * Returns false if it came before, or is 0.
 */
bool llb_sequence_slow(struct llb_sequence *s, uint64_t seq);

/* Take a number; false: it came before. */
static inline bool llb_sequence_take(struct llb_sequence *s, uint64_t seq)
{
	if (__builtin_expect(seq == s->max + 1 && s->min, 1)) {
		s->max = seq;
		return true;
	}
	return llb_sequence_slow(s, seq);
}

/* The load begins: its first number is 1. */
void llb_sequence_start(struct llb_sequence *s);

/* Numbers below this one, just taken, do not count: the session's first snapshot. */
void llb_sequence_base(struct llb_sequence *s, uint64_t seq);

/* The last number of the load; false: a higher one came before. */
bool llb_sequence_last(struct llb_sequence *s, uint64_t seq);

uint64_t llb_sequence_missing(const struct llb_sequence *s);

/* Is a number below this one missing, as far as known? */
bool llb_sequence_misses_before(const struct llb_sequence *s, uint64_t seq);

#endif
