/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of what rules.def and the ABI number. */
#ifndef LLB_MODEL_NAMES_H
#define LLB_MODEL_NAMES_H

#include <stddef.h>
#include <stdint.h>
#include "rules.h"

/* Never NULL: "?" for numbers without a name. States include None. */
const char *llb_state_name(unsigned int state); /* "NeedSync" */
const char *llb_state_key(uint8_t state); /* "need_sync", for JSON members */
const char *llb_action_name(unsigned int action); /* "Startwrite" */
enum llb_rule_kind llb_rule_kind(unsigned int rule);
const char *llb_rule_name(unsigned int rule); /* "degraded-write"; "ok" for LLB_OK */
const char *llb_rule_when(unsigned int rule);
const char *llb_rule_effect(unsigned int rule);
const char *llb_flag_name(unsigned int bit); /* of enum llb_flag, by bit number; or NULL */
const char *llb_context_name(unsigned int bit); /* LLB_M_ as well */
const char *llb_event_type_name(unsigned int type); /* "transition" */
const char *llb_tracepoint_name(unsigned int type); /* the same; NULL: not from the kernel */
const char *llb_loss_name(unsigned int kind); /* "ring buffer full" */
const char *llb_loss_key(unsigned int kind); /* "ringbuf" */
const char *llb_decision_name(unsigned int decision);
const char *llb_barrier_name(unsigned int op);
const char *llb_sync_name(unsigned int op);
const char *llb_error_name(unsigned int kind);

/* Parse a name, in any case, exactly; return -1 if there is none such. */
int llb_state_parse(const char *name);
int llb_action_parse(const char *name);
int llb_tracepoint_parse(const char *name);

/**
 * llb_flags_text() - flags as "degraded,drained"; empty set: ""
 *
 * Returns buf, always terminated.
 */
const char *llb_flags_text(uint32_t flags, char *buf, size_t size);

#endif
