// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include "format.h"

struct llb_reader {
	int fd;
	ZSTD_DCtx *dctx;
	uint64_t offset; /* of the next byte to read */
	uint64_t block_offset;
	uint64_t events;
	uint32_t blocks;
	uint16_t version;
	bool complete;
	bool ended; /* at the file's end, or before what is missing */
	bool have_block; /* header and payload below are read, not yet used */
	struct llb_reader_fault fault;
	struct llb_block_header header;
	char meta[LLB_REC_META]; /* key\0value\0 ... */
	size_t meta_used;
	char *stack[LLB_STACKS_MAX];
	struct llb_decoder decoder;
	uint8_t packed[LLB_CSIZE_MAX];
	uint8_t data[LLB_REC_BLOCK + LLB_CODED_MAX];
};

static int damaged(struct llb_reader *r, const char *what)
{
	r->fault.offset = r->block_offset;
	r->fault.what = what;
	return -EBADMSG;
}

/* Bytes read, less than size only at the file's end; or -errno. */
static ssize_t read_full(struct llb_reader *r, void *to, size_t size)
{
	size_t got = 0;
	ssize_t n;

	while (got < size) {
		n = read(r->fd, (char *)to + got, size - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		got += (size_t)n;
	}
	r->offset += got;
	return (ssize_t)got;
}

/* Are there only zeros up to the file's end? How many in *zeros. Or -errno. */
static int rest_is_zeros(struct llb_reader *r, size_t *zeros)
{
	ssize_t n;

	for (*zeros = 0;; *zeros += (size_t)n) {
		n = read_full(r, r->packed, sizeof(r->packed));
		if (n <= 0)
			return n ? (int)n : 1;
		for (ssize_t i = 0; i < n; i++)
			if (r->packed[i])
				return 0;
	}
}

static size_t zeros_before(const uint8_t *end, size_t size)
{
	size_t zeros = 0;

	while (zeros < size && !end[-1 - (ssize_t)zeros])
		zeros++;
	return zeros;
}

/*
 * So many zeros at the end are what a crash leaves where the file system had
 * room for blocks, but not yet what is in them; fewer, a block's own.
 */
#define ZEROS_OF_A_CRASH sizeof(struct llb_block_header)

/* A block that is @wrong, of whose payload this much was read: is it where the file was cut? */
static int cut_or_damaged(struct llb_reader *r, size_t payload, int wrong)
{
	size_t own = zeros_before(r->packed + payload, payload), more;
	int ret;

	if (own == payload)
		own += zeros_before((uint8_t *)(&r->header + 1), sizeof(r->header));
	ret = rest_is_zeros(r, &more);
	if (ret < 0)
		return ret;
	if (!ret || own + more < ZEROS_OF_A_CRASH)
		return wrong;
	r->ended = true;
	return 0;
}

/* After the end mark. */
static int read_nothing(struct llb_reader *r)
{
	size_t zeros;
	int ret = rest_is_zeros(r, &zeros);

	r->ended = true;
	return ret ? (ret < 0 ? ret : 0) : damaged(r, "data after the end mark");
}

static int check_header(struct llb_reader *r)
{
	const struct llb_block_header *h = &r->header;

	if (h->magic != LLB_BLOCK_MAGIC || h->type < LLB_BLOCK_META || h->type > LLB_BLOCK_END ||
	    h->index != r->blocks || llb_header_hash(h) != h->header_hash)
		return damaged(r, "no block where one should begin");
	if (!h->usize || h->usize > LLB_REC_META || !h->csize || h->csize > LLB_CSIZE_MAX)
		return damaged(r, "a block with an impossible size");
	return 0;
}

/* Reads and unpacks the next block. 0, with r->ended at the end; or an error. */
static int read_block(struct llb_reader *r)
{
	ssize_t n;
	int ret;

	r->block_offset = r->offset;
	if (r->complete)
		return read_nothing(r);
	n = read_full(r, &r->header, sizeof(r->header));
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(r->header)) {
		r->ended = true;
		return 0;
	}
	ret = check_header(r);
	if (ret)
		return cut_or_damaged(r, 0, ret);
	n = read_full(r, r->packed, r->header.csize);
	if (n < 0)
		return (int)n;
	if ((size_t)n < r->header.csize) {
		r->ended = true;
		return 0;
	}
	if (llb_payload_hash(&r->header, r->packed) != r->header.payload_hash)
		return cut_or_damaged(r, r->header.csize,
				      damaged(r, "the checksum of a block does not match"));
	if (ZSTD_decompressDCtx(r->dctx, r->data, LLB_REC_BLOCK, r->packed, r->header.csize) !=
	    r->header.usize)
		return damaged(r, "a block cannot be unpacked");
	memset(r->data + r->header.usize, 0, LLB_CODED_MAX);
	r->blocks++;
	return 0;
}

static int take_meta(struct llb_reader *r)
{
	size_t size = r->header.usize, strings = 0;

	for (size_t i = 0; i < size; i++)
		strings += !r->data[i];
	if (r->data[size - 1] || strings % 2 || size > LLB_REC_META - r->meta_used)
		return damaged(r, "meta data that is not pairs of strings, or too much of it");
	memcpy(r->meta + r->meta_used, r->data, size);
	r->meta_used += size;
	return 0;
}

