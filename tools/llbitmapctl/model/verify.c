// SPDX-License-Identifier: GPL-2.0-or-later
/* Judges events; most of them on the short path of usual_transition(). */
#include <errno.h>
#include "verify_int.h"

/* The load of a transition or snapshot; NULL: it is not followed. */
static struct watched *need_watched(struct llb_verifier *v, const struct llb_event *e)
{
	struct watched *w = find_watched(v, e);

	if (w || !llb_load_key(e) || llb_find_ended(v, e->dev, e->load))
		return w;
	return llb_begin_watch(v, e, LLB_MAX_CHUNKS);
}

/* An event of a load that is not followed: none at all, ended, or without room. */
static void orphan(struct llb_verifier *v, const struct llb_event *e)
{
	struct llb_audit_load *info = llb_find_ended(v, e->dev, e->load);

	if (!llb_load_key(e) || (info && !info->unwatched))
		llb_violate(v, info, LLB_RULE_LIFETIME, e->transition.first, 0, e);
}

/* Whose event it is; NULL: nobody's that is followed, and judged as that. */
static struct watched *find_or_orphan(struct llb_verifier *v, const struct llb_event *e)
{
	struct watched *w = need_watched(v, e);

	if (!w)
		orphan(v, e);
	return w;
}

/* ---- transitions and snapshots ---- */

static bool in_range(const struct watched *w, uint64_t first, uint32_t count)
{
	return count && first < w->limit && count <= w->limit - first &&
	       llb_page_of(first) == llb_page_of(first + count - 1);
}

/*
 * A chunk that is not there may be there since a resize that was lost, unless
 * the BPF side, which sees all, objected too.
 */
static bool lost_resize(struct llb_verifier *v, struct watched *w, const struct llb_event *e)
{
	uint64_t end = e->transition.first + e->transition.count;

	if (e->transition.rule || !e->transition.count || e->transition.first >= LLB_MAX_CHUNKS ||
	    end > LLB_MAX_CHUNKS || llb_page_of(e->transition.first) != llb_page_of(end - 1) ||
	    !llb_sequence_misses_before(&w->sequence, e->transition.seq))
		return false;
	llb_resize_watch(v, w, end, end);
	return true;
}

static uint8_t past_entry(uint8_t action, uint8_t state)
{
	/* States that cannot be kept are forgotten; their event is a violation. */
	return state < LLB_NR_STATES ? LLB_PAST_ENTRY(action, state) : 0;
}

/*
 * Moves the event's chunks on; *at, *past: the first one that was not in
 * `from`, and its history. Returns false if there is one.
 *
 * While a session attaches, some CPUs tell their events already and others do
 * not: a chunk of a load that ran before is followed from its snapshot on.
 */
static bool advance(struct watched *w, const struct llb_event *e, uint64_t *at, uint64_t *past)
{
	uint8_t entry = past_entry(e->transition.action, e->transition.to), state;
	uint64_t end = e->transition.first + e->transition.count, *history;
	bool good = true;

	for (uint64_t c = e->transition.first; c < end; c++) {
		history = llb_chunk(&w->history, c);
		state = llb_past_state(*history);
		if (state == LLB_UNKNOWN && !w->sequence.from_start)
			continue;
		if (state != e->transition.from && state != LLB_UNKNOWN && good) {
			good = false;
			*at = c;
			*past = *history;
		}
		*history = *history << 8 | entry;
	}
	return good;
}

static bool take_seq(struct watched *w, uint64_t seq, uint32_t page)
{
	bool good = seq > w->page_seq[page];

	good &= llb_sequence_take(&w->sequence, seq);
	w->page_seq[page] = seq;
	return good;
}

/*
 * What the judgement depends on within a load: context, from, to and action, in
 * the places of flags, from, to and action.
 */
static inline uint64_t kind_of(const struct watched *w, const struct llb_event *e, uint32_t page)
{
	return (e->word[3] & (0x00ffffff00000000 | LLB_F_TOLD)) | llb_measured(&w->drains, page);
}

static inline struct memo *memo_of(struct watched *w, uint64_t kind)
{
	return &w->memo[kind * 0x9e3779b97f4a7c15 >> 58];
}

static enum llb_rule judge(struct llb_verifier *v, struct watched *w, const struct llb_event *e)
{
	uint64_t kind = kind_of(w, e, llb_page_of(e->transition.first));
	struct memo *m = memo_of(w, kind);
	enum llb_rule rule;

