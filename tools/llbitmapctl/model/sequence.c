// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include "sequence.h"

static void remove_hole(struct llb_sequence *s, unsigned int i)
{
	s->nr_holes--;
	memmove(&s->hole[i], &s->hole[i + 1], (s->nr_holes - i) * sizeof(s->hole[0]));
}

/* Numbers lo..hi are missing, as far as known. Holes stay in order of opening. */
static void open_hole(struct llb_sequence *s, uint64_t lo, uint64_t hi)
{
	if (s->nr_holes == LLB_HOLES) {
		s->given_up += s->hole[0].hi - s->hole[0].lo + 1;
		if (s->hole[0].hi >= s->horizon)
			s->horizon = s->hole[0].hi + 1;
		remove_hole(s, 0);
	}
	s->hole[s->nr_holes].lo = lo;
	s->hole[s->nr_holes].hi = hi;
	s->nr_holes++;
}

static bool fill(struct llb_sequence *s, uint64_t seq)
{
	uint64_t lo, hi;

	for (unsigned int i = 0; i < s->nr_holes; i++) {
		lo = s->hole[i].lo;
		hi = s->hole[i].hi;
		if (seq < lo || seq > hi)
			continue;
		remove_hole(s, i);
		if (seq > lo)
			open_hole(s, lo, seq - 1);
		if (seq < hi)
			open_hole(s, seq + 1, hi);
		return true;
	}
	if (s->given_up && seq < s->horizon) {
		s->given_up--;
		return true;
	}
	return false;
}

bool llb_sequence_slow(struct llb_sequence *s, uint64_t seq)
{
	if (!seq)
		return false;
	if (!s->min) {
		s->min = seq;
		s->max = seq;
		return true;
	}
	if (seq > s->max) {
		if (seq > s->max + 1)
			open_hole(s, s->max + 1, seq - 1);
		s->max = seq;
		return true;
	}
	if (seq < s->min) {
		/* Before anything counted: it only widens what is known. */
		if (seq + 1 < s->min)
			open_hole(s, seq + 1, s->min - 1);
		s->min = seq;
		return true;
	}
	return fill(s, seq);
}

void llb_sequence_start(struct llb_sequence *s)
{
	*s = (struct llb_sequence){ .min = 1, .from_start = true };
}

void llb_sequence_base(struct llb_sequence *s, uint64_t seq)
{
	unsigned int i = 0;

	if (s->from_start)
		return;
	/* The number itself was taken: no hole reaches over it. */
	while (i < s->nr_holes)
		if (s->hole[i].hi < seq)
			remove_hole(s, i);
		else
			i++;
	s->given_up = 0;
}

bool llb_sequence_last(struct llb_sequence *s, uint64_t seq)
{
	if (!s->min)
		return true;
	if (seq > s->max) {
		open_hole(s, s->max + 1, seq);
		s->max = seq;
	}
	return seq >= s->max;
}

uint64_t llb_sequence_missing(const struct llb_sequence *s)
{
	uint64_t sum = s->given_up;

	for (unsigned int i = 0; i < s->nr_holes; i++)
		sum += s->hole[i].hi - s->hole[i].lo + 1;
	return sum;
}

bool llb_sequence_misses_before(const struct llb_sequence *s, uint64_t seq)
{
	if (s->given_up)
		return true;
	for (unsigned int i = 0; i < s->nr_holes; i++)
		if (s->hole[i].lo < seq)
			return true;
	return false;
}
