// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "activity.h"
#include "audit.h"

struct llb_activities *llb_activities_new(void)
{
	return calloc(1, sizeof(struct llb_activities));
}

void llb_activities_free(struct llb_activities *all)
{
	if (!all)
		return;
	for (unsigned int i = 0; i < all->nr; i++)
		free(all->item[i].shadow);
	free(all);
}

static struct llb_activity *find(struct llb_activities *all, const struct llb_event *e)
{
	return llb_find_load(&all->guesses, llb_load_key(e), all->item, sizeof(*all->item),
			     all->nr);
}

/* A place for a new load: a free one, or that of the oldest unloaded one. */
static struct llb_activity *make_room(struct llb_activities *all)
{
	if (all->nr < LLB_LOADS)
		return &all->item[all->nr++];
	for (unsigned int i = 0; i < all->nr; i++) {
		if (!all->item[i].unloaded)
			continue;
		free(all->item[i].shadow);
		memmove(&all->item[i], &all->item[i + 1],
			(all->nr - i - 1) * sizeof(all->item[0]));
		return &all->item[all->nr - 1];
	}
	return NULL;
}

static int begin(struct llb_activities *all, const struct llb_event *e,
		 struct llb_activity **result)
{
	uint64_t chunks = e->type == LLB_EV_LOAD ? e->load_info.chunks : LLB_MAX_CHUNKS;
	struct llb_activity *a = NULL;
	uint8_t *shadow;

	*result = NULL;
	if (chunks && chunks <= LLB_MAX_CHUNKS)
		a = make_room(all);
	if (!a) {
		llb_count_unwatched(&all->unwatched, e);
		return 0;
	}
	memset(a, 0, sizeof(*a));
	a->unloaded = true; /* until it has its chunks */
	shadow = malloc(LLB_MAX_CHUNKS);
	if (!shadow)
		return -ENOMEM;
	memset(shadow, LLB_UNKNOWN, LLB_MAX_CHUNKS);
	a->key = llb_load_key(e);
	a->shadow = shadow;
	a->unloaded = false;
	*result = a;
	return 0;
}

/* Index in states[] of a state byte. */
static unsigned int state_index(uint8_t state)
{
	return state < LLB_NR_STATES ? state : LLB_NR_STATES;
}

static void move_chunks(struct llb_activity *a, uint64_t first, uint32_t count, uint8_t to)
{
	if (first >= LLB_MAX_CHUNKS || count > LLB_MAX_CHUNKS - first)
		return;
	for (uint64_t c = first; c < first + count; c++) {
		uint64_t *was = &a->states[state_index(a->shadow[c])];

		/* Without geometry the unknown are not counted beforehand. */
		if (*was)
			(*was)--;
		a->shadow[c] = to;
		a->states[state_index(to)]++;
	}
	if (first + count > a->chunks)
		a->chunks = first + count;
}

static void on_load(struct llb_activity *a, const struct llb_event *e)
{
	uint64_t known = 0;

	for (unsigned int s = 0; s < LLB_NR_STATES; s++)
		known += a->states[s];
	a->level = e->load_info.level;
	a->members = e->load_info.members;
	a->chunks = e->load_info.chunks;
	a->chunk_sectors = e->load_info.chunk_sectors;
	a->states[LLB_NR_STATES] = a->chunks > known ? a->chunks - known : 0;
}

/* Chunks that go are none of any state; those that come are not known yet. */
static void on_resize(struct llb_activity *a, const struct llb_event *e)
{
	uint64_t from = e->resize.old_chunks, to = e->resize.chunks;
	uint64_t first = from < to ? from : to, end = from < to ? to : from;

	if (end > LLB_MAX_CHUNKS)
		return;
	for (uint64_t c = first; c < end; c++) {
		uint64_t *was = &a->states[state_index(a->shadow[c])];

		if (from > to && *was)
			(*was)--;
		a->shadow[c] = LLB_UNKNOWN;
	}
	if (to > from)
		a->states[LLB_NR_STATES] += to - from;
	a->chunks = to;
}

static void on_barrier(struct llb_activity *a, const struct llb_event *e)
{
	if (e->barrier.op == LLB_BARRIER_WAIT) {
		a->waits++;
		a->wait_ns += e->barrier.ns;
	} else if (e->barrier.op == LLB_BARRIER_TIMEOUT) {
		a->timeouts++;
	}
}

static void on_sync(struct llb_activity *a, const struct llb_event *e)
{
	a->sync_sector = e->sync.sector;
	if (e->sync.op == LLB_SYNC_START)
		a->syncing = true;
	else if (e->sync.op != LLB_SYNC_SKIP)
		a->syncing = false;
}

static void count(struct llb_activity *a, const struct llb_event *e)
{
	switch (e->type) {
	case LLB_EV_TRANSITION:
		a->transitions++;
		if (e->transition.action < LLB_NR_ACTIONS)
			a->actions[e->transition.action] += e->transition.count;
		move_chunks(a, e->transition.first, e->transition.count, e->transition.to);
		break;
	case LLB_EV_SNAPSHOT:
		move_chunks(a, e->snapshot.first, e->snapshot.count, e->snapshot.state);
		break;
	case LLB_EV_LOAD:
		on_load(a, e);
		break;
	case LLB_EV_UNLOAD:
		a->unloaded = true;
		break;
	case LLB_EV_RESIZE:
		on_resize(a, e);
		break;
	case LLB_EV_WRITEBACK:
		a->writebacks += e->writeback.op == LLB_END;
		a->writeback_errors += e->writeback.op == LLB_END && e->writeback.error;
		break;
	case LLB_EV_BARRIER:
		on_barrier(a, e);
		break;
	case LLB_EV_DAEMON:
		a->passes += e->daemon.op == LLB_END;
		a->cleaned += e->daemon.op == LLB_END ? e->daemon.cleaned : 0;
		break;
	case LLB_EV_SYNC:
		on_sync(a, e);
		break;
	case LLB_EV_ERROR:
		a->errors++;
		break;
	}
}

int llb_activities_event(void *activities, const struct llb_event *e)
{
	struct llb_activities *all = activities;
	struct llb_activity *a;
	int ret = 0;

	if (!all->first_ns || e->ts_ns < all->first_ns)
		all->first_ns = e->ts_ns;
	if (e->ts_ns > all->last_ns)
		all->last_ns = e->ts_ns;
	if (e->type == LLB_EV_LOSS) {
		if (llb_loss_matters(e->loss.kind))
			all->lost += e->loss.count;
		return 0;
	}
	a = find(all, e);
	if (!a)
		ret = begin(all, e, &a);
	if (a)
		count(a, e);
	return ret;
}
