// SPDX-License-Identifier: GPL-2.0-or-later
/* record: all events of the running kernel into a file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "live_frame.h"
#include "model/names.h"
#include "recording/recording.h"
#include "version.h"

struct record_options {
	const char *output;
	struct llb_list arrays;
	uint64_t duration_ns;
	uint64_t slots;
	bool stacks;
	struct llb_trailing command;
};

static const struct llb_option options[] = {
	{ 'o', "output", "FILE", "the recording (required)", LLB_OPT_STRING,
	  offsetof(struct record_options, output), 0, 0 },
	LIVE_OPTION_ARRAY(struct record_options),
	LIVE_OPTION_DURATION(struct record_options),
	LIVE_OPTION_SLOTS(struct record_options),
	{ 'v', "stack", NULL, "keep the kernel stack of each event", LLB_OPT_FLAG,
	  offsetof(struct record_options, stacks), 0, 0 },
	{ 0 },
};

static void defaults(void *opts)
{
	struct record_options *o = opts;

	o->slots = SESSION_SLOTS;
}

struct recorder {
	const struct record_options *options;
	int fd;
	struct llb_writer *writer; /* NULL: the recording has not begun */
	struct live *live;
	uint64_t flushed_ns;
	int error; /* of the writer */
};

static int begin_recording(struct recorder *r);

static int keep_name(struct recorder *r, const struct llb_event *e)
{
	char key[64];

	for (size_t i = 0; i < session_loads(r->live->session); i++) {
		const struct session_load *l = session_load_at(r->live->session, i);
		int err = 0;

		if (l->dev != e->dev || l->load != e->load || !l->name[0])
			continue;
		snprintf(key, sizeof(key), "array.%u:%u.%u.name", e->dev >> 20,
			 e->dev & 0xfffff, e->load);
		err = llb_writer_meta(r->writer, key, l->name);
		if (!err && l->uuid[0]) {
			snprintf(key, sizeof(key), "array.%u:%u.%u.uuid", e->dev >> 20,
				 e->dev & 0xfffff, e->load);
			err = llb_writer_meta(r->writer, key, l->uuid);
		}
		/* Thousands of loads in one recording: the rest go by number. */
		return err == -E2BIG ? 0 : err;
	}
	return 0;
}

static int keep(void *ctx, const struct llb_event *e)
{
	struct recorder *r = ctx;

	/* The first snapshots come while the session begins. */
	if (!r->writer)
		r->error = begin_recording(r);
	if (!r->error && e->type == LLB_EV_LOAD)
		r->error = keep_name(r, e);
	if (!r->error && e->stack >= 0) {
		const char *text = session_stack(r->live->session, e->stack);

		if (text)
			r->error = llb_writer_stack(r->writer, e->stack, text);
	}
	if (!r->error)
		r->error = llb_writer_event(r->writer, e);
	return r->error ? 1 : 0;
}

/* So that a crash of the machine costs a second. */
static int keep_safe(void *ctx)
{
	struct recorder *r = ctx;

	if (session_now() - r->flushed_ns < NS_PER_SECOND)
		return 0;
	r->error = llb_writer_flush(r->writer);
	r->flushed_ns = session_now();
	return r->error ? 1 : 0;
}