	if (m->key != kind || !m->events) {
		rule = llb_rule_check(e->transition.from, e->transition.action, e->transition.to,
				      (uint32_t)kind, w->parity);
		if (rule)
			return rule;
		llb_settle(v, w, m);
		m->key = kind;
		m->from = e->transition.from & 0xf;
		m->entry = LLB_PAST_ENTRY(e->transition.action, e->transition.to);
		m->relied = llb_is_relied_on(e->transition.from, e->transition.action,
					     e->transition.to, e->transition.flags);
	}
	m->events++;
	m->more_chunks += e->transition.count - 1;
	return LLB_OK;
}

/* An event that is not among the counts of its kind. */
static void count_apart(struct llb_verifier *v, struct watched *w, const struct llb_event *e)
{
	v->audit.events[LLB_EV_TRANSITION]++;
	if (!w)
		return;
	w->info.transitions++;
	w->info.changed += e->transition.count;
}

/* A rule is broken: by what the event says of itself, or only by what was measured. */
static void break_rule(struct llb_verifier *v, struct watched *w, enum llb_rule rule,
		       uint64_t past, const struct llb_event *e)
{
	uint32_t told = e->transition.flags & LLB_F_TOLD;

	if (llb_rule_check(e->transition.from, e->transition.action, e->transition.to, told,
			   w->parity))
		llb_violate(v, &w->info, rule, e->transition.first, past, e);
	else
		llb_violate_measured(v, &w->info, rule, e->transition.first, past, e);
}

static __attribute__((noinline)) int on_transition(struct llb_verifier *v,
						   const struct llb_event *e)
{
	uint64_t first = e->transition.first, at = first, past, other = 0;
	bool in_order, continuous;
	struct watched *w = find_or_orphan(v, e);
	enum llb_rule rule;

	if (!w) {
		count_apart(v, NULL, e);
		return 0;
	}
	if (!in_range(w, first, e->transition.count)) {
		count_apart(v, w, e);
		/* also opens the gap that its number shows */
		llb_sequence_take(&w->sequence, e->transition.seq);
		if (!lost_resize(v, w, e))
			llb_violate(v, &w->info, LLB_RULE_RANGE, first, 0, e);
		return 0;
	}
	if (!llb_need_histories(v, w, first, e->transition.count)) {
		count_apart(v, NULL, e);
		return 0;
	}
	rule = judge(v, w, e);
	if (rule)
		count_apart(v, w, e);
	past = *llb_chunk(&w->history, first);
	in_order = take_seq(w, e->transition.seq, llb_page_of(first));
	continuous = advance(w, e, &at, &other);
	if (llb_is_relied_on(e->transition.from, e->transition.action, e->transition.to,
			     e->transition.flags))
		w->stored[llb_page_of(first)].relied = e->transition.seq;
	if (rule)
		break_rule(v, w, rule, past, e);
	else if (!in_order)
		llb_violate(v, &w->info, LLB_RULE_SEQUENCE, first, past, e);
	else if (!continuous)
		return llb_break_continuity(v, w, at, other, e);
	return 0;
}

/*
 * The usual transition: one chunk that does what it should, of a kind that
 * was judged before, next in sequence. Returns false, having done nothing, if
 * it is anything else.
 */
static inline bool usual_transition(struct llb_verifier *v, const struct llb_event *e)
{
	uint64_t first = e->transition.first, kind, past, *history;
	struct watched *w = find_watched(v, e);
	uint32_t page = llb_page_of(first);
	struct memo *m;

	if (!likely(w && e->transition.count == 1 && first < w->limit &&
		    e->transition.seq == w->sequence.max + 1 && w->sequence.min))
		return false;
	kind = kind_of(w, e, page);
	m = memo_of(w, kind);
	history = llb_chunk(&w->history, first);
	past = *history;
	if (!likely(m->key == kind && m->events && (past & 0xf) == m->from && (uint8_t)past))
		return false;
	m->events++;
	*history = past << 8 | m->entry;
	w->sequence.max = e->transition.seq;
	w->page_seq[page] = e->transition.seq;
	if (m->relied)
		w->stored[page].relied = e->transition.seq;
	return true;
}

