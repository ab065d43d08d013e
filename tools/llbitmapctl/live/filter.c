// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include "session_int.h"

static bool process_wanted(const struct session_filter *f, const struct llb_event *e)
{
	if (f->pid && f->pid != e->pid)
		return false;
	return !f->comm[0] || !memcmp(f->comm, e->comm, LLB_COMM_LEN);
}

struct llb_wanted filter_wanted(const struct session_filter *f)
{
	return (struct llb_wanted){
		.states = f->states ? f->states : ~0u,
		.actions = f->actions ? f->actions : ~0u,
		.first = f->chunks ? f->first : 0,
		.last = f->chunks ? f->last : ~0ull,
	};
}

static bool transition_wanted(const struct session_filter *f, const struct llb_event *e)
{
	struct llb_wanted wanted = filter_wanted(f);

	return llb_wants(&wanted, e->transition.first, e->transition.count, e->transition.from,
			 e->transition.to, e->transition.action);
}

bool filter_wants(const struct session_filter *f, const struct llb_event *e)
{
	if (f->types && !(f->types & 1u << e->type))
		return false;
	return process_wanted(f, e) &&
	       (e->type != LLB_EV_TRANSITION || transition_wanted(f, e));
}
