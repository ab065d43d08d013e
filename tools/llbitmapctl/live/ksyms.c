// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ksyms.h"

struct ksym {
	uint64_t address;
	uint32_t name; /* offset in text */
	uint32_t module;
};

struct ksyms {
	int fd;
	bool read;
	struct ksym *v;
	size_t n, room;
	char *text; /* offset 0: "" */
	size_t used, text_room;
};

int ksyms_open(struct ksyms **out)
{
	struct ksyms *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	if (k->fd < 0) {
		int err = -errno;

		free(k);
		return err;
	}
	*out = k;
	return 0;
}

void ksyms_close(struct ksyms *k)
{
	if (!k)
		return;
	if (k->fd >= 0)
		close(k->fd);
	free(k->v);
	free(k->text);
	free(k);
}

/* Offset of a copy of @s, or 0 without memory. */
static uint32_t keep(struct ksyms *k, const char *s)
{
	size_t len = strlen(s) + 1, at;

	if (k->used + len + 1 > k->text_room) {
		size_t room = k->text_room ? k->text_room * 2 : 1 << 20;
		char *text = realloc(k->text, room);

		if (!text)
			return 0;
		k->text = text;
		k->text_room = room;
		if (!k->used)
			text[k->used++] = '\0';
	}
	at = k->used;
	memcpy(k->text + at, s, len);
	k->used += len;
	return at;
}

static int by_address(const void *x, const void *y)
{
	const struct ksym *a = x, *b = y;

	return a->address < b->address ? -1 : a->address > b->address;
}

static void ksyms_read(struct ksyms *k)
{
	char line[1024], module[128], name[512], kind;
	char last_module[128] = "";
	uint32_t last = 0;
	uint64_t address;
	FILE *f;

	k->read = true;
	f = fdopen(k->fd, "r");
	if (!f)
		return;
	k->fd = -1;
	while (fgets(line, sizeof(line), f)) {
		int got = sscanf(line, "%" SCNx64 " %c %511s [%127[^]]", &address, &kind, name,
				 module);

		if (got < 3 || !address || !strchr("tTwW", kind))
			continue;
		if (k->n == k->room) {
			size_t room = k->room ? k->room * 2 : 1 << 16;
			struct ksym *v = reallocarray(k->v, room, sizeof(*v));

			if (!v)
				break;
			k->v = v;
			k->room = room;
		}
		if (got < 4)
			module[0] = '\0';
		if (strcmp(module, last_module)) {
			snprintf(last_module, sizeof(last_module), "%s", module);
			last = module[0] ? keep(k, module) : 0;
		}
		k->v[k->n++] = (struct ksym){ address, keep(k, name), last };
	}
	fclose(f);
	qsort(k->v, k->n, sizeof(*k->v), by_address);
}

const char *ksyms_name(struct ksyms *k, uint64_t address, char *buf, size_t size)
{
	size_t low = 0, high;

	if (k && !k->read)
		ksyms_read(k);
	high = k ? k->n : 0;
	/* The last symbol at or below the address. */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (k->v[mid].address <= address)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low) {
		snprintf(buf, size, "0x%" PRIx64, address);
		return buf;
	}
	const struct ksym *sym = &k->v[low - 1];

	snprintf(buf, size, sym->module ? "%s+0x%" PRIx64 " [%s]" : "%s+0x%" PRIx64,
		 k->text + sym->name, address - sym->address, k->text + sym->module);
	return buf;
}
