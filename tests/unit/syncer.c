// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * llb-syncer FILE ASKS [FAILS]: brings FILE and the folder it is in to a disk that is not there.
 * Asks ASKS times, each once the one before is done ("-1": once, and stops at once), and stops.
 * The sync number FAILS fails, once, as Linux tells it. Prints what was synced and what stop
 * returned.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../tools/llbitmapctl/recording/syncer.h"

static int data, dir, fails, calls;
static sem_t synced;

/* In place of the C library's. */
int fdatasync(int fd)
{
	bool failed = ++calls == fails;

	printf("%s%s\n", fd == data ? "data" : fd == dir ? "dir" : "?", failed ? " fails" : "");
	if (fd == data)
		sem_post(&synced);
	errno = EIO;
	return failed ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct llb_syncer *syncer;
	int asks, err;

	if (argc < 3)
		return 2;
	asks = atoi(argv[2]);
	fails = argc > 3 ? atoi(argv[3]) : 0;
	data = open(argv[1], O_WRONLY | O_CREAT, 0644);
	dir = open(".", O_RDONLY | O_DIRECTORY);
	sem_init(&synced, 0, 0);
	err = llb_syncer_start(data, dir, &syncer);
	if (data < 0 || dir < 0 || err)
		return 1;
	if (asks < 0)
		llb_syncer_ask(syncer);
	for (; asks > 0; asks--) {
		llb_syncer_ask(syncer);
		sem_wait(&synced);
	}
	err = llb_syncer_stop(syncer);
	printf("stop: %s\n", err ? strerror(-err) : "fine");
	return 0;
}