/* Follows whether a snapshot tells all chunks, in order, from FIRST to LAST. */
static void follow_snapshot(struct watched *w, const struct llb_event *e)
{
	uint64_t end = e->snapshot.first + e->snapshot.count;

	if (e->snapshot.flags & LLB_SNAPSHOT_FIRST) {
		w->snapshot_runs = true;
		w->snapshot_next = 0;
		if (!w->info.snapshots)
			llb_sequence_base(&w->sequence, e->snapshot.seq);
	}
	if (e->snapshot.first != w->snapshot_next)
		w->snapshot_runs = false;
	w->snapshot_next = end;
	if (e->snapshot.flags & LLB_SNAPSHOT_LAST) {
		if (w->snapshot_runs && (!w->info.known || end == w->info.chunks)) {
			w->info.snapshots++;
			w->info.based = true;
			/* No size changes while the kernel tells a snapshot. */
			w->limit = end;
			w->info.chunks = end;
			w->sure = true;
		}
		w->snapshot_runs = false;
	}
}

/* Takes over what a snapshot shows; what advance() does for transitions. */
static bool take_states(struct watched *w, const struct llb_event *e, uint64_t *at, uint64_t *past)
{
	uint64_t end = e->snapshot.first + e->snapshot.count;
	bool good = true;

	for (uint64_t c = e->snapshot.first; c < end; c++) {
		uint64_t *history = llb_chunk(&w->history, c);
		uint8_t known = llb_past_state(*history);

		if (known == e->snapshot.state)
			continue;
		if (known != LLB_UNKNOWN && good) {
			good = false;
			*at = c;
			*past = *history;
		}
		*history = *history << 8 | past_entry(LLB_PAST_SEEN, e->snapshot.state);
	}
	return good;
}

static int on_snapshot(struct llb_verifier *v, const struct llb_event *e)
{
	uint64_t first = e->snapshot.first, at = first, past, other = 0;
	struct watched *w = find_or_orphan(v, e);
	bool in_order, continuous;
	int ret = 0;

	if (!w)
		return 0;
	if (!in_range(w, first, e->snapshot.count)) {
		llb_sequence_take(&w->sequence, e->snapshot.seq);
		if (!lost_resize(v, w, e))
			llb_violate(v, &w->info, LLB_RULE_RANGE, first, 0, e);
		return 0;
	}
	if (!llb_need_histories(v, w, first, e->snapshot.count))
		return 0;
	past = *llb_chunk(&w->history, first);
	in_order = take_seq(w, e->snapshot.seq, llb_page_of(first));
	continuous = take_states(w, e, &at, &other);
	if (e->snapshot.state >= LLB_NR_STATES)
		llb_violate(v, &w->info, LLB_RULE_TABLE, first, past, e);
	else if (!in_order)
		llb_violate(v, &w->info, LLB_RULE_SEQUENCE, first, past, e);
	else if (!continuous)
		ret = llb_break_continuity(v, w, at, other, e);
	follow_snapshot(w, e);
	return ret;
}

/* ---- what is evidence of what transitions claim ---- */

static void on_writeback(struct llb_verifier *v, struct watched *w, const struct llb_event *e)
{
	enum llb_rule rule;

	if (e->writeback.page >= LLB_MAX_PAGES)
		return;
	rule = llb_stored_writeback(&w->stored[e->writeback.page], e->writeback.op,
				    e->writeback.seq);
	if (rule)
		llb_violate_measured(v, &w->info, rule, llb_page_first(e->writeback.page), 0, e);
}

static void take_evidence(struct llb_verifier *v, const struct llb_event *e)
{
	struct watched *w = find_watched(v, e);

	if (!w)
		return;
	switch (e->type) {
	case LLB_EV_WRITEBACK:
		on_writeback(v, w, e);
		break;
	case LLB_EV_BARRIER:
		if (e->barrier.page < LLB_MAX_PAGES)
			llb_drains_barrier(&w->drains, &w->stored[e->barrier.page],
					   e->barrier.page, e->barrier.op);
		break;
	case LLB_EV_DAEMON:
		llb_drains_daemon(&w->drains, e->daemon.op);
		break;
	case LLB_EV_ERROR:
		llb_drains_error(&w->drains, e->error.kind);
		break;
	}
}

/* ---- load and unload ---- */

/* Of one that ran before, only its snapshot tells for sure how many chunks there are. */
static void set_geometry(struct watched *w, const struct llb_event *e)
{
	if (e->load_info.decision != LLB_LOAD_RUNNING) {
		w->limit = e->load_info.chunks;
		w->sure = true;
	}
	w->info.level = e->load_info.level;
	w->info.members = e->load_info.members;
	w->info.chunks = w->sure ? w->limit : e->load_info.chunks;
	w->info.chunk_sectors = e->load_info.chunk_sectors;
	w->info.known = true;
	w->parity = e->load_info.level >= 4 && e->load_info.level <= 6;
}

