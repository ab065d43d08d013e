// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "live_frame.h"
#include "output/parts.h"

#define POLL_MS 50
#define PROGRESS_NS (2 * NS_PER_SECOND)

static const char *bitmap_word(const struct array_info *a)
{
	return a->bitmap == ARRAY_BITMAP_CLASSIC ? "a classic bitmap" : "no bitmap";
}

bool live_modules_fit(void)
{
	struct utsname uts;

	return !uname(&uts) && !strncmp(uts.release, "6.12.", 5);
}

const char *live_modules_advice(void)
{
	return live_modules_fit() ? "install our md modules (kernel-patch/modules) and load them "
				    "instead of the distribution's" :
				    "our md modules are for Linux 6.12: boot one, with them";
}

/* Why this array cannot be watched; 0 if it can. */
static int check_array(struct llb_out *out, const struct array_info *a)
{
	if (a->bitmap != ARRAY_BITMAP_LLBITMAP)
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"%s has %s; only a lockless one can be watched "
				"(mdadm --create --bitmap=lockless)", a->name, bitmap_word(a));
	if (!a->traced)
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"%s has a lockless bitmap, but this kernel's md has no tracepoints "
				"for it; %s", a->name, live_modules_advice());
	return 0;
}

/* Moves the array to @to. */
static int take(struct llb_out *out, struct array_list *to, struct array_info *a)
{
	struct array_info *v;

	for (size_t i = 0; i < to->n; i++)
		if (to->v[i].dev == a->dev)
			return 0;
	v = reallocarray(to->v, to->n + 1, sizeof(*v));
	if (!v)
		return llb_no_memory(out);
	to->v = v;
	to->v[to->n++] = *a;
	a->member = NULL;
	a->nmember = 0;
	return 0;
}

int live_arrays(struct llb_out *out, char *const *names, size_t nr, struct array_list *arrays)
{
	const struct array_roots *roots = &array_system_roots;
	struct array_list all, found = {};
	bool untraced = false;
	int err = arrays_scan(roots, &all);

	if (err)
		return llb_fail(out, LLB_EXIT_ENVIRONMENT, "cannot read /sys/block: %s",
				strerror(-err));
	for (size_t i = 0; i < nr && !err; i++) {
		const struct array_info *a = arrays_find(roots, &all, names[i]);

		if (!a)
			err = llb_fail(out, LLB_EXIT_ENVIRONMENT,
				       "no array '%s'; llbitmapctl status lists those that run",
				       names[i]);
		else
			err = check_array(out, a) ?: take(out, &found, (struct array_info *)a);
	}
	for (size_t i = 0; !nr && i < all.n && !err; i++) {
		if (all.v[i].traced)
			err = take(out, &found, &all.v[i]);
		else if (all.v[i].bitmap == ARRAY_BITMAP_LLBITMAP)
			untraced = true;
	}
	if (!err && !found.n && untraced)
		err = llb_fail(out, LLB_EXIT_ENVIRONMENT,
			       "this kernel's md has no llbitmap tracepoints; %s",
			       live_modules_advice());
	arrays_free(&all);
	if (err)
		arrays_free(&found);
	else
		*arrays = found;
	return err;
}

static int say_fault(struct llb_out *out, enum session_fault fault, int err)
{
	switch (fault) {
	case SESSION_FAULT_PRIVILEGE:
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"not permitted; run as root, or with CAP_BPF, CAP_PERFMON and "
				"write access to md/llbitmap/snapshot");
	case SESSION_FAULT_TRACEPOINTS:
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"this kernel's md has no llbitmap tracepoints, or md-mod is not "
				"loaded; see llbitmapctl doctor");
	default:
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"the kernel does not take the BPF programs: %s; see llbitmapctl "
				"doctor", strerror(-err));
	}
}

static int no_snapshot(struct llb_out *out, const char *array, int err)
{
	return llb_fail(out, LLB_EXIT_ENVIRONMENT,
			"cannot write /sys/block/%s/md/llbitmap/snapshot: %s; run as root, or let "
			"its owner permit it", array, strerror(-err));
}

