// SPDX-License-Identifier: GPL-2.0-or-later
/* record: all events of the running kernel into a file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "live_frame.h"
#include "model/names.h"
#include "output/foreign.h"
#include "recording/recording.h"
#include "recording/syncer.h"
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
	{ 'o', "output", "FILE", "the recording (required); \"-\": standard output",
	  LLB_OPT_STRING, offsetof(struct record_options, output), 0, 0 },
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

/* Where the recording goes. */
struct target {
	const char *name; /* for messages */
	char *path; /* an old recording there stays until the new one has begun; NULL: not a file */
	char *made; /* where it is begun; NULL: it is in its place, or has none */
	int fd;
	int dir; /* that its name is in; negative: may not be read */
};

struct recorder {
	const struct record_options *options;
	struct target target;
	struct llb_writer *writer; /* NULL: the recording has not begun */
	struct llb_syncer *syncer;
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

/* So that a crash of the machine costs a second, and as long as the disk takes. */
static int keep_safe(void *ctx)
{
	struct recorder *r = ctx;

	if (session_now() - r->flushed_ns < NS_PER_SECOND)
		return 0;
	r->error = llb_writer_flush(r->writer) ?: llb_syncer_ask(r->syncer);
	r->flushed_ns = session_now();
	return r->error ? 1 : 0;
}

static int keep_facts(struct recorder *r, const struct record_options *o)
{
	time_t now = time(NULL);
	struct utsname uts;
	char text[64];
	struct tm tm;
	int err;

	uname(&uts);
	err = llb_writer_meta(r->writer, "kernel", uts.release);
	err = err ?: llb_writer_meta(r->writer, "tool", LLB_TOOL_VERSION);
	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	err = err ?: llb_writer_meta(r->writer, "started", text);
	snprintf(text, sizeof(text), "%" PRId64, live_clock_offset());
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

static int say_write_error(struct llb_out *out, const struct recorder *r, int err)
{
	bool holds = r->target.path && r->writer && llb_writer_events(r->writer);

	if (err == -ENOMEM)
		return llb_no_memory(out);
	return llb_fail(out, LLB_EXIT_DATA, "cannot write %s: %s; %s", r->target.name,
			strerror(-err), holds ? "what it holds can be replayed" :
						"make room, or name another --output");
}

/* ---- the target ---- */

/*
 * Standard output carries the recording and nothing else: what we print, and
 * what a command prints, goes to standard error from here on.
 */
static int open_stdout(struct target *t)
{
	t->name = "standard output";
	t->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return t->fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ? -errno : 0;
}

/* What open() would give. */
static mode_t new_mode(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return 0644 & ~mask;
}

/*
 * A file is begun beside its place, under a name that is nobody else's, with the mode and owner of
 * the one that it will replace.
 */
static int open_file(struct target *t, const char *path, const struct stat *old)
{
	char *dir;

	t->path = old ? realpath(path, NULL) : strdup(path);
	if (!t->path)
		return -errno;
	if (asprintf(&t->made, "%s.new-XXXXXX", t->path) < 0) {
		t->made = NULL;
		return -ENOMEM;
	}
	dir = strdup(t->path);
	t->dir = dir ? open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	free(dir);
	t->fd = mkostemp(t->made, O_CLOEXEC);
	if (t->fd < 0)
		return -errno;
	if (old && fchown(t->fd, old->st_uid, old->st_gid) && errno != EPERM)
		return -errno;
	return fchmod(t->fd, old ? old->st_mode & 0777 : new_mode()) ? -errno : 0;
}

static int target_open(struct target *t, const char *path)
{
	struct stat st;
	bool exists;

	t->name = path;
	t->fd = t->dir = -1;
	if (!strcmp(path, "-"))
		return open_stdout(t);
	exists = !stat(path, &st);
	if (!exists || S_ISREG(st.st_mode))
		return open_file(t, path, exists ? &st : NULL);
	t->fd = open(path, O_WRONLY | O_CLOEXEC);
	return t->fd < 0 ? -errno : 0;
}

static int target_place(struct target *t)
{
	if (rename(t->made, t->path))
		return -errno;
	free(t->made);
	t->made = NULL;
	return 0;
}

static void target_close(struct target *t)
{
	if (t->made && t->fd >= 0)
		unlink(t->made);
	if (t->fd >= 0)
		close(t->fd);
	if (t->dir >= 0)
		close(t->dir);
	free(t->made);
	free(t->path);
}

/* ---- the session ---- */

static int begin_recording(struct recorder *r)
{
	return llb_writer_open(r->target.fd, &r->writer) ?: keep_facts(r, r->options) ?:
	       llb_sync_data(r->target.fd);
}

/* All is watched: what is a file becomes a recording, in the place of an old one. */
static int ready(struct llb_out *out, void *recorder)
{
	struct recorder *r = recorder;

	if (!r->error && !r->writer)
		r->error = begin_recording(r);
	if (!r->error && r->target.made)
		r->error = target_place(&r->target);
	return r->error ? say_write_error(out, r, r->error) : 0;
}

static void announce(struct llb_out *out, const struct recorder *r)
{
	char end[PATH_MAX + 32];

	snprintf(end, sizeof(end), " to %s; Ctrl-C ends it", r->target.name);
	live_announce(out, r->live, "recording", end);
}

static void bytes_text(void *recorder, char *text, size_t size)
{
	const struct recorder *r = recorder;

	snprintf(text, size, ", %llu bytes", (unsigned long long)llb_writer_bytes(r->writer));
}

static int record(struct llb_out *out, struct recorder *r)
{
	int exit = 0, err;

	announce(out, r);

	/* After privileges were dropped, for a thread has its own. */
	r->error = r->error ?: llb_syncer_start(r->target.fd, r->target.dir, &r->syncer);
	if (!r->error)
		exit = live_run(out, r->live);
	err = llb_syncer_stop(r->syncer);
	r->error = r->error ?: err;
	if (!r->error && !exit)
		r->error = llb_writer_finish(r->writer);
	return r->error ? say_write_error(out, r, r->error) : exit;
}

static int report(struct llb_out *out, struct live *live, struct recorder *r)
{
	const char *path = r->options->output;
	const struct llb_audit *audit = session_audit(live->session);
	unsigned long long events = llb_writer_events(r->writer), bytes = llb_writer_bytes(r->writer);
	char name[PATH_MAX];

	if (out->json) {
		llb_json_begin(out);
		llb_json_string(out, "file", path);
		llb_json_u64(out, "events", events);
		llb_json_u64(out, "bytes", bytes);
		llb_json_u64(out, "arrays", audit->nr_loads);
		llb_json_u64(out, "lost", llb_audit_lost(audit));
		llb_json_u64(out, "missing", llb_audit_missing(audit));
		llb_json_u64(out, "violations", audit->violations);
		llb_json_end(out);
	} else {
		llb_text(out, "%s: %llu events, %llu bytes\n",
			 llb_foreign(r->target.name, name, sizeof(name)), events, bytes);
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
		.ready = ready,
		.progress = true,
		.progress_more = bytes_text,
		.ctx = &r,
	};
	int exit;

	if (!o->output)
		return llb_fail(out, LLB_EXIT_USAGE, "record needs --output FILE");
	if (!strcmp(o->output, "-") && isatty(STDOUT_FILENO))
		return llb_fail(out, LLB_EXIT_USAGE,
				"a recording is not for a terminal; redirect the output");
	/* From here on a signal leaves a whole recording, or what was there before. */
	stop_on_signals();
	r.error = target_open(&r.target, o->output);
	if (r.error) {
		exit = llb_fail(out, LLB_EXIT_DATA, "cannot write %s: %s; name another --output",
				r.target.name, strerror(-r.error));
		goto out;
	}
	r.error = r.target.made ? begin_recording(&r) : 0;
	exit = r.error ? say_write_error(out, &r, r.error) : live_begin(out, &request, &live);
	exit = exit ?: record(out, &r);
	exit = exit ?: report(out, &live, &r);
out:
	llb_writer_close(r.writer);
	live_close(&live);
	target_close(&r.target);
	return exit;
}

const struct llb_command llb_cmd_record = {
	.name = "record",
	.args = "-o FILE [-- COMMAND...]",
	.summary = "record all events into a file",
	.details = "Records until Ctrl-C, the end of --duration, or the end of COMMAND. The file\n"
		   "begins with a snapshot of every array; `llbitmapctl replay` verifies it without\n"
		   "privilege or kernel. It is begun as FILE.new-*, and takes the place of an old FILE\n"
		   "once all is watched; each second what came is brought to the disk. To standard\n"
		   "output nothing else is written: what is said, and what COMMAND prints there, goes\n"
		   "to standard error.\n"
		   "Exit status: 0 also if violations were seen, which it tells but does not judge:\n"
		   "replay does. 3: events were lost, the file says how many.\n"
		   LIVE_COMMAND_STATUS,
	.options = options,
	.options_size = sizeof(struct record_options),
	.trailing = true,
	.trailing_offset = offsetof(struct record_options, command),
	.defaults = defaults,
	.run = run,
};
