// SPDX-License-Identifier: GPL-2.0-or-later
/* hist: latencies of the running kernel, measured in it. */
#include <limits.h>
#include "live_frame.h"
#include "output/hist.h"

struct hist_options {
	uint64_t duration_ns;
	uint64_t slots;
	struct llb_trailing command;
};

static const struct llb_option options[] = {
	LLB_OPTION_ARRAY,
	LIVE_OPTION_DURATION(struct hist_options),
	LIVE_OPTION_SLOTS(struct hist_options),
	{ 0 },
};

static void defaults(void *opts)
{
	struct hist_options *o = opts;

	o->slots = SESSION_SLOTS;
}

static void print(struct llb_out *out, struct live *live)
{
	struct llb_hist_set set = {
		.duration_ns = session_now() - live->start_ns,
		.lost = llb_audit_lost(session_audit(live->session)),
		.missing = llb_audit_missing(session_audit(live->session)),
		.unwatched = session_audit(live->session)->unwatched,
	};

	for (int kind = 0; kind < LLB_NR_LATENCIES; kind++)
		session_latency(live->session, SIZE_MAX, kind, &set.hist[kind]);
	out->source = "live";
	llb_hists_print(out, &set);
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct hist_options *o = opts;
	struct live_request request = {
		.config = { .slots = o->slots, .latencies = true },
		.names = argv,
		.nr_names = argc,
		.duration_ns = o->duration_ns,
		.command = &o->command,
		.progress = true,
	};
	struct live live;
	int exit;

	exit = live_begin(out, &request, &live);
	if (!exit)
		live_announce(out, &live, "measuring", "; Ctrl-C shows the result");
	exit = exit ?: live_run(out, &live);
	if (!exit) {
		print(out, &live);
		exit = live_losses(out, &live);
	}
	live_close(&live);
	return exit;
}

const struct llb_command llb_cmd_hist = {
	.name = "hist",
	.args = "[ARRAY...] [-- COMMAND...]",
	.summary = "latency histograms",
	.details = "Measures until Ctrl-C, the end of --duration, or the end of COMMAND: the time\n"
		   "chunks are Dirty before the daemon makes them Clean, and NeedSync before they\n"
		   "are Syncing; bitmap writes; waits of writers for a page; daemon passes.\n"
		   LIVE_COMMAND_STATUS,
	.options = options,
	.options_size = sizeof(struct hist_options),
	.max_args = INT_MAX,
	.trailing = true,
	.trailing_offset = offsetof(struct hist_options, command),
	.defaults = defaults,
	.run = run,
};
