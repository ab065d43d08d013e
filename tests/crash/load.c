// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * load - writes and discards that say what they are
 *
 *	load DEVICE MARKS FLUSH SEED SECONDS UNIT GENERATION FIRST:SECTORS...
 *	load read DEVICE FIRST:SECTORS...
 *
 * Threads write batches of random requests to the windows FIRST:SECTORS of
 * DEVICE (one io_submit() each, so that md sees them in one plug), fsync and
 * discard, and one more only fsyncs, until SECONDS are over, enough was done, and
 * the file ENOUGH says that nothing else happens to the array. Each sector carries
 * its number and a generation that grows with every request, from GENERATION on;
 * no two requests in flight overlap. Discards are of UNIT sectors, which is what a bitmap chunk
 * stands for, or of a part of it. Now and then a write is to be durable when it
 * is done (RWF_DSYNC). MARKS is a device that gets a sector when writes or an
 * fsync are done, and around every discard, so that what was promised is known
 * from who was promised it: powercut/log.py has the formats. One thread writes
 * to the file FLUSH over and over ("-": none).
 *
 * "read" prints the generations in the windows, a line for each of these; "?" is
 * a sector that is neither zero nor what was written there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ENOUGH		"/run/crash-load.enough"
#define THREADS		3
#define DEPTH		32
#define MAX_SECTORS	128
#define SECTOR		512
#define MAX_WINDOWS	8
#define AT_LEAST	20	/* syncs and discards, however busy the machine is */

#define PER_MARK	15	/* writes that one mark tells of */

enum { MARK_FLUSHED = 1, MARK_DISCARD, MARK_DISCARDED, MARK_WROTE };

struct window {
	uint64_t first, sectors;
	bool *busy;
};

struct request {
	struct window *w;
	uint64_t start;		/* in the window */
	unsigned int sectors;
	uint64_t generation;	/* 0: not in flight */
	unsigned char *buf;
	struct iocb cb;
};

struct worker {
	pthread_t thread;
	unsigned int seed;
	struct request requests[DEPTH];
};

