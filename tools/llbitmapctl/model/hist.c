// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>
#include "audit.h"
#include "hist.h"
#include "loads.h"

void llb_hist_add(struct llb_hist *h, uint64_t value, uint64_t times)
{
	h->bucket[value ? 63 - __builtin_clzll(value) : 0] += times;
	h->count += times;
	h->sum += value * times;
	if (value > h->max)
		h->max = value;
}

uint64_t llb_hist_quantile(const struct llb_hist *h, double fraction)
{
	double want = fraction * (double)h->count, before = 0, value;
	unsigned int i;

	if (!h->count)
		return 0;
	for (i = 0; i < LLB_HIST_BUCKETS - 1; i++) {
		if (before + (double)h->bucket[i] >= want && h->bucket[i])
			break;
		before += (double)h->bucket[i];
	}
	value = i ? (double)(1ull << i) : 0;
	if (h->bucket[i])
		value += (double)(i ? 1ull << i : 2) * (want - before) / (double)h->bucket[i];
	return value < (double)h->max ? (uint64_t)value : h->max;
}

const char *llb_hist_name(enum llb_latency kind)
{
	static const char *const names[] = {
		[LLB_LAT_DIRTY] = "Dirty before Clean",
		[LLB_LAT_NEEDSYNC] = "NeedSync before Syncing",
		[LLB_LAT_WRITE] = "bitmap write",
		[LLB_LAT_BARRIER] = "barrier wait",
		[LLB_LAT_DAEMON] = "daemon pass",
	};

	return kind < LLB_NR_LATENCIES ? names[kind] : "?";
}

const char *llb_hist_key(enum llb_latency kind)
{
	static const char *const keys[] = { "dirty", "need_sync", "bitmap_write", "barrier_wait",
					    "daemon_pass" };

	return kind < LLB_NR_LATENCIES ? keys[kind] : "?";
}

/* A load while it is there; times are 0 where not known. */
struct timed {
	uint64_t key; /* llb_load_key() */
	struct llb_chunks since; /* when it entered its state */
	uint64_t write_began[LLB_MAX_PAGES + 1];
	uint64_t pass_began;
};

struct llb_hists {
	struct llb_hist_set set;
	uint64_t first_ns;
	uint64_t last_ns;
	struct timed timed[LLB_LOADS];
	unsigned int nr;
	unsigned int room; /* pages for their chunks */
	struct llb_guesses guesses;
	struct llb_unwatched unwatched;
};

struct llb_hists *llb_hists_new(void)
{
	struct llb_hists *hists = calloc(1, sizeof(*hists));

	if (hists)
		hists->room = LLB_CHUNK_PAGES;
	return hists;
}

void llb_hists_free(struct llb_hists *hists)
{
	if (!hists)
		return;
	for (unsigned int i = 0; i < hists->nr; i++)
		llb_chunks_free(&hists->timed[i].since, &hists->room);
	free(hists);
}

struct llb_hist_set llb_hists_get(const struct llb_hists *hists)
{
	struct llb_hist_set set = hists->set;

	set.unwatched = hists->unwatched.nr;
	return set;
}

/* NULL: there is no room for it. */
static struct timed *find(struct llb_hists *hists, const struct llb_event *e)
{
	struct timed *t = llb_find_load(&hists->guesses, llb_load_key(e), hists->timed,
					sizeof(*hists->timed), hists->nr);

	if (t)
		return t;
	if (hists->nr == LLB_LOADS) {
		llb_count_unwatched(&hists->unwatched, e);
		return NULL;
	}
	t = &hists->timed[hists->nr++];
	*t = (struct timed){ .key = llb_load_key(e) };
	llb_chunks_init(&t->since);
	return t;
}

static void forget(struct llb_hists *hists, struct timed *t)
{
	llb_chunks_free(&t->since, &hists->room);
	*t = hists->timed[--hists->nr];
}

static void add_since(struct llb_hist *h, uint64_t began, uint64_t now)
{
	if (began && now >= began)
		llb_hist_add(h, now - began, 1);
}

static void on_transition(struct llb_hists *hists, struct timed *t, const struct llb_event *e)
{
	uint64_t first = e->transition.first, count = e->transition.count;
	struct llb_hist *h = NULL;

	if (first >= LLB_MAX_CHUNKS || count > LLB_MAX_CHUNKS - first)
		return;
	if (e->transition.from == LLB_DIRTY && e->transition.to == LLB_CLEAN)
		h = &hists->set.hist[LLB_LAT_DIRTY];
	else if (e->transition.from == LLB_NEEDSYNC && e->transition.to == LLB_SYNCING)
		h = &hists->set.hist[LLB_LAT_NEEDSYNC];
	if (!llb_chunks_need(&t->since, &hists->room, first, count)) {
		llb_count_unwatched(&hists->unwatched, e);
		return;
	}
	for (uint64_t c = first; c < first + count; c++) {
		uint64_t *since = llb_chunk(&t->since, c);

		if (h)
			add_since(h, *since, e->ts_ns);
		*since = e->ts_ns;
	}
}

static void on_writeback(struct llb_hists *hists, struct timed *t, const struct llb_event *e)
{
	uint64_t *began;

	if (e->writeback.page > LLB_MAX_PAGES)
		return;
	began = &t->write_began[e->writeback.page];
	if (e->writeback.op == LLB_BEGIN) {
		*began = e->ts_ns;
		return;
	}
	add_since(&hists->set.hist[LLB_LAT_WRITE], *began, e->ts_ns);
	*began = 0;
}

static void on_daemon(struct llb_hists *hists, struct timed *t, const struct llb_event *e)
{
	if (e->daemon.op == LLB_BEGIN) {
		t->pass_began = e->ts_ns;
		return;
	}
	add_since(&hists->set.hist[LLB_LAT_DAEMON], t->pass_began, e->ts_ns);
	t->pass_began = 0;
}

int llb_hists_event(void *ctx, const struct llb_event *e)
{
	struct llb_hists *hists = ctx;
	struct timed *t;

	if (!hists->first_ns || e->ts_ns < hists->first_ns)
		hists->first_ns = e->ts_ns;
	if (e->ts_ns > hists->last_ns)
		hists->last_ns = e->ts_ns;
	hists->set.duration_ns = hists->last_ns - hists->first_ns;
	if (e->type == LLB_EV_LOSS && llb_loss_matters(e->loss.kind))
		hists->set.lost += e->loss.count;
	if (e->type == LLB_EV_BARRIER) {
		if (e->barrier.op == LLB_BARRIER_WAIT)
			llb_hist_add(&hists->set.hist[LLB_LAT_BARRIER], e->barrier.ns, 1);
		return 0;
	}
	if (e->type != LLB_EV_TRANSITION && e->type != LLB_EV_WRITEBACK &&
	    e->type != LLB_EV_DAEMON && e->type != LLB_EV_UNLOAD)
		return 0;
	t = find(hists, e);
	if (!t)
		return 0;
	switch (e->type) {
	case LLB_EV_TRANSITION:
		on_transition(hists, t, e);
		break;
	case LLB_EV_WRITEBACK:
		on_writeback(hists, t, e);
		break;
	case LLB_EV_DAEMON:
		on_daemon(hists, t, e);
		break;
	default:
		forget(hists, t);
	}
	return 0;
}
