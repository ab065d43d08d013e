/* SPDX-License-Identifier: GPL-2.0-or-later */
/* audit: the live half, which cmd_audit.c calls when no FILE is named. */
#ifndef LLB_CMD_AUDIT_H
#define LLB_CMD_AUDIT_H

#include "command.h"

struct llb_audit_options {
	struct llb_list arrays; /* --array; none: all */
	uint64_t duration_ns; /* --duration; 0: until a signal */
	uint64_t slots; /* --arrays; 0: as many as usual */
	struct llb_trailing command; /* runs meanwhile; its end ends the session */
};

/**
 * llb_audit_live() - verify the running kernel
 *
 * Prints the report. Returns enum llb_exit.
 */
int llb_audit_live(struct llb_out *out, const struct llb_audit_options *options);

#endif