static struct window windows[MAX_WINDOWS];
static uint64_t unit;
static int nr_windows, dev, marks;
static const char *flush_path;
static struct worker workers[THREADS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t generation, marks_written, writes, syncs, discards;
static time_t end;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned int rnd(struct worker *me, unsigned int below)
{
	return (unsigned int)rand_r(&me->seed) % below;
}

static pthread_mutex_t mark_lock = PTHREAD_MUTEX_INITIALIZER;

static void mark_words(const uint64_t *words, size_t size)
{
	static unsigned char *buf;

	pthread_mutex_lock(&mark_lock);
	if (!buf && posix_memalign((void **)&buf, 4096, SECTOR))
		die("memory");
	memset(buf, 0, SECTOR);
	memcpy(buf, "LLBMARK", 8);
	memcpy(buf + 8, words, size);
	if (pwrite(marks, buf, SECTOR, (off_t)(marks_written++ % 1024 * SECTOR)) != SECTOR)
		die("mark");
	pthread_mutex_unlock(&mark_lock);
}

static void mark(uint64_t kind, uint64_t first, uint64_t second, uint64_t third)
{
	uint64_t words[] = { kind, first, second, third };

	mark_words(words, sizeof(words));
}

static uint64_t marks_so_far(void)
{
	uint64_t nr;

	pthread_mutex_lock(&mark_lock);
	nr = marks_written;
	pthread_mutex_unlock(&mark_lock);
	return nr;
}

/* While the ranges are still taken: nobody can have written there again. */
static void mark_wrote(const struct io_event *events, long nr)
{
	uint64_t words[2 + 4 * PER_MARK] = { MARK_WROTE, (uint64_t)nr };

	for (long i = 0; i < nr; i++) {
		const struct request *r = (struct request *)(uintptr_t)events[i].data;
		uint64_t *four = words + 2 + 4 * i;

		four[0] = r->w->first + r->start;
		four[1] = r->sectors;
		four[2] = r->generation;
		four[3] = !!(r->cb.aio_rw_flags & RWF_DSYNC);
	}
	mark_words(words, sizeof(words));
}

/* Takes the range if nothing is in flight there. */
static bool claim(struct window *w, uint64_t start, uint64_t sectors)
{
	for (uint64_t i = start; i < start + sectors; i++)
		if (w->busy[i])
			return false;
	memset(w->busy + start, true, sectors);
	return true;
}

static void release(struct window *w, uint64_t start, uint64_t sectors)
{
	memset(w->busy + start, false, sectors);
}

static unsigned int pick_size(struct worker *me)
{
	static const unsigned int sizes[] = { 1, 1, 2, 8, 8, 8, 8, 16, 32, MAX_SECTORS };

	return sizes[rnd(me, sizeof(sizes) / sizeof(sizes[0]))];
}

static bool prepare(struct worker *me, struct request *r)
{
	unsigned int sectors = pick_size(me);
	struct window *w = &windows[rnd(me, (unsigned int)nr_windows)];
	uint64_t start = rnd(me, (unsigned int)(w->sectors - sectors + 1));

	if (sectors >= 8)
		start &= ~7ULL;
	pthread_mutex_lock(&lock);
	if (!claim(w, start, sectors)) {
		pthread_mutex_unlock(&lock);
		return false;
	}
	r->generation = ++generation;
	pthread_mutex_unlock(&lock);
	r->w = w;
	r->start = start;
	r->sectors = sectors;
	memset(r->buf, 0, sectors * SECTOR);
	for (unsigned int i = 0; i < sectors; i++) {
		uint64_t words[3] = { 0, w->first + start + i, r->generation };

		memcpy(words, "LLBDATA", 8);
		memcpy(r->buf + i * SECTOR, words, sizeof(words));
	}
	r->cb = (struct iocb) {
		.aio_data = (uintptr_t)r, .aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_rw_flags = rnd(me, 8) ? 0 : RWF_DSYNC,
		.aio_fildes = (uint32_t)dev, .aio_buf = (uintptr_t)r->buf,
		.aio_nbytes = sectors * SECTOR,
		.aio_offset = (int64_t)((w->first + start) * SECTOR),
	};
	return true;
}

static void finish(struct request *r)
{
	pthread_mutex_lock(&lock);
	release(r->w, r->start, r->sectors);
	r->generation = 0;
	writes++;
	pthread_mutex_unlock(&lock);
}

static void batch(struct worker *me, aio_context_t ctx)
{
	unsigned int want = 1 + (rnd(me, 2) ? rnd(me, 4) : rnd(me, DEPTH));
	struct iocb *list[DEPTH];
	struct io_event events[DEPTH];
	long nr = 0;

	for (unsigned int i = 0; i < want; i++)
		if (prepare(me, &me->requests[i]))
			list[nr++] = &me->requests[i].cb;
		else
			me->requests[i].generation = 0;
	for (long done = 0; done < nr;) {
		long n = syscall(SYS_io_submit, ctx, nr - done, list + done);

		if (n <= 0)
			die("io_submit");
		done += n;
	}
	while (nr) {
		long most = nr < PER_MARK ? nr : PER_MARK;
		long n = syscall(SYS_io_getevents, ctx, 1, most, events, NULL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("io_getevents");
		for (long i = 0; i < n; i++) {
			struct request *r = (struct request *)(uintptr_t)events[i].data;

			if (events[i].res != (int64_t)r->cb.aio_nbytes) {
				errno = (int)-events[i].res;
				die("write");
			}
		}
		mark_wrote(events, n);
		for (long i = 0; i < n; i++)
			finish((struct request *)(uintptr_t)events[i].data);
		nr -= n;
	}
}

/* Every generation up to this one is done. */
static uint64_t all_done(void)
{
	uint64_t low;

	pthread_mutex_lock(&lock);
	low = generation;
	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < DEPTH; i++) {
			uint64_t g = workers[t].requests[i].generation;

			if (g && g <= low)
				low = g - 1;
		}
	pthread_mutex_unlock(&lock);
	return low;
}

static void sync_all(void)
{
	uint64_t low = all_done(), told = marks_so_far();

	if (fsync(dev))
		die("fsync");
	mark(MARK_FLUSHED, low, told, 0);
	pthread_mutex_lock(&lock);
	syncs++;
	pthread_mutex_unlock(&lock);
}

static void discard(struct worker *me)
{
	struct window *w = &windows[rnd(me, (unsigned int)nr_windows)];
	uint64_t sectors = unit * (1 + rnd(me, 3));
	uint64_t start = rnd(me, (unsigned int)(w->sectors - sectors + 1)) / unit * unit;
	uint64_t range[2], newest;
	bool ok;

	if (rnd(me, 2)) {	/* a part of a chunk at one end or both */
		start += 8 * rnd(me, 8);
		sectors -= 8 * (8 + rnd(me, 8));
	}
	pthread_mutex_lock(&lock);
	ok = claim(w, start, sectors);
	newest = generation;	/* nothing is in flight there: what is there is not newer */
	pthread_mutex_unlock(&lock);
	if (!ok)
		return;
	mark(MARK_DISCARD, w->first + start, sectors, newest);
	range[0] = (w->first + start) * SECTOR;
	range[1] = sectors * SECTOR;
	if (ioctl(dev, BLKDISCARD, range))
		die("discard");
	mark(MARK_DISCARDED, w->first + start, sectors, 0);
	pthread_mutex_lock(&lock);
	release(w, start, sectors);
	discards++;
	pthread_mutex_unlock(&lock);
}

static bool over(void)
{
	bool enough;

	pthread_mutex_lock(&lock);
	enough = syncs >= AT_LEAST && discards >= AT_LEAST;
	pthread_mutex_unlock(&lock);
	return enough && time(NULL) >= end && !access(ENOUGH, F_OK);
}

static void *work(void *arg)
{
	struct worker *me = arg;
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, DEPTH, &ctx))
		die("io_setup");
	while (!over()) {
		switch (rnd(me, 10)) {
		case 0:
			sync_all();
			break;
		case 1:
			discard(me);
			break;
		case 2:
		case 3:
			usleep(rnd(me, 60) * 1000);
			break;
		default:
			batch(me, ctx);
		}
	}
	return NULL;
}