static int take_stack(struct llb_reader *r)
{
	size_t size = r->header.usize;
	uint32_t id;

	if (size < sizeof(id) || size > sizeof(id) + LLB_STACK_TEXT_MAX)
		return damaged(r, "a stack with an impossible size");
	memcpy(&id, r->data, sizeof(id));
	if (id >= LLB_STACKS_MAX || r->stack[id])
		return damaged(r, "a stack with an impossible number");
	r->stack[id] = strndup((char *)r->data + sizeof(id), size - sizeof(id));
	return r->stack[id] ? 0 : -ENOMEM;
}

static int take_end(struct llb_reader *r)
{
	struct llb_block_end end;

	if (r->header.usize != sizeof(end))
		return damaged(r, "an end mark with an impossible size");
	memcpy(&end, r->data, sizeof(end));
	if (end.events != r->events || end.blocks != r->blocks - 1)
		return damaged(r, "the end mark counts other events than the file holds");
	r->complete = true;
	return 0;
}

static int take_events(struct llb_reader *r, const struct llb_sink *sink)
{
	int ret;

	llb_decoder_reset(&r->decoder);
	ret = llb_decode_block(&r->decoder, r->data, r->header.usize, r->header.count, sink);
	r->events += r->header.count;
	return ret == -EBADMSG ? damaged(r, "a block of events that makes no sense") : ret;
}

static int read_file_header(struct llb_reader *r)
{
	struct llb_file_header h;
	ssize_t n = read_full(r, &h, sizeof(h));

	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(h.magic) || memcmp(h.magic, LLB_FILE_MAGIC, sizeof(h.magic)))
		return damaged(r, "not a recording of llbitmapctl");
	r->ended = (size_t)n < sizeof(h);
	if (r->ended)
		return 0;
	r->version = h.version;
	if (h.version > LLB_REC_VERSION)
		return -EPROTONOSUPPORT;
	if (!h.version || h.size != sizeof(h) ||
	    h.event_size != sizeof(struct llb_event) || llb_file_hash(&h) != h.hash)
		return damaged(r, "its header does not match its checksum");
	return 0;
}

/* Meta data and stacks up to the first events, so that they are known early. */
static int read_preface(struct llb_reader *r)
{
	int ret;

	for (;;) {
		ret = read_block(r);
		if (ret || r->ended)
			return ret;
		if (r->header.type == LLB_BLOCK_META)
			ret = take_meta(r);
		else if (r->header.type == LLB_BLOCK_STACK)
			ret = take_stack(r);
		else
			break;
		if (ret)
			return ret;
	}
	r->have_block = true;
	return 0;
}

int llb_reader_open(int fd, struct llb_reader **reader)
{
	struct llb_reader *r = calloc(1, sizeof(*r));
	int ret;

	*reader = r;
	if (!r)
		return -ENOMEM;
	r->fd = fd;
	r->dctx = ZSTD_createDCtx();
	ret = r->dctx ? read_file_header(r) : -ENOMEM;
	if (!ret && !r->ended)
		ret = read_preface(r);
	/* A damaged preface keeps the reader: it can say where. */
	if (ret && ret != -EBADMSG && ret != -EPROTONOSUPPORT) {
		llb_reader_close(r);
		*reader = NULL;
	}
	return ret;
}

int llb_reader_run(struct llb_reader *r, const struct llb_sink *sink)
{
	int ret = 0;

	while (!r->ended) {
		if (!r->have_block)
			ret = read_block(r);
		r->have_block = false;
		if (ret || r->ended)
			break;
		switch (r->header.type) {
		case LLB_BLOCK_META:
			ret = take_meta(r);
			break;
		case LLB_BLOCK_STACK:
			ret = take_stack(r);
			break;
		case LLB_BLOCK_EVENTS:
			ret = take_events(r, sink);
			break;
		default:
			ret = take_end(r);
		}
		if (ret)
			break;
	}
	return ret;
}

bool llb_reader_complete(const struct llb_reader *r)
{
	return r->complete;
}

bool llb_reader_meta_at(const struct llb_reader *r, size_t index, const char **key,
			const char **value)
{
	const char *p = r->meta, *end = r->meta + r->meta_used;

	while (p < end) {
		*key = p;
		*value = p + strlen(p) + 1;
		if (!index--)
			return true;
		p = *value + strlen(*value) + 1;
	}
	return false;
}

const char *llb_reader_meta(const struct llb_reader *r, const char *key)
{
	const char *name, *value, *found = NULL;

	for (size_t i = 0; llb_reader_meta_at(r, i, &name, &value); i++)
		if (!strcmp(name, key))
			found = value;
	return found;
}

const char *llb_reader_stack(const struct llb_reader *r, int id)
{
	return id >= 0 && id < LLB_STACKS_MAX ? r->stack[id] : NULL;
}

uint64_t llb_reader_events(const struct llb_reader *r)
{
	return r->events;
}

unsigned int llb_reader_version(const struct llb_reader *r)
{
	return r->version;
}

const struct llb_reader_fault *llb_reader_fault(const struct llb_reader *r)
{
	return &r->fault;
}

void llb_reader_close(struct llb_reader *r)
{
	if (!r)
		return;
	for (unsigned int i = 0; i < LLB_STACKS_MAX; i++)
		free(r->stack[i]);
	ZSTD_freeDCtx(r->dctx);
	free(r);
}