/* Before anything is given to the sink. */
static int may_take_snapshots(struct llb_out *out, const struct array_list *arrays)
{
	for (size_t i = 0; i < arrays->n; i++) {
		int fd = array_snapshot_open(&array_system_roots, arrays->v[i].name);

		if (fd == -EACCES || fd == -EPERM)
			return no_snapshot(out, arrays->v[i].name, fd);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

static int watch_all(struct llb_out *out, struct live *live)
{
	for (size_t i = 0; i < live->arrays.n; i++) {
		const struct array_info *a = &live->arrays.v[i];
		int err = session_watch(live->session, a, live->sink);

		if (err == -ENOSPC)
			llb_note(out, "%s is not watched: no slot left; give --arrays a larger "
				 "number (up to %d), or name the arrays to watch", a->name,
				 SESSION_SLOTS_MAX);
		else if (err == -EACCES || err == -EPERM)
			return no_snapshot(out, a->name, err);
		else if (err == -ENOMEM)
			return llb_no_memory(out);
		else if (err)
			llb_note(out, "no snapshot of %s: %s", a->name, strerror(-err));
	}
	return 0;
}

/* All is watched: what was waited for begins. */
static int start(struct llb_out *out, const struct live_request *request, struct live *live)
{
	int err;

	live->start_ns = session_now();
	if (request->duration_ns)
		live->end_ns = live->start_ns + request->duration_ns;
	/* Before anything is replaced: a command that cannot be run leaves all as it was. */
	err = live->has_child ? child_start(&live->child) : 0;
	if (err)
		return llb_fail(out, LLB_EXIT_USAGE, "cannot run %s: %s",
				request->command->argv[0], strerror(-err));
	err = request->ready ? request->ready(out, request->ctx) : 0;
	if (err)
		return err;
	err = session_drop_privileges();
	return err ? llb_fail(out, LLB_EXIT_ENVIRONMENT, "cannot drop privileges: %s",
			      strerror(-err)) : 0;
}

int live_begin(struct llb_out *out, const struct live_request *request, struct live *live)
{
	struct session_config config = request->config;
	enum session_fault fault;
	bool command = request->command && request->command->argc;
	int err;

	memset(live, 0, sizeof(*live));
	live->tick = request->tick;
	live->sink = request->sink;
	live->progress = request->progress;
	live->progress_more = request->progress_more;
	live->ctx = request->ctx;
	config.all = !request->nr_names;
	err = live_arrays(out, request->names, request->nr_names, &live->arrays);
	if (err)
		return err;
	stop_on_signals();
	/* The command keeps our privileges: it is made before they are dropped. */
	if (command) {
		err = child_hold(&live->child, request->command->argv);
		if (err)
			return llb_fail(out, LLB_EXIT_ENVIRONMENT, "cannot fork: %s",
					strerror(-err));
		live->has_child = true;
	}
	err = session_open(&config, &live->session, &fault);
	if (err)
		return say_fault(out, fault, err);
	if (!live->arrays.n && !command && !request->duration_ns && !request->waits)
		return llb_fail(out, LLB_EXIT_ENVIRONMENT,
				"no array with a lockless bitmap runs (mdadm --create "
				"--bitmap=lockless); --duration waits for one");
	err = config.snapshot ? may_take_snapshots(out, &live->arrays) : 0;
	err = err ?: watch_all(out, live);
	return err ?: start(out, request, live);
}

int64_t live_clock_offset(void)
{
	struct timespec real;
	uint64_t now = session_now();

	clock_gettime(CLOCK_REALTIME, &real);
	return (int64_t)(real.tv_sec * NS_PER_SECOND + (uint64_t)real.tv_nsec - now);
}

bool live_goes_on(struct live *live)
{
	if (stop_asked() || (live->has_child && child_ended(&live->child)))
		return false;
	return !live->end_ns || session_now() < live->end_ns;
}

static int cannot_read(struct llb_out *out, int err)
{
	return err == -ENOMEM ? llb_no_memory(out) :
				llb_fail(out, LLB_EXIT_DATA, "cannot read events: %s", strerror(-err));
}

void live_announce(struct llb_out *out, const struct live *live, const char *doing,
		   const char *end)
{
	size_t n = live->arrays.n;

	if (isatty(STDERR_FILENO))
		llb_note(out, "%s %zu array%s%s", doing, n, n == 1 ? "" : "s", end);
}

/* A command has the terminal for itself. */
static void show_progress(struct llb_out *out, struct live *live, uint64_t *shown_ns)
{
	uint64_t now = session_now(), events = 0;
	const struct llb_audit *audit;
	char more[64] = "";

	if (!live->progress || live->has_child || now - *shown_ns < PROGRESS_NS)
		return;
	*shown_ns = now;
	audit = session_audit(live->session);
	for (unsigned int type = 0; type < LLB_NR_EVENT_TYPES; type++)
		events += audit->events[type];
	if (live->progress_more)
		live->progress_more(live->ctx, more, sizeof(more));
	llb_status(out, "%" PRIu64 " events%s, %" PRIu64 " lost", events, more,
		   llb_audit_lost(audit));
}

int live_run(struct llb_out *out, struct live *live)
{
	uint64_t shown_ns = session_now();
	int stopped = 0;

	while (live_goes_on(live) && !stopped) {
		stopped = session_poll(live->session, POLL_MS, live->sink);
		if (!stopped && live->tick)
			stopped = live->tick(live->sink->ctx);
		show_progress(out, live, &shown_ns);
	}
	llb_status_clear(out);
	if (stopped < 0)
		return cannot_read(out, stopped);
	/* What the sink does not want any more is not given to it. */
	if (stopped)
		live->sink = NULL;
	return live_finish(out, live);
}

static void say_slow(void *out)
{
	llb_note(out, "waiting for the command to end; in a few seconds it is killed");
}

/* A command that still runs would go on unwatched. */
static void end_command(struct llb_out *out, struct child *child)
{
	if (!child_end(child, say_slow, out))
		llb_note(out, "not all that the command started could be ended: it goes on");
	if (!child->ended)
		return;
	if (WIFEXITED(child->status) && WEXITSTATUS(child->status))
		llb_note(out, "the command ended with status %d", WEXITSTATUS(child->status));
	else if (WIFSIGNALED(child->status))
		llb_note(out, "the command was ended by signal %d", WTERMSIG(child->status));
}

/* An array that came while the session ran, without privileges, may not let it. */
static void say_open_ends(struct llb_out *out, const struct session *session)
{
	for (size_t i = 0; i < session_loads(session); i++) {
		const struct session_load *l = session_load_at(session, i);

		if (l->open_ended)
			llb_note(out, "no snapshot at the end: cannot write "
				 "/sys/block/%s/md/llbitmap/snapshot: %s", l->name,
				 strerror(-l->open_ended));
	}
}

int live_finish(struct llb_out *out, struct live *live)
{
	int err;

	if (live->has_child)
		end_command(out, &live->child);
	live->has_child = false;
	err = session_finish(live->session, live->sink);
	say_open_ends(out, live->session);
	return err < 0 ? cannot_read(out, err) : 0;
}

void live_close(struct live *live)
{
	if (live->has_child)
		child_end(&live->child, NULL, NULL);
	session_close(live->session);
	arrays_free(&live->arrays);
	memset(live, 0, sizeof(*live));
}

int live_losses(struct llb_out *out, struct live *live)
{
	const struct llb_audit *audit = session_audit(live->session);
	bool lost = llb_note_losses(out, audit->loss, llb_audit_missing(audit));

	return lost || audit->unwatched ? LLB_EXIT_INCONCLUSIVE : 0;
}
