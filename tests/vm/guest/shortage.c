// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * shortage DEVICE SIZE LEFT SURPLUS ROUNDS: makes memory short, and lives in the shortage
 *
 * Memory is locked away until LEFT MiB are available. Then a working set that is SURPLUS MiB larger
 * is changed and checked, page by page, ROUNDS times: all of it goes through swap each time. Beside
 * that, the page cache is dirtied: the first SIZE MiB of DEVICE are written to over and over,
 * buffered. No two of these blocks are equal; some are read and compared before the next is written
 * to their place, and in the end all of them are, from the device. The program is locked in memory:
 * nothing of it has to be read from elsewhere.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1UL << 20)
#define PAGE 4096UL

static void die(const char *what)
{
	fprintf(stderr, "shortage: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long kib_available(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			break;
	if (!kib)
		die("/proc/meminfo");
	fclose(file);
	return kib;
}

static void *memory(size_t size, int flags)
{
	void *where = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags,
			   -1, 0);

	if (where == MAP_FAILED)
		die("mmap");
	return where;
}

static void lock_away(unsigned long left)
{
	unsigned long available = kib_available() / 1024;

	if (available > left)
		memory((available - left) * MIB, MAP_LOCKED | MAP_POPULATE);
}

#define BLOCK (64UL * 1024)

static void fill(uint64_t *block, off_t at, uint64_t round)
{
	for (size_t i = 0; i < BLOCK / sizeof(*block); i++)
		block[i] = (at + i * sizeof(*block)) ^ round << 40;
}

static void compare(int fd, off_t at, uint64_t round)
{
	static uint64_t got[BLOCK / 8], wanted[BLOCK / 8];

	fill(wanted, at, round);
	if (pread(fd, got, BLOCK, at) != BLOCK)
		die("read");
	if (memcmp(got, wanted, BLOCK)) {
		fprintf(stderr, "shortage: the block at %lld is not that of round %llu\n",
			(long long)at, (unsigned long long)round);
		exit(1);
	}
}

static volatile sig_atomic_t over;

static void end(int signal)
{
	over = signal;
}

/* Until a signal; then all of it is read from the device. */
static void dirty_page_cache(const char *device, off_t size)
{
	static uint64_t block[BLOCK / 8];
	int fd = open(device, O_RDWR);
	uint64_t round = 0;
	off_t at = size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, end);
	if (fd < 0)
		die(device);
	for (; !over; at += BLOCK) {
		if (at == size) {
			at = 0;
			round++;
		}
		/* Who reads all of it does not write fast enough for anybody to wait for memory. */
		if (round > 1 && at / BLOCK % 16 == round % 16)
			compare(fd, at, round - 1);
		fill(block, at, round);
		if (pwrite(fd, block, BLOCK, at) != BLOCK)
			die("write");
	}
	if (fsync(fd) || ioctl(fd, BLKFLSBUF))
		die("fsync");
	for (off_t all = 0; all < (round > 1 ? size : at); all += BLOCK)
		compare(fd, all, all < at ? round : round - 1);
	printf("page cache: round %llu\n", (unsigned long long)round);
}

static void work(size_t size, unsigned int rounds)
{
	char *set = memory(size, 0);

	for (uint64_t round = 1; round <= rounds; round++) {
		for (size_t at = 0; at < size; at += PAGE) {
			uint64_t *word = (uint64_t *)(set + at);

			if (*word != (round == 1 ? 0 : (at ^ (round - 1) << 40))) {
				fprintf(stderr, "shortage: page %zu came back changed\n",
					at / PAGE);
				exit(1);
			}
			*word = at ^ round << 40;
		}
		printf("round %lu\n", (unsigned long)round);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	unsigned long size, left, surplus, rounds;
	pid_t writer;
	int status;

	if (argc != 6)
		return 2;
	size = strtoul(argv[2], NULL, 0) * MIB;
	left = strtoul(argv[3], NULL, 0);
	surplus = strtoul(argv[4], NULL, 0);
	rounds = strtoul(argv[5], NULL, 0);

	if (mlockall(MCL_CURRENT))
		die("mlockall");
	writer = fork();
	if (writer < 0)
		die("fork");
	if (!writer) {
		if (mlockall(MCL_CURRENT))
			die("mlockall");
		dirty_page_cache(argv[1], size);
		return 0;
	}
	lock_away(left);
	work((left + surplus) * MIB, rounds);

	if (waitpid(writer, NULL, WNOHANG) != 0) {
		fprintf(stderr, "shortage: the page cache's writer ended early\n");
		return 1;
	}
	kill(writer, SIGTERM);
	if (waitpid(writer, &status, 0) != writer || status)
		return 1;
	return 0;
}
