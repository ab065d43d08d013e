// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "options.h"

#define MAX_OPTIONS 32

/* Every command has these. */
enum { JSON, NO_COLOUR, HELP };
static const struct llb_option common[] = {
	[JSON] = { 'j', "json", NULL, "print JSON, one document a line", LLB_OPT_FLAG, 0, 0, 0 },
	[NO_COLOUR] = { 0, "no-colour", NULL,
			"no colours (NO_COLOR in the environment does the same)", LLB_OPT_FLAG, 0, 0,
			0 },
	[HELP] = { 'h', "help", NULL, "show this help", LLB_OPT_FLAG, 0, 0, 0 },
	{ 0 },
};

static unsigned int nr_options(const struct llb_command *command)
{
	unsigned int n = 0;

	while (command->options && command->options[n].name)
		n++;
	return n;
}

/* Decimal digits only: strtoull would take signs and blanks. */
static bool parse_number(const char *text, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return !errno && !*end;
}

static bool parse_seconds(const char *text, uint64_t *ns)
{
	double seconds;
	char *end;

	if ((*text < '0' || *text > '9') && *text != '.')
		return false;
	seconds = strtod(text, &end);
	if (*end || end == text || !isfinite(seconds) || seconds > 1e9)
		return false;
	*ns = (uint64_t)(seconds * NS_PER_SECOND + 0.5);
	return true;
}

static int bad_range(struct llb_out *out, const struct llb_option *o, const char *text)
{
	bool seconds = o->type == LLB_OPT_SECONDS;
	double unit = seconds ? NS_PER_SECOND : 1;
	const char *what = seconds ? "seconds" : "a number";

	if (o->max)
		return llb_fail(out, LLB_EXIT_USAGE, "--%s takes %s from %g to %.10g, not '%s'",
				o->name, what, (double)o->min / unit, (double)o->max / unit, text);
	return llb_fail(out, LLB_EXIT_USAGE, "--%s takes %s of at least %g, not '%s'", o->name,
			what, (double)o->min / unit, text);
}

static int add_to_list(struct llb_out *out, const struct llb_option *o, struct llb_list *list,
		       const char *text)
{
	if (list->nr == LLB_LIST_MAX)
		return llb_fail(out, LLB_EXIT_USAGE, "--%s may be given %d times at most", o->name,
				LLB_LIST_MAX);
	list->item[list->nr++] = text;
	return 0;
}

static int set_option(struct llb_out *out, const struct llb_option *o, void *options,
		      const char *text)
{
	void *at = (char *)options + o->offset;
	uint64_t value;

	switch (o->type) {
	case LLB_OPT_FLAG:
		*(bool *)at = true;
		return 0;
	case LLB_OPT_STRING:
		*(const char **)at = text;
		return 0;
	case LLB_OPT_LIST:
		return add_to_list(out, o, at, text);
	case LLB_OPT_ARGUMENT:
		break;
	case LLB_OPT_NUMBER:
	case LLB_OPT_SECONDS:
		if (!(o->type == LLB_OPT_NUMBER ? parse_number(text, &value) :
						  parse_seconds(text, &value)) ||
		    value < o->min || (o->max && value > o->max))
			return bad_range(out, o, text);
		*(uint64_t *)at = value;
		return 0;
	}
	return LLB_EXIT_USAGE;
}

bool llb_wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j"))
			return true;
	return false;
}

/* Our tables as getopt's. */
static void make_getopt(const struct llb_option *const *table, unsigned int nr,
			struct option *longs, char *shorts)
{
	/* A leading ':' tells a missing argument from an unknown option. */
	*shorts++ = ':';
	for (unsigned int i = 0; i < nr; i++) {
		longs[i] = (struct option){ table[i]->name,
					    table[i]->arg ? required_argument : no_argument, NULL,
					    256 + (int)i };
		if (table[i]->letter) {
			*shorts++ = table[i]->letter;
			if (table[i]->arg)
				*shorts++ = ':';
		}
	}
	longs[nr] = (struct option){ 0 };
	*shorts = 0;
}

