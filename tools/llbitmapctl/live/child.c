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

/* Five seconds to end by itself. */
#define END_POLLS 100
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

int child_hold(struct child *c, char *const *argv)
{
	int fds[2];

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) || pipe2(fds, O_CLOEXEC))
		return -errno;
	c->ended = false;
	c->pid = fork();
	if (c->pid < 0) {
		int err = -errno;

		close(fds[0]);
		close(fds[1]);
		return err;
	}
	if (!c->pid) {
		char byte;

		close(fds[1]);
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		signal(SIGPIPE, SIG_DFL);
		if (read(fds[0], &byte, 1) != 1)
			_exit(0);
		execvp(argv[0], argv);
		/* Like a shell: 127 not found, 126 not to be run. */
		dprintf(2, "llbitmapctl: cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	close(fds[0]);
	c->go = fds[1];
	return 0;
}

int child_start(struct child *c)
{
	ssize_t n = write(c->go, "", 1);

	close(c->go);
	c->go = -1;
	return n == 1 ? 0 : -errno;
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

bool child_end(struct child *c)
{
	if (!c->pid || c->ended)
		return true;
	if (c->go >= 0) {
		close(c->go);
		c->go = -1;
	} else {
		signal_all(SIGTERM);
	}
	for (int i = 0; i < END_POLLS; i++) {
		if (reap(c))
			return true;
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
