/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of an audit, live or from recordings. */
#ifndef LLB_OUTPUT_AUDIT_H
#define LLB_OUTPUT_AUDIT_H

#include "../model/audit.h"
#include "output.h"

struct llb_audit_view {
	const struct llb_audit *audit; /* names the arrays of violations */
	const char *about; /* a line more on its source, or NULL */
	int64_t clock_offset_ns; /* from times of events to those since 1970; 0: not known */
	/* Text of a stack id, or NULL; may be NULL itself. */
	const char *(*stack)(void *ctx, int id);
	void *ctx;
};

/* Print report and verdict on out->source; a JSON document of its own under --json. */
void llb_audit_print(struct llb_out *out, const struct llb_audit_view *view);

/* One violation, with its history; inside a document under --json. */
void llb_violation_print(struct llb_out *out, const struct llb_violation *violation,
			 const struct llb_audit_view *view);

/* One line of it on stderr, as soon as it is known. */
void llb_violation_note(struct llb_out *out, const struct llb_event *event, const char *array);

/* enum llb_exit that belongs to the verdict: 0, 1 or 3. */
int llb_audit_exit(const struct llb_audit *audit);

#endif
