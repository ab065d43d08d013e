// SPDX-License-Identifier: GPL-2.0-or-later
/* audit of the running kernel. */
#include <stdio.h>
#include "cmd_audit.h"
#include "live_frame.h"
#include "output/audit.h"

/* A session may last for days: who watches it learns at once what it finds. */
struct watcher {
	struct llb_out *out;
	struct live *live;
	unsigned int told;
};

static int tell(void *ctx, const struct llb_event *e)
{
	struct watcher *w = ctx;

	if (!llb_event_rule(e) || w->told > LLB_AUDIT_VIOLATIONS)
		return 0;
	if (w->told++ < LLB_AUDIT_VIOLATIONS)
		llb_violation_note(w->out, e, session_name(w->live->session, e->dev));
	else
		llb_note(w->out, "more violations: the report will count them");
	return 0;
}

static void violations_text(void *ctx, char *text, size_t size)
{
	struct live *live = ctx;

	snprintf(text, size, ", %llu violations",
		 (unsigned long long)session_audit(live->session)->violations);
}

int llb_audit_live(struct llb_out *out, const struct llb_audit_options *options)
{
	struct live live = {};
	struct watcher watcher = { .out = out, .live = &live };
	struct llb_sink sink = { tell, &watcher };
	struct live_request request = {
		.config = { .slots = options->slots, .snapshot = true },
		.names = (char *const *)options->arrays.item,
		.nr_names = options->arrays.nr,
		.duration_ns = options->duration_ns,
		.command = &options->command,
		.sink = &sink,
		.progress = true,
		.progress_more = violations_text,
		.ctx = &live,
	};
	int exit = live_begin(out, &request, &live);

	if (!exit)
		live_announce(out, &live, "watching", "; Ctrl-C ends it with the verdict");
	exit = exit ?: live_run(out, &live);
	if (!exit) {
		const struct llb_audit *audit = session_audit(live.session);
		struct llb_audit_view view = {
			.audit = audit,
			.clock_offset_ns = live_clock_offset(),
			.stack = session_stack,
			.ctx = live.session,
		};

		out->source = out->json ? "live" : "the running kernel";
		llb_audit_print(out, &view);
		exit = llb_audit_exit(audit);
	}
	live_close(&live);
	return exit;
}
