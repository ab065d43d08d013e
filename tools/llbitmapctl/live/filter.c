// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include "session_int.h"

static bool process_wanted(const struct session_filter *f, const struct llb_event *e)
{
	if (f->pid && f->pid != e->pid)
		return false;
	return !f->comm[0] || !memcmp(f->comm, e->comm, LLB_COMM_LEN);
}

static bool transition_wanted(const struct session_filter *f, const struct llb_event *e)
{
	uint64_t first = e->transition.first, end = first + e->transition.count;
	uint8_t from = e->transition.from, to = e->transition.to, action = e->transition.action;
	uint32_t states = 0;

	if (f->chunks && (first > f->last || end <= f->first))
		return false;
	if (f->actions && action < 32 && !(f->actions & 1u << action))
		return false;
	if (from < LLB_NR_STATES)
		states |= 1u << from;
	if (to < LLB_NR_STATES)
		states |= 1u << to;
	return !f->states || !states || (f->states & states);
}

/*
 * The programs apply the filter as well, for its price, but send what the session has to know
 * whatever it says: loads and their ends, sizes, violations.
 */
bool filter_wants(const struct session_filter *f, const struct llb_event *e)
{
	if (f->types && !(f->types & 1u << e->type))
		return false;
	return process_wanted(f, e) &&
	       (e->type != LLB_EV_TRANSITION || transition_wanted(f, e));
}
