/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one way out: text with colour on a terminal only, or JSON. Commands
 * print through it; nothing below the commands prints.
 */
#ifndef LLB_OUTPUT_H
#define LLB_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LLB_JSON_DEPTH 16

struct llb_out {
	FILE *file;
	const char *command; /* for the schema's name; NULL: none yet */
	const char *view; /* JSON: which of several documents of the command; NULL: it has one */
	const char *source; /* what it is of: a file, "live"; JSON: NULL where that is clear */
	bool json;
	bool colour;
	bool status_wanted; /* standard error is a terminal that can rewrite a line */
	bool status_shown;
	int failed; /* errno of the first write that failed; a closed pipe does not count */
	/* JSON writer */
	unsigned int depth;
	bool filled[LLB_JSON_DEPTH]; /* level has a member already */
	char closing[LLB_JSON_DEPTH];
};

enum llb_style { LLB_PLAIN, LLB_BOLD, LLB_DIM, LLB_GOOD, LLB_BAD, LLB_WARN };

/* Colour is for terminals, and where neither NO_COLOR, set and not empty, nor TERM=dumb forbid it. */
void llb_out_init(struct llb_out *out, FILE *file, const char *command, bool json);

/* Does nothing arrive any more, because a write failed or the pipe is closed? */
bool llb_out_broken(const struct llb_out *out);

/* Text. */
void llb_text(struct llb_out *out, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void llb_styled(struct llb_out *out, enum llb_style style, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * llb_fail() - say what is wrong and what to do, in one line
 * @exit: enum llb_exit that the command will return
 *
 * Writes "llbitmapctl: ..." to stderr; under --json also an object with
 * schema "llbitmapctl.error/1" as a line of its own to the output, unless a
 * document is open there. Returns @exit.
 */
int llb_fail(struct llb_out *out, int exit, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same where memory ran out, for everybody: 4, the environment cannot do it. */
int llb_no_memory(struct llb_out *out);

/* Keeps errno if @ok is false: for who writes to the file. */
void llb_out_wrote(struct llb_out *out, bool ok);

/* A remark that does not change the exit status; "llbitmapctl: ..." on stderr. */
void llb_note(struct llb_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line on a terminal that the next one, or what is said, takes the place of; else nothing. */
void llb_status(struct llb_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void llb_status_clear(struct llb_out *out);

/*
 * Write out. Returns enum llb_exit: 0, or 5 after saying so if a write
 * failed. A closed pipe (head) is no failure.
 */
int llb_out_flush(struct llb_out *out);

/*
 * JSON. A document begins with its schema, "llbitmapctl.<command>/1", and with
 * the view and the source if there is one; it is one line.
 */
void llb_json_begin(struct llb_out *out);
void llb_json_end(struct llb_out *out);
void llb_json_object(struct llb_out *out, const char *key); /* key NULL: in an array */
void llb_json_array(struct llb_out *out, const char *key);
void llb_json_close(struct llb_out *out); /* the innermost object or array */
void llb_json_u64(struct llb_out *out, const char *key, uint64_t value);
void llb_json_i64(struct llb_out *out, const char *key, int64_t value);
void llb_json_double(struct llb_out *out, const char *key, double value);
void llb_json_bool(struct llb_out *out, const char *key, bool value);
void llb_json_null(struct llb_out *out, const char *key);
/* Any bytes: what is not UTF-8 is replaced. NULL gives null. */
void llb_json_string(struct llb_out *out, const char *key, const char *value);

#endif