static const struct llb_option *pick(const struct llb_option *const *table, unsigned int nr, int c)
{
	if (c >= 256)
		return table[c - 256];
	for (unsigned int i = 0; i < nr; i++)
		if (table[i]->letter == c)
			return table[i];
	return NULL;
}

static int check_arguments(struct llb_out *out, const struct llb_command *command, int argc,
			   char **argv)
{
	if (argc < (int)command->min_args)
		return llb_fail(out, LLB_EXIT_USAGE,
				"%s needs %s; see `llbitmapctl %s --help`", command->name,
				command->args, command->name);
	if (argc > (int)command->max_args)
		return llb_fail(out, LLB_EXIT_USAGE,
				"%s does not take '%s'; see `llbitmapctl %s --help`",
				command->name, argv[command->max_args], command->name);
	return 0;
}

/* Cuts "-- COMMAND" off; returns the argc that is left. An empty one stays, and is refused. */
static int cut_trailing(const struct llb_command *command, int argc, char **argv, void *options)
{
	struct llb_trailing *t;

	if (!command->trailing)
		return argc;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") || i == argc - 1)
			continue;
		t = (void *)((char *)options + command->trailing_offset);
		t->argc = argc - i - 1;
		t->argv = argv + i + 1;
		argv[i] = NULL;
		return i;
	}
	return argc;
}

/*
 * Puts options that are arguments in front of the others. There is room: getopt has moved all
 * options before the arguments.
 */
static void take_arguments(struct llb_parsed *parsed, int argc, char **argv,
			   const struct llb_list *more)
{
	int first = optind - (int)more->nr;

	memcpy(argv + first, more->item, more->nr * sizeof(*argv));
	parsed->argc = argc - first;
	parsed->argv = argv + first;
}

/* Parsing proper; parsed->options is there. */
static int parse(struct llb_out *out, const struct llb_command *command, int argc, char **argv,
		 struct llb_parsed *parsed)
{
	const struct llb_option *table[MAX_OPTIONS];
	unsigned int own = nr_options(command), nr = own;
	struct option longs[MAX_OPTIONS + 1];
	char shorts[2 * MAX_OPTIONS + 2];
	struct llb_list more = {};
	const struct llb_option *o;
	int c, ret;

	for (unsigned int i = 0; i < own; i++)
		table[i] = &command->options[i];
	for (unsigned int i = 0; common[i].name; i++)
		table[nr++] = &common[i];
	make_getopt(table, nr, longs, shorts);

	if (command->trailing && !strcmp(argv[argc - 1], "--"))
		return llb_fail(out, LLB_EXIT_USAGE, "no COMMAND behind --; see `llbitmapctl %s "
						     "--help`", command->name);
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == ':')
			return llb_fail(out, LLB_EXIT_USAGE,
					"%s needs an argument; see `llbitmapctl %s --help`",
					argv[optind - 1], command->name);
		o = c == '?' ? NULL : pick(table, nr, c);
		if (!o && optopt >= 256)
			return llb_fail(out, LLB_EXIT_USAGE,
					"--%s takes no argument; see `llbitmapctl %s --help`",
					table[optopt - 256]->name, command->name);
		if (!o && optopt)
			return llb_fail(out, LLB_EXIT_USAGE,
					"unknown option '-%c'; see `llbitmapctl %s --help`",
					optopt, command->name);
		if (!o)
			return llb_fail(out, LLB_EXIT_USAGE,
					"unknown option '%s'; see `llbitmapctl %s --help`",
					argv[optind - 1], command->name);
		if (o == &common[JSON])
			parsed->json = true;
		else if (o == &common[NO_COLOUR])
			parsed->no_colour = true;
		else if (o == &common[HELP])
			return LLB_PARSED_HELP;
		else if ((ret = o->type == LLB_OPT_ARGUMENT ?
					add_to_list(out, o, &more, optarg) :
					set_option(out, o, parsed->options, optarg)))
			return ret;
	}
	take_arguments(parsed, argc, argv, &more);
	return check_arguments(out, command, parsed->argc, parsed->argv);
}

