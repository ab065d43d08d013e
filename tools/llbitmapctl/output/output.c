// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "foreign.h"
#include "output.h"

static bool is_dumb(void)
{
	const char *term = getenv("TERM");

	return term && !strcmp(term, "dumb");
}

static bool colour_allowed(void)
{
	const char *no_colour = getenv("NO_COLOR");

	return !(no_colour && *no_colour) && !is_dumb();
}

void llb_out_init(struct llb_out *out, FILE *file, const char *command, bool json)
{
	*out = (struct llb_out){ .file = file, .command = command, .json = json };
	out->colour = !json && isatty(fileno(file)) && colour_allowed();
	out->status_wanted = isatty(STDERR_FILENO) && !is_dumb();
}

void llb_out_wrote(struct llb_out *out, bool ok)
{
	if (!ok && errno != EPIPE && !out->failed)
		out->failed = errno;
}

bool llb_out_broken(const struct llb_out *out)
{
	return out->failed || ferror(out->file);
}

void llb_text(struct llb_out *out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	llb_out_wrote(out, vfprintf(out->file, format, args) >= 0);
	va_end(args);
}

void llb_styled(struct llb_out *out, enum llb_style style, const char *format, ...)
{
	static const char *const codes[] = {
		[LLB_PLAIN] = "",      [LLB_BOLD] = "\033[1m",	[LLB_DIM] = "\033[2m",
		[LLB_GOOD] = "\033[32m", [LLB_BAD] = "\033[1;31m", [LLB_WARN] = "\033[33m",
	};
	bool colour = out->colour && style != LLB_PLAIN;
	va_list args;

	va_start(args, format);
	if (colour)
		fputs(codes[style], out->file);
	llb_out_wrote(out, vfprintf(out->file, format, args) >= 0);
	if (colour)
		fputs("\033[0m", out->file);
	va_end(args);
}

int llb_out_flush(struct llb_out *out)
{
	llb_out_wrote(out, !fflush(out->file));
	if (!out->failed)
		return 0;
	fprintf(stderr, "llbitmapctl: cannot write the output: %s\n", strerror(out->failed));
	out->failed = 0;
	return 5;
}

/* One line on stderr behind what is printed already, whatever names are in it. */
static void complain(struct llb_out *out, char line[LINE_MAX], const char *format, va_list args)
{
	char clean[LINE_MAX];

	vsnprintf(line, LINE_MAX, format, args);
	fflush(out->file);
	llb_status_clear(out);
	fprintf(stderr, "llbitmapctl: %s\n", llb_foreign(line, clean, sizeof(clean)));
}

int llb_fail(struct llb_out *out, int exit, const char *format, ...)
{
	const char *command = out->command, *view = out->view, *source = out->source;
	char line[LINE_MAX];
	va_list args;

	va_start(args, format);
	complain(out, line, format, args);
	va_end(args);
	if (out->json && !out->depth) {
		out->command = "error";
		out->view = out->source = NULL;
		llb_json_begin(out);
		llb_json_string(out, "command", command);
		llb_json_string(out, "error", line);
		llb_json_i64(out, "exit", exit);
		llb_json_end(out);
		out->command = command;
		out->view = view;
		out->source = source;
		fflush(out->file);
	}
	return exit;
}

int llb_no_memory(struct llb_out *out)
{
	return llb_fail(out, 4, "out of memory; free some, or permit more (ulimit -v)");
}

void llb_note(struct llb_out *out, const char *format, ...)
{
	char line[LINE_MAX];
	va_list args;

	va_start(args, format);
	complain(out, line, format, args);
	va_end(args);
}

#define ERASE_LINE "\r\033[K"

void llb_status(struct llb_out *out, const char *format, ...)
{
	va_list args;

	if (!out->status_wanted)
		return;
	fputs(ERASE_LINE, stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fflush(stderr);
	out->status_shown = true;
}

void llb_status_clear(struct llb_out *out)
{
	if (out->status_shown)
		fputs(ERASE_LINE, stderr);
	out->status_shown = false;
}
