// SPDX-License-Identifier: GPL-2.0-or-later
/* trace: a line per event of the running kernel. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "live_frame.h"
#include "model/names.h"
#include "output/events.h"

struct trace_options {
	struct llb_list states;
	struct llb_list actions;
	struct llb_list types;
	const char *chunks;
	const char *sectors;
	const char *process;
	uint64_t count;
	uint64_t duration_ns;
	uint64_t slots;
	bool stacks;
	bool absolute;
};

static const struct llb_option options[] = {
	LLB_OPTION_ARRAY,
	{ 's', "state", "STATE", "only transitions from or to this state; may be repeated",
	  LLB_OPT_LIST, offsetof(struct trace_options, states), 0, 0 },
	{ 'A', "action", "ACTION", "only transitions by this action; may be repeated", LLB_OPT_LIST,
	  offsetof(struct trace_options, actions), 0, 0 },
	{ 't', "type", "EVENT", "only these events; may be repeated",
	  LLB_OPT_LIST, offsetof(struct trace_options, types), 0, 0 },
	{ 'c', "chunks", "FIRST[-LAST]", "only transitions that touch these chunks", LLB_OPT_STRING,
	  offsetof(struct trace_options, chunks), 0, 0 },
	{ 0, "sectors", "FIRST[-LAST]", "the same in 512-byte bitmap sectors; needs one ARRAY",
	  LLB_OPT_STRING, offsetof(struct trace_options, sectors), 0, 0 },
	{ 'p', "process", "PID|NAME", "only events of this process", LLB_OPT_STRING,
	  offsetof(struct trace_options, process), 0, 0 },
	{ 'n', "count", "N", "end after N events", LLB_OPT_NUMBER,
	  offsetof(struct trace_options, count), 1, 0 },
	LIVE_OPTION_DURATION(struct trace_options),
	LIVE_OPTION_SLOTS(struct trace_options),
	{ 'v', "stack", NULL, "show the kernel stack of each event", LLB_OPT_FLAG,
	  offsetof(struct trace_options, stacks), 0, 0 },
	{ 'T', "time", NULL, "local time of each event, not seconds since the start",
	  LLB_OPT_FLAG, offsetof(struct trace_options, absolute), 0, 0 },
	{ 0 },
};

static void defaults(void *opts)
{
	struct trace_options *o = opts;

	o->slots = SESSION_SLOTS;
}

struct trace {
	struct llb_out *out;
	struct live *live;
	const struct trace_options *options;
	struct llb_event_clock clock;
	uint64_t shown;
};

/* What an option takes names of. */
struct names {
	const char *option;
	int (*parse)(const char *name);
	const char *(*name)(unsigned int number); /* NULL: not for the user */
	unsigned int first, last;
};

static const struct names state_names = { "state", llb_state_parse, llb_state_name, LLB_UNWRITTEN,
					  LLB_SYNCING };
static const struct names action_names = { "action", llb_action_parse, llb_action_name,
					   LLB_STARTWRITE, LLB_INIT };
static const struct names type_names = { "type", llb_tracepoint_parse, llb_tracepoint_name,
					 LLB_EV_TRANSITION, LLB_NR_EVENT_TYPES - 1 };

/* "one, two or three". Returns buf. */
static const char *names_text(const struct names *names, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned int i = names->first; i <= names->last && n < size; i++)
		if (names->name(i))
			n += snprintf(buf + n, size - n, "%s%s",
				      i == names->first ? "" : i < names->last ? ", " : " or ",
				      names->name(i));
	return buf;
}

static void notes(char *text, size_t size)
{
	char states[256], actions[256], types[256];

	snprintf(text, size, "STATE is %s.\nACTION is %s.\nEVENT is %s.\n",
		 names_text(&state_names, states, sizeof(states)),
		 names_text(&action_names, actions, sizeof(actions)),
		 names_text(&type_names, types, sizeof(types)));
}

/* The names of a list as a set of bits. 0, or an exit status. */
static int parse_set(struct llb_out *out, const struct llb_list *list, const struct names *names,
		     uint32_t *set)
{
	char known[256];

	names_text(names, known, sizeof(known));
	for (unsigned int i = 0; i < list->nr; i++) {
		int bit = names->parse(list->item[i]);

		if (bit < (int)names->first || bit > (int)names->last)
			return llb_fail(out, LLB_EXIT_USAGE, "--%s takes %s, not '%s'",
					names->option, known, list->item[i]);
		*set |= 1u << bit;
	}
	return 0;
}

/* "FIRST" or "FIRST-LAST". */
static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*first = *last = strtoull(text, &end, 10);
	if (*end == '-' && isdigit((unsigned char)end[1]))
		*last = strtoull(end + 1, &end, 10);
	return !errno && !*end && *last >= *first;
}

static int parse_chunks(struct llb_out *out, const struct trace_options *o, int argc, char **argv,
			struct session_filter *filter)
{
	const char *text = o->chunks ? o->chunks : o->sectors;
	struct array_list arrays;
	int exit;

