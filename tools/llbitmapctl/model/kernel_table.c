// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "kernel_table.h"
#include "names.h"

static int parse_rule(const char *name, struct llb_kernel_table *table)
{
	for (unsigned int r = LLB_OK + 1; r < LLB_NR_RULES; r++) {
		if (!strcmp(llb_rule_name(r), name)) {
			table->rule[r] = true;
			return 0;
		}
	}
	table->unknown_rules++;
	return 0;
}

static int parse_cell(const char *from, const char *action, const char *to,
		      struct llb_kernel_table *table)
{
	int f = llb_state_parse(from), a = llb_action_parse(action);
	int t = strcmp(to, "-") ? llb_state_parse(to) : LLB_NONE;

	if (f < 0 || f >= LLB_NR_STATES || a < 0 || a >= LLB_INIT || t < 0 || table->told[f][a])
		return -EBADMSG;
	table->told[f][a] = true;
	table->next[f][a] = (uint8_t)t;
	return 0;
}

static int parse_line(const char *line, struct llb_kernel_table *table)
{
	char word[4][32];
	int n = sscanf(line, "%31s %31s %31s %31s", word[0], word[1], word[2], word[3]);

	if (n <= 0 || word[0][0] == '#')
		return 0;
	if (n == 2 && !strcmp(word[0], "rule"))
		return parse_rule(word[1], table);
	return n == 3 ? parse_cell(word[0], word[1], word[2], table) : -EBADMSG;
}

int llb_kernel_table_parse(const char *text, struct llb_kernel_table *table)
{
	char line[160];
	size_t length;

	memset(table, 0, sizeof(*table));
	memset(table->next, LLB_NONE, sizeof(table->next));
	while (*text) {
		length = strcspn(text, "\n");
		table->line++;
		if (length >= sizeof(line))
			return -EBADMSG;
		memcpy(line, text, length);
		line[length] = 0;
		if (parse_line(line, table))
			return -EBADMSG;
		text += length + (text[length] == '\n');
	}
	return 0;
}

bool llb_rule_is_context(unsigned int rule)
{
	return llb_rule_kind(rule) != LLB_ALWAYS;
}

void llb_kernel_table_print(char *text)
{
	char *end = text + LLB_KERNEL_TABLE_MAX;
	uint8_t to;

	text += snprintf(text, (size_t)(end - text), "# state action next\n");
	for (uint8_t s = 0; s < LLB_NR_STATES; s++) {
		for (uint8_t a = 0; a < LLB_INIT; a++) {
			to = llb_table_next(s, a);
			text += snprintf(text, (size_t)(end - text), "%s %s %s\n",
					 llb_state_name(s), llb_action_name(a),
					 to == LLB_NONE ? "-" : llb_state_name(to));
		}
	}
	for (unsigned int r = 0; r < LLB_NR_RULES; r++)
		if (llb_rule_is_context(r))
			text += snprintf(text, (size_t)(end - text), "rule %s\n",
					 llb_rule_name(r));
}
