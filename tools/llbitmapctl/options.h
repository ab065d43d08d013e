/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads a command line by a command's table, and prints the table as help. */
#ifndef LLB_OPTIONS_H
#define LLB_OPTIONS_H

#include "command.h"

#define LLB_PARSED_HELP (-1)

struct llb_parsed {
	void *options; /* caller frees */
	bool json;
	bool no_colour;
	int argc; /* what is left: argv[0] is the first argument */
	char **argv;
};

/* Is there a --json or -j before any "--"? */
bool llb_wants_json(int argc, char **argv);

/**
 * llb_parse() - read a command line
 * @argv: argv[0] is the command's name
 *
 * Returns 0, LLB_PARSED_HELP, or LLB_EXIT_USAGE after saying what is wrong.
 */
int llb_parse(struct llb_out *out, const struct llb_command *command, int argc, char **argv,
	      struct llb_parsed *parsed);

void llb_print_help(struct llb_out *out, const struct llb_command *command);

/* The same as a subsection of a man page. */
void llb_print_man(struct llb_out *out, const struct llb_command *command);

#endif
