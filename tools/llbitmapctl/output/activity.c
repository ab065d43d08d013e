// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include "../model/names.h"
#include "activity.h"
#include "foreign.h"
#include "parts.h"

static void item_text(struct llb_out *out, const struct llb_activity *a, const char *name)
{
	char buf[LLB_NAME_SIZE];

	llb_styled(out, LLB_BOLD, "%s", llb_foreign(name, buf, sizeof(buf)));
	llb_text(out, " load %u: level %d, %u members, %" PRIu64 " chunks of %" PRIu64
		 " KiB%s%s\n", llb_key_load(a->key), a->level, a->members, a->chunks, a->chunk_sectors / 2,
		 a->syncing ? ", syncing" : "", a->unloaded ? ", unloaded" : "");
	llb_text(out, "  states  ");
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		llb_text(out, " %s %" PRIu64, llb_state_name(s), a->states[s]);
	if (a->states[LLB_NR_STATES])
		llb_text(out, " unknown %" PRIu64, a->states[LLB_NR_STATES]);
	llb_text(out, "\n  changes ");
	for (uint8_t act = 0; act < LLB_NR_ACTIONS; act++)
		if (a->actions[act])
			llb_text(out, " %s %" PRIu64, llb_action_name(act), a->actions[act]);
	llb_text(out, " in %" PRIu64 " events\n  bitmap   writes %" PRIu64 " errors %" PRIu64,
		 a->transitions, a->writebacks, a->writeback_errors);
	llb_text(out, ", waits %" PRIu64 " (%s), drains given up %" PRIu64,
		 a->waits, llb_ns_text(a->wait_ns, buf, sizeof(buf)), a->timeouts);
	llb_text(out, ", passes %" PRIu64 " cleaned %" PRIu64, a->passes, a->cleaned);
	if (a->errors)
		llb_styled(out, LLB_BAD, ", %" PRIu64 " errors", a->errors);
	llb_text(out, "\n");
}

static void item_json(struct llb_out *out, const struct llb_activity *a, const char *name)
{
	llb_json_object(out, NULL);
	llb_json_string(out, "array", name);
	llb_json_u64(out, "load", llb_key_load(a->key));
	llb_json_geometry(out, a->level, a->members, a->chunks, a->chunk_sectors);
	llb_json_object(out, "counts");
	llb_json_states(out, a->states);
	llb_json_u64(out, "unknown", a->states[LLB_NR_STATES]);
	llb_json_close(out);
	llb_json_actions(out, "changes", a->actions);
	llb_json_u64(out, "transitions", a->transitions);
	llb_json_u64(out, "bitmap_writes", a->writebacks);
	llb_json_u64(out, "bitmap_write_errors", a->writeback_errors);
	llb_json_u64(out, "barrier_waits", a->waits);
	llb_json_u64(out, "barrier_wait_ns", a->wait_ns);
	llb_json_u64(out, "drain_timeouts", a->timeouts);
	llb_json_u64(out, "daemon_passes", a->passes);
	llb_json_u64(out, "chunks_cleaned", a->cleaned);
	llb_json_u64(out, "errors", a->errors);
	llb_json_bool(out, "syncing", a->syncing);
	llb_json_u64(out, "sync_offset_bytes", a->sync_sector * 512);
	llb_json_bool(out, "unloaded", a->unloaded);
	llb_json_close(out);
}

static void items(struct llb_out *out, const struct llb_activities *all, llb_load_name *name_of,
		  const void *ctx)
{
	char buf[32];

	for (unsigned int i = 0; i < all->nr; i++) {
		const struct llb_activity *a = &all->item[i];
		const char *name = name_of(ctx, llb_key_dev(a->key), llb_key_load(a->key)) ?:
				   llb_dev_name(llb_key_dev(a->key), buf, sizeof(buf));

		(out->json ? item_json : item_text)(out, a, name);
	}
}

void llb_activities_print(struct llb_out *out, const struct llb_activities *all,
			  llb_load_name *name_of, const void *ctx)
{
	if (!out->json) {
		items(out, all, name_of, ctx);
		llb_lost_text(out, all->lost, all->missing, all->unwatched.nr);
		return;
	}
	llb_json_begin(out);
	llb_json_u64(out, "duration_ns", all->last_ns - all->first_ns);
	llb_json_array(out, "arrays");
	items(out, all, name_of, ctx);
	llb_json_close(out);
	llb_json_u64(out, "lost", all->lost);
	llb_json_u64(out, "missing", all->missing);
	llb_json_u64(out, "unwatched", all->unwatched.nr);
	llb_json_end(out);
}
