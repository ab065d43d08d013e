// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * llb-child COMMAND [ARGUMENTS]: live/child.c alone, as JSON: what child_start() gave, what the
 * command ended with, and how often it was slow. It is ended when standard input says so.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../tools/llbitmapctl/live/child.h"

static void count(void *slow)
{
	++*(int *)slow;
}

int main(int argc, char **argv)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	struct child child;
	int err, slow = 0;

	if (argc < 2 || child_hold(&child, argv + 1))
		return 2;
	err = child_start(&child);
	while (!child_ended(&child) && poll(&in, 1, 10) < 1)
		;
	if (!child_end(&child, count, &slow))
		return 1;
	printf("{\"error\": %d, \"status\": %d, \"signal\": %d, \"slow\": %d}\n", -err,
	       WEXITSTATUS(child.status), WTERMSIG(child.status), slow);
	return 0;
}
