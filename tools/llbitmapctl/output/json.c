// SPDX-License-Identifier: GPL-2.0-or-later
/* The one JSON writer. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "foreign.h"
#include "output.h"

static void put_string(struct llb_out *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned int n;

	putc('"', out->file);
	for (; *s; s += n) {
		n = llb_utf8_length(s);
		if (!n) {
			fputs("\\ufffd", out->file);
			n = 1;
		} else if (*s == '"' || *s == '\\') {
			fprintf(out->file, "\\%c", *s);
		} else if (llb_is_control(s)) {
			fprintf(out->file, "\\u%04x", s[n - 1]);
		} else {
			fwrite(s, 1, n, out->file);
		}
	}
	putc('"', out->file);
}

/* Comma and key before a value. */
static void lead(struct llb_out *out, const char *key)
{
	if (out->filled[out->depth])
		fputs(", ", out->file);
	out->filled[out->depth] = true;
	if (key) {
		put_string(out, key);
		fputs(": ", out->file);
	}
}

static void open_level(struct llb_out *out, char bracket)
{
	putc(bracket, out->file);
	if (out->depth < LLB_JSON_DEPTH - 1)
		out->depth++;
	out->filled[out->depth] = false;
	out->closing[out->depth] = bracket == '{' ? '}' : ']';
}

void llb_json_begin(struct llb_out *out)
{
	char schema[64];

	out->depth = 0;
	open_level(out, '{');
	snprintf(schema, sizeof(schema), "llbitmapctl.%s/1", out->command);
	llb_json_string(out, "schema", schema);
	if (out->view)
		llb_json_string(out, "view", out->view);
	if (out->source)
		llb_json_string(out, "source", out->source);
}

void llb_json_end(struct llb_out *out)
{
	while (out->depth)
		llb_json_close(out);
	llb_out_wrote(out, putc('\n', out->file) != EOF);
}

void llb_json_object(struct llb_out *out, const char *key)
{
	lead(out, key);
	open_level(out, '{');
}

void llb_json_array(struct llb_out *out, const char *key)
{
	lead(out, key);
	open_level(out, '[');
}

void llb_json_close(struct llb_out *out)
{
	putc(out->closing[out->depth], out->file);
	out->depth--;
}

void llb_json_u64(struct llb_out *out, const char *key, uint64_t value)
{
	lead(out, key);
	fprintf(out->file, "%" PRIu64, value);
}

void llb_json_i64(struct llb_out *out, const char *key, int64_t value)
{
	lead(out, key);
	fprintf(out->file, "%" PRId64, value);
}

void llb_json_double(struct llb_out *out, const char *key, double value)
{
	if (!isfinite(value)) {
		llb_json_null(out, key);
		return;
	}
	lead(out, key);
	fprintf(out->file, "%.6g", value);
}

void llb_json_bool(struct llb_out *out, const char *key, bool value)
{
	lead(out, key);
	fputs(value ? "true" : "false", out->file);
}

void llb_json_null(struct llb_out *out, const char *key)
{
	lead(out, key);
	fputs("null", out->file);
}

void llb_json_string(struct llb_out *out, const char *key, const char *value)
{
	if (!value) {
		llb_json_null(out, key);
		return;
	}
	lead(out, key);
	put_string(out, value);
}
