// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "child.h"

/* Five seconds to end by itself; after one it is slow. */
#define END_POLLS 100
#define SLOW_POLLS 20
#define END_POLL_US 50000

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

void stop_on_signals(void)
{
	/* No SA_RESTART: waiting calls shall return. */
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

bool stop_asked(void)
{
	return stopped;
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

/* In the child: waits, and becomes the command. What keeps it from that goes to @told. */
static void __attribute__((noreturn)) become(char *const *argv, int go, int told)
{
	char byte;
	int err;

	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	if (read(go, &byte, 1) != 1)
		_exit(0);
	execvp(argv[0], argv);
	err = errno;
	/* Without a reader there is nobody to tell. */
	_exit(write(told, &err, sizeof(err)) == sizeof(err) ? 127 : 126);
}

int child_hold(struct child *c, char *const *argv)
{
	int go[2], told[2], err;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) || pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(told, O_CLOEXEC)) {
		err = -errno;
		close_both(go);
		return err;
	}
	c->ended = false;
	c->pid = fork();
	if (c->pid < 0) {
		err = -errno;
		close_both(go);
		close_both(told);
		return err;
	}
	if (!c->pid) {
		close(go[1]);
		close(told[0]);
		become(argv, go[0], told[1]);
	}
	close(go[0]);
	close(told[1]);
	c->go = go[1];
	c->told = told[0];
	return 0;
}

/* What exec told; 0: it closed the pipe, so the command runs. */
static int exec_error(int told)
{
	ssize_t n;
	int err;

	do
		n = read(told, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	return n == sizeof(err) ? -err : 0;
}

int child_start(struct child *c)
{
	int err = write(c->go, "", 1) == 1 ? 0 : -errno;

	close(c->go);
	c->go = -1;
	err = err ?: exec_error(c->told);
	close(c->told);
	c->told = -1;
	return err;
}

/* Takes note of all that ended; true when nothing is left. */
static bool reap(struct child *c)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != c->pid)
			continue;
		c->status = status;
		c->ended = true;
	}
	return pid < 0;
}

bool child_ended(struct child *c)
{
	reap(c);
	return c->ended;
}

struct pids {
	pid_t *v;
	size_t n;
};

/* Without memory for more, the rest has to wait for the next round. */
static void add_children(struct pids *pids, pid_t parent)
{
	char path[PATH_MAX];
	glob_t threads;
	pid_t pid, *v;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/*/children", parent);
	if (glob(path, GLOB_NOSORT, NULL, &threads))
		return;
	for (size_t i = 0; i < threads.gl_pathc; i++) {
		f = fopen(threads.gl_pathv[i], "re");
		while (f && fscanf(f, "%d", &pid) == 1) {
			v = reallocarray(pids->v, pids->n + 1, sizeof(*v));
			if (!v)
				break;
			pids->v = v;
			v[pids->n++] = pid;
		}
		if (f)
			fclose(f);
	}
	globfree(&threads);
}

/* To all below us: processes whose parents are gone have become our own children. */
static void signal_all(int sig)
{
	struct pids pids = {};

	add_children(&pids, getpid());
	for (size_t i = 0; i < pids.n; i++)
		add_children(&pids, pids.v[i]);
	for (size_t i = 0; i < pids.n; i++)
		kill(pids.v[i], sig);
	free(pids.v);
}

bool child_end(struct child *c, void (*slow)(void *ctx), void *ctx)
{
	if (!c->pid || c->ended)
		return true;
	if (c->go >= 0) {
		close(c->go);
		close(c->told);
		c->go = c->told = -1;
	} else {
		signal_all(SIGTERM);
	}
	for (int i = 0; i < END_POLLS; i++) {
		if (reap(c))
			return true;
		if (i == SLOW_POLLS && slow)
			slow(ctx);
		usleep(END_POLL_US);
	}
	/* Who dies may have started another one the moment before. */
	for (int i = 0; i < END_POLLS; i++) {
		signal_all(SIGKILL);
		if (reap(c))
			return true;
		usleep(END_POLL_US);
	}
	return false;
}
