/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An event as a line of text, or as a line of JSON. */
#ifndef LLB_OUTPUT_EVENTS_H
#define LLB_OUTPUT_EVENTS_H

#include "../../../bpf/llbitmap_abi.h"
#include "output.h"

/* How an event's time is shown. */
struct llb_event_clock {
	uint64_t zero_ns; /* counts as 0: first event of the session */
	int64_t offset_ns; /* from events' times to nanoseconds since 1970; 0: not known */
	bool absolute; /* text: as local time, if that is known */
};

/**
 * llb_event_line() - print one event, "schema" of out->command
 * @array: name of the array, or NULL: derived from the number
 * @stack: text of the event's stack, one frame a line, or NULL
 */
void llb_event_line(struct llb_out *out, const struct llb_event *event,
		    const struct llb_event_clock *clock, const char *array, const char *stack);

#endif
