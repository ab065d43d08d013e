// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include "../model/names.h"
#include "table.h"

/* Init has no row but None, so the grid leaves both out; the rules tell. */
#define GRID_ACTIONS LLB_INIT

static const char *cell(uint8_t from, uint8_t action)
{
	uint8_t to = llb_table_next(from, action);

	return to == LLB_NONE ? "-" : llb_state_name(to);
}

void llb_table_text(struct llb_out *out)
{
	llb_text(out, "%-10s", "");
	for (unsigned int a = 0; a < GRID_ACTIONS; a++)
		llb_styled(out, LLB_BOLD, " %-10s", llb_action_name((uint8_t)a));
	llb_text(out, "\n");
	for (unsigned int s = 0; s < LLB_NR_STATES; s++) {
		llb_styled(out, LLB_BOLD, "%-10s", llb_state_name((uint8_t)s));
		for (unsigned int a = 0; a < GRID_ACTIONS; a++)
			llb_text(out, " %-10s", cell((uint8_t)s, (uint8_t)a));
		llb_text(out, "\n");
	}
	llb_text(out, "\n");
	for (unsigned int r = LLB_OK + 1; r < LLB_NR_RULES; r++) {
		llb_styled(out, LLB_BOLD, "%-19s", llb_rule_name(r));
		llb_text(out, " %s\n%-19s -> %s\n", llb_rule_when(r), "", llb_rule_effect(r));
	}
}

void llb_table_markdown(struct llb_out *out)
{
	llb_text(out, "| |");
	for (unsigned int a = 0; a < GRID_ACTIONS; a++)
		llb_text(out, " %s |", llb_action_name((uint8_t)a));
	llb_text(out, "\n|---|");
	for (unsigned int a = 0; a < GRID_ACTIONS; a++)
		llb_text(out, "---|");
	llb_text(out, "\n");
	for (unsigned int s = 0; s < LLB_NR_STATES; s++) {
		llb_text(out, "| %s |", llb_state_name((uint8_t)s));
		for (unsigned int a = 0; a < GRID_ACTIONS; a++)
			llb_text(out, " %s |", cell((uint8_t)s, (uint8_t)a));
		llb_text(out, "\n");
	}
	llb_text(out, "\n| rule | when | effect |\n|---|---|---|\n");
	for (unsigned int r = LLB_OK + 1; r < LLB_NR_RULES; r++)
		llb_text(out, "| `%s` | %s | %s |\n", llb_rule_name(r), llb_rule_when(r),
			 llb_rule_effect(r));
}

/* One edge of the graph; dashed where a context rule made it. */
static void dot_edge(struct llb_out *out, const char *from, uint8_t to, uint8_t action,
		     const char *rule)
{
	llb_text(out, "\t%s -> %s [label=\"%s%s%s\"%s];\n", from, llb_state_name(to),
		 llb_action_name(action), rule ? "\\n" : "", rule ? rule : "",
		 rule ? ", style=dashed" : "");
}

static void dot_case(struct llb_out *out, unsigned int rule, uint32_t from_set,
		     uint32_t action_set, uint8_t to)
{
	if (to == LLB_NEVER)
		return;
	for (unsigned int a = 0; a < LLB_NR_ACTIONS; a++) {
		if (!(action_set & 1u << a))
			continue;
		for (uint8_t s = 0; s < LLB_NR_STATES; s++)
			if (from_set & 1u << s && llb_table_next(s, (uint8_t)a) != to)
				dot_edge(out, llb_state_name(s), to, (uint8_t)a,
					 llb_rule_name(rule));
		if (from_set & LLB_IN_NONE)
			dot_edge(out, "None", to, (uint8_t)a, llb_rule_name(rule));
		if (from_set == LLB_BAD_BYTES)
			dot_edge(out, "\"above 4\"", to, (uint8_t)a, llb_rule_name(rule));
	}
}

