// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "arrays.h"

const struct array_roots array_system_roots = { .sys = "/sys", .dev = "/dev" };

/* Opens <sys>/block/<name>/<file>. */
static int attr_open(const struct array_roots *roots, const char *name, const char *file, int flags)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/block/%s/%s", roots->sys, name, file) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Reads an attribute without its last newline. Length or -errno. */
static int attr_read(const struct array_roots *roots, const char *name, const char *file, char *buf,
		     size_t size)
{
	int fd = attr_open(roots, name, file, O_RDONLY);
	size_t n = 0;

	buf[0] = '\0';
	if (fd < 0)
		return fd;
	while (n < size - 1) {
		ssize_t got = read(fd, buf + n, size - 1 - n);

		if (got < 0) {
			int err = -errno;

			close(fd);
			buf[0] = '\0';
			return err;
		}
		if (!got)
			break;
		n += got;
	}
	close(fd);
	while (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

static uint64_t attr_u64(const struct array_roots *roots, const char *name, const char *file)
{
	char buf[64];

	return attr_read(roots, name, file, buf, sizeof(buf)) > 0 ? strtoull(buf, NULL, 10) : 0;
}

/* The number behind @key in a text of "key number" lines; false when there is none. */
static bool line_u64(const char *text, const char *key, uint64_t *value)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, len) && line[len] == ' ') {
			*value = strtoull(line + len, NULL, 10);
			return true;
		}
	}
	return false;
}

static int read_counts(const struct array_roots *roots, struct array_info *a)
{
	static const char *const keys[ARRAY_STATES] = { "unwritten", "clean", "dirty", "need sync",
							"syncing" };
	char buf[512];
	int n = attr_read(roots, a->name, "md/llbitmap/bits", buf, sizeof(buf));

	a->have_counts = n > 0;
	for (int i = 0; a->have_counts && i < ARRAY_STATES; i++)
		a->have_counts = line_u64(buf, keys[i], &a->counts[i]);
	return n < 0 ? n : 0;
}

static void read_sync(const struct array_roots *roots, struct array_info *a)
{
	char buf[64];
	uint64_t done, total;

	attr_read(roots, a->name, "md/sync_action", a->sync_action, sizeof(a->sync_action));
	a->sync_done = a->sync_total = a->sync_speed = 0;
	if (attr_read(roots, a->name, "md/sync_completed", buf, sizeof(buf)) > 0 &&
	    sscanf(buf, "%" SCNu64 " / %" SCNu64, &done, &total) == 2) {
		a->sync_done = done;
		a->sync_total = total;
		a->sync_speed = attr_u64(roots, a->name, "md/sync_speed");
	}
	a->mismatches = attr_u64(roots, a->name, "md/mismatch_cnt");
	a->degraded = attr_u64(roots, a->name, "md/degraded");
	attr_read(roots, a->name, "md/array_state", a->state, sizeof(a->state));
}

static int by_slot(const void *x, const void *y)
{
	const struct array_member *a = x, *b = y;

	if ((a->slot < 0) != (b->slot < 0))
		return a->slot < 0 ? 1 : -1;
	if (a->slot != b->slot)
		return a->slot - b->slot;
	return strcmp(a->name, b->name);
}

