/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state machine as text, Markdown, DOT or JSON. */
#ifndef LLB_OUTPUT_TABLE_H
#define LLB_OUTPUT_TABLE_H

#include "output.h"

void llb_table_text(struct llb_out *out);
void llb_table_markdown(struct llb_out *out);
void llb_table_dot(struct llb_out *out);
void llb_table_json(struct llb_out *out);

#endif
