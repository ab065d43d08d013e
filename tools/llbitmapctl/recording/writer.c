// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include "../model/kernel_table.h"
#include "format.h"
#include "syncer.h"

/*
 * A negative level packs what repeats and leaves the rest as it is. Packing
 * that too saves a quarter of the size, and makes a replay half as long again.
 */
#define COMPRESSION (-1)

struct llb_writer {
	int fd;
	int error; /* -errno, sticky */
	ZSTD_CCtx *cctx;
	uint64_t bytes; /* whole blocks in the file */
	uint64_t events; /* in them */
	uint32_t blocks;
	uint32_t meta_bytes;
	struct llb_encoder encoder;
	uint32_t pending; /* events in data */
	size_t used;
	uint8_t stacks[LLB_STACKS_MAX / 8]; /* ids written */
	uint8_t data[LLB_REC_BLOCK];
	uint8_t packed[sizeof(struct llb_block_header) + LLB_CSIZE_MAX];
};

static int write_all(int fd, const void *data, size_t size)
{
	const char *p = data;
	ssize_t n;

	while (size) {
		n = write(fd, p, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Append whole, or leave the file as it was where it can be cut. */
static int append(struct llb_writer *w, const void *data, size_t size)
{
	struct stat st;

	w->error = write_all(w->fd, data, size);
	if (!w->error)
		w->bytes += size;
	else if (!fstat(w->fd, &st) && S_ISREG(st.st_mode) &&
		 ftruncate(w->fd, (off_t)w->bytes))
		return w->error; /* a reader stops before the torn block anyway */
	return w->error;
}

static int write_block(struct llb_writer *w, enum llb_block_type type, const void *payload,
		       size_t size, uint32_t count)
{
	struct llb_block_header header = {
		.magic = LLB_BLOCK_MAGIC,
		.type = type,
		.index = w->blocks,
		.usize = (uint32_t)size,
		.count = count,
	};
	size_t packed = ZSTD_compress2(w->cctx, w->packed + sizeof(header), LLB_CSIZE_MAX,
				       payload, size);

	if (ZSTD_isError(packed))
		return w->error = -ENOMEM;
	header.csize = (uint32_t)packed;
	header.header_hash = llb_header_hash(&header);
	header.payload_hash = llb_payload_hash(&header, w->packed + sizeof(header));
	memcpy(w->packed, &header, sizeof(header));
	w->blocks++;
	return append(w, w->packed, sizeof(header) + packed);
}

int llb_writer_open(int fd, struct llb_writer **writer)
{
	struct llb_file_header header = {
		.version = LLB_REC_VERSION,
		.size = sizeof(header),
		.event_size = sizeof(struct llb_event),
	};
	struct llb_writer *w = calloc(1, sizeof(*w));
	char table[LLB_KERNEL_TABLE_MAX];
	int ret = -ENOMEM;

	if (!w)
		return ret;
	w->fd = fd;
	w->cctx = ZSTD_createCCtx();
	if (!w->cctx)
		goto fail;
	ZSTD_CCtx_setParameter(w->cctx, ZSTD_c_compressionLevel, COMPRESSION);
	llb_encoder_reset(&w->encoder);
	memcpy(header.magic, LLB_FILE_MAGIC, sizeof(header.magic));
	header.hash = llb_file_hash(&header);
	ret = append(w, &header, sizeof(header));
	if (!ret)
		ret = llb_writer_meta(w, "schema", "llbitmap-recording/1");
	llb_kernel_table_print(table);
	if (!ret)
		ret = llb_writer_meta(w, "table", table);
	if (ret)
		goto fail;
	*writer = w;
	return 0;
fail:
	llb_writer_close(w);
	return ret;
}

static bool valid_key(const char *key)
{
	return *key && strlen(key) < 128 &&
	       !key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"0123456789.:-_")];
}

int llb_writer_meta(struct llb_writer *w, const char *key, const char *value)
{
	size_t k = strlen(key) + 1, v = strlen(value) + 1;
	char *pair;
	int ret;

	if (w->error)
		return w->error;
	if (!valid_key(key))
		return -EINVAL;
	if (k + v > LLB_REC_META - w->meta_bytes)
		return -E2BIG;
	ret = llb_writer_flush(w);
	if (ret)
		return ret;
	pair = malloc(k + v);
	if (!pair)
		return -ENOMEM;
	memcpy(pair, key, k);
	memcpy(pair + k, value, v);
	ret = write_block(w, LLB_BLOCK_META, pair, k + v, 1);
	w->meta_bytes += (uint32_t)(k + v);
	free(pair);
	return ret;
}

int llb_writer_stack(struct llb_writer *w, int id, const char *text)
{
	struct {
		uint32_t id;
		char text[LLB_STACK_TEXT_MAX];
	} block = { .id = (uint32_t)id };
	size_t size = strnlen(text, LLB_STACK_TEXT_MAX);
	int ret;

	if (w->error)
		return w->error;
	if (id < 0)
		return -EINVAL;
	if (id >= LLB_STACKS_MAX || w->stacks[id / 8] & 1 << id % 8)
		return 0;
	ret = llb_writer_flush(w);
	if (ret)
		return ret;
	memcpy(block.text, text, size);
	w->stacks[id / 8] |= (uint8_t)(1 << id % 8);
	return write_block(w, LLB_BLOCK_STACK, &block, sizeof(block.id) + size, 1);
}

int llb_writer_flush(struct llb_writer *w)
{
	int ret;

	if (w->error || !w->pending)
		return w->error;
	ret = write_block(w, LLB_BLOCK_EVENTS, w->data, w->used, w->pending);
	if (!ret)
		w->events += w->pending;
	w->pending = 0;
	w->used = 0;
	llb_encoder_reset(&w->encoder);
	return ret;
}

int llb_writer_event(void *writer, const struct llb_event *event)
{
	struct llb_writer *w = writer;
	size_t n = 0;

	if (w->error)
		return w->error;
	if (w->used + LLB_CODED_MAX <= sizeof(w->data))
		n = llb_encode(&w->encoder, event, w->data + w->used);
	if (!n) {
		if (llb_writer_flush(w))
			return w->error;
		n = llb_encode(&w->encoder, event, w->data);
	}
	w->used += n;
	w->pending++;
	return 0;
}

int llb_writer_finish(struct llb_writer *w)
{
	struct llb_block_end end;
	int ret = llb_writer_flush(w);

	if (ret)
		return ret;
	end = (struct llb_block_end){ .events = w->events, .blocks = w->blocks };
	ret = write_block(w, LLB_BLOCK_END, &end, sizeof(end), 1);
	if (ret)
		return ret;
	return w->error = llb_sync_data(w->fd);
}

uint64_t llb_writer_bytes(const struct llb_writer *w)
{
	return w->bytes;
}

uint64_t llb_writer_events(const struct llb_writer *w)
{
	return w->events;
}

void llb_writer_close(struct llb_writer *w)
{
	if (!w)
		return;
	ZSTD_freeCCtx(w->cctx);
	free(w);
}
