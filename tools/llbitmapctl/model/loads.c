// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include "loads.h"

void llb_count_unwatched(struct llb_unwatched *u, const struct llb_event *e)
{
	uint64_t key = llb_load_key(e);

	for (unsigned int i = 0; i < LLB_LOADS && i < u->nr; i++)
		if (u->key[i] == key)
			return;
	u->key[u->nr++ % LLB_LOADS] = key;
}

void *llb_search_load(uint8_t *guess, uint64_t key, void *items, size_t size, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t *item = (void *)((char *)items + i * size);

		if (*item != key)
			continue;
		*guess = (uint8_t)i;
		return item;
	}
	return NULL;
}

/* Only read. */
static uint64_t zeros[LLB_PAGE_SIZE];

void llb_chunks_init(struct llb_chunks *chunks)
{
	for (unsigned int page = 0; page < LLB_MAX_PAGES; page++)
		chunks->page[page] = zeros;
}

void llb_chunks_free(struct llb_chunks *chunks, unsigned int *room)
{
	for (unsigned int page = 0; page < LLB_MAX_PAGES; page++) {
		if (!chunks->page[page] || chunks->page[page] == zeros)
			continue;
		free(chunks->page[page]);
		chunks->page[page] = zeros;
		(*room)++;
	}
}

bool llb_chunks_need(struct llb_chunks *chunks, unsigned int *room, uint64_t first, uint64_t count)
{
	uint64_t *fresh;

	if (!count)
		return true;
	for (uint32_t page = llb_page_of(first); page <= llb_page_of(first + count - 1); page++) {
		if (chunks->page[page] != zeros)
			continue;
		fresh = *room ? calloc(LLB_PAGE_SIZE, sizeof(*fresh)) : NULL;
		if (!fresh)
			return false;
		chunks->page[page] = fresh;
		(*room)--;
	}
	return true;
}
