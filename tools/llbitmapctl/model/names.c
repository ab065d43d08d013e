// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "names.h"

static const char *const state_names[] = {
#define LLB_STATE_NAME(id, name, key) [LLB_##id] = name,
#include "rules.def"
};

static const char *const state_keys[] = {
#define LLB_STATE_NAME(id, name, key) [LLB_##id] = key,
#include "rules.def"
};

static const char *const action_names[] = {
#define LLB_ACTION_NAME(id, name) [LLB_##id] = name,
#include "rules.def"
};

static const struct {
	enum llb_rule_kind kind;
	const char *name, *when, *effect;
} rules[] = {
	[LLB_OK] = { LLB_ALWAYS, "ok", "", "" },
#define LLB_RULE(id, kind, name, when, effect) [LLB_RULE_##id] = { kind, name, when, effect },
#include "rules.def"
};

static const struct {
	uint32_t flag;
	const char *name;
} flags[] = {
#define LLB_FLAG_NAME(id, name) { LLB_F_##id, name },
#define LLB_MEASURED_NAME(id, name) { LLB_M_##id, name },
#include "rules.def"
};

static const char *const type_names[] = {
	[LLB_EV_TRANSITION] = "transition", [LLB_EV_SNAPSHOT] = "snapshot",
	[LLB_EV_LOAD] = "load",		    [LLB_EV_UNLOAD] = "unload",
	[LLB_EV_WRITEBACK] = "writeback",   [LLB_EV_BARRIER] = "barrier",
	[LLB_EV_DAEMON] = "daemon",	    [LLB_EV_SYNC] = "sync",
	[LLB_EV_ERROR] = "error",	    [LLB_EV_LOSS] = "loss",
	[LLB_EV_RESIZE] = "resize",
};

static const char *const loss_names[] = {
	[LLB_LOSS_RINGBUF] = "ring buffer full",
	[LLB_LOSS_MAP] = "map full",
	[LLB_LOSS_SLOT] = "array not watched",
	[LLB_LOSS_RECURSION] = "program skipped by recursion",
	[LLB_LOSS_STACK] = "stack not kept",
};

static const char *const loss_keys[] = {
	[LLB_LOSS_RINGBUF] = "ringbuf",	    [LLB_LOSS_MAP] = "map",
	[LLB_LOSS_SLOT] = "slot",	    [LLB_LOSS_RECURSION] = "recursion",
	[LLB_LOSS_STACK] = "stack",
};

static const char *const barrier_names[] = { "wait", "suspend", "resume", "timeout" };
static const char *const sync_names[] = { "start", "skip", "end", "abort" };
static const char *const error_names[] = {
	[LLB_ERR_WRITE] = "bitmap write",
	[LLB_ERR_READ] = "bitmap read",
	[LLB_ERR_FLUSH] = "flush",
	[LLB_ERR_BAD_BYTE] = "bad byte",
	[LLB_ERR_BADBLOCKS] = "bad-block log overlaps",
	[LLB_ERR_REFUSED] = "refused",
	[LLB_ERR_DRAIN] = "drain timed out",
	[LLB_ERR_NO_MEMBER] = "no member took the bitmap write",
};

#define NAME(table, index) \
	((index) < sizeof(table) / sizeof(*(table)) && (table)[index] ? (table)[index] : "?")

const char *llb_state_name(unsigned int state)
{
	if (state == LLB_NONE)
		return "None";
	return state == LLB_UNKNOWN ? "unknown" : NAME(state_names, state);
}

const char *llb_state_key(uint8_t state)
{
	return state == LLB_NONE ? "none" : NAME(state_keys, state);
}

const char *llb_action_name(unsigned int action)
{
	return NAME(action_names, action);
}

enum llb_rule_kind llb_rule_kind(unsigned int rule)
{
	return rule < LLB_NR_RULES ? rules[rule].kind : LLB_ALWAYS;
}

const char *llb_rule_name(unsigned int rule)
{
	return rule < LLB_NR_RULES ? rules[rule].name : "?";
}

const char *llb_rule_when(unsigned int rule)
{
	return rule < LLB_NR_RULES ? rules[rule].when : "?";
}

const char *llb_rule_effect(unsigned int rule)
{
	return rule < LLB_NR_RULES ? rules[rule].effect : "?";
}

const char *llb_context_name(unsigned int bit)
{
	for (size_t i = 0; bit < 32 && i < sizeof(flags) / sizeof(*flags); i++)
		if (flags[i].flag == 1u << bit)
			return flags[i].name;
	return NULL;
}

const char *llb_flag_name(unsigned int bit)
{
	return bit < LLB_M_SHIFT ? llb_context_name(bit) : NULL;
}

#define LOOKUP(function, table)                    \
	const char *function(unsigned int number)  \
	{                                          \
		return NAME(table, number);        \
	}

LOOKUP(llb_event_type_name, type_names)
LOOKUP(llb_loss_name, loss_names)
LOOKUP(llb_loss_key, loss_keys)
LOOKUP(llb_barrier_name, barrier_names)
LOOKUP(llb_sync_name, sync_names)
LOOKUP(llb_error_name, error_names)

const char *llb_tracepoint_name(unsigned int type)
{
	bool ours = type == LLB_EV_NONE || type == LLB_EV_LOSS || type >= LLB_NR_EVENT_TYPES;

	return ours ? NULL : llb_event_type_name(type);
}

const char *llb_decision_name(unsigned int decision)
{
	static const char *const names[] = { "first use", "reload", "stale" };

	return decision == LLB_LOAD_RUNNING ? "running" : NAME(names, decision);
}

int llb_state_parse(const char *name)
{
	for (int i = 0; i < LLB_NR_STATES; i++)
		if (!strcasecmp(name, state_names[i]) || !strcasecmp(name, state_keys[i]))
			return i;
	return strcasecmp(name, "none") ? -1 : LLB_NONE;
}

int llb_action_parse(const char *name)
{
	for (int i = 0; i < LLB_NR_ACTIONS; i++)
		if (!strcasecmp(name, action_names[i]))
			return i;
	return -1;
}

int llb_tracepoint_parse(const char *name)
{
	for (int i = 0; i < LLB_NR_EVENT_TYPES; i++)
		if (llb_tracepoint_name(i) && !strcasecmp(name, llb_tracepoint_name(i)))
			return i;
	return -1;
}

const char *llb_flags_text(uint32_t set, char *buf, size_t size)
{
	size_t used = 0;
	const char *name;

	if (size)
		*buf = 0;
	for (unsigned int bit = 0; bit < 32; bit++) {
		if (!(set & 1u << bit))
			continue;
		name = llb_flag_name(bit);
		used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? "," : "",
					 name ? name : "?");
		if (used >= size)
			break;
	}
	return buf;
}
