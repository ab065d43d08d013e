/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The live screen of top. */
#ifndef LLB_TOP_SCREEN_H
#define LLB_TOP_SCREEN_H

#include "top_sample.h"

struct top_screen;

/* Takes the terminal. -ENOTTY: there is none that ncurses knows and can write to in places. */
int top_screen_open(bool colour, struct top_screen **out);
/* Gives it back as it was. */
void top_screen_close(struct top_screen *s);

/* @interval_ns: between samples, to be shown. */
void top_screen_draw(struct top_screen *s, struct top *top, uint64_t interval_ns);

enum top_key { TOP_KEY_NONE, TOP_KEY_REDRAW, TOP_KEY_QUIT };

/* Handles one key, if there is one. @interval_ns is changed by + and -. */
enum top_key top_screen_key(struct top_screen *s, struct top *top, uint64_t *interval_ns);

bool top_screen_paused(const struct top_screen *s);

#endif
