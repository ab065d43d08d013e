/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One table per command gives parsing, help and man page. */
#ifndef LLB_COMMAND_H
#define LLB_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "output/output.h"

/* Exit status of every command. */
enum llb_exit {
	LLB_EXIT_OK = 0,
	LLB_EXIT_NEGATIVE = 1, /* a violation or negative verdict */
	LLB_EXIT_USAGE = 2,
	LLB_EXIT_INCONCLUSIVE = 3, /* events lost, recording cut short */
	LLB_EXIT_ENVIRONMENT = 4, /* no such array, no tracepoints, no privilege */
	LLB_EXIT_DATA = 5, /* I/O or data error */
};

/* How an option's argument is read, and what stands at its offset. */
enum llb_option_type {
	LLB_OPT_FLAG, /* bool */
	LLB_OPT_NUMBER, /* uint64_t within min..max */
	LLB_OPT_STRING, /* const char * */
	LLB_OPT_SECONDS, /* uint64_t nanoseconds; text: seconds with fraction, min..max in ns */
	LLB_OPT_LIST, /* struct llb_list: may be repeated */
	LLB_OPT_ARGUMENT, /* nothing: becomes one of the arguments; may be repeated */
};

#define NS_PER_SECOND 1000000000ull

#define LLB_LIST_MAX 64
struct llb_list {
	const char *item[LLB_LIST_MAX];
	unsigned int nr;
};

/* What stands after "--"; argc 0: nothing. argv ends with NULL. */
struct llb_trailing {
	int argc;
	char **argv;
};

struct llb_option {
	char letter; /* 0: none */
	const char *name; /* NULL ends the table */
	const char *arg; /* "FILE"; NULL: LLB_OPT_FLAG */
	const char *help;
	enum llb_option_type type;
	size_t offset; /* in the command's options struct */
	uint64_t min;
	uint64_t max; /* 0: no limit */
};

/* Where arrays are arguments, so that --array is understood by every command on arrays. */
#define LLB_OPTION_ARRAY                                                               \
	{                                                                              \
		'a', "array", "ARRAY", "the same as ARRAY alone; may be repeated",     \
			LLB_OPT_ARGUMENT, 0, 0, 0                                      \
	}

#define LLB_NOTES 1024

struct llb_command {
	const char *name;
	const char *args; /* "FILE..." or "" */
	const char *summary; /* one line, lower case, no full stop */
	const char *details; /* paragraphs for --help and man page */
	const struct llb_option *options; /* own ones; those that all have are added */
	size_t options_size;
	/* Lines behind the options, from tables; may be NULL. At most LLB_NOTES bytes. */
	void (*notes)(char *text, size_t size);
	unsigned int min_args;
	unsigned int max_args;
	bool trailing; /* takes "-- COMMAND [ARGUMENTS]" */
	size_t trailing_offset; /* struct llb_trailing in the options */
	/* Fill defaults into zeroed options; may be NULL. */
	void (*defaults)(void *options);
	/* Returns enum llb_exit. */
	int (*run)(struct llb_out *out, const void *options, int argc, char **argv);
};

/* commands.c; NULL ends it. */
extern const struct llb_command *const llb_commands[];

#endif
