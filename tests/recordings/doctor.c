// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * llb-doctor KIND IN OUT: a recording with one fault put in. Each kind must
 * make an audit fail, or doubt, for its own reason:
 *
 *	illegal     a transition that the table does not have
 *	context     a transition whose context forbids it
 *	continuity  an event taken out, and its sequence number with it
 *	gap         sequence numbers that are missing
 *	loss        events that were counted as lost
 *	truncated   the file ends inside a block
 *	corrupt     one bit turned round
 *	newer       a format of the future
 *	size        the array grows without an event for it
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../tools/llbitmapctl/model/rules.h"
#include "../../tools/llbitmapctl/recording/format.h"

static struct llb_event *events;
static size_t nr_events;
static struct llb_reader *reader;

static void die(const char *what, int error)
{
	fprintf(stderr, "llb-doctor: %s%s%s\n", what, error ? ": " : "",
		error ? strerror(error) : "");
	exit(1);
}

static int keep(void *ctx, const struct llb_event *event)
{
	if (nr_events % 65536 == 0)
		events = realloc(events, (nr_events + 65536) * sizeof(*events));
	if (!events)
		return -ENOMEM;
	events[nr_events++] = *event;
	return 0;
}

static void load(const char *path)
{
	struct llb_sink sink = { .event = keep };
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		die(path, errno);
	ret = llb_reader_open(fd, &reader);
	if (!ret)
		ret = llb_reader_run(reader, &sink);
	if (ret)
		die(path, -ret);
	if (!llb_reader_complete(reader) || !nr_events)
		die("the recording is not whole to begin with", 0);
	close(fd);
}

static void save(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), ret;
	struct llb_writer *writer;
	const char *key, *value;

	if (fd < 0)
		die(path, errno);
	ret = llb_writer_open(fd, &writer);
	for (size_t i = 0; !ret && llb_reader_meta_at(reader, i, &key, &value); i++)
		if (strcmp(key, "schema") && strcmp(key, "table"))
			ret = llb_writer_meta(writer, key, value);
	for (int id = 0; !ret && id < LLB_STACKS_MAX; id++)
		if (llb_reader_stack(reader, id))
			ret = llb_writer_stack(writer, id, llb_reader_stack(reader, id));
	for (size_t i = 0; !ret && i < nr_events; i++)
		ret = llb_writer_event(writer, &events[i]);
	if (!ret)
		ret = llb_writer_finish(writer);
	if (ret)
		die(path, -ret);
	llb_writer_close(writer);
	close(fd);
}

/* ---- faults in events ---- */

static bool is_transition(size_t i, uint8_t action)
{
	return events[i].type == LLB_EV_TRANSITION && events[i].transition.action == action;
}

static bool same_load(const struct llb_event *a, const struct llb_event *b)
{
	return a->dev == b->dev && a->load == b->load;
}

/* Another action for the first write: what it changes stays the same. */
static void make_illegal(void)
{
	for (size_t i = 0; i < nr_events; i++)
		if (is_transition(i, LLB_STARTWRITE)) {
			events[i].transition.action = LLB_ABORTSYNC;
			events[i].transition.flags = 0;
			return;
		}
	die("no Startwrite in it", 0);
}

static void break_context(void)
{
	for (size_t i = 0; i < nr_events; i++)
		if (is_transition(i, LLB_DAEMON)) {
			events[i].transition.flags &= ~(uint32_t)LLB_F_FLUSHED;
			return;
		}
	for (size_t i = 0; i < nr_events; i++)
		if (is_transition(i, LLB_STARTWRITE) && events[i].transition.to == LLB_DIRTY) {
			events[i].transition.flags |= LLB_F_DEGRADED;
			return;
		}
	die("no Daemon and no Startwrite to Dirty in it", 0);
}

/* Moves the numbers of a load from event i on, if they are not below that of @of. */
static void renumber(size_t i, const struct llb_event *of, int64_t by)
{
	uint64_t lowest = of->word[0];

	for (; i < nr_events; i++) {
		if (!same_load(&events[i], of) || events[i].word[0] < lowest)
			continue;
		if (events[i].type == LLB_EV_TRANSITION || events[i].type == LLB_EV_SNAPSHOT ||
		    events[i].type == LLB_EV_UNLOAD || events[i].type == LLB_EV_RESIZE ||
		    events[i].type == LLB_EV_WRITEBACK)
			events[i].word[0] += (uint64_t)by;
	}
}

