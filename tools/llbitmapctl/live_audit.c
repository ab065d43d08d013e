// SPDX-License-Identifier: GPL-2.0-or-later
/* audit of the running kernel. */
#include "cmd_audit.h"
#include "live_frame.h"
#include "output/audit.h"

int llb_audit_live(struct llb_out *out, const struct llb_audit_options *options)
{
	struct live_request request = {
		.config = { .slots = options->slots, .snapshot = true },
		.names = (char *const *)options->arrays.item,
		.nr_names = options->arrays.nr,
		.duration_ns = options->duration_ns,
		.command = &options->command,
	};
	struct live live;
	int exit = live_begin(out, &request, &live);

	exit = exit ?: live_run(out, &live, NULL);
	if (!exit) {
		const struct llb_audit *audit = session_audit(live.session);
		struct llb_audit_view view = {
			.audit = audit,
			.clock_offset_ns = live_clock_offset(),
			.stack = session_stack,
			.ctx = live.session,
		};

		out->source = "live";
		llb_audit_print(out, &view);
		exit = llb_audit_exit(audit);
	}
	live_close(&live);
	return exit;
}
