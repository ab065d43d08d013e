// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * llb-arrays SYS DEV COMMAND [ARGUMENT]: live/arrays.c on another tree, as JSON.
 *
 *	scan           all arrays
 *	read NAME      one, or {"error": errno}
 *	judge NAME     the line of array_judge()
 *	find WHAT      what arrays_find() gives
 *	by-dev DEV     what arrays_by_dev() gives
 *	refresh NAME   read, wait for a line on stdin, array_refresh()
 *	snapshot NAME
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../tools/llbitmapctl/live/arrays.h"

static void show(const struct array_info *a)
{
	static const char *const bitmaps[] = { "none", "classic", "llbitmap" };

	printf("{\"name\": \"%s\", \"alias\": \"%s\", \"uuid\": \"%s\", \"dev\": %" PRIu32,
	       a->name, a->alias, a->uuid, a->dev);
	printf(", \"level\": \"%s\", \"state\": \"%s\", \"members\": %" PRIu32
	       ", \"degraded\": %" PRIu32 ", \"sectors\": %" PRIu64,
	       a->level, a->state, a->members, a->degraded, a->sectors);
	printf(", \"bitmap\": \"%s\", \"traced\": %d, \"chunk_sectors\": %" PRIu64
	       ", \"chunks\": %" PRIu64 ", \"offset\": %" PRIu64,
	       bitmaps[a->bitmap], a->traced, a->chunk_sectors, a->chunks, a->offset);
	printf(", \"have_counts\": %d, \"counts\": [", a->have_counts);
	for (int i = 0; i < ARRAY_STATES; i++)
		printf("%s%" PRIu64, i ? ", " : "", a->counts[i]);
	printf("], \"daemon_sleep\": %" PRId64 ", \"barrier_idle\": %" PRId64
	       ", \"sync_action\": \"%s\", \"sync\": [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]",
	       a->daemon_sleep, a->barrier_idle, a->sync_action, a->sync_done, a->sync_total,
	       a->sync_speed);
	printf(", \"mismatches\": %" PRIu64 ", \"devices\": [", a->mismatches);
	for (size_t i = 0; i < a->nmember; i++)
		printf("%s[\"%s\", \"%s\", %d, %d, %d]", i ? ", " : "", a->member[i].name,
		       a->member[i].state, a->member[i].slot, a->member[i].in_sync,
		       a->member[i].faulty);
	printf("]}");
}

static int error(int err)
{
	printf("{\"error\": %d}\n", -err);
	return 0;
}

static int one(const struct array_roots *roots, const char *name, bool refresh)
{
	struct array_info a;
	char line[8];
	int err = array_read(roots, name, &a);

	if (err)
		return error(err);
	if (refresh) {
		puts("read");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return 1;
		err = array_refresh(roots, &a);
	}
	if (err) {
		error(err);
	} else {
		show(&a);
		puts("");
	}
	array_free(&a);
	return 0;
}

static int judge(const struct array_roots *roots, const char *name)
{
	struct array_info a;
	char text[160];

	if (array_read(roots, name, &a))
		return 1;
	array_judge(&a, text, sizeof(text));
	printf("\"%s\"\n", text);
	array_free(&a);
	return 0;
}

static int all(const struct array_roots *roots, const char *command, const char *what)
{
	const struct array_info *a = NULL;
	struct array_list list;
	int err = arrays_scan(roots, &list);

	if (err)
		return error(err);
	if (!strcmp(command, "scan")) {
		printf("[");
		for (size_t i = 0; i < list.n; i++) {
			fputs(i ? ", " : "", stdout);
			show(&list.v[i]);
		}
		puts("]");
	} else {
		a = strcmp(command, "find") ? arrays_by_dev(&list, strtoul(what, NULL, 0)) :
					      arrays_find(roots, &list, what);
		printf("\"%s\"\n", a ? a->name : "");
	}
	arrays_free(&list);
	return 0;
}

static int snapshot(const struct array_roots *roots, const char *name)
{
	int fd = array_snapshot_open(roots, name);
	int err = fd < 0 ? fd : array_snapshot(fd);

	if (fd >= 0)
		close(fd);
	return error(err);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;

	const struct array_roots roots = { .sys = argv[1], .dev = argv[2] };
	const char *what = argc > 4 ? argv[4] : "";

	if (!strcmp(argv[3], "read") || !strcmp(argv[3], "refresh"))
		return one(&roots, what, argv[3][2] == 'f');
	if (!strcmp(argv[3], "judge"))
		return judge(&roots, what);
	if (!strcmp(argv[3], "snapshot"))
		return snapshot(&roots, what);
	return all(&roots, argv[3], what);
}