static int read_members(const struct array_roots *roots, struct array_info *a)
{
	char path[PATH_MAX], file[320], buf[64];
	struct dirent *d;
	int err = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/block/%s/md", roots->sys, a->name);
	dir = opendir(path);
	if (!dir)
		return -errno;
	free(a->member);
	a->member = NULL;
	a->nmember = 0;
	while ((d = readdir(dir))) {
		struct array_member *m;

		if (strncmp(d->d_name, "dev-", 4))
			continue;
		m = reallocarray(a->member, a->nmember + 1, sizeof(*m));
		if (!m) {
			err = -ENOMEM;
			break;
		}
		a->member = m;
		m += a->nmember++;
		memset(m, 0, sizeof(*m));
		snprintf(m->name, sizeof(m->name), "%.31s", d->d_name + 4);
		snprintf(file, sizeof(file), "md/%s/state", d->d_name);
		attr_read(roots, a->name, file, m->state, sizeof(m->state));
		m->in_sync = strstr(m->state, "in_sync");
		m->faulty = strstr(m->state, "faulty");
		snprintf(file, sizeof(file), "md/%s/slot", d->d_name);
		m->slot = -1;
		if (attr_read(roots, a->name, file, buf, sizeof(buf)) > 0 &&
		    isdigit((unsigned char)buf[0]))
			m->slot = atoi(buf);
	}
	closedir(dir);
	qsort(a->member, a->nmember, sizeof(*a->member), by_slot);
	return err;
}

/* The name under /dev/md/ whose link leads to this array. */
static void read_alias(const struct array_roots *roots, struct array_info *a)
{
	char path[PATH_MAX], target[PATH_MAX];
	struct dirent *d;
	DIR *dir;

	a->alias[0] = '\0';
	snprintf(path, sizeof(path), "%s/md", roots->dev);
	dir = opendir(path);
	if (!dir)
		return;
	while ((d = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);
		const char *base;

		if (n <= 0)
			continue;
		target[n] = '\0';
		base = strrchr(target, '/');
		if (!strcmp(base ? base + 1 : target, a->name)) {
			snprintf(a->alias, sizeof(a->alias), "%.63s", d->d_name);
			break;
		}
	}
	closedir(dir);
}

static void read_bitmap(const struct array_roots *roots, struct array_info *a)
{
	char buf[512], path[PATH_MAX];
	uint64_t value;
	int n;

	a->bitmap = ARRAY_BITMAP_NONE;
	a->traced = false;
	a->daemon_sleep = a->barrier_idle = -1;
	n = attr_read(roots, a->name, "md/llbitmap/metadata", buf, sizeof(buf));
	if (n > 0 && line_u64(buf, "chunks", &a->chunks) && a->chunks) {
		a->bitmap = ARRAY_BITMAP_LLBITMAP;
		a->chunk_sectors = 0;
		line_u64(buf, "chunksize", &a->chunk_sectors);
		line_u64(buf, "offset", &a->offset);
		if (line_u64(buf, "daemon_sleep", &value))
			a->daemon_sleep = value;
		if (attr_read(roots, a->name, "md/llbitmap/daemon_sleep", buf, sizeof(buf)) > 0)
			a->daemon_sleep = atoll(buf);
		if (attr_read(roots, a->name, "md/llbitmap/barrier_idle", buf, sizeof(buf)) > 0)
			a->barrier_idle = atoll(buf);
		snprintf(path, sizeof(path), "%s/block/%s/md/llbitmap/snapshot", roots->sys,
			 a->name);
		/* Ours tells both; where the size is not known, sectors are no chunks. */
		a->traced = a->chunk_sectors && !access(path, F_OK);
		read_counts(roots, a);
		return;
	}
	/* A classic bitmap has a place; "none" says that there is no bitmap. */
	if (attr_read(roots, a->name, "md/bitmap/location", buf, sizeof(buf)) > 0 &&
	    strcmp(buf, "none"))
		a->bitmap = ARRAY_BITMAP_CLASSIC;
}

int array_read(const struct array_roots *roots, const char *name, struct array_info *out)
{
	struct array_info a = {};
	unsigned int major, minor;
	char buf[64];
	int err;

	snprintf(a.name, sizeof(a.name), "%.31s", name);
	err = attr_read(roots, name, "md/level", a.level, sizeof(a.level));
	if (err < 0)
		return err;
	err = attr_read(roots, name, "dev", buf, sizeof(buf));
	if (err < 0 || sscanf(buf, "%u:%u", &major, &minor) != 2)
		return err < 0 ? err : -EIO;
	a.dev = major << 20 | minor;
	a.members = attr_u64(roots, name, "md/raid_disks");
	a.sectors = attr_u64(roots, name, "size");
	attr_read(roots, name, "md/uuid", a.uuid, sizeof(a.uuid));
	read_sync(roots, &a);
	read_alias(roots, &a);
	read_bitmap(roots, &a);
	err = read_members(roots, &a);
	if (err) {
		array_free(&a);
		return err;
	}
	*out = a;
	return 0;
}

