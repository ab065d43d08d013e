/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loads of bitmaps that are followed at the same time, live and in recordings. */
#ifndef LLB_MODEL_LOADS_H
#define LLB_MODEL_LOADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../../../bpf/llbitmap_abi.h"

#define LLB_LOADS 128

/* dev and load as one number; md's dev_t is never 0. */
static inline uint64_t llb_load_key(const struct llb_event *e)
{
	return (uint64_t)e->load << 32 | e->dev;
}

static inline uint32_t llb_key_dev(uint64_t key)
{
	return (uint32_t)key;
}

static inline uint32_t llb_key_load(uint64_t key)
{
	return key >> 32;
}

/*
 * Where in an array of up to LLB_LOADS a load was found last: the first place
 * to look, so that an event costs the same however many loads there are.
 */
struct llb_guesses {
	uint8_t at[4096];
};

_Static_assert(LLB_LOADS <= 256, "a guess is a byte");

/* Looks everywhere, and remembers where it was found. */
void *llb_search_load(uint8_t *guess, uint64_t key, void *items, size_t size, unsigned int nr);

/* That of `nr` items of `size` bytes, each beginning with a key, which has this one; or NULL. */
static inline void *llb_find_load(struct llb_guesses *guesses, uint64_t key, void *items,
				  size_t size, unsigned int nr)
{
	uint8_t *guess = &guesses->at[key * 0x9e3779b97f4a7c15 >> 52];
	uint64_t *item = (void *)((char *)items + *guess * size);

	if (*guess < nr && *item == key)
		return item;
	return llb_search_load(guess, key, items, size, nr);
}

/* Loads for which there was no room. */
struct llb_unwatched {
	uint64_t key[LLB_LOADS]; /* of the last ones */
	uint64_t nr;
};

/* Counts the load of an event, unless it was counted already. */
void llb_count_unwatched(struct llb_unwatched *unwatched, const struct llb_event *e);

/* ---- what is kept of their chunks ---- */

/* 48 MiB of memory, whatever a recording says; as many as 48 of the largest bitmap need. */
#define LLB_CHUNK_PAGES 1536

/* A number for each chunk, in memory from the first time that it is set on. */
struct llb_chunks {
	uint64_t *page[LLB_MAX_PAGES]; /* of the bitmap; not NULL: what was never set reads 0 */
};

void llb_chunks_init(struct llb_chunks *chunks);

/* Gives the memory back, to @room. Also of zeroed ones. */
void llb_chunks_free(struct llb_chunks *chunks, unsigned int *room);

/**
 * llb_chunks_need() - these are going to be set
 * @room: pages that may still be taken
 * @first, @count: below LLB_MAX_CHUNKS
 *
 * Returns false without room or memory.
 */
bool llb_chunks_need(struct llb_chunks *chunks, unsigned int *room, uint64_t first, uint64_t count);

/* The number of a chunk below LLB_MAX_CHUNKS. */
static inline uint64_t *llb_chunk(const struct llb_chunks *chunks, uint64_t chunk)
{
	return &chunks->page[llb_page_of(chunk)][(LLB_FIRST_BYTE + chunk) % LLB_PAGE_SIZE];
}

#endif
