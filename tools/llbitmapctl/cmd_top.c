// SPDX-License-Identifier: GPL-2.0-or-later
/* top: what the arrays do, live. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "live_frame.h"
#include "model/names.h"
#include "output/foreign.h"
#include "output/parts.h"
#include "top_sample.h"
#include "top_screen.h"

struct top_options {
	bool batch;
	uint64_t count;
	uint64_t interval_ns;
	uint64_t slots;
	const char *sort;
};

static const struct llb_option options[] = {
	LLB_OPTION_ARRAY,
	{ 'b', "batch", NULL, "print samples instead of a screen", LLB_OPT_FLAG,
	  offsetof(struct top_options, batch), 0, 0 },
	{ 'n', "count", "N", "end after N samples", LLB_OPT_NUMBER,
	  offsetof(struct top_options, count), 1, 0 },
	{ 'i', "interval", "SECONDS", "time between samples (default 1)", LLB_OPT_SECONDS,
	  offsetof(struct top_options, interval_ns), NS_PER_SECOND / 10, 3600 * NS_PER_SECOND },
	{ 's', "sort", "KEY", "name, transitions, dirty or writes", LLB_OPT_STRING,
	  offsetof(struct top_options, sort), 0, 0 },
	LIVE_OPTION_SLOTS(struct top_options),
	{ 0 },
};

static void defaults(void *opts)
{
	struct top_options *o = opts;

	o->interval_ns = NS_PER_SECOND;
	o->slots = SESSION_SLOTS;
	o->sort = "name";
}

static void json_row(struct llb_out *out, const struct top_row *row)
{
	const struct array_info *a = &row->array;

	llb_json_object(out, NULL);
	llb_json_string(out, "array", a->name);
	llb_json_bool(out, "stopped", row->gone);
	llb_json_object(out, "counts");
	llb_json_states(out, a->counts);
	llb_json_close(out);
	llb_json_object(out, "chunks_per_second");
	for (int i = 0; i < LLB_NR_ACTIONS; i++)
		llb_json_double(out, llb_action_name(i), top_action_rate(row, i));
	llb_json_close(out);
	llb_json_double(out, "bitmap_writes_per_second",
			top_rate(row, row->now.writes, row->before.writes));
	llb_json_double(out, "barrier_waits_per_second",
			top_rate(row, row->now.waits, row->before.waits));
	llb_json_u64(out, "bitmap_writes", row->now.writes);
	llb_json_u64(out, "bitmap_write_bytes", row->now.write_sectors * 512);
	llb_json_u64(out, "bitmap_write_errors", row->now.write_errors);
	llb_json_u64(out, "barrier_waits", row->now.waits);
	llb_json_u64(out, "barrier_wait_ns", row->now.wait_ns);
	llb_json_u64(out, "drain_timeouts", row->now.timeouts);
	llb_json_u64(out, "daemon_passes", row->now.passes);
	llb_json_u64(out, "chunks_cleaned", row->now.cleaned);
	llb_json_u64(out, "errors", row->now.errors);
	llb_json_u64(out, "degraded", a->degraded);
	llb_json_string(out, "sync_action", a->sync_action);
	llb_json_u64(out, "sync_done_bytes", a->sync_done * 512);
	llb_json_u64(out, "sync_total_bytes", a->sync_total * 512);
	llb_json_close(out);
}

static void text_row(struct llb_out *out, const struct top_row *row)
{
	const struct array_info *a = &row->array;
	char name[LLB_NAME_SIZE];

	llb_text(out, "%-8s", llb_foreign(a->name, name, sizeof(name)));
	if (row->gone) {
		llb_text(out, " stopped\n");
		return;
	}
	for (int i = 0; i < LLB_NR_STATES; i++)
		llb_text(out, " %s %" PRIu64, llb_state_key(i), a->counts[i]);
	llb_text(out, "; chunks/s");
	for (int i = 0; i < LLB_NR_ACTIONS; i++)
		if (top_action_rate(row, i) > 0)
			llb_text(out, " %s %.1f", llb_action_name(i), top_action_rate(row, i));
	if (top_transition_rate(row) <= 0)
		llb_text(out, " 0");
	llb_text(out, "; bitmap writes/s %.1f; waits/s %.1f; %s",
		 top_rate(row, row->now.writes, row->before.writes),
		 top_rate(row, row->now.waits, row->before.waits),
		 *a->sync_action ? a->sync_action : "no sync");
	if (a->sync_total)
		llb_text(out, " %.1f %%", 100.0 * a->sync_done / a->sync_total);
	if (a->degraded)
		llb_styled(out, LLB_WARN, "; degraded %" PRIu32, a->degraded);
	llb_text(out, "\n");
}

static void print_sample(struct llb_out *out, const struct top *top)
{
	uint64_t time_ns = top->taken_ns + (uint64_t)live_clock_offset();
	char time[40];

	if (out->json) {
		llb_json_begin(out);
		llb_json_u64(out, "ts_ns", top->taken_ns);
		llb_json_u64(out, "time_ns", time_ns);
		llb_json_u64(out, "lost", top->lost);
		llb_json_u64(out, "unwatched", top->unwatched);
		llb_json_array(out, "arrays");
		for (size_t i = 0; i < top->nrow; i++)
			json_row(out, &top->row[i]);
		llb_json_close(out);
		llb_json_end(out);
	} else {
		llb_styled(out, LLB_BOLD, "%s\n", llb_time_text(time_ns, time, sizeof(time)));
		for (size_t i = 0; i < top->nrow; i++)
			text_row(out, &top->row[i]);
		if (!top->nrow)
			llb_text(out, "no array\n");
		llb_text(out, "lost %" PRIu64, top->lost);
		if (top->unwatched)
			llb_styled(out, LLB_WARN, ", %" PRIu64 " not watched", top->unwatched);
		llb_text(out, "\n\n");
	}
	fflush(out->file);
}

/* Takes a sample each interval; a screen, if there is one, shows it and has keys. */
static int loop(struct llb_out *out, const struct top_options *o, struct live *live,
		struct top *top, struct top_screen *screen)
{
	uint64_t interval = o->interval_ns, next = session_now(), taken = 0;
	int err = 0;