void llb_table_dot(struct llb_out *out)
{
	llb_text(out, "digraph llbitmap {\n\trankdir=LR;\n\tnode [shape=box];\n"
		      "\tNone [shape=point];\n");
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		for (uint8_t a = 0; a < GRID_ACTIONS; a++)
			if (llb_table_next(s, a) != LLB_NONE)
				dot_edge(out, llb_state_name(s), llb_table_next(s, a), a, NULL);
#define LLB_CASE(id, from_set, action_set, set, clear, to) \
	dot_case(out, LLB_RULE_##id, from_set, action_set, to);
#include "../model/rules.def"
	llb_text(out, "}\n");
}

static void json_set(struct llb_out *out, const char *key, uint32_t set,
		     const char *(*name)(unsigned int), unsigned int nr)
{
	llb_json_array(out, key);
	for (unsigned int i = 0; i < nr; i++)
		if (set & 1u << i)
			llb_json_string(out, NULL, name(i));
	if (name == llb_state_name && set & LLB_BAD_BYTES)
		llb_json_string(out, NULL, "above 4");
	if (name == llb_state_name && set & LLB_IN_NONE)
		llb_json_string(out, NULL, "None");
	llb_json_close(out);
}

static void json_flags(struct llb_out *out, const char *key, uint32_t flags)
{
	llb_json_array(out, key);
	for (unsigned int bit = 0; bit < 32; bit++)
		if (flags & 1u << bit)
			llb_json_string(out, NULL, llb_context_name(bit));
	llb_json_close(out);
}

static void json_case(struct llb_out *out, unsigned int rule, uint32_t from_set,
		      uint32_t action_set, uint32_t set, uint32_t clear, uint8_t to)
{
	llb_json_object(out, NULL);
	llb_json_string(out, "rule", llb_rule_name(rule));
	json_set(out, "from", from_set, llb_state_name, LLB_NR_STATES);
	json_set(out, "actions", action_set, llb_action_name, LLB_NR_ACTIONS);
	json_flags(out, "flags_set", set);
	json_flags(out, "flags_clear", clear);
	if (to == LLB_NEVER)
		llb_json_null(out, "to");
	else
		llb_json_string(out, "to", llb_state_name(to));
	llb_json_close(out);
}

static void json_transition(struct llb_out *out, const char *from, const char *action,
			    const char *to)
{
	llb_json_object(out, NULL);
	llb_json_string(out, "from", from);
	llb_json_string(out, "action", action);
	llb_json_string(out, "to", to);
	llb_json_close(out);
}

void llb_table_json(struct llb_out *out)
{
	llb_json_begin(out);
	llb_json_array(out, "states");
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		llb_json_string(out, NULL, llb_state_name(s));
	llb_json_close(out);
	llb_json_array(out, "actions");
	for (uint8_t a = 0; a < LLB_NR_ACTIONS; a++)
		llb_json_string(out, NULL, llb_action_name(a));
	llb_json_close(out);
	llb_json_array(out, "transitions");
#define LLB_CELL(from, action, to) \
	json_transition(out, llb_state_name(LLB_##from), llb_action_name(LLB_##action), \
			llb_state_name(LLB_##to));
#include "../model/rules.def"
	llb_json_close(out);
	llb_json_array(out, "rules");
	for (unsigned int r = LLB_OK + 1; r < LLB_NR_RULES; r++) {
		llb_json_object(out, NULL);
		llb_json_string(out, "name", llb_rule_name(r));
		llb_json_string(out, "when", llb_rule_when(r));
		llb_json_string(out, "effect", llb_rule_effect(r));
		llb_json_close(out);
	}
	llb_json_close(out);
	llb_json_array(out, "cases");
#define LLB_CASE(id, from_set, action_set, set, clear, to) \
	json_case(out, LLB_RULE_##id, from_set, action_set, set, clear, to);
#include "../model/rules.def"
	llb_json_close(out);
	llb_json_end(out);
}
