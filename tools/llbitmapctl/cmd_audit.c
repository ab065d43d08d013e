// SPDX-License-Identifier: GPL-2.0-or-later
/* audit: verifies recordings here, the running kernel in live_audit.c. */
#include <limits.h>
#include "cmd_audit.h"
#include "live_frame.h"
#include "replay.h"

static const struct llb_option options[] = {
	LIVE_OPTION_ARRAY(struct llb_audit_options),
	LIVE_OPTION_DURATION(struct llb_audit_options),
	LIVE_OPTION_SLOTS(struct llb_audit_options),
	{ 0 },
};

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct llb_audit_options *o = opts;

	if (!argc)
		return llb_audit_live(out, o);
	if (o->arrays.nr || o->duration_ns || o->slots || o->command.argc)
		return llb_fail(out, LLB_EXIT_USAGE, "FILE does not go with --array, --arrays, "
						     "--duration or a command");
	return llb_replay_audit(out, argc, argv);
}

const struct llb_command llb_cmd_audit = {
	.name = "audit",
	.args = "[FILE... | -- COMMAND...]",
	.summary = "verify every transition, live or of recordings",
	.details = "Verifies every transition of the running kernel until Ctrl-C, the end of\n"
		   "--duration, or the end of COMMAND (if it still runs then, it is ended, with all\n"
		   "that it started); or, without privilege, those of recordings. A violation is told\n"
		   "on standard error as soon as it is seen, and in full in the report.\n"
		   "Exit status: 0 pass, 1 fail, 3 inconclusive.\n" LIVE_COMMAND_STATUS,
	.options = options,
	.options_size = sizeof(struct llb_audit_options),
	.max_args = INT_MAX,
	.trailing = true,
	.trailing_offset = offsetof(struct llb_audit_options, command),
	.run = run,
};