	if (!text)
		return 0;
	if (o->chunks && o->sectors)
		return llb_fail(out, LLB_EXIT_USAGE, "--chunks and --sectors exclude each other");
	if (!parse_range(text, &filter->first, &filter->last))
		return llb_fail(out, LLB_EXIT_USAGE, "--%s takes FIRST[-LAST], such as 5 or "
				"100-199, not '%s'", o->chunks ? "chunks" : "sectors", text);
	if (o->sectors) {
		if (argc != 1)
			return llb_fail(out, LLB_EXIT_USAGE,
					"--sectors needs one ARRAY, whose chunk size counts");
		exit = live_arrays(out, argv, 1, &arrays);
		if (exit)
			return exit;
		filter->first /= arrays.v[0].chunk_sectors;
		filter->last /= arrays.v[0].chunk_sectors;
		arrays_free(&arrays);
	}
	filter->chunks = true;
	return 0;
}

#define PID_MOST (1 << 22) /* PID_MAX_LIMIT of 64-bit kernels */

/* A number, even one that no process can have, is no name. */
static bool is_number(const char *text)
{
	text += *text == '-' || *text == '+';
	return *text && !text[strspn(text, "0123456789")];
}

static int parse_process(struct llb_out *out, const char *process, struct session_filter *filter)
{
	unsigned long pid;

	if (is_number(process)) {
		errno = 0;
		pid = strtoul(process, NULL, 10);
		if (!isdigit((unsigned char)*process) || errno || !pid || pid > PID_MOST)
			return llb_fail(out, LLB_EXIT_USAGE,
					"--process takes a number from 1 to %d, or a name, not '%s'",
					PID_MOST, process);
		filter->pid = pid;
		return 0;
	}
	if (!*process || strlen(process) > SESSION_COMM_MAX)
		return llb_fail(out, LLB_EXIT_USAGE,
				"'%s' is no process: a number, or a name of up to %d bytes",
				process, SESSION_COMM_MAX);
	strcpy(filter->comm, process);
	return 0;
}

static int parse_filter(struct llb_out *out, const struct trace_options *o, int argc, char **argv,
			struct session_filter *filter)
{
	int exit;

	exit = parse_set(out, &o->states, &state_names, &filter->states);
	exit = exit ?: parse_set(out, &o->actions, &action_names, &filter->actions);
	exit = exit ?: parse_set(out, &o->types, &type_names, &filter->types);
	exit = exit ?: parse_chunks(out, o, argc, argv, filter);
	if (exit)
		return exit;
	/* Who asks for states, actions or chunks wants transitions. */
	if (!filter->types && (filter->states || filter->actions || filter->chunks))
		filter->types = 1u << LLB_EV_TRANSITION;
	return o->process ? parse_process(out, o->process, filter) : 0;
}

static int show(void *ctx, const struct llb_event *e)
{
	struct trace *t = ctx;
	const char *stack = NULL;

	/* Loads of what ran before are of our making. */
	if (e->type == LLB_EV_LOAD && e->load_info.decision == LLB_LOAD_RUNNING)
		return 0;
	if (t->options->stacks && e->stack >= 0)
		stack = session_stack(t->live->session, e->stack);
	llb_event_line(t->out, e, &t->clock, session_name(t->live->session, e->dev), stack);
	if (llb_out_broken(t->out))
		return 1;
	if (e->type != LLB_EV_LOSS)
		t->shown++;
	return t->options->count && t->shown >= t->options->count;
}

/* A line is seen when its event was, not when a buffer is full. */
static int show_now(void *ctx)
{
	struct trace *t = ctx;

	return fflush(t->out->file) ? 1 : 0;
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct trace_options *o = opts;
	struct live live = {};
	struct trace t = { .out = out, .live = &live, .options = o };
	struct llb_sink sink = { show, &t };
	struct live_request request = {
		.config = { .slots = o->slots, .stream = true, .stacks = o->stacks },
		.names = argv,
		.nr_names = argc,
		.duration_ns = o->duration_ns,
		.sink = &sink,
		.tick = show_now,
	};
	int exit;

	exit = parse_filter(out, o, argc, argv, &request.config.filter);
	if (exit)
		return exit;
	exit = live_begin(out, &request, &live);
	t.clock = (struct llb_event_clock){ live.start_ns, live_clock_offset(), o->absolute };
	exit = exit ?: live_run(out, &live);
	exit = exit ?: live_losses(out, &live);
	live_close(&live);
	return exit;
}

const struct llb_command llb_cmd_trace = {
	.name = "trace",
	.args = "[ARRAY...]",
	.summary = "a line per event",
	.details = "Shows the events of the arrays named, or of all, as they happen. Filters are\n"
		   "applied in the kernel, so what they leave out costs little.",
	.options = options,
	.options_size = sizeof(struct trace_options),
	.notes = notes,
	.max_args = INT_MAX,
	.defaults = defaults,
	.run = run,
};