static void on_load(struct llb_verifier *v, const struct llb_event *e)
{
	bool running = e->load_info.decision == LLB_LOAD_RUNNING;
	uint64_t chunks = e->load_info.chunks;
	struct watched *w = find_watched(v, e);

	if (!chunks || chunks > LLB_MAX_CHUNKS) {
		llb_violate(v, w ? &w->info : NULL, LLB_RULE_RANGE, 0, 0, e);
		return;
	}
	if (w) {
		/* Told late, after its first events: only for one that was running. */
		if (!running || w->info.known)
			llb_violate(v, &w->info, LLB_RULE_LIFETIME, 0, 0, e);
		else
			set_geometry(w, e);
		return;
	}
	if (!llb_load_key(e) || llb_find_ended(v, e->dev, e->load)) {
		orphan(v, e);
		return;
	}
	w = llb_begin_watch(v, e, running ? LLB_MAX_CHUNKS : chunks);
	if (!w)
		return;
	set_geometry(w, e);
	if (running)
		return;
	llb_sequence_start(&w->sequence);
	llb_drains_start(&w->drains);
	if (e->load_info.decision != LLB_LOAD_FIRST_USE || !llb_need_histories(v, w, 0, chunks))
		return;
	w->info.based = true;
	for (uint64_t c = 0; c < chunks; c++)
		*llb_chunk(&w->history, c) = LLB_PAST_ENTRY(LLB_PAST_SEEN, LLB_NONE);
}

/*
 * How many chunks there are changes between the events around this one; those
 * that come are None, whatever they were in an earlier life.
 */
static void on_resize(struct llb_verifier *v, const struct llb_event *e)
{
	uint64_t old = e->resize.old_chunks, chunks = e->resize.chunks;
	struct watched *w = find_or_orphan(v, e);
	enum llb_rule rule = LLB_OK;

	if (!w)
		return;
	/* Of no chunk, but raised under the lock of page 0. */
	if (!take_seq(w, e->resize.seq, 0))
		rule = LLB_RULE_SEQUENCE;
	if (!old || old > LLB_MAX_CHUNKS || !chunks || chunks > LLB_MAX_CHUNKS) {
		llb_violate(v, &w->info, LLB_RULE_RANGE, 0, 0, e);
		return;
	}
	if (!rule && w->sure && w->limit != old &&
	    (e->resize.rule || !llb_sequence_misses_before(&w->sequence, e->resize.seq)))
		rule = LLB_RULE_CONTINUITY;
	if (rule)
		llb_violate(v, &w->info, rule, 0, 0, e);
	llb_resize_watch(v, w, w->limit < old ? w->limit : old, chunks);
}

static void on_unload(struct llb_verifier *v, const struct llb_event *e)
{
	struct watched *w = find_watched(v, e);

	if (!w) {
		orphan(v, e);
		return;
	}
	if (!llb_sequence_last(&w->sequence, e->unload.seq))
		llb_violate(v, &w->info, LLB_RULE_SEQUENCE, 0, 0, e);
	w->info.unloaded = true;
	llb_end_watch(v, w);
}

/* All events but transitions, which are counted with their kinds. */
static __attribute__((noinline)) int other_event(struct llb_verifier *v, const struct llb_event *e)
{
	if (e->type < LLB_NR_EVENT_TYPES)
		v->audit.events[e->type]++;
	switch (e->type) {
	case LLB_EV_SNAPSHOT:
		return on_snapshot(v, e);
	case LLB_EV_LOAD:
		on_load(v, e);
		break;
	case LLB_EV_RESIZE:
		on_resize(v, e);
		break;
	case LLB_EV_UNLOAD:
		on_unload(v, e);
		break;
	case LLB_EV_LOSS:
		llb_count_loss(v->audit.loss, e);
		break;
	default:
		take_evidence(v, e);
	}
	return 0;
}

int llb_verify_event(struct llb_verifier *v, const struct llb_event *e)
{
	if (!likely(e->type == LLB_EV_TRANSITION))
		return other_event(v, e);
	return likely(usual_transition(v, e)) ? 0 : on_transition(v, e);
}