static int keep_circumstances(struct recorder *r)
{
	const struct record_options *o = r->options;
	struct timespec real, mono;
	struct utsname uts;
	char text[64];
	struct tm tm;
	int err;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	uname(&uts);
	err = llb_writer_meta(r->writer, "kernel", uts.release);
	err = err ?: llb_writer_meta(r->writer, "tool", LLB_TOOL_VERSION);
	gmtime_r(&real.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	err = err ?: llb_writer_meta(r->writer, "started", text);
	snprintf(text, sizeof(text), "%" PRId64,
		 (int64_t)(real.tv_sec - mono.tv_sec) * 1000000000 + real.tv_nsec - mono.tv_nsec);
	err = err ?: llb_writer_meta(r->writer, "clock_offset_ns", text);
	snprintf(text, sizeof(text), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	err = err ?: llb_writer_meta(r->writer, "cpus", text);
	if (!err && o->command.argc) {
		char line[1024] = "";
		size_t n = 0;

		for (int i = 0; i < o->command.argc && n < sizeof(line); i++)
			n += snprintf(line + n, sizeof(line) - n, "%s%s", i ? " " : "",
				      o->command.argv[i]);
		err = llb_writer_meta(r->writer, "command", line);
	}
	return err;
}

/* An old recording stays until now. */
static int begin_recording(struct recorder *r)
{
	int err;

	if (ftruncate(r->fd, 0) && errno != EINVAL) /* EINVAL: a pipe or device */
		return -errno;
	err = llb_writer_open(r->fd, &r->writer);
	return err ?: keep_circumstances(r);
}

static int say_write_error(struct llb_out *out, const char *path, int err)
{
	return llb_fail(out, LLB_EXIT_DATA, "cannot write %s: %s; what it holds can be replayed",
			path, strerror(-err));
}

static int record(struct llb_out *out, struct recorder *r)
{
	int exit = 0;

	if (!r->error && !r->writer)
		r->error = begin_recording(r);
	if (!r->error)
		exit = live_run(out, r->live);
	if (!r->error && !exit)
		r->error = llb_writer_finish(r->writer);
	return r->error ? say_write_error(out, r->options->output, r->error) : exit;
}

static int report(struct llb_out *out, const char *path, struct live *live, struct recorder *r)
{
	const struct llb_audit *audit = session_audit(live->session);
	unsigned long long events = llb_writer_events(r->writer), bytes = llb_writer_bytes(r->writer);

	if (out->json) {
		llb_json_begin(out);
		llb_json_string(out, "file", path);
		llb_json_u64(out, "events", events);
		llb_json_u64(out, "bytes", bytes);
		llb_json_u64(out, "arrays", audit->nr_loads);
		llb_json_u64(out, "lost", llb_audit_lost(audit));
		llb_json_u64(out, "violations", audit->violations);
		llb_json_end(out);
	} else {
		llb_text(out, "%s: %llu events, %llu bytes\n", path, events, bytes);
	}
	if (audit->violations)
		llb_note(out, "%llu violations seen; llbitmapctl replay %s shows them",
			 (unsigned long long)audit->violations, path);
	return live_losses(out, live);
}

static int run(struct llb_out *out, const void *opts, int argc, char **argv)
{
	const struct record_options *o = opts;
	struct live live = {};
	struct recorder r = { .options = o, .live = &live };
	struct llb_sink sink = { keep, &r };
	struct live_request request = {
		.config = { .slots = o->slots, .snapshot = true, .stream = true,
			    .stacks = o->stacks },
		.names = (char *const *)o->arrays.item,
		.nr_names = o->arrays.nr,
		.duration_ns = o->duration_ns,
		.command = &o->command,
		.sink = &sink,
		.tick = keep_safe,
	};
	bool ours;
	int exit;

	if (!o->output)
		return llb_fail(out, LLB_EXIT_USAGE, "record needs --output FILE");
	/* From here on a signal leaves a whole recording, or none. */
	stop_on_signals();
	ours = access(o->output, F_OK) != 0;
	r.fd = open(o->output, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (r.fd < 0)
		return llb_fail(out, LLB_EXIT_DATA, "cannot write %s: %s; name another --output",
				o->output, strerror(errno));
	exit = live_begin(out, &request, &live);
	if (exit) {
		if (ours)
			unlink(o->output);
		goto out;
	}
	exit = record(out, &r);
	exit = exit ?: report(out, o->output, &live, &r);
out:
	if (r.writer)
		llb_writer_close(r.writer);
	live_close(&live);
	close(r.fd);
	return exit;
}

const struct llb_command llb_cmd_record = {
	.name = "record",
	.args = "-o FILE [-- COMMAND...]",
	.summary = "record all events into a file",
	.details = "Records until Ctrl-C, the end of --duration, or the end of COMMAND. The file\n"
		   "begins with a snapshot of every array; `llbitmapctl replay` verifies it without\n"
		   "privilege or kernel. Exit status 3: events were lost, the file says how many.",
	.options = options,
	.options_size = sizeof(struct record_options),
	.trailing = true,
	.trailing_offset = offsetof(struct record_options, command),
	.defaults = defaults,
	.run = run,
};
