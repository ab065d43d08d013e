// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * races-oracle write DEVICE FIRST SEED KIB THREADS SECONDS LONGEST STATE: writes, discards, flushes
 *	and reads KIB of DEVICE from sector FIRST on by THREADS threads and compares what comes back;
 *	leaves in the file STATE what is there in the end
 * races-oracle verify DEVICE FIRST STATE: compares all of it
 *
 * The first half is shared out in runs of 16 KiB, so that threads meet in each chunk of the bitmap.
 * Behind it each thread has a part of its own, for what is larger, and for discards. In the last
 * eighth all write and discard across each other, and nobody compares. What a sector holds is the
 * number of the write that came last; 0: nothing is promised, as it was never written, or discarded.
 *
 * Who wants to stop the array makes the file GATE and then takes the lock LOCK, which is free as soon
 * as every thread has ended what it does and closed the device. Who needs more time than SECONDS has
 * until the file ENOUGH is there, but not more than LONGEST seconds in all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define GATE "/run/races.gate"
#define LOCK "/run/races.lock"
#define ENOUGH "/run/races.enough"
#define SECTOR 512
#define RUN 32u			/* sectors */
#define LARGEST 2048u		/* sectors of one request */
#define PATIENCE 600		/* seconds until the device has to be there again */

static const char *device;
static off_t origin;		/* bytes: where the space begins; sectors are counted from there */
static unsigned int threads, sectors, scratch;	/* sector where it begins */
static uint32_t *wanted;
static time_t started, seconds, longest;
static uint64_t written, compared, discarded, flushed, refused;

struct thread {
	pthread_t id;
	unsigned int number;
	uint64_t random;
	uint32_t last;
	char *buffer;
};

static void die(const char *what, unsigned int sector, unsigned int count)
{
	fprintf(stderr, "races-oracle: %s of %u sectors from %u on: %s\n", what, count, sector,
		strerror(errno));
	exit(1);
}

static int over(void)
{
	time_t spent = time(NULL) - started;

	return spent >= seconds && (spent >= longest || !access(ENOUGH, F_OK));
}

static uint32_t draw(struct thread *t, uint32_t below)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (t->random >> 20) % below;
}

static void fill(char *sector, uint32_t number, uint32_t where)
{
	uint32_t tag[4] = { number, where, ~number, ~where };

	for (int i = 0; i < SECTOR; i += sizeof(tag))
		memcpy(sector + i, tag, sizeof(tag));
}

static void compare(const char *data, unsigned int sector, unsigned int count)
{
	char right[SECTOR];

	for (unsigned int i = 0; i < count; i++, data += SECTOR) {
		if (!wanted[sector + i])
			continue;
		fill(right, wanted[sector + i], sector + i);
		if (memcmp(right, data, SECTOR)) {
			const uint32_t *tag = (const uint32_t *)data;

			fprintf(stderr, "races-oracle: sector %u: write %x is expected, there is %x of %u\n",
				sector + i, wanted[sector + i], tag[0], tag[1]);
			exit(1);
		}
	}
	__atomic_fetch_add(&compared, count, __ATOMIC_RELAXED);
}

/* a range of the thread's own sectors, or of nobody's */
static void choose(struct thread *t, unsigned int *first, unsigned int *count)
{
	unsigned int half = sectors / 2, step = draw(t, 4) ? 8 : 1;
	unsigned int begin, length, most;

	if (!draw(t, 8)) {
		begin = scratch;
		length = sectors - scratch;
		most = LARGEST / 2;
	} else if (draw(t, 3)) {
		unsigned int runs = half / RUN / threads;

		begin = (draw(t, runs) * threads + t->number) * RUN;
		length = RUN;
		most = RUN;
	} else {
		length = (scratch - half) / threads / RUN * RUN;
		begin = half / RUN * RUN + t->number * length;
		most = LARGEST;
	}
	*count = (1 + draw(t, most / step)) * step;
	if (*count > length)
		*count = length;
	*first = begin + draw(t, (length - *count) / step + 1) * step;
}

static void write_some(struct thread *t, int fd, unsigned int first, unsigned int count)
{
	struct iovec iov = { t->buffer, (size_t)count * SECTOR };
	int flags = draw(t, 16) ? 0 : RWF_NOWAIT;
	uint32_t number;
	ssize_t done;

	if (!flags && !draw(t, 8))
		flags = RWF_DSYNC;
	number = ++t->last << 4 | (t->number + 1);
	for (unsigned int i = 0; i < count; i++) {
		fill(t->buffer + i * SECTOR, number, first + i);
		wanted[first + i] = 0;
	}
	done = pwritev2(fd, &iov, 1, origin + (off_t)first * SECTOR, flags);
	if (done == (ssize_t)iov.iov_len) {
		for (unsigned int i = 0; i < count && first < scratch; i++)
			wanted[first + i] = number;
		__atomic_fetch_add(&written, 1, __ATOMIC_RELAXED);
	} else if (flags & RWF_NOWAIT) {
		__atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
	} else {
		die("write", first, count);
	}
}

