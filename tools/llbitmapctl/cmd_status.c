// SPDX-License-Identifier: GPL-2.0-or-later
/* status: what sysfs says of each array; needs neither root nor tracepoints. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "command.h"
#include "live/arrays.h"
#include "model/names.h"
#include "output/foreign.h"
#include "output/parts.h"

static const char *size_text(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "BKMGTP";
	double value = bytes;
	int unit = 0;

	for (; value >= 1024 && units[unit + 1]; unit++)
		value /= 1024;
	snprintf(buf, size, unit ? "%.4g %ciB" : "%.0f %c", value, units[unit]);
	return buf;
}

static void print_members(struct llb_out *out, const struct array_info *a)
{
	llb_text(out, "  members   %" PRIu32 ", %" PRIu32 " missing:", a->members, a->degraded);
	for (size_t i = 0; i < a->nmember; i++) {
		const struct array_member *m = &a->member[i];

		llb_text(out, " %s", m->name);
		if (m->faulty)
			llb_styled(out, LLB_BAD, " (faulty)");
		else if (m->slot < 0)
			llb_text(out, " (spare)");
		else if (!m->in_sync)
			llb_styled(out, LLB_WARN, " (rebuilding)");
	}
	llb_text(out, "\n");
}

static void print_bitmap(struct llb_out *out, const struct array_info *a)
{
	char buf[32];

	llb_text(out, "  chunks    %" PRIu64 " of %s", a->chunks,
		 size_text(a->chunk_sectors * 512, buf, sizeof(buf)));
	if (a->have_counts)
		for (int s = 0; s < LLB_NR_STATES; s++)
			llb_text(out, "%s %s %" PRIu64, s ? "," : ":", llb_state_name(s),
				 a->counts[s]);
	llb_text(out, "\n  settings ");
	if (a->daemon_sleep >= 0)
		llb_text(out, " daemon_sleep %" PRId64 " s", a->daemon_sleep);
	if (a->barrier_idle >= 0)
		llb_text(out, ", barrier_idle %" PRId64 " s", a->barrier_idle);
	llb_text(out, "%s\n", a->traced ? "" : ", no tracepoints (another kernel's llbitmap)");
}

static void print_text(struct llb_out *out, const struct array_info *a)
{
	static const enum llb_style styles[] = { LLB_GOOD, LLB_WARN, LLB_BAD, LLB_DIM };
	char verdict[160], buf[32], name[LLB_NAME_SIZE], alias[sizeof(a->alias)];
	enum array_verdict v = array_judge(a, verdict, sizeof(verdict));

	llb_styled(out, LLB_BOLD, "%s", llb_foreign(a->name, name, sizeof(name)));
	llb_text(out, "%s%s%s %s, %s, %s: ", a->alias[0] ? " (" : "",
		 llb_foreign(a->alias, alias, sizeof(alias)),
		 a->alias[0] ? ")" : "", a->level, size_text(a->sectors * 512, buf, sizeof(buf)),
		 a->state);
	llb_styled(out, styles[v], "%s\n", verdict);
	if (v == ARRAY_NOT_OURS)
		return;
	if (*a->uuid)
		llb_text(out, "  uuid      %s\n", a->uuid);
	print_members(out, a);
	print_bitmap(out, a);
	llb_text(out, "  sync      %s", *a->sync_action ? a->sync_action : "none");
	if (a->sync_total)
		llb_text(out, " %.1f %%, %" PRIu64 " KiB/s", 100.0 * a->sync_done / a->sync_total,
			 a->sync_speed);
	if (a->mismatches)
		llb_text(out, ", mismatches %" PRIu64, a->mismatches);
	llb_text(out, "\n");
}

static void json_members(struct llb_out *out, const struct array_info *a)
{
	llb_json_array(out, "members");
	for (size_t i = 0; i < a->nmember; i++) {
		llb_json_object(out, NULL);
		llb_json_string(out, "name", a->member[i].name);
		llb_json_string(out, "state", a->member[i].state);
		if (a->member[i].slot >= 0)
			llb_json_i64(out, "slot", a->member[i].slot);
		else
			llb_json_null(out, "slot");
		llb_json_close(out);
	}
	llb_json_close(out);
}

static void json_bitmap(struct llb_out *out, const struct array_info *a)
{
	static const char *const kinds[] = { "none", "bitmap", "llbitmap" };

	llb_json_string(out, "bitmap", kinds[a->bitmap]);
	if (a->bitmap != ARRAY_BITMAP_LLBITMAP)
		return;
	llb_json_bool(out, "tracepoints", a->traced);
	llb_json_u64(out, "chunk_bytes", a->chunk_sectors * 512);
	llb_json_u64(out, "chunks", a->chunks);
	if (a->have_counts) {
		llb_json_object(out, "counts");
		llb_json_states(out, a->counts);
		llb_json_close(out);
	}
	if (a->daemon_sleep >= 0)
		llb_json_u64(out, "daemon_sleep_ns", a->daemon_sleep * 1000000000ull);
	if (a->barrier_idle >= 0)
		llb_json_u64(out, "barrier_idle_ns", a->barrier_idle * 1000000000ull);
}

static void print_json(struct llb_out *out, const struct array_info *a)
{
	static const char *const words[] = { "fine", "syncing", "attention", "not_llbitmap" };
	char verdict[160];
	enum array_verdict v = array_judge(a, verdict, sizeof(verdict));

	llb_json_object(out, NULL);
	llb_json_string(out, "name", a->name);
	if (a->alias[0])
		llb_json_string(out, "alias", a->alias);
	llb_json_string(out, "uuid", a->uuid);
	llb_json_string(out, "level", a->level);
	llb_json_string(out, "state", a->state);
	llb_json_u64(out, "bytes", a->sectors * 512);
	llb_json_u64(out, "raid_disks", a->members);
	llb_json_u64(out, "degraded", a->degraded);
	json_members(out, a);
	json_bitmap(out, a);
	llb_json_object(out, "sync");
	llb_json_string(out, "action", a->sync_action);
	llb_json_u64(out, "done_bytes", a->sync_done * 512);
	llb_json_u64(out, "total_bytes", a->sync_total * 512);
	llb_json_u64(out, "bytes_per_second", a->sync_speed * 1024);
	llb_json_u64(out, "mismatches", a->mismatches);
	llb_json_close(out);
	llb_json_string(out, "status", words[v]);
	llb_json_string(out, "verdict", verdict);
	llb_json_close(out);
}

static const struct llb_option options[] = {
	LLB_OPTION_ARRAY,
	{ 0 },
};

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct array_roots *roots = &array_system_roots;
	const struct array_info *a;
	struct array_list list;
	int err = arrays_scan(roots, &list), exit = 0;

	if (err)
		return llb_fail(out, LLB_EXIT_ENVIRONMENT, "cannot read /sys/block: %s",
				strerror(-err));
	if (!argc && !list.n)
		exit = llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"no md array runs; mdadm --assemble or --create makes one");
	for (int i = 0; i < argc && !exit; i++)
		if (!arrays_find(roots, &list, argv[i]))
			exit = llb_fail(out, LLB_EXIT_ENVIRONMENT,
					"no array '%s'; llbitmapctl status lists those that run",
					argv[i]);
	if (!exit && out->json) {
		llb_json_begin(out);
		llb_json_array(out, "arrays");
	}
	for (size_t i = 0; !exit && i < (argc ? (size_t)argc : list.n); i++) {
		a = argc ? arrays_find(roots, &list, argv[i]) : &list.v[i];
		if (out->json) {
			print_json(out, a);
			continue;
		}
		if (i)
			llb_text(out, "\n");
		print_text(out, a);
	}
	if (!exit && out->json) {
		llb_json_close(out);
		llb_json_end(out);
	}
	arrays_free(&list);
	return exit;
}

const struct llb_command llb_cmd_status = {
	.name = "status",
	.args = "[ARRAY...]",
	.summary = "how each array and its bitmap are",
	.details = "Shows what sysfs says of the arrays named, or of all: level, members, chunks by\n"
		   "state, sync, settings, and a verdict in one line. Needs no privilege.\n"
		   "Exit status: 0 whatever the verdict, for it reports and does not judge; \"status\"\n"
		   "in the JSON is fine, syncing, attention or not_llbitmap. 4: no such array.",
	.options = options,
	.max_args = INT_MAX,
	.run = run,
};
