/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text that others chose: names of processes, arrays and files, stacks, what a
 * recording says of itself. Printed as it is, it could forge a line, or send
 * the terminal an escape code.
 */
#ifndef LLB_OUTPUT_FOREIGN_H
#define LLB_OUTPUT_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

#define LLB_NAME_SIZE 32 /* a buffer for an array's name */

/*
 * Length of the UTF-8 sequence at @s, 0 if it is none (overlong forms,
 * surrogates and values past U+10FFFF are none).
 */
unsigned int llb_utf8_length(const unsigned char *s);

/* Is the sequence at @s a control character, C1 (U+0080..9f) among them? */
bool llb_is_control(const unsigned char *s);

/**
 * llb_foreign() - text as it may be printed
 *
 * Each byte of a control character, and each that is no UTF-8, becomes '?'.
 * What does not fit is cut off. Returns @buf, which may be @text.
 */
const char *llb_foreign(const char *text, char *buf, size_t size);

#endif