/* Does a later event tell the state of a chunk of event i? */
static bool shows_later(size_t i)
{
	const struct llb_event *e = &events[i], *later;

	for (size_t j = i + 1; j < nr_events; j++) {
		later = &events[j];
		if (same_load(later, e) &&
		    (later->type == LLB_EV_TRANSITION || later->type == LLB_EV_SNAPSHOT) &&
		    later->transition.first <= e->transition.first &&
		    later->transition.first + later->transition.count > e->transition.first)
			return true;
	}
	return false;
}

static void break_continuity(void)
{
	struct llb_event gone;

	for (size_t i = 0; i < nr_events; i++) {
		if (!is_transition(i, LLB_STARTWRITE) || !shows_later(i))
			continue;
		gone = events[i];
		nr_events--;
		memmove(&events[i], &events[i + 1], (nr_events - i) * sizeof(*events));
		renumber(i, &gone, -1);
		return;
	}
	die("no write whose effect shows later", 0);
}

/* The chunks that came with a growing array come without. */
static void forget_resize(void)
{
	struct llb_event gone;

	for (size_t i = 0; i < nr_events; i++) {
		if (events[i].type != LLB_EV_RESIZE ||
		    events[i].resize.chunks <= events[i].resize.old_chunks)
			continue;
		gone = events[i];
		nr_events--;
		memmove(&events[i], &events[i + 1], (nr_events - i) * sizeof(*events));
		renumber(i, &gone, -1);
		return;
	}
	die("no array grows in it", 0);
}

/* After the first snapshot, before which numbers need not be complete. */
static void make_gap(void)
{
	for (size_t i = nr_events / 2; i < nr_events; i++)
		if (events[i].type == LLB_EV_TRANSITION) {
			renumber(i, &events[i], 7);
			return;
		}
	die("no transition in its second half", 0);
}

static void make_loss(void)
{
	struct llb_event e = { .ts_ns = events[nr_events - 1].ts_ns, .type = LLB_EV_LOSS,
			       .version = LLB_EVENT_VERSION, .stack = -1,
			       .loss = { .count = 3, .kind = LLB_LOSS_RINGBUF } };

	if (keep(NULL, &e))
		die("memory", ENOMEM);
}

/* ---- faults in the file ---- */

static uint8_t *slurp(const char *path, size_t *size)
{
	FILE *file = fopen(path, "re");
	uint8_t *data;
	long end;

	if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0)
		die(path, errno);
	rewind(file);
	data = malloc((size_t)end + 1);
	if (!data || fread(data, 1, (size_t)end, file) != (size_t)end)
		die(path, errno);
	fclose(file);
	*size = (size_t)end;
	return data;
}

/* Offset of the payload of the biggest block of events, or of the last one. */
static size_t find_block(const uint8_t *data, size_t size, bool last, uint32_t *csize)
{
	struct llb_block_header h;
	size_t best = 0;

	*csize = 0;
	for (size_t at = sizeof(struct llb_file_header); at + sizeof(h) <= size;
	     at += sizeof(h) + h.csize) {
		memcpy(&h, data + at, sizeof(h));
		if (h.type != LLB_BLOCK_EVENTS || (!last && h.csize <= *csize))
			continue;
		*csize = h.csize;
		best = at + sizeof(h);
	}
	if (!best)
		die("no events in it", 0);
	return best;
}

static void damage(const char *kind, const char *from, const char *to)
{
	uint32_t csize;
	size_t size, at;
	uint8_t *data = slurp(from, &size);
	FILE *file;

	at = find_block(data, size, !strcmp(kind, "truncated"), &csize);
	at += csize / 2;
	if (!strcmp(kind, "truncated"))
		size = at;
	else if (!strcmp(kind, "corrupt"))
		data[at] ^= 0x10;
	else
		data[offsetof(struct llb_file_header, version)] = LLB_REC_VERSION + 1;
	file = fopen(to, "we");
	if (!file || fwrite(data, 1, size, file) != size || fclose(file))
		die(to, errno);
	free(data);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *kind;
		void (*fault)(void);
	} faults[] = {
		{ "illegal", make_illegal },	  { "context", break_context },
		{ "continuity", break_continuity }, { "gap", make_gap },
		{ "loss", make_loss },		  { "truncated", NULL },
		{ "corrupt", NULL },		  { "newer", NULL },
		{ "size", forget_resize },
	};

	if (argc != 4) {
		fprintf(stderr, "usage: llb-doctor KIND IN OUT\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		if (strcmp(argv[1], faults[i].kind))
			continue;
		if (faults[i].fault) {
			load(argv[2]);
			faults[i].fault();
			save(argv[3]);
		} else {
			damage(argv[1], argv[2], argv[3]);
		}
		return 0;
	}
	die("no such kind of fault", 0);
}
