// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "model/kernel_table.h"
#include "model/verify.h"
#include "output/audit.h"
#include "replay.h"

#define MINOR_BITS 20

int llb_replay_failed(struct llb_out *out, const struct llb_replay *r, int error)
{
	const struct llb_reader_fault *fault;

	switch (error) {
	case -EPROTONOSUPPORT:
		return llb_fail(out, LLB_EXIT_DATA,
				"%s was recorded by a newer llbitmapctl (format %u, this one reads "
				"%u); replay it with that version",
				r->path, llb_reader_version(r->reader), LLB_REC_VERSION);
	case -EBADMSG:
		fault = llb_reader_fault(r->reader);
		return llb_fail(out, LLB_EXIT_DATA,
				"%s: %s (at byte %llu); it is damaged or no recording: get a good "
				"copy or record again",
				r->path, fault->what, (unsigned long long)fault->offset);
	case -ENOMEM:
		return llb_no_memory(out);
	default:
		return llb_fail(out, LLB_EXIT_DATA, "cannot read %s: %s; get a good copy or record "
				"again", r->path, strerror(-error));
	}
}

/* Who gives an array where a recording belongs wants to watch it. */
static int not_a_file(struct llb_out *out, const char *path)
{
	return llb_fail(out, LLB_EXIT_DATA, "%s is no recording; `llbitmapctl audit --array %s` "
			"watches an array", path, path);
}

static int cannot_open(struct llb_out *out, const char *path, int error)
{
	return llb_fail(out, LLB_EXIT_DATA, "cannot open %s: %s; name a file made by "
			"`llbitmapctl record -o FILE`", path, strerror(error));
}

static bool is_type(int fd, mode_t type)
{
	struct stat st;

	return !fstat(fd, &st) && (st.st_mode & S_IFMT) == type;
}

static bool is_array_name(const char *path)
{
	return (!strncmp(path, "md", 2) && isdigit((unsigned char)path[2])) ||
	       !strncmp(path, "/dev/md", 7);
}

int llb_replay_open(struct llb_out *out, const char *path, struct llb_replay *r)
{
	int ret;

	*r = (struct llb_replay){ .path = path };
	r->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (r->fd < 0)
		return is_array_name(path) ? not_a_file(out, path) : cannot_open(out, path, errno);
	if (is_type(r->fd, S_IFBLK) || is_type(r->fd, S_IFDIR)) {
		ret = is_type(r->fd, S_IFBLK) ? not_a_file(out, path) :
						cannot_open(out, path, EISDIR);
		llb_replay_close(r);
		return ret;
	}
	ret = llb_reader_open(r->fd, &r->reader);
	if (!ret)
		return 0;
	ret = llb_replay_failed(out, r, ret);
	llb_replay_close(r);
	return ret;
}

void llb_replay_close(struct llb_replay *r)
{
	llb_reader_close(r->reader);
	if (r->fd >= 0)
		close(r->fd);
}

const char *llb_replay_array(const void *replay, uint32_t dev, uint32_t load)
{
	const struct llb_replay *r = replay;
	char key[64];

	snprintf(key, sizeof(key), "array.%u:%u.%u.name", dev >> MINOR_BITS,
		 dev & ((1u << MINOR_BITS) - 1), load);
	return llb_reader_meta(r->reader, key);
}

int64_t llb_replay_clock(const struct llb_replay *r)
{
	const char *offset = llb_reader_meta(r->reader, "clock_offset_ns");

	return offset ? strtoll(offset, NULL, 10) : 0;
}

static const char *stack_of(void *ctx, int id)
{
	const struct llb_replay *r = ctx;

	return llb_reader_stack(r->reader, id);
}

/* Says so if the recording was made by a tool that knew another state machine. */
static void compare_tables(struct llb_out *out, const struct llb_replay *r)
{
	const char *theirs = llb_reader_meta(r->reader, "table");
	char ours[LLB_KERNEL_TABLE_MAX];

	llb_kernel_table_print(ours);
	if (theirs && strcmp(theirs, ours))
		llb_note(out, "%s was recorded under another transition table; it is verified "
			 "against this tool's", r->path);
}

/* "recorded 2026-... on kernel 6.12..., by llbitmapctl ..." as far as it says. */
static const char *about(const struct llb_replay *r, char *buf, size_t size)
{
	const char *started = llb_reader_meta(r->reader, "started");
	const char *kernel = llb_reader_meta(r->reader, "kernel");
	const char *tool = llb_reader_meta(r->reader, "tool");

	if (!started && !kernel && !tool)
		return NULL;
	snprintf(buf, size, "recorded%s%.40s%s%.80s%s%.80s", started ? " " : "",
		 started ? started : "", kernel ? " on kernel " : "", kernel ? kernel : "",
		 tool ? " by llbitmapctl " : "", tool ? tool : "");
	return buf;
}

static int verify_event(void *verifier, const struct llb_event *event)
{
	return llb_verify_event(verifier, event);
}

static int audit_one(struct llb_out *out, struct llb_replay *r, struct llb_verifier *v)
{
	struct llb_sink sink = { .event = verify_event, .ctx = v };
	struct llb_audit_view view = { .stack = stack_of, .ctx = r };
	const char *name;
	struct llb_audit *audit;
	char text[256];
	int ret;

	compare_tables(out, r);
	ret = llb_reader_run(r->reader, &sink);
	audit = llb_verifier_audit(v);
	audit->damaged = ret < 0;
	audit->cut_short = !ret && !llb_reader_complete(r->reader);
	for (unsigned int i = 0; i < audit->nr_load; i++) {
		name = llb_replay_array(r, audit->load[i].dev, audit->load[i].load);
		snprintf(audit->load[i].name, sizeof(audit->load[i].name), "%s", name ? name : "");
	}
	view.clock_offset_ns = llb_replay_clock(r);
	view.audit = audit;
	view.about = about(r, text, sizeof(text));
	llb_audit_print(out, &view);
	return ret < 0 ? llb_replay_failed(out, r, ret) : llb_audit_exit(audit);
}

int llb_worse_exit(int a, int b)
{
	static const int order[] = { LLB_EXIT_DATA, LLB_EXIT_ENVIRONMENT, LLB_EXIT_USAGE,
				     LLB_EXIT_NEGATIVE, LLB_EXIT_INCONCLUSIVE };

	for (unsigned int i = 0; i < sizeof(order) / sizeof(*order); i++)
		if (a == order[i] || b == order[i])
			return order[i];
	return LLB_EXIT_OK;
}

int llb_replay_audit(struct llb_out *out, int argc, char **argv)
{
	struct llb_verifier *v;
	struct llb_replay r;
	int worst = 0, ret;

	for (int i = 0; i < argc; i++) {
		v = llb_verifier_new(NULL);
		if (!v)
			return llb_no_memory(out);
		if (i && !out->json)
			llb_text(out, "\n");
		out->source = argv[i];
		ret = llb_replay_open(out, argv[i], &r);
		if (!ret) {
			ret = audit_one(out, &r, v);
			llb_replay_close(&r);
		}
		llb_verifier_free(v);
		worst = llb_worse_exit(worst, ret);
	}
	return worst;
}
