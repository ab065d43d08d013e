/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An event as a line of text, or as a line of JSON. */
#ifndef LLB_OUTPUT_EVENTS_H
#define LLB_OUTPUT_EVENTS_H

#include "../../../bpf/llbitmap_abi.h"
#include "output.h"

/**
 * llb_event_line() - print one event, "schema" of out->command
 * @zero_ns: time that counts as 0 (first event of the session)
 * @array: name of the array, or NULL: derived from the number
 * @stack: text of the event's stack, one frame a line, or NULL
 */
void llb_event_line(struct llb_out *out, const struct llb_event *event, uint64_t zero_ns,
		    const char *array, const char *stack);

#endif
