/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command behind "--": made before privileges are dropped, started when all is attached. */
#ifndef LLB_LIVE_CHILD_H
#define LLB_LIVE_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	int go;	    /* write end: closed without a byte, the child goes away */
	int told;   /* read end: errno, if the command cannot be run */
	int status; /* of waitpid, once ended */
	bool ended;
};

/* Forks; the child waits. From now on what it leaves behind is ours to end. 0 or -errno. */
int child_hold(struct child *c, char *const *argv);
/* Lets it run. 0, or -errno: it cannot be run (-ENOENT: there is no such command). */
int child_start(struct child *c);
/* Has it ended? Does not wait. */
bool child_ended(struct child *c);
/*
 * Ends a child that still runs, and all that it started: SIGTERM, five seconds later SIGKILL. One
 * that was never started goes away; what one that ended by itself left in the background stays.
 * @slow (may be NULL) is called once, if it is not over after a second: it may take ten.
 * False: some cannot be ended (another user's), and go on.
 */
bool child_end(struct child *c, void (*slow)(void *ctx), void *ctx);

/* SIGINT, SIGTERM and SIGHUP set a flag from now on. */
void stop_on_signals(void);
bool stop_asked(void);

#endif
