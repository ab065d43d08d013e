/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What writer and reader share; FORMAT.md describes it. */
#ifndef LLB_RECORDING_FORMAT_H
#define LLB_RECORDING_FORMAT_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include "recording.h"

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "recordings are written as in memory");

#define LLB_FILE_MAGIC "\x89LLBREC\n"
#define LLB_BLOCK_MAGIC 0x4b424c4cu /* "LLBK" */

struct llb_file_header {
	char magic[8];
	uint16_t version;
	uint16_t size;
	uint32_t event_size;
	uint64_t hash;
};

enum llb_block_type {
	LLB_BLOCK_META = 1,
	LLB_BLOCK_EVENTS = 2,
	LLB_BLOCK_STACK = 3,
	LLB_BLOCK_END = 4,
};

struct llb_block_header {
	uint32_t magic;
	uint32_t type;
	uint32_t index;
	uint32_t usize;
	uint32_t csize;
	uint32_t count;
	uint32_t header_hash;
	uint32_t payload_hash;
};

struct llb_block_end {
	uint64_t events;
	uint64_t blocks;
};

_Static_assert(sizeof(struct llb_file_header) == 24, "file format");
_Static_assert(sizeof(struct llb_block_header) == 32, "file format");

/* XXH3 of a header up to its hash member. */
uint64_t llb_file_hash(const struct llb_file_header *header);
/* Low halves of XXH3: of a header up to its hashes; of its payload. */
uint32_t llb_header_hash(const struct llb_block_header *header);
uint32_t llb_payload_hash(const struct llb_block_header *header, const void *payload);

#define LLB_CSIZE_MAX (LLB_REC_BLOCK + LLB_REC_BLOCK / 128 + 1024)
#define LLB_STACK_TEXT_MAX 8192
#define LLB_STACKS_MAX 1024 /* ids below this one are kept */

/* ---- coding of events in a block ---- */

#define LLB_TEMPLATES 1024
#define LLB_STREAMS 256
#define LLB_CODED_MAX 128 /* no event takes more bytes */

/* The last numbers of one type of event of one load. */
struct llb_stream {
	uint64_t key;
	uint64_t expected[3];
	uint64_t step; /* 1: the first one counts up */
};

struct llb_template {
	struct llb_event event;
	struct llb_stream *stream;
} __attribute__((aligned(128))); /* found with a shift */

struct llb_decoder {
	struct llb_template template[LLB_TEMPLATES];
	struct llb_stream stream[LLB_STREAMS];
	unsigned int nr_templates;
	unsigned int nr_streams;
	uint8_t guess[1024]; /* where a stream was last: the first place to look */
	uint64_t ts;
};

struct llb_encoder {
	struct llb_decoder state;
	uint16_t hash[4 * LLB_TEMPLATES]; /* template + 1 */
};

void llb_encoder_reset(struct llb_encoder *encoder);

/*
 * Codes an event at `to`, where LLB_CODED_MAX bytes must be free. Returns the
 * bytes used; 0: the block's tables are full, begin another one.
 */
size_t llb_encode(struct llb_encoder *encoder, const struct llb_event *event, uint8_t *to);

void llb_decoder_reset(struct llb_decoder *decoder);

/**
 * llb_decode_block() - decode a block's events into a sink
 * @data: LLB_CODED_MAX readable bytes must follow its end
 *
 * Returns 0, what the sink returned, or -EBADMSG.
 */
int llb_decode_block(struct llb_decoder *decoder, const uint8_t *data, size_t size,
		     uint32_t count, const struct llb_sink *sink);

#endif
