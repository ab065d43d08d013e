// SPDX-License-Identifier: GPL-2.0-or-later
/* llb-child COMMAND [ARGUMENTS]: live/child.c alone; what child_start() gave and the command ended with. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../tools/llbitmapctl/live/child.h"

int main(int argc, char **argv)
{
	struct child child;
	int err;

	if (argc < 2 || child_hold(&child, argv + 1))
		return 2;
	err = child_start(&child);
	while (!child_ended(&child))
		usleep(10000);
	printf("{\"error\": %d, \"status\": %d}\n", -err, WEXITSTATUS(child.status));
	return 0;
}
