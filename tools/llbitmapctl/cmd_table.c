// SPDX-License-Identifier: GPL-2.0-or-later
/* table: the rules, and the comparison with the running kernel's. */
#include <errno.h>
#include <glob.h>
#include <string.h>
#include "command.h"
#include "model/kernel_table.h"
#include "model/names.h"
#include "output/foreign.h"
#include "output/table.h"

#define KERNEL_TABLES "/sys/block/*/md/llbitmap/table"
#define TABLE_TEXT_MAX 16384

struct table_options {
	bool dot;
	bool markdown;
	bool kernel;
	const char *compare;
};

static const struct llb_option options[] = {
	{ 0, "dot", NULL, "as a graph for Graphviz; dashed: made by a context rule", LLB_OPT_FLAG,
	  offsetof(struct table_options, dot), 0, 0 },
	{ 0, "markdown", NULL, "as Markdown", LLB_OPT_FLAG,
	  offsetof(struct table_options, markdown), 0, 0 },
	{ 'k', "kernel", NULL, "compare with the running kernel's", LLB_OPT_FLAG,
	  offsetof(struct table_options, kernel), 0, 0 },
	{ 0, "compare", "FILE", "compare with a copy of a kernel's md/llbitmap/table",
	  LLB_OPT_STRING, offsetof(struct table_options, compare), 0, 0 },
	{ 0 },
};

static int read_text(struct llb_out *out, const char *path, char *text)
{
	FILE *file = fopen(path, "re");
	size_t n;
	int bad;

	if (!file)
		return llb_fail(out, LLB_EXIT_DATA, "cannot open %s: %s", path, strerror(errno));
	n = fread(text, 1, TABLE_TEXT_MAX - 1, file);
	bad = ferror(file);
	fclose(file);
	if (bad)
		return llb_fail(out, LLB_EXIT_DATA, "cannot read %s: %s", path, strerror(errno));
	text[n] = 0;
	return 0;
}

/* One line of the comparison; counts the differences. */
static void differ(struct llb_out *out, unsigned int *count, const char *what, const char *ours,
		   const char *kernels)
{
	(*count)++;
	if (!out->json) {
		llb_styled(out, LLB_BAD, "%-24s", what);
		llb_text(out, " here: %-10s kernel: %s\n", ours, kernels);
		return;
	}
	llb_json_object(out, NULL);
	llb_json_string(out, "what", what);
	llb_json_string(out, "here", ours);
	llb_json_string(out, "kernel", kernels);
	llb_json_close(out);
}

static const char *cell_text(uint8_t to)
{
	return to == LLB_NONE ? "-" : llb_state_name(to);
}

static unsigned int compare_tables(struct llb_out *out, const struct llb_kernel_table *kernel)
{
	unsigned int count = 0;
	uint8_t ours, theirs;
	char what[64];

	for (uint8_t s = 0; s < LLB_NR_STATES; s++) {
		for (uint8_t a = 0; a < LLB_INIT; a++) {
			ours = llb_table_next(s, a);
			theirs = kernel->next[s][a];
			if (kernel->told[s][a] && theirs == ours)
				continue;
			snprintf(what, sizeof(what), "%s %s", llb_state_name(s),
				 llb_action_name(a));
			differ(out, &count, what, cell_text(ours),
			       kernel->told[s][a] ? cell_text(theirs) : "not told");
		}
	}
	for (unsigned int r = LLB_OK + 1; r < LLB_NR_RULES; r++) {
		if (!llb_rule_is_context(r) || kernel->rule[r])
			continue;
		snprintf(what, sizeof(what), "rule %s", llb_rule_name(r));
		differ(out, &count, what, "applied", "not applied");
	}
	if (kernel->unknown_rules)
		differ(out, &count, "rules", "unknown names", "newer than this tool");
	return count;
}

static bool tells_nothing(const struct llb_kernel_table *kernel)
{
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		for (uint8_t a = 0; a < LLB_INIT; a++)
			if (kernel->told[s][a])
				return false;
	return true;
}

static int compare(struct llb_out *out, const char *path)
{
	struct llb_kernel_table kernel;
	char text[TABLE_TEXT_MAX];
	unsigned int count;
	int ret = read_text(out, path, text);

	if (ret)
		return ret;
	if (llb_kernel_table_parse(text, &kernel))
		return llb_fail(out, LLB_EXIT_DATA,
				"%s:%u: not a line of a kernel's table; is it another llbitmap?",
				path, kernel.line);
	if (tells_nothing(&kernel))
		return llb_fail(out, LLB_EXIT_DATA, "%s: there is no transition in it", path);
	if (out->json) {
		llb_json_begin(out);
		llb_json_string(out, "kernel_table", path);
		llb_json_array(out, "differences");
	}
	count = compare_tables(out, &kernel);
	if (out->json) {
		llb_json_close(out);
		llb_json_bool(out, "equal", !count);
		llb_json_end(out);
	} else if (!count) {
		llb_styled(out, LLB_GOOD, "equal");
		llb_text(out, ": table and context rules of %s\n",
			 llb_foreign(path, text, sizeof(text)));
	}
	return count ? LLB_EXIT_NEGATIVE : LLB_EXIT_OK;
}

/* All loaded bitmaps share one kernel's table: the first will do. */
static int compare_running(struct llb_out *out)
{
	glob_t found;
	int ret;

	if (glob(KERNEL_TABLES, 0, NULL, &found))
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"no array with our lockless bitmap is assembled; assemble one, "
				"then compare");
	ret = compare(out, found.gl_pathv[0]);
	globfree(&found);
	return ret;
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct table_options *o = opts;

	if (o->dot + o->markdown + o->kernel + !!o->compare > 1 || (out->json && o->dot) ||
	    (out->json && o->markdown))
		return llb_fail(out, LLB_EXIT_USAGE, "choose one of --json, --dot, --markdown, "
						     "--kernel and --compare");
	if (o->kernel)
		return compare_running(out);
	if (o->compare)
		return compare(out, o->compare);
	if (o->dot)
		llb_table_dot(out);
	else if (o->markdown)
		llb_table_markdown(out);
	else if (out->json)
		llb_table_json(out);
	else
		llb_table_text(out);
	return LLB_EXIT_OK;
}

const struct llb_command llb_cmd_table = {
	.name = "table",
	.args = "",
	.summary = "print the transition table and its rules",
	.details = "Prints the state machine that every transition is checked against, and the\n"
		   "rules that depend on context. With --kernel the exit status is 1 if the\n"
		   "running kernel's table differs.",
	.options = options,
	.options_size = sizeof(struct table_options),
	.run = run,
};
