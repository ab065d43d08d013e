// SPDX-License-Identifier: GPL-2.0-or-later
/* replay: recordings through audit, trace, top or hist; needs no privilege. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "model/activity.h"
#include "model/audit.h"
#include "model/gaps.h"
#include "model/hist.h"
#include "output/activity.h"
#include "output/events.h"
#include "output/foreign.h"
#include "output/hist.h"
#include "output/parts.h"
#include "replay.h"

struct replay_options {
	const char *as;
	uint64_t count;
	bool absolute;
};

static const struct llb_option options[] = {
	{ 0, "as", "HOW", "audit (default), trace, top or hist", LLB_OPT_STRING,
	  offsetof(struct replay_options, as), 0, 0 },
	{ 'n', "count", "N", "trace: end after N events", LLB_OPT_NUMBER,
	  offsetof(struct replay_options, count), 1, 0 },
	{ 'T', "time", NULL, "trace: local time of each event, not seconds since the start",
	  LLB_OPT_FLAG, offsetof(struct replay_options, absolute), 0, 0 },
	{ 0 },
};

static void defaults(void *options)
{
	struct replay_options *o = options;

	o->as = "audit";
}

/* What one file goes through. */
struct viewer {
	struct llb_out *out;
	struct llb_replay *replay;
	const struct llb_sink *sink;
	uint64_t loss[LLB_NR_LOSS_KINDS];
	struct llb_gaps *gaps;
	uint64_t unwatched; /* loads without room */
	uint64_t events_left;
	struct llb_event_clock clock;
	bool begun;
	bool stopped; /* before the end, for enough was shown or nobody reads it */
};

/* What was lost is said for all views. */
static int see(void *ctx, const struct llb_event *e)
{
	struct viewer *v = ctx;

	if (e->type == LLB_EV_LOSS)
		llb_count_loss(v->loss, e);
	llb_gaps_event(v->gaps, e);
	return v->sink->event(v->sink->ctx, e);
}

static int show(struct viewer *v, const struct llb_sink *sink)
{
	struct llb_sink all = { .event = see, .ctx = v };

	v->sink = sink;
	return llb_reader_run(v->replay->reader, &all);
}

#define ENOUGH 1000 /* from the trace sink: no more events wanted */

/* Facts about a session stand before its first event. */
static void begin_clock(struct viewer *v, uint64_t zero_ns)
{
	v->clock.zero_ns = zero_ns;
	v->clock.offset_ns = llb_replay_clock(v->replay);
	if (v->clock.absolute && !v->clock.offset_ns)
		llb_note(v->out, "%s does not say when it was: shown are seconds since its start",
			 v->replay->path);
}

static int trace_event(void *ctx, const struct llb_event *e)
{
	struct viewer *v = ctx;

	if (!v->begun)
		begin_clock(v, e->ts_ns);
	v->begun = true;
	llb_event_line(v->out, e, &v->clock, llb_replay_array(v->replay, e->dev, e->load),
		       llb_reader_stack(v->replay->reader, e->stack));
	v->stopped = !--v->events_left || llb_out_broken(v->out);
	return v->stopped ? ENOUGH : 0;
}

static int replay_trace(struct viewer *v)
{
	struct llb_sink sink = { .event = trace_event, .ctx = v };
	int ret = show(v, &sink);

	return ret == ENOUGH ? 0 : ret;
}

static int replay_top(struct viewer *v)
{
	struct llb_activities *a = llb_activities_new();
	struct llb_sink sink = { .event = llb_activities_event, .ctx = a };
	int ret;

	if (!a)
		return -ENOMEM;
	ret = show(v, &sink);
	a->missing = llb_gaps_missing(v->gaps);
	v->unwatched = a->unwatched.nr;
	llb_activities_print(v->out, a, llb_replay_array, v->replay);
	llb_activities_free(a);
	return ret;
}

static int replay_hist(struct viewer *v)
{
	struct llb_hists *h = llb_hists_new();
	struct llb_sink sink = { .event = llb_hists_event, .ctx = h };
	struct llb_hist_set set;
	int ret;

	if (!h)
		return -ENOMEM;
	ret = show(v, &sink);
	set = llb_hists_get(h);
	set.missing = llb_gaps_missing(v->gaps);
	v->unwatched = set.unwatched;
	llb_hists_print(v->out, &set);
	llb_hists_free(h);
	return ret;
}

/* What was read is shown. Is that all? */
static int whole(struct llb_out *out, const struct viewer *v, int ret)
{
	if (ret < 0)
		return llb_replay_failed(out, v->replay, ret);
	/* Numbers that are missing where we stopped may have come later. */
	if (llb_note_losses(out, v->loss, v->stopped ? 0 : llb_gaps_missing(v->gaps)) ||
	    v->unwatched)
		ret = LLB_EXIT_INCONCLUSIVE;
	if (!v->stopped && !llb_reader_complete(v->replay->reader)) {
		llb_note(out, "%s is cut short: shown is what it holds", v->replay->path);
		ret = LLB_EXIT_INCONCLUSIVE;
	}
	return ret;
}

static int one_file(struct llb_out *out, const char *path, int (*view)(struct viewer *v),
		    const struct replay_options *o)
{
	struct llb_replay replay;
	struct viewer v = {
		.out = out,
		.replay = &replay,
		.events_left = o->count ? o->count : UINT64_MAX,
		.clock = { .absolute = o->absolute },
	};
	int ret = llb_replay_open(out, path, &replay);

	if (ret)
		return ret;
	v.gaps = llb_gaps_new();
	ret = whole(out, &v, v.gaps ? view(&v) : -ENOMEM);
	llb_gaps_free(v.gaps);
	llb_replay_close(&replay);
	return ret;
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*view)(struct viewer *v);
	} views[] = { { "trace", replay_trace }, { "top", replay_top }, { "hist", replay_hist } };
	const struct replay_options *o = opts;
	char path[PATH_MAX];
	int worst = 0;

	if ((o->count || o->absolute) && strcmp(o->as, "trace"))
		return llb_fail(out, LLB_EXIT_USAGE, "--%s goes with --as trace only",
				o->count ? "count" : "time");
	out->view = o->as;
	if (!strcmp(o->as, "audit"))
		return llb_replay_audit(out, argc, argv);
	for (unsigned int i = 0; i < sizeof(views) / sizeof(*views); i++) {
		if (strcmp(o->as, views[i].name))
			continue;
		for (int f = 0; f < argc; f++) {
			out->source = argv[f];
			if (argc > 1 && !out->json)
				llb_styled(out, LLB_BOLD, "%s%s\n", f ? "\n" : "",
					   llb_foreign(argv[f], path, sizeof(path)));
			worst = llb_worse_exit(worst, one_file(out, argv[f], views[i].view, o));
		}
		return worst;
	}
	return llb_fail(out, LLB_EXIT_USAGE, "--as takes audit, trace, top or hist, not '%s'",
			o->as);
}

const struct llb_command llb_cmd_replay = {
	.name = "replay",
	.args = "FILE...",
	.summary = "verify or show recordings, without root or kernel",
	.details = "Replays recordings made by `llbitmapctl record`; \"-\" is standard input. By\n"
		   "default they are verified as `llbitmapctl audit` does, with its exit status.",
	.options = options,
	.options_size = sizeof(struct replay_options),
	.min_args = 1,
	.max_args = INT_MAX,
	.defaults = defaults,
	.run = run,
};