int llb_parse(struct llb_out *out, const struct llb_command *command, int argc, char **argv,
	      struct llb_parsed *parsed)
{
	int ret;

	*parsed = (struct llb_parsed){ .options = calloc(1, command->options_size + 1) };
	if (!parsed->options)
		return llb_no_memory(out);
	if (command->defaults)
		command->defaults(parsed->options);
	argc = cut_trailing(command, argc, argv, parsed->options);
	ret = parse(out, command, argc, argv, parsed);
	if (ret) {
		free(parsed->options);
		parsed->options = NULL;
	}
	return ret;
}

static void print_option(struct llb_out *out, const struct llb_option *o)
{
	char left[48];

	snprintf(left, sizeof(left), "%c%c%s --%s%s%s", o->letter ? '-' : ' ',
		 o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, o->arg ? " " : "",
		 o->arg ? o->arg : "");
	llb_text(out, "  %-28s %s\n", left, o->help);
}

static bool takes_arrays(const struct llb_command *command)
{
	for (unsigned int i = 0; i < nr_options(command); i++)
		if (command->options[i].arg && !strcmp(command->options[i].arg, "ARRAY"))
			return true;
	return false;
}

void llb_print_help(struct llb_out *out, const struct llb_command *command)
{
	char notes[LLB_NOTES] = "";

	if (command->notes)
		command->notes(notes, sizeof(notes));
	llb_text(out, "usage: llbitmapctl %s [OPTIONS]%s%s\n\n%s\n\nOptions:\n", command->name,
		 *command->args ? " " : "", command->args, command->details);
	for (unsigned int i = 0; i < nr_options(command); i++)
		print_option(out, &command->options[i]);
	for (unsigned int i = 0; common[i].name; i++)
		print_option(out, &common[i]);
	if (takes_arrays(command))
		llb_text(out, "\nARRAY is /dev/mdX, mdX, a name below /dev/md/, or a UUID; without "
			      "any, all arrays are meant.\n");
	llb_text(out, "%s", notes);
}

/* Text for roff: no hyphens for minus signs, no line that begins a request. */
static void roff(struct llb_out *out, const char *text)
{
	for (const char *p = text; *p; p++) {
		bool begins = p == text || p[-1] == '\n';

		if (*p == '-')
			llb_text(out, "\\-");
		else if (*p == '\\')
			llb_text(out, "\\e");
		else if (begins && (*p == '.' || *p == '\''))
			llb_text(out, "\\&%c", *p);
		else if (*p == '\n' && p[1] == '\n')
			llb_text(out, "\n.PP");
		else
			llb_text(out, "%c", *p);
	}
}

void llb_print_man(struct llb_out *out, const struct llb_command *command)
{
	const struct llb_option *o;
	char notes[LLB_NOTES];

	llb_text(out, ".SS %s \\- ", command->name);
	roff(out, command->summary);
	llb_text(out, "\n.B llbitmapctl %s\n.RI [ OPTIONS ]\n", command->name);
	if (*command->args) {
		llb_text(out, ".I ");
		roff(out, command->args);
		llb_text(out, "\n");
	}
	llb_text(out, ".PP\n");
	roff(out, command->details);
	llb_text(out, "\n");
	if (command->notes) {
		command->notes(notes, sizeof(notes));
		roff(out, notes);
	}
	for (unsigned int i = 0; i < nr_options(command); i++) {
		o = &command->options[i];
		llb_text(out, ".TP\n\\fB");
		if (o->letter)
			llb_text(out, "\\-%c\\fR, \\fB", o->letter);
		llb_text(out, "\\-\\-");
		roff(out, o->name);
		llb_text(out, "\\fR%s%s\n", o->arg ? " " : "", o->arg ? o->arg : "");
		roff(out, o->help);
		llb_text(out, "\n");
	}
}
