// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include "syncer.h"

struct llb_syncer {
	int fd;
	int dir;
	sem_t asked;
	atomic_bool stop;
	atomic_int error; /* -errno of the first sync that failed */
	pthread_t thread;
};

int llb_sync_data(int fd)
{
	/* Pipes and the like cannot be synced, and need not be. */
	return fdatasync(fd) && errno != EINVAL && errno != EROFS ? -errno : 0;
}

static void *run(void *syncer)
{
	struct llb_syncer *s = syncer;
	int err;

	for (;;) {
		while (sem_wait(&s->asked))
			; /* no signal ends it */
		/* Asked again meanwhile: that is done now too. */
		while (!sem_trywait(&s->asked))
			;
		if (s->stop)
			return NULL;
		err = llb_sync_data(s->fd);
		if (s->dir >= 0)
			err = err ?: llb_sync_data(s->dir);
		s->dir = -1; /* the name stays */
		if (err && !s->error)
			s->error = err;
	}
}

int llb_syncer_start(int fd, int dir, struct llb_syncer **syncer)
{
	struct llb_syncer *s = calloc(1, sizeof(*s));
	sigset_t all, before;
	int err;

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	s->dir = dir;
	sem_init(&s->asked, 0, 0);
	/* Signals are the main thread's, which waits for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		free(s);
		return -err;
	}
	*syncer = s;
	return 0;
}

int llb_syncer_ask(struct llb_syncer *s)
{
	sem_post(&s->asked);
	return s->error;
}

int llb_syncer_stop(struct llb_syncer *s)
{
	int err;

	if (!s)
		return 0;
	s->stop = true;
	sem_post(&s->asked);
	pthread_join(s->thread, NULL);
	sem_destroy(&s->asked);
	err = s->error;
	if (s->dir >= 0)
		err = err ?: llb_sync_data(s->dir);
	free(s);
	return err;
}