static void read_some(struct thread *t, int fd, unsigned int first, unsigned int count)
{
	ssize_t length = (ssize_t)count * SECTOR;

	if (pread(fd, t->buffer, length, origin + (off_t)first * SECTOR) != length)
		die("read", first, count);
	compare(t->buffer, first, count);
}

static void discard_some(int fd, unsigned int first, unsigned int count)
{
	uint64_t range[2] = { origin + (uint64_t)first * SECTOR, (uint64_t)count * SECTOR };

	for (unsigned int i = 0; i < count; i++)
		wanted[first + i] = 0;
	if (ioctl(fd, BLKDISCARD, range))
		die("discard", first, count);
	__atomic_fetch_add(&discarded, 1, __ATOMIC_RELAXED);
}

static int open_device(int lock)
{
	time_t since = time(NULL);

	for (;;) {
		while (!access(GATE, F_OK))
			usleep(5000);
		if (flock(lock, LOCK_SH))
			die("lock", 0, 0);
		int fd = open(device, O_RDWR | O_DIRECT);

		if (fd >= 0)
			return fd;
		if (time(NULL) > since + PATIENCE)
			die("open", 0, 0);
		flock(lock, LOCK_UN);
		usleep(20000);
	}
}

static void *work(void *argument)
{
	struct thread *t = argument;
	int lock = open(LOCK, O_RDWR | O_CREAT, 0600);

	if (posix_memalign((void **)&t->buffer, 4096, LARGEST * SECTOR))
		die("memory", 0, 0);
	while (!over()) {
		int fd = open_device(lock);

		for (unsigned int n = 1 + draw(t, 30); n && !over() && access(GATE, F_OK); n--) {
			unsigned int first, count, what = draw(t, 32);

			choose(t, &first, &count);
			if (what < 20) {
				write_some(t, fd, first, count);
			} else if (what < 27) {
				read_some(t, fd, first, count);
			} else if (what < 30) {
				if (first >= sectors / 2)
					discard_some(fd, first, count);
			} else if (what < 31) {
				if (fdatasync(fd))
					die("flush", 0, 0);
				__atomic_fetch_add(&flushed, 1, __ATOMIC_RELAXED);
			} else {
				usleep(draw(t, 50000));	/* pages get idle */
			}
		}
		close(fd);
		flock(lock, LOCK_UN);
	}
	return NULL;
}

static void write_all(uint64_t seed, const char *state)
{
	struct thread *all = calloc(threads, sizeof(*all));
	FILE *file;

	for (unsigned int i = 0; i < threads; i++) {
		all[i].number = i;
		all[i].random = (seed * 16 + i + 1) * 0x9e3779b97f4a7c15ull;
		if (pthread_create(&all[i].id, NULL, work, &all[i]))
			die("thread", 0, 0);
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(all[i].id, NULL);
	file = fopen(state, "w");
	if (!file || fwrite(wanted, sizeof(*wanted), sectors, file) != sectors || fclose(file))
		die("state", 0, 0);
	printf("{\"writes\": %lu, \"discards\": %lu, \"flushes\": %lu, \"refused\": %lu, \"compared\": %lu}\n",
	       written, discarded, flushed, refused, compared);
}

static void verify_all(const char *state)
{
	struct thread t = { .number = 0 };
	FILE *file = fopen(state, "r");
	int fd = open(device, O_RDONLY | O_DIRECT);

	if (!file || fd < 0 || fseek(file, 0, SEEK_END))
		die("open", 0, 0);
	sectors = ftell(file) / sizeof(*wanted);
	rewind(file);
	wanted = calloc(sectors, sizeof(*wanted));
	if (fread(wanted, sizeof(*wanted), sectors, file) != sectors)
		die("state", 0, 0);
	if (posix_memalign((void **)&t.buffer, 4096, LARGEST * SECTOR))
		die("memory", 0, 0);
	for (unsigned int first = 0; first < sectors; first += LARGEST)
		read_some(&t, fd, first, sectors - first < LARGEST ? sectors - first : LARGEST);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	device = argv[2];
	origin = strtoul(argv[3], NULL, 0) * SECTOR;
	if (!strcmp(argv[1], "verify")) {
		verify_all(argv[4]);
		return 0;
	}
	if (argc != 10)
		return 2;
	sectors = strtoul(argv[5], NULL, 0) * 2;
	threads = strtoul(argv[6], NULL, 0);
	scratch = sectors / 8 * 7 / RUN * RUN;
	started = time(NULL);
	seconds = strtoul(argv[7], NULL, 0);
	longest = strtoul(argv[8], NULL, 0);
	wanted = calloc(sectors, sizeof(*wanted));
	write_all(strtoull(argv[4], NULL, 0), argv[9]);
	return 0;
}
