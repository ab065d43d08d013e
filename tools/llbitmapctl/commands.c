// SPDX-License-Identifier: GPL-2.0-or-later
/* All commands, in the order of the help: one line each. */
#include "command.h"

extern const struct llb_command llb_cmd_status;
extern const struct llb_command llb_cmd_top;
extern const struct llb_command llb_cmd_trace;
extern const struct llb_command llb_cmd_hist;
extern const struct llb_command llb_cmd_audit;
extern const struct llb_command llb_cmd_record;
extern const struct llb_command llb_cmd_replay;
extern const struct llb_command llb_cmd_table;
extern const struct llb_command llb_cmd_doctor;

const struct llb_command *const llb_commands[] = {
	&llb_cmd_status,
	&llb_cmd_top,
	&llb_cmd_trace,
	&llb_cmd_hist,
	&llb_cmd_audit,
	&llb_cmd_record,
	&llb_cmd_replay,
	&llb_cmd_table,
	&llb_cmd_doctor,
	NULL,
};