int array_refresh(const struct array_roots *roots, struct array_info *a)
{
	char buf[16];
	int err = attr_read(roots, a->name, "md/level", buf, sizeof(buf));

	if (err < 0)
		return err;
	read_sync(roots, a);
	return a->bitmap == ARRAY_BITMAP_LLBITMAP ? read_counts(roots, a) : 0;
}

static int by_name(const void *x, const void *y)
{
	const struct array_info *a = x, *b = y;

	return strverscmp(a->name, b->name);
}

int arrays_scan(const struct array_roots *roots, struct array_list *out)
{
	struct array_list list = {};
	char path[PATH_MAX];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/block", roots->sys);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		struct array_info *v, a;

		if (strncmp(d->d_name, "md", 2) || array_read(roots, d->d_name, &a))
			continue;
		/* mdadm --stop leaves the device for a while, empty. */
		if (!strcmp(a.state, "clear")) {
			array_free(&a);
			continue;
		}
		v = reallocarray(list.v, list.n + 1, sizeof(*v));
		if (!v) {
			array_free(&a);
			closedir(dir);
			arrays_free(&list);
			return -ENOMEM;
		}
		list.v = v;
		list.v[list.n++] = a;
	}
	closedir(dir);
	qsort(list.v, list.n, sizeof(*list.v), by_name);
	*out = list;
	return 0;
}

/* Both with the same hexadecimal digits, whatever stands between them? */
static bool same_uuid(const char *a, const char *b)
{
	int digits = 0;

	for (;;) {
		while (*a == '-' || *a == ':')
			a++;
		while (*b == '-' || *b == ':')
			b++;
		if (!*a || !*b)
			return !*a && !*b && digits == 32;
		if (!isxdigit((unsigned char)*a) ||
		    tolower((unsigned char)*a++) != tolower((unsigned char)*b++))
			return false;
		digits++;
	}
}

const struct array_info *arrays_find(const struct array_roots *roots, const struct array_list *list,
				     const char *what)
{
	char real[PATH_MAX];
	const char *name = what;
	size_t dev = strlen(roots->dev);

	if (!strncmp(what, roots->dev, dev) && what[dev] == '/') {
		/* /dev/md/NAME and other links lead to the device. */
		name = realpath(what, real) ? strrchr(real, '/') + 1 : strrchr(what, '/') + 1;
	}
	for (size_t i = 0; i < list->n; i++) {
		const struct array_info *a = &list->v[i];

		if (!strcmp(a->name, name) || (a->alias[0] && !strcmp(a->alias, name)) ||
		    same_uuid(a->uuid, what))
			return a;
	}
	return NULL;
}

const struct array_info *arrays_by_dev(const struct array_list *list, uint32_t dev)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->v[i].dev == dev)
			return &list->v[i];
	return NULL;
}

int array_snapshot_open(const struct array_roots *roots, const char *name)
{
	return attr_open(roots, name, "md/llbitmap/snapshot", O_WRONLY);
}

int array_snapshot(int fd)
{
	return pwrite(fd, "1\n", 2, 0) < 0 ? -errno : 0;
}

void array_free(struct array_info *a)
{
	free(a->member);
	a->member = NULL;
	a->nmember = 0;
}

void arrays_free(struct array_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		array_free(&list->v[i]);
	free(list->v);
	list->v = NULL;
	list->n = 0;
}
