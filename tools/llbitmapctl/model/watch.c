// SPDX-License-Identifier: GPL-2.0-or-later
/* The loads that a verifier follows, and what it found in them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "verify_int.h"

struct llb_verifier *llb_verifier_new(const struct llb_verify_config *config)
{
	struct llb_verifier *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->max_loads = config && config->max_loads ? config->max_loads : LLB_LOADS;
	v->room = LLB_CHUNK_PAGES;
	v->watched = calloc(v->max_loads, sizeof(*v->watched));
	if (!v->watched) {
		free(v);
		return NULL;
	}
	return v;
}

static void forget(struct llb_verifier *v, struct watched *w)
{
	llb_chunks_free(&w->history, &v->room);
	free(w->pending);
	memset(w, 0, sizeof(*w));
	v->last = NULL;
}

void llb_verifier_free(struct llb_verifier *v)
{
	if (!v)
		return;
	for (unsigned int i = 0; i < v->max_loads; i++)
		forget(v, &v->watched[i]);
	free(v->watched);
	free(v);
}

/* ---- violations ---- */

static void add_violation(struct llb_verifier *v, struct llb_audit_load *info,
			  const struct llb_violation *violation)
{
	v->audit.violations++;
	v->audit.broken[violation->rule]++;
	if (info)
		info->violations++;
	if (v->audit.nr_violation < LLB_AUDIT_VIOLATIONS)
		v->audit.violation[v->audit.nr_violation++] = *violation;
}

void llb_violate(struct llb_verifier *v, struct llb_audit_load *info, enum llb_rule rule,
		 uint64_t chunk, uint64_t history, const struct llb_event *e)
{
	struct llb_violation violation = {
		.rule = rule,
		.chunk = chunk,
		.history = history,
		.event = *e,
	};

	add_violation(v, info, &violation);
}

void llb_violate_measured(struct llb_verifier *v, struct llb_audit_load *info, enum llb_rule rule,
			  uint64_t chunk, uint64_t history, const struct llb_event *e)
{
	struct doubtful *d = &v->doubtful;

	if (llb_event_rule(e)) {
		llb_violate(v, info, rule, chunk, history, e);
	} else if (d->nr == PENDING) {
		d->more[rule]++;
	} else {
		d->violation[d->nr++] = (struct llb_violation){
			.rule = rule,
			.chunk = chunk,
			.history = history,
			.event = *e,
		};
	}
}

/* The load of an event, whether it is followed or not; NULL: not known. */
static struct llb_audit_load *find_info(struct llb_verifier *v, const struct llb_event *e)
{
	struct watched *w = find_watched(v, e);

	return w ? &w->info : llb_find_ended(v, e->dev, e->load);
}

/* Nothing was lost so far: they count. */
static void settle_doubtful(struct llb_verifier *v)
{
	struct doubtful *d = &v->doubtful;

	if (llb_audit_lost(&v->audit))
		return;
	for (unsigned int i = 0; i < d->nr; i++)
		add_violation(v, find_info(v, &d->violation[i].event), &d->violation[i]);
	for (unsigned int rule = 0; rule < LLB_NR_RULES; rule++) {
		v->audit.violations += d->more[rule];
		v->audit.broken[rule] += d->more[rule];
	}
	memset(d, 0, sizeof(*d));
}

/*
 * Continuity is broken. If numbers before this one are missing, the chunk may
 * have changed in an event that was lost, or that comes late; unless the BPF
 * side, which sees all, objected too.
 */
int llb_break_continuity(struct llb_verifier *v, struct watched *w, uint64_t chunk,
			 uint64_t history, const struct llb_event *e)
{
	struct pending *p = w->pending;

	if (e->transition.rule || !llb_sequence_misses_before(&w->sequence, e->transition.seq)) {
		llb_violate(v, &w->info, LLB_RULE_CONTINUITY, chunk, history, e);
		return 0;
	}
	if (!p)
		p = w->pending = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (p->nr < PENDING) {
		p->violation[p->nr++] = (struct llb_violation){
			.rule = LLB_RULE_CONTINUITY,
			.chunk = chunk,
			.history = history,
			.event = *e,
		};
		return 0;
	}
	p->more++;
	if (e->transition.seq > p->more_seq)
		p->more_seq = e->transition.seq;
	return 0;
}

/* Counts what no missing event explains any more. */
static void settle_pending(struct llb_verifier *v, struct watched *w)
{
	struct pending *p = w->pending;
	unsigned int kept = 0;

	for (unsigned int i = 0; p && i < p->nr; i++)
		if (llb_sequence_misses_before(&w->sequence, p->violation[i].event.transition.seq))
			p->violation[kept++] = p->violation[i];
		else
			add_violation(v, &w->info, &p->violation[i]);
	if (p)
		p->nr = kept;
	if (p && p->more && !llb_sequence_misses_before(&w->sequence, p->more_seq)) {
		v->audit.violations += p->more;
		v->audit.broken[LLB_RULE_CONTINUITY] += p->more;
		w->info.violations += p->more;
		p->more = 0;
	}
}

