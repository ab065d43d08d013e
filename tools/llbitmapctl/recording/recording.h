/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recording file. See recording/FORMAT.md.
 */
#ifndef LLB_RECORDING_H
#define LLB_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../source.h"

#define LLB_REC_VERSION 2 /* 1 has no resize events, and is read */
#define LLB_REC_BLOCK 65536 /* bytes of events in a block, before compression */
#define LLB_REC_META 65536 /* bytes of all meta data together */

/* ---- writing ---- */

struct llb_writer;

/**
 * llb_writer_open() - begin a recording on a descriptor; keeps `schema` and `table`
 * @fd: open for writing, at its start; stays the caller's
 * @writer: result
 *
 * Returns 0 or -errno.
 */
int llb_writer_open(int fd, struct llb_writer **writer);

/**
 * llb_writer_meta() - keep a fact about the session
 * @key: letters, digits, '.', '-', '_'; see FORMAT.md for those in use
 * @value: text without NUL
 *
 * May come at any time; facts before the first event let a reader use them
 * from the start. Returns 0, -E2BIG (LLB_REC_META), -EINVAL or a write error.
 */
int llb_writer_meta(struct llb_writer *w, const char *key, const char *value);

/**
 * llb_writer_stack() - keep the text of a stack
 * @id: what events call it, 0 or more
 * @text: one frame a line, innermost first
 *
 * Returns 0 or -errno. Repeated ids are ignored; so is what exceeds the
 * format's limit on stacks.
 */
int llb_writer_stack(struct llb_writer *w, int id, const char *text);

/**
 * llb_writer_event() - append an event
 *
 * Returns 0 or -errno of a write. After an error every call returns it, and
 * the file ends with the last whole block: it is readable, and incomplete.
 * Takes the place of `event` of a struct llb_sink.
 */
int llb_writer_event(void *writer, const struct llb_event *event);

/* Write out what is held back, as a block. Returns 0 or -errno. */
int llb_writer_flush(struct llb_writer *w);

/**
 * llb_writer_finish() - write the end mark, and wait until all is on disk
 *
 * Returns 0 or -errno; the writer still has to be closed.
 */
int llb_writer_finish(struct llb_writer *w);

/* What the file holds: bytes, and events. */
uint64_t llb_writer_bytes(const struct llb_writer *w);
uint64_t llb_writer_events(const struct llb_writer *w);

/* Free; without llb_writer_finish() the recording stays incomplete. */
void llb_writer_close(struct llb_writer *w);

/* ---- reading ---- */

struct llb_reader;

/* What is wrong with a recording; for -EBADMSG from the reader. */
struct llb_reader_fault {
	uint64_t offset; /* of the block in the file */
	const char *what; /* "checksum of a block does not match", ... */
};

/**
 * llb_reader_open() - begin to read
 * @fd: at the file's start; stays the caller's; need not be seekable
 * @reader: result, also set on -EBADMSG and -EPROTONOSUPPORT, for
 *	llb_reader_fault() and llb_reader_version()
 *
 * Returns 0, -errno of read, -EBADMSG: not a recording, or damaged,
 * -EPROTONOSUPPORT: written by a newer version, -ENOMEM.
 */
int llb_reader_open(int fd, struct llb_reader **reader);
void llb_reader_close(struct llb_reader *r);

/**
 * llb_reader_run() - push all events into a sink
 *
 * Returns 0 at the end of the file or where it was cut (see
 * llb_reader_complete()), which is also where only zeros follow; what the sink
 * returned if not 0, -EBADMSG at a damaged block, -errno of read.
 */
int llb_reader_run(struct llb_reader *r, const struct llb_sink *sink);

/* After run: was the end mark there? */
bool llb_reader_complete(const struct llb_reader *r);

/* Meta data read so far; NULL: no such key. A later value replaces. */
const char *llb_reader_meta(const struct llb_reader *r, const char *key);
/* All of it in order; false past the last. */
bool llb_reader_meta_at(const struct llb_reader *r, size_t index, const char **key,
			const char **value);

/* Text of a stack read so far; NULL: unknown. */
const char *llb_reader_stack(const struct llb_reader *r, int id);

uint64_t llb_reader_events(const struct llb_reader *r);
unsigned int llb_reader_version(const struct llb_reader *r);
const struct llb_reader_fault *llb_reader_fault(const struct llb_reader *r);

#endif
