// SPDX-License-Identifier: GPL-2.0-or-later
/* llbitmapctl: picks the command, and parses its line by the command's table. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "command.h"
#include "options.h"
#include "version.h"

static int usage(struct llb_out *out)
{
	llb_text(out, "usage: llbitmapctl COMMAND [OPTIONS] [ARGUMENTS]\n\n"
		      "Watches, verifies and explains the lockless bitmap of Linux md arrays.\n\n");
	for (const struct llb_command *const *c = llb_commands; *c; c++)
		llb_text(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
	llb_text(out, "\n`llbitmapctl COMMAND --help` and `llbitmapctl help COMMAND` explain a command, "
		      "llbitmapctl(8)\nall of them, and their JSON; `llbitmapctl --version` tells the "
		      "version.\n\n"
		      "Exit status:\n"
		      " 0  fine\n"
		      " 1  a rule is broken, or another negative verdict\n"
		      " 2  bad usage\n"
		      " 3  inconclusive: events were lost, arrays not watched, or a recording is cut "
		      "short\n"
		      " 4  the environment cannot do it: no such array, kernel without the "
		      "tracepoints, no privilege\n"
		      " 5  I/O or data error: an unreadable file, or a damaged recording\n");
	return llb_out_flush(out);
}

static const struct llb_command *find(const char *name)
{
	for (const struct llb_command *const *c = llb_commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

static int run(const struct llb_command *command, int argc, char **argv)
{
	struct llb_parsed parsed;
	struct llb_out out;
	int ret, flushed;

	/* Until the line is read, errors are JSON if it asks for JSON anywhere. */
	llb_out_init(&out, stdout, command->name, llb_wants_json(argc, argv));
	ret = llb_parse(&out, command, argc, argv, &parsed);
	if (ret == LLB_PARSED_HELP) {
		out.json = false;
		llb_print_help(&out, command);
		return llb_out_flush(&out);
	}
	if (ret)
		return ret;
	llb_out_init(&out, stdout, command->name, parsed.json);
	out.colour &= !parsed.no_colour;
	ret = command->run(&out, parsed.options, parsed.argc, parsed.argv);
	free(parsed.options);
	flushed = llb_out_flush(&out);
	return ret ? ret : flushed;
}

static int help(struct llb_out *out, int argc, char **argv)
{
	const struct llb_command *command;

	if (!argc)
		return usage(out);
	if (argc == 1 && !strcmp(argv[0], "--man")) {
		for (const struct llb_command *const *c = llb_commands; *c; c++)
			llb_print_man(out, *c);
		return llb_out_flush(out);
	}
	command = argc == 1 ? find(argv[0]) : NULL;
	if (!command)
		return llb_fail(out, LLB_EXIT_USAGE,
				"no help on that; `llbitmapctl help` lists the commands");
	llb_print_help(out, command);
	return llb_out_flush(out);
}

/*
 * A standard stream that is closed stays unusable. Else the next file that is
 * opened, a recording for one, would take its place, and the output go there.
 */
static void keep_closed_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			exit(LLB_EXIT_DATA);
}

int main(int argc, char **argv)
{
	const struct llb_command *command;
	struct llb_out out;

	keep_closed_streams();
	llb_out_init(&out, stdout, "help", false);
	if (argc < 2)
		return llb_fail(&out, LLB_EXIT_USAGE,
				"no command given; `llbitmapctl help` lists them");
	if (!strcmp(argv[1], "--version")) {
		llb_text(&out, "llbitmapctl %s\n", LLB_TOOL_VERSION);
		return llb_out_flush(&out);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return usage(&out);
	if (!strcmp(argv[1], "help"))
		return help(&out, argc - 2, argv + 2);
	command = find(argv[1]);
	if (!command) {
		llb_out_init(&out, stdout, NULL, llb_wants_json(argc, argv));
		return llb_fail(&out, LLB_EXIT_USAGE, argv[1][0] == '-' ?
				"'%s' stands before the command; `llbitmapctl COMMAND %s` is the order" :
				"unknown command '%s'; `llbitmapctl help` lists them",
				argv[1], argv[1]);
	}
	return run(command, argc - 1, argv + 1);
}
