/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's own table, as md/llbitmap/table prints it, against ours. */
#ifndef LLB_MODEL_KERNEL_TABLE_H
#define LLB_MODEL_KERNEL_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include "rules.h"

struct llb_kernel_table {
	uint8_t next[LLB_NR_STATES][LLB_INIT]; /* LLB_NONE: no transition */
	bool told[LLB_NR_STATES][LLB_INIT];
	bool rule[LLB_NR_RULES];
	unsigned int unknown_rules; /* names that we do not have */
	unsigned int line; /* of the error, from 1 */
};

/**
 * llb_kernel_table_parse() - read the text of md/llbitmap/table
 *
 * Lines are "<from> <action> <to>" and "rule <name>", '#' begins a comment.
 * Returns 0, or -EBADMSG with table->line set.
 */
int llb_kernel_table_parse(const char *text, struct llb_kernel_table *table);

/* Room for llb_kernel_table_print(). */
#define LLB_KERNEL_TABLE_MAX 4096

/**
 * llb_kernel_table_print() - our table, in the kernel's form
 * @text: LLB_KERNEL_TABLE_MAX bytes
 */
void llb_kernel_table_print(char *text);

/* Is this rule one that the kernel applies (and does not just obey)? */
bool llb_rule_is_context(unsigned int rule);

#endif