/* ---- loads ---- */

struct watched *llb_find_watched(struct llb_verifier *v, uint64_t key)
{
	struct watched *w = key ? llb_find_load(&v->guesses, key, v->watched, sizeof(*v->watched),
						v->max_loads) : NULL;

	if (w)
		v->last = w;
	return w;
}

struct llb_audit_load *llb_find_ended(struct llb_verifier *v, uint32_t dev, uint32_t load)
{
	for (unsigned int i = 0; i < v->nr_ended; i++)
		if (v->ended[i].dev == dev && v->ended[i].load == load)
			return &v->ended[i];
	return NULL;
}

static void keep_ended(struct llb_verifier *v, const struct llb_audit_load *info)
{
	/* Room for those still watched, too: audit.load[] takes both. */
	unsigned int room =
		LLB_AUDIT_LOADS -
		(v->max_loads < LLB_AUDIT_LOADS / 2 ? v->max_loads : LLB_AUDIT_LOADS / 2);

	if (v->nr_ended == room) {
		v->audit.forgotten_missing += v->ended[0].missing;
		v->audit.forgotten_baseless += !v->ended[0].unwatched &&
					       !(v->ended[0].known && v->ended[0].based);
		v->nr_ended--;
		memmove(&v->ended[0], &v->ended[1], v->nr_ended * sizeof(v->ended[0]));
	}
	v->ended[v->nr_ended++] = *info;
}

void llb_settle(struct llb_verifier *v, struct watched *w, struct memo *m)
{
	uint32_t flags = (uint32_t)m->key;
	uint8_t from = (uint8_t)(m->key >> 32), action = (uint8_t)(m->key >> 48);
	uint64_t chunks = m->events + m->more_chunks;

	if (!m->events)
		return;
	v->audit.cells[llb_cell_row(from)][action] += chunks;
	v->audit.applied[llb_rule_applied(from, action, flags, w->parity)] += m->events;
	w->info.transitions += m->events;
	w->info.changed += chunks;
	v->audit.events[LLB_EV_TRANSITION] += m->events;
	m->events = 0;
	m->more_chunks = 0;
}

static void update_info(struct llb_verifier *v, struct watched *w)
{
	for (unsigned int i = 0; i < MEMOS; i++)
		llb_settle(v, w, &w->memo[i]);
	w->info.seq_min = w->sequence.max ? w->sequence.min : 0;
	w->info.seq_max = w->sequence.max;
	w->info.missing = llb_sequence_missing(&w->sequence);
	settle_pending(v, w);
}

void llb_end_watch(struct llb_verifier *v, struct watched *w)
{
	update_info(v, w);
	keep_ended(v, &w->info);
	forget(v, w);
}

struct watched *llb_begin_watch(struct llb_verifier *v, const struct llb_event *e, uint64_t chunks)
{
	struct watched *w = NULL;

	v->audit.nr_loads++;
	for (unsigned int i = 0; i < v->max_loads && !w; i++)
		if (!v->watched[i].key)
			w = &v->watched[i];
	if (!w) {
		struct llb_audit_load info = { .dev = e->dev, .load = e->load, .unwatched = true };

		v->audit.unwatched++;
		keep_ended(v, &info);
		return NULL;
	}
	llb_chunks_init(&w->history);
	w->key = llb_load_key(e);
	w->limit = chunks;
	w->info.dev = e->dev;
	w->info.load = e->load;
	return w;
}

bool llb_need_histories(struct llb_verifier *v, struct watched *w, uint64_t first, uint64_t count)
{
	if (llb_chunks_need(&w->history, &v->room, first, count))
		return true;
	v->audit.unwatched++;
	w->info.unwatched = true;
	llb_end_watch(v, w);
	return false;
}

void llb_resize_watch(struct llb_verifier *v, struct watched *w, uint64_t old, uint64_t chunks)
{
	const uint8_t none = LLB_PAST_ENTRY(LLB_PAST_SEEN, LLB_NONE);

	if (chunks > old && !llb_need_histories(v, w, old, chunks - old))
		return;
	for (uint64_t c = old; c < chunks; c++) {
		uint64_t *history = llb_chunk(&w->history, c);

		if ((uint8_t)*history != none)
			*history = *history << 8 | none;
	}
	w->limit = chunks;
	w->sure = true;
	w->info.chunks = chunks;
	w->snapshot_runs = false;
}

struct llb_audit *llb_verifier_audit(struct llb_verifier *v)
{
	settle_doubtful(v);
	memcpy(v->audit.load, v->ended, v->nr_ended * sizeof(v->ended[0]));
	v->audit.nr_load = v->nr_ended;
	for (unsigned int i = 0; i < v->max_loads; i++) {
		if (!v->watched[i].key || v->audit.nr_load == LLB_AUDIT_LOADS)
			continue;
		update_info(v, &v->watched[i]);
		v->audit.load[v->audit.nr_load++] = v->watched[i].info;
	}
	return &v->audit;
}
