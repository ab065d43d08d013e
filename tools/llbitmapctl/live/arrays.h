/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arrays.h - md arrays as sysfs shows them
 *
 * Needs no privilege and no tracepoints. Prints nothing; functions return 0 or a negative errno.
 */
#ifndef LLB_LIVE_ARRAYS_H
#define LLB_LIVE_ARRAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where to look; another tree in tests. */
struct array_roots {
	const char *sys; /* "/sys" */
	const char *dev; /* "/dev" */
};

extern const struct array_roots array_system_roots;

enum array_bitmap {
	ARRAY_BITMAP_NONE,
	ARRAY_BITMAP_CLASSIC,
	ARRAY_BITMAP_LLBITMAP, /* a lockless bitmap is loaded */
};

enum { ARRAY_STATES = 5 }; /* Unwritten, Clean, Dirty, NeedSync, Syncing */

struct array_member {
	char name[32];	 /* "sda1" */
	char state[64];	 /* md's words: "in_sync", "faulty", "spare,write_error" ... */
	int slot;	 /* -1: none */
	bool in_sync;
	bool faulty;
};

struct array_info {
	char name[32];	  /* "md127" */
	char alias[64];	  /* name under /dev/md/, or "" */
	char uuid[40];	  /* "xxxxxxxx-...", lower case, or "" */
	uint32_t dev;	  /* major << 20 | minor, as the events carry it */
	char level[16];	  /* "raid10" */
	char state[24];	  /* md/array_state */
	uint32_t members; /* raid_disks */
	uint32_t degraded;
	uint64_t sectors; /* size of the array, 512 byte units */
	enum array_bitmap bitmap;
	bool traced;	  /* md/llbitmap/snapshot exists: the kernel is ours */

	/* The rest needs a lockless bitmap. */
	uint64_t chunk_sectors;
	uint64_t chunks;
	uint64_t offset; /* sectors behind the member's superblock */
	uint64_t counts[ARRAY_STATES];
	bool have_counts;
	int64_t daemon_sleep; /* seconds, -1 unknown */
	int64_t barrier_idle;

	char sync_action[16]; /* "idle", "resync", "recover", "check", "repair" ... */
	uint64_t sync_done;   /* sectors; 0 of 0 when nothing runs */
	uint64_t sync_total;
	uint64_t sync_speed; /* KiB per second */
	uint64_t mismatches;

	struct array_member *member; /* all devices, spares and faulty ones too */
	size_t nmember;
};

struct array_list {
	struct array_info *v;
	size_t n;
};

/* Reads every md array that exists. -ENOMEM, or the errno of opening <sys>/block. */
int arrays_scan(const struct array_roots *roots, struct array_list *out);

/* Reads the one array @name ("md127"). -ENOENT when it does not exist (any more). */
int array_read(const struct array_roots *roots, const char *name, struct array_info *out);

/* Reads counts, sync progress and degraded again, keeps the rest. -ENOENT when it is gone. */
int array_refresh(const struct array_roots *roots, struct array_info *a);

/*
 * Finds what a user calls an array: /dev/mdX, mdX, a name under /dev/md/, or a UUID (with ':' or
 * '-'). NULL when none matches.
 */
const struct array_info *arrays_find(const struct array_roots *roots, const struct array_list *list,
				     const char *what);

/* The array with this dev_t, or NULL. */
const struct array_info *arrays_by_dev(const struct array_list *list, uint32_t dev);

/*
 * Opens md/llbitmap/snapshot of the array @name, for array_snapshot(). Returns a file descriptor, or
 * a negative errno: -ENOENT without such a bitmap, -EACCES if the file's mode does not let us.
 */
int array_snapshot_open(const struct array_roots *roots, const char *name);

/*
 * Asks the kernel for a snapshot of all chunks, as events, which have been raised on return. Takes
 * no privilege any more. -ENODEV: the bitmap is gone.
 */
int array_snapshot(int fd);

enum array_verdict { ARRAY_FINE, ARRAY_SYNCING, ARRAY_WORRY, ARRAY_NOT_OURS };

/* How the array is, and one line that says so. */
enum array_verdict array_judge(const struct array_info *a, char *text, size_t size);

void array_free(struct array_info *a);
void arrays_free(struct array_list *list);

#endif
