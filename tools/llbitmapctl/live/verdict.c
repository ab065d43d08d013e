// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "../model/rules.h"
#include "arrays.h"

/* Only a recovery fills a member; a resync or a check of the others leaves it missing. */
static void judge_degraded(const struct array_info *a, bool idle, char *text, size_t size)
{
	const char *advice = "; add or re-add a member";
	char runs[40] = "";

	if (!strcmp(a->sync_action, "recover"))
		advice = ", being rebuilt";
	else if (!idle)
		snprintf(runs, sizeof(runs), ", %s runs", a->sync_action);
	snprintf(text, size, "degraded: %" PRIu32 " of %" PRIu32 " members missing%s%s",
		 a->degraded, a->members, runs, advice);
}

enum array_verdict array_judge(const struct array_info *a, char *text, size_t size)
{
	bool idle = !strcmp(a->sync_action, "idle") || !*a->sync_action ||
		    !strcmp(a->sync_action, "frozen");

	if (a->bitmap != ARRAY_BITMAP_LLBITMAP) {
		snprintf(text, size, "no lockless bitmap");
		return ARRAY_NOT_OURS;
	}
	if (!strcmp(a->state, "inactive")) {
		snprintf(text, size, "not started");
		return ARRAY_WORRY;
	}
	if (a->degraded) {
		judge_degraded(a, idle, text, size);
		return ARRAY_WORRY;
	}
	if (!idle) {
		snprintf(text, size, "%s runs", a->sync_action);
		return ARRAY_SYNCING;
	}
	if (!a->have_counts) {
		snprintf(text, size, "running; counts need root");
		return ARRAY_FINE;
	}
	if (a->counts[LLB_NEEDSYNC] || a->counts[LLB_SYNCING]) {
		snprintf(text, size, "%" PRIu64 " chunks wait for a resync",
			 a->counts[LLB_NEEDSYNC] + a->counts[LLB_SYNCING]);
		return ARRAY_SYNCING;
	}
	if (a->counts[LLB_DIRTY])
		snprintf(text, size, "fine; after a crash %" PRIu64 " of %" PRIu64
			 " chunks would be resynced", a->counts[LLB_DIRTY], a->chunks);
	else
		snprintf(text, size, "fine; nothing to resync");
	return ARRAY_FINE;
}
