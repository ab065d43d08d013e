// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>
#include "gaps.h"
#include "sequence.h"

struct numbered {
	uint64_t key; /* llb_load_key() */
	struct llb_sequence sequence;
	bool based; /* a snapshot was told to its end */
	bool snapshot_runs;
	uint64_t snapshot_next; /* chunk that it tells next */
};

struct llb_gaps {
	struct numbered load[LLB_LOADS]; /* oldest first */
	unsigned int nr;
	struct llb_guesses guesses;
	uint64_t before; /* of loads that are not followed any more */
};

struct llb_gaps *llb_gaps_new(void)
{
	return calloc(1, sizeof(struct llb_gaps));
}

void llb_gaps_free(struct llb_gaps *gaps)
{
	free(gaps);
}

static struct numbered *find(struct llb_gaps *g, const struct llb_event *e)
{
	return llb_find_load(&g->guesses, llb_load_key(e), g->load, sizeof(*g->load), g->nr);
}

static void end(struct llb_gaps *g, struct numbered *n)
{
	g->before += llb_sequence_missing(&n->sequence);
	g->nr--;
	memmove(n, n + 1, (char *)&g->load[g->nr] - (char *)n);
}

static struct numbered *begin(struct llb_gaps *g, const struct llb_event *e)
{
	struct numbered *n;

	if (g->nr == LLB_LOADS)
		end(g, &g->load[0]);
	n = &g->load[g->nr++];
	*n = (struct numbered){ .key = llb_load_key(e) };
	return n;
}

/* Numbers count from the first snapshot on that is told from the first chunk to the last. */
static void follow_snapshot(struct numbered *n, const struct llb_event *e)
{
	if (e->snapshot.flags & LLB_SNAPSHOT_FIRST) {
		n->snapshot_runs = true;
		n->snapshot_next = 0;
		if (!n->based)
			llb_sequence_base(&n->sequence, e->snapshot.seq);
	}
	n->snapshot_runs &= e->snapshot.first == n->snapshot_next;
	n->snapshot_next = e->snapshot.first + e->snapshot.count;
	if (e->snapshot.flags & LLB_SNAPSHOT_LAST) {
		n->based |= n->snapshot_runs;
		n->snapshot_runs = false;
	}
}

static void on_load(struct llb_gaps *g, const struct llb_event *e)
{
	/* Of one that ran before it may be told after its first events. */
	if (e->load_info.decision != LLB_LOAD_RUNNING && !find(g, e))
		llb_sequence_start(&begin(g, e)->sequence);
}

static void on_unload(struct llb_gaps *g, const struct llb_event *e)
{
	struct numbered *n = find(g, e);

	if (!n)
		return;
	llb_sequence_last(&n->sequence, e->unload.seq);
	end(g, n);
}

void llb_gaps_event(struct llb_gaps *g, const struct llb_event *e)
{
	struct numbered *n;

	switch (e->type) {
	case LLB_EV_LOAD:
		on_load(g, e);
		break;
	case LLB_EV_UNLOAD:
		on_unload(g, e);
		break;
	case LLB_EV_TRANSITION:
	case LLB_EV_SNAPSHOT:
	case LLB_EV_RESIZE:
		n = find(g, e) ?: begin(g, e);
		llb_sequence_take(&n->sequence, e->word[0]);
		if (e->type == LLB_EV_SNAPSHOT)
			follow_snapshot(n, e);
		break;
	}
}

uint64_t llb_gaps_missing(const struct llb_gaps *g)
{
	uint64_t sum = g->before;

	for (unsigned int i = 0; i < g->nr; i++)
		sum += llb_sequence_missing(&g->load[i].sequence);
	return sum;
}
