/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which sequence numbers came, in any order and on any CPU, in three sums. They
 * tell whether it was each number of a range once. Up to two numbers in place of
 * two others never add up to the same; more hardly ever do.
 * Plain C without loops or calls, so that the BPF programs can include it too.
 */
#ifndef LLB_MODEL_NUMBERS_H
#define LLB_MODEL_NUMBERS_H

#include "../../../bpf/llbitmap_abi.h"

/* Modulo 2^64; differences have a meaning, too. */
struct llb_numbers {
	__u64 count;
	__u64 sum;
	__u64 squares;
};

static inline void llb_numbers_add(struct llb_numbers *n, __u64 seq)
{
	n->count++;
	n->sum += seq;
	n->squares += seq * seq;
}

/* Those of @a and of @b. */
static inline struct llb_numbers llb_numbers_plus(struct llb_numbers a, struct llb_numbers b)
{
	return (struct llb_numbers){ a.count + b.count, a.sum + b.sum, a.squares + b.squares };
}

/* Those of @a without those of @b, which are among them. */
static inline struct llb_numbers llb_numbers_minus(struct llb_numbers a, struct llb_numbers b)
{
	return (struct llb_numbers){ a.count - b.count, a.sum - b.sum, a.squares - b.squares };
}

/* 1, 2, ... @last, each once. */
static inline struct llb_numbers llb_numbers_up_to(__u64 last)
{
	__u64 a = last, b = last + 1, c = 2 * last + 1;
	struct llb_numbers n = { .count = last };

	/* Divided before they are multiplied, modulo or not. */
	if (a % 2)
		b /= 2;
	else
		a /= 2;
	n.sum = a * b;
	if (a % 3 == 0)
		a /= 3;
	else if (b % 3 == 0)
		b /= 3;
	else
		c /= 3;
	n.squares = a * b * c;
	return n;
}

/**
 * llb_numbers_compare() - were they each number of a range once?
 * @n: what came, all of it from the range
 * @first: from 1
 * @last: at least @first - 1
 * @missing: how many did not come, at least
 *
 * Returns how many came that had come before, at least. Where more are missing
 * than came twice, those that came twice are not known.
 */
static inline __u64 llb_numbers_compare(struct llb_numbers n, __u64 first, __u64 last,
					__u64 *missing)
{
	struct llb_numbers all = llb_numbers_minus(llb_numbers_up_to(last),
						   llb_numbers_up_to(first - 1));

	*missing = n.count < all.count ? all.count - n.count : 0;
	if (n.count != all.count)
		return n.count > all.count ? n.count - all.count : 0;
	*missing = n.sum != all.sum || n.squares != all.squares;
	return *missing;
}

#endif