/* Writes wait while a failure is recorded; who only syncs does so just then. */
static void *sync_only(void *seed)
{
	struct worker me = { .seed = (unsigned int)atoi(seed) };

	while (!over()) {
		usleep(rnd(&me, 200) * 1000);
		sync_all();
	}
	return NULL;
}

/* Clean and Dirty as often as the kernel can. */
static void *flush(void *arg)
{
	int fd = open(flush_path, O_WRONLY);

	if (fd < 0)
		die(flush_path);
	while (!over()) {
		if (pwrite(fd, "1", 1, 0) != 1 && errno != ETIMEDOUT)
			die(flush_path);
		usleep(20000);
	}
	close(fd);
	return arg;
}

static void parse_windows(char **argv)
{
	for (; *argv; argv++) {
		struct window *w = &windows[nr_windows++];

		if (nr_windows > MAX_WINDOWS || sscanf(*argv, "%lu:%lu", &w->first, &w->sectors) != 2) {
			fprintf(stderr, "bad window %s\n", *argv);
			exit(2);
		}
		w->busy = calloc(w->sectors, sizeof(bool));
	}
}

static void print_sector(const unsigned char *data, uint64_t sector)
{
	static const unsigned char zeroes[SECTOR];
	uint64_t words[3];

	memcpy(words, data, sizeof(words));
	if (!memcmp(words, "LLBDATA", 8) && words[1] == sector)
		printf("%lu ", words[2]);
	else
		fputs(memcmp(data, zeroes, SECTOR) ? "? " : "0 ", stdout);
}

static int read_back(const char *device)
{
	unsigned char *buf;

	dev = open(device, O_RDONLY | O_DIRECT);
	if (dev < 0 || posix_memalign((void **)&buf, 4096, MAX_SECTORS * SECTOR))
		die("open");
	for (struct window *w = windows; w < windows + nr_windows; w++) {
		for (uint64_t at = 0; at < w->sectors; at += MAX_SECTORS) {
			uint64_t left = w->sectors - at;
			uint64_t size = (left < MAX_SECTORS ? left : MAX_SECTORS) * SECTOR;

			if (pread(dev, buf, size, (off_t)((w->first + at) * SECTOR)) != (ssize_t)size)
				die("read");
			for (uint64_t i = 0; i < size / SECTOR; i++)
				print_sector(buf + i * SECTOR, w->first + at + i);
		}
		putchar('\n');
	}
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t flusher, syncer;

	if (argc > 3 && !strcmp(argv[1], "read")) {
		parse_windows(argv + 3);
		return read_back(argv[2]);
	}
	if (argc < 9) {
		fputs("usage: load DEVICE MARKS FLUSH SEED SECONDS UNIT GENERATION FIRST:SECTORS...\n"
		      "       load read DEVICE FIRST:SECTORS...\n", stderr);
		return 2;
	}
	dev = open(argv[1], O_RDWR | O_DIRECT);
	marks = open(argv[2], O_RDWR | O_DIRECT);
	if (dev < 0 || marks < 0)
		die("open");
	flush_path = argv[3];
	end = time(NULL) + atoi(argv[5]);
	unit = strtoull(argv[6], NULL, 10);
	generation = strtoull(argv[7], NULL, 10);
	parse_windows(argv + 8);
	for (int t = 0; t < THREADS; t++) {
		workers[t].seed = (unsigned int)atoi(argv[4]) * THREADS + (unsigned int)t;
		for (int i = 0; i < DEPTH; i++)
			if (posix_memalign((void **)&workers[t].requests[i].buf, 4096,
					   MAX_SECTORS * SECTOR))
				die("memory");
	}
	if (strcmp(flush_path, "-"))
		pthread_create(&flusher, NULL, flush, NULL);
	for (int t = 0; t < THREADS; t++)
		pthread_create(&workers[t].thread, NULL, work, &workers[t]);
	pthread_create(&syncer, NULL, sync_only, argv[4]);
	for (int t = 0; t < THREADS; t++)
		pthread_join(workers[t].thread, NULL);
	pthread_join(syncer, NULL);
	if (strcmp(flush_path, "-"))
		pthread_join(flusher, NULL);
	sync_all();
	printf("%lu writes, %lu syncs, %lu discards\n", writes, syncs, discards);
	return 0;
}
