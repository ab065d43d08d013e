/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in the output of several commands, so that it looks the same in all. */
#ifndef LLB_OUTPUT_PARTS_H
#define LLB_OUTPUT_PARTS_H

#include <stddef.h>
#include "../../../bpf/llbitmap_abi.h"
#include "output.h"

/* A device number (major << 20 | minor) as "md5", or "8:0" if its major is not md's. Returns buf. */
const char *llb_dev_name(uint32_t dev, char *buf, size_t size);

/* Nanoseconds as "1.23 ms". Returns buf. */
const char *llb_ns_text(uint64_t ns, char *buf, size_t size);

/* Nanoseconds since 1970 as "2026-11-27T09:00:00.123456Z". Returns buf. */
const char *llb_time_text(uint64_t ns, char *buf, size_t size);

/* The same where we are: "2026-11-27T10:00:00.123456+0100". Returns buf. */
const char *llb_local_time_text(uint64_t ns, char *buf, size_t size);

/* Members of the object that is open: what a bitmap is like. Sectors of 512 bytes. */
void llb_json_geometry(struct llb_out *out, int level, uint64_t members, uint64_t chunks,
		       uint64_t chunk_sectors);

/* Members of the object that is open: numbers by state. */
void llb_json_states(struct llb_out *out, const uint64_t counts[LLB_NR_STATES]);

/* An object of chunks by action. */
void llb_json_actions(struct llb_out *out, const char *key,
		      const uint64_t counts[LLB_NR_ACTIONS]);

/* An array, "flags", of the names of a transition's flags. */
void llb_json_flags(struct llb_out *out, uint32_t flags);

/* How many events were lost, sequence numbers are missing, and loads had no room, if any. */
void llb_lost_text(struct llb_out *out, uint64_t lost, uint64_t missing, uint64_t unwatched);

/* A remark for each kind of loss, and for missing sequence numbers. Were there any that matter? */
bool llb_note_losses(struct llb_out *out, const uint64_t loss[LLB_NR_LOSS_KINDS],
		     uint64_t missing);

/* Lines of a stack, each with @lead before it, the first one with @first. */
void llb_stack_text(struct llb_out *out, const char *stack, const char *first, const char *lead);

#endif
