/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Judges one transition by table and context rules. Plain C without data,
 * loops or calls, so that the BPF programs can include it too.
 */
#ifndef LLB_MODEL_RULES_H
#define LLB_MODEL_RULES_H

#include "../../../bpf/llbitmap_abi.h"

enum llb_rule {
	LLB_OK = 0,
#define LLB_RULE(id, kind, name, when, effect) LLB_RULE_##id,
#include "rules.def"
	LLB_NR_RULES,
};

enum llb_rule_kind { LLB_ALWAYS, LLB_SHOWN, LLB_SILENT };

/* Sets of states and actions, as bits. */
#define LLB_IN(state) (1u << LLB_##state)
#define LLB_BAD_BYTES (1u << 5)
#define LLB_IN_NONE (1u << 6)
#define LLB_ON(action) (1u << LLB_##action)
#define LLB_ANY (~0u)
#define LLB_NEVER 0xfd

/* Context beside enum llb_flag, which the verifier finds out by itself: see measured.h. */
#define LLB_F_TOLD 0x0000ffffu /* all that an event can tell */
#define LLB_M_OPEN 0x00010000u /* the page is not suspended */
#define LLB_M_SUSPENDED 0x00020000u /* it is */
#define LLB_M_UNSTORED 0x00040000u /* its writes are complete, their bitmap writes not */
#define LLB_M_UNFLUSHED 0x00080000u /* a flush of the members failed since the suspend */
#define LLB_M_SHIFT 16

/* The set with just this state byte in it. */
static inline __u32 llb_state_bit(__u8 state)
{
	if (state < LLB_NR_STATES)
		return 1u << state;
	return state == LLB_NONE ? LLB_IN_NONE : LLB_BAD_BYTES;
}

/**
 * llb_table_next() - what the bare table says
 * @from: state byte, any value
 * @action: enum llb_action, any value
 *
 * Returns the next state, or LLB_NONE where the table has no transition.
 */
static inline __u8 llb_table_next(__u8 from, __u8 action)
{
	switch (action << 8 | from) {
#define LLB_CELL(f, a, t) \
	case LLB_##a << 8 | LLB_##f: \
		return LLB_##t;
#include "rules.def"
	default:
		return LLB_NONE;
	}
}

/**
 * llb_rule_check() - judge one transition by itself
 * @from: state byte before, any value
 * @action: enum llb_action, any value
 * @to: state byte after, any value
 * @flags: context, enum llb_flag and LLB_M_
 * @parity: the array's level is 4, 5 or 6, whatever the flags say
 *
 * Returns LLB_OK or the rule that is broken. Continuity, range, sequence and
 * lifetime need more than one event: see verify.h.
 */
static inline enum llb_rule llb_rule_check(__u8 from, __u8 action, __u8 to, __u32 flags,
					   int parity)
{
	__u32 in = llb_state_bit(from), on = action < LLB_NR_ACTIONS ? 1u << action : 0;

	if (parity)
		flags |= LLB_F_PARITY;
	if (from == to)
		return LLB_RULE_CHANGE;
#define LLB_CASE(id, from_set, action_set, set, clear, expected) \
	if ((in & (from_set)) && (on & (action_set)) && (flags & ((set) | (clear))) == (set)) \
		return (expected) != LLB_NEVER && to == (expected) ? LLB_OK : LLB_RULE_##id;
#include "rules.def"
	if (to == LLB_NONE || llb_table_next(from, action) != to)
		return LLB_RULE_TABLE;
	return LLB_OK;
}

/**
 * llb_rule_applied() - the context rule that decided a legal transition
 *
 * Takes what llb_rule_check() takes, of an event that it found legal.
 * Returns the rule whose case led elsewhere than the table, else the one whose
 * demand was met, LLB_RULE_TABLE if none was needed.
 */
static inline enum llb_rule llb_rule_applied(__u8 from, __u8 action, __u32 flags, int parity)
{
	__u32 in = llb_state_bit(from), on = action < LLB_NR_ACTIONS ? 1u << action : 0;
	__u8 next = llb_table_next(from, action);

	if (parity)
		flags |= LLB_F_PARITY;
#define LLB_CASE(id, from_set, action_set, set, clear, expected) \
	if ((expected) != LLB_NEVER && (expected) != next && (in & (from_set)) && \
	    (on & (action_set)) && (flags & ((set) | (clear))) == (set)) \
		return LLB_RULE_##id;
#define LLB_MET(id, action_set, set, clear) \
	if ((on & (action_set)) && (flags & ((set) | (clear))) == (set)) \
		return LLB_RULE_##id;
#include "rules.def"
	return LLB_RULE_TABLE;
}

#endif
