// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel's state machine beside the rules that events are judged by: every
 * state and action under every context. Prints where they differ; exit status 1
 * if they do. kernel_next() is the kernel's llb_next().
 */
#include <stdio.h>
#include "../../tools/llbitmapctl/model/names.h"
#include "../../tools/llbitmapctl/model/rules.h"

__u8 kernel_next(__u8 from, int action, __u32 flags);

/* What the kernel's callers see to, before they ask: llb_next() says nothing of it. */
static int seen_to(__u8 from, __u8 action, __u32 flags)
{
	if (action == LLB_ENDSYNC && (!(flags & LLB_F_SYNCED) || flags & LLB_F_CHECK))
		return 1;
	if (action == LLB_ABORTSYNC && flags & LLB_F_CHECK)
		return 1;
	if (action == LLB_INIT)
		return from != LLB_NONE;
	/* such bytes are found at load, and nowhere else */
	return from >= LLB_NR_STATES &&
	       ((action != LLB_RELOAD && action != LLB_STALE) || !(flags & LLB_F_BAD_BYTE));
}

static unsigned int compare(__u8 from, __u8 action, __u32 flags)
{
	__u8 next = kernel_next(from, action, flags);
	unsigned int wrong = 0;

	for (__u8 to = 0; to < LLB_NR_STATES; to++) {
		int does = next == to && to != from;
		enum llb_rule rule = llb_rule_check(from, action, to, flags,
						    !!(flags & LLB_F_PARITY));

		if (does == (rule == LLB_OK))
			continue;
		wrong++;
		printf("%s %s %s flags %04x: the kernel %s, the rules say %s\n",
		       llb_state_name(from), llb_action_name(action), llb_state_name(to), flags,
		       does ? "does it" : "does not", rule ? llb_rule_name(rule) : "ok");
	}
	return wrong;
}

int main(void)
{
	static const __u8 from[] = { LLB_UNWRITTEN, LLB_CLEAN, LLB_DIRTY, LLB_NEEDSYNC,
				     LLB_SYNCING, 5, 7, 200, LLB_NONE };
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < sizeof(from); i++)
		for (__u8 action = 0; action < LLB_NR_ACTIONS; action++)
			for (__u32 flags = 0; flags <= LLB_F_TOLD && wrong < 20; flags++)
				if (!seen_to(from[i], action, flags))
					wrong += compare(from[i], action, flags);
	return wrong ? 1 : 0;
}