	while (!err && live_goes_on(live) && !llb_out_broken(out)) {
		bool due = session_now() >= next && !(screen && top_screen_paused(screen));
		enum top_key key = screen ? top_screen_key(screen, top, &interval) : TOP_KEY_NONE;

		if (key == TOP_KEY_QUIT)
			break;
		/* A shorter interval begins now, not after the longer one. */
		if (next > session_now() + interval)
			next = session_now() + interval;
		if (due) {
			err = top_sample(top);
			next = session_now() + interval;
			/* The first sample has no rates; it is the second's base. */
			if (!screen && taken)
				print_sample(out, top);
			if (o->count && taken++ == o->count)
				break;
			taken += !o->count;
		}
		if (screen && (due || key != TOP_KEY_NONE))
			top_screen_draw(screen, top, interval);
		err = err ?: session_poll(live->session, 50, NULL);
	}
	return err;
}

static int find_sort(const char *name)
{
	for (int i = 0; i < TOP_NR_SORTS; i++)
		if (!strcmp(name, top_sorts[i]))
			return i;
	return -1;
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct top_options *o = opts;
	struct live_request request = {
		.config = { .slots = o->slots, .snapshot = true, .count_only = true },
		.names = argv,
		.nr_names = argc,
		.waits = true,
	};
	struct top top = { .sort = find_sort(o->sort) };
	struct top_screen *screen = NULL;
	struct live live = {};
	int exit, err;

	if (find_sort(o->sort) < 0)
		return llb_fail(out, LLB_EXIT_USAGE,
				"--sort takes name, transitions, dirty or writes, not '%s'", o->sort);
	exit = live_begin(out, &request, &live);
	if (!exit && !o->batch && !out->json && top_screen_open(out->colour, &screen))
		exit = llb_fail(out, LLB_EXIT_USAGE,
				"no terminal for a screen (TERM=%s); use --batch",
				getenv("TERM") ?: "");
	if (!exit) {
		top.session = live.session;
		err = loop(out, o, &live, &top, screen);
		top_screen_close(screen);
		if (err == -ENOMEM)
			exit = llb_no_memory(out);
		else if (err < 0)
			exit = llb_fail(out, LLB_EXIT_DATA, "cannot sample: %s", strerror(-err));
		exit = exit ?: live_finish(out, &live);
		exit = exit ?: live_losses(out, &live);
	}
	live_close(&live);
	top_free(&top);
	return exit;
}

const struct llb_command llb_cmd_top = {
	.name = "top",
	.args = "[ARRAY...]",
	.summary = "what the arrays do, live",
	.details = "Shows chunks by state, transitions, bitmap writes, waits and sync of the arrays\n"
		   "named, or of all, on the screen (h: keys), or with --batch or --json as samples.\n"
		   "Arrays that start later come in, also where none runs yet.",
	.options = options,
	.options_size = sizeof(struct top_options),
	.max_args = INT_MAX,
	.defaults = defaults,
	.run = run,
};
