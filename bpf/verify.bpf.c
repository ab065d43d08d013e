// SPDX-License-Identifier: GPL-2.0
/*
 * Verification where the event happens: table, rules and continuity of every
 * transition and snapshot. Both are raised under the lock of their page, so
 * what belongs to one page is never looked at by two programs at once.
 */
#include "maps.bpf.h"

char LICENSE[] SEC("license") __weak = "GPL";

/* One event on its way through; lives on the stack, walk_chunk() sees it too. */
struct walk {
	struct llb_page *page;
	struct llb_stamps *stamps;
	struct llb_latencies *latencies;
	__u64 now;
	__u64 before; /* history of the event's first chunk */
	__u64 history; /* of the first chunk that is not what it should be */
	__u32 offset; /* byte in the page */
	__u32 at; /* chunk of the event, counted from its first */
	__u32 mismatches;
	__u8 initial; /* history of a chunk that no event told of yet */
	__u8 from; /* what the shadow should be, as in an entry */
	__u8 entry; /* newest history entry of each chunk from now on */
	bool repeat; /* leave the history alone where the newest state is the same */
	__s8 latency; /* enum llb_latency of leaving `from`, or negative */
};

/* Checks and moves on the chunk at byte (w->offset + i) of the page. */
static __always_inline void walk_one(struct walk *w, __u32 i)
{
	__u32 at = (w->offset + i) & (LLB_PAGE_SIZE - 1);
	__u64 old = w->page->word[at] ?: w->initial;

	if (!i)
		w->before = old;
	if ((__u8)old && (old & 0xf) != w->from) {
		if (!w->mismatches++) {
			w->at = i;
			w->history = old;
		}
	} else if (w->repeat && (__u8)old) {
		return;
	}
	w->page->word[at] = old << 8 | w->entry;

	if (cfg_latencies && w->stamps) {
		__u64 since = w->stamps->ns[at];

		if (w->latency >= 0 && since && w->latencies && w->now > since)
			latency_add(w->latencies, w->latency, w->now - since);
		/* A snapshot does not tell since when. */
		w->stamps->ns[at] = w->repeat ? 0 : w->now;
	}
}

static long walk_chunk(__u32 i, void *arg)
{
	walk_one(arg, i);
	return 0;
}

static __always_inline void walk_chunks(struct walk *w, __u32 count)
{
	if (count == 1)
		walk_one(w, 0);
	else
		bpf_loop(count, walk_chunk, w, 0);
}

/* States that have no place are forgotten; their event is a violation anyway. */
static __always_inline __u8 entry_of(__u8 action, __u8 state)
{
	return state < LLB_NR_STATES ? action << 4 | state : 0;
}

/* The state of an entry; bytes that have no place there match none. */
static __always_inline __u8 entry_state(__u8 state)
{
	return state < 0xf ? state : state == LLB_NONE ? 0xf : 0x10;
}

/* Finds the page of the event; LLB_OK, or why it cannot be so. */
static __always_inline __u32 walk_begin(struct walk *w, const struct target *t, __u64 seq,
					__u64 first, __u32 count)
{
	__u32 key = t->index * LLB_MAX_PAGES + llb_page_of(first);
	bool good;

	w->initial = t->slot->fresh ? LLB_SEEN | 0xf : 0;
	w->offset = (LLB_FIRST_BYTE + first) % LLB_PAGE_SIZE;
	if (first >= LLB_MAX_CHUNKS || !count || count > LLB_PAGE_SIZE - w->offset ||
	    (t->slot->chunks && first + count > t->slot->chunks))
		return LLB_RULE_RANGE;
	w->page = bpf_map_lookup_elem(&pages, &key);
	if (!w->page) {
		count_loss(LLB_LOSS_MAP);
		return LLB_OK;
	}
	if (cfg_latencies) {
		w->stamps = bpf_map_lookup_elem(&stamps, &key);
		w->latencies = bpf_map_lookup_elem(&latencies, &t->index);
	}
	good = seq > w->page->seq;
	w->page->seq = seq;
	return good ? LLB_OK : LLB_RULE_SEQUENCE;
}

/*
 * The rule that an event breaks, or LLB_OK: the first objection, in the order in
 * which model/verify.c has them. @order: what walk_begin() said; @own: what the
 * event is by itself.
 */
static __always_inline __u64 objection(const struct target *t, const struct walk *w, __u32 order,
				       __u64 own)
{
	__u64 rule = LLB_OK;

	if (READ_ONCE(t->slot->state) == LLB_SLOT_ENDED)
		rule = LLB_RULE_LIFETIME;
	else if (order == LLB_RULE_RANGE)
		rule = order;
	else if (own)
		rule = own;
	else if (order)
		rule = order;
	else if (w->mismatches)
		rule = LLB_RULE_CONTINUITY;
	asm volatile("" : "+r"(rule)); /* one value for the verifier, not a path for each */
	return rule;
}

static __always_inline __u8 shadow_of(__u64 history)
{
	__u8 state = history & 0xf;

	if (!(__u8)history)
		return LLB_UNKNOWN;
	return state == 0xf ? LLB_NONE : state;
}

/*
 * What was found, into the event. A rule is broken by the event as a whole, and
 * shows its first chunk; continuity by the first chunk that is out of line.
 */
static __always_inline void tell_finding(struct llb_event *e, __u64 rule, const struct walk *w,
					 __u64 first)
{
	__u64 history = rule == LLB_RULE_CONTINUITY ? w->history : w->before;

	e->judged.rule = rule;
	e->judged.at = first + (rule == LLB_RULE_CONTINUITY ? w->at : 0);
	e->judged.shadow = shadow_of(history);
	for (int i = 0; i < 7; i++)
		e->judged.history[i] = history >> 8 * i;
}

/*
 * Not static: the verifier looks at such functions once, by themselves, and
 * not again for every state in which they are called.
 */
__noinline __u32 judge(__u32 from, __u32 action, __u32 to, __u32 flags, __u32 parity)
{
	return llb_rule_check(from, action, to, flags, parity);
}

__noinline __u32 applied_rule(__u32 from, __u32 action, __u32 flags, __u32 parity)
{
	return llb_rule_applied(from, action, flags, parity);
}

/* A transition as its program got it; 64 bits for what indexes. */
struct change {
	__u64 seq;
	__u64 first;
	__u32 count;
	__u32 flags;
	__u64 from;
	__u64 to;
	__u64 action;
};

/* What it is judged by: what it tells of its context, and what was measured. */
static __always_inline __u32 context_of(const struct change *c, const struct llb_drains *d)
{
	return (c->flags & LLB_F_TOLD) | llb_measured(d, llb_page_of(c->first));
}

/*
 * A judgement depends on these alone, and load after load of transitions are
 * alike: who knows the last one need not think.
 */
static __always_inline __u64 judgement_key(const struct change *c, __u32 context, __u8 parity)
{
	return 1ull << 63 | (__u64)!!parity << 56 | (__u64)context << 24 | c->action << 16 |
	       c->to << 8 | c->from;
}

static __always_inline bool change_streamed(const struct change *c)
{
	struct llb_wanted wanted = { cfg_states, cfg_actions, cfg_first, cfg_last };

	return streamed(LLB_EV_TRANSITION) &&
	       llb_wants(&wanted, c->first, c->count, c->from, c->to, c->action);
}

static __always_inline __s8 latency_kind(const struct change *c)
{
	if (c->from == LLB_DIRTY && c->action == LLB_DAEMON)
		return LLB_LAT_DIRTY;
	if (c->from == LLB_NEEDSYNC && c->to == LLB_SYNCING)
		return LLB_LAT_NEEDSYNC;
	return -1;
}

static __always_inline void count_change(struct llb_slot_stats *st, const struct change *c)
{
	if (c->action >= LLB_NR_ACTIONS)
		return;
	st->transitions[c->action]++;
	st->chunks[c->action] += c->count;
}

/* A legal one, by the rule that made it so, and its cell of the table. */
static __always_inline void count_legal(struct llb_slot_stats *st, const struct change *c,
					__u32 context, __u64 key, __u8 parity)
{
	__u64 row = c->from < LLB_NR_STATES ? c->from : c->from == LLB_NONE ? 6 : 5, applied;

	if (st->judged != key) {
		st->judged_rule = applied_rule(c->from, c->action, context, parity);
		st->judged = key;
	}
	applied = st->judged_rule;
	asm volatile("" : "+r"(applied));
	if (applied < LLB_NR_RULES)
		st->rules[applied]++;
	asm volatile("" : "+r"(row));
	if (c->action < LLB_NR_ACTIONS)
		st->cells[c->action][row & 7] += c->count;
}

SEC("raw_tp/llbitmap_transition")
int on_transition(struct bpf_raw_tracepoint_args *ctx)
{
	struct change c = { .seq = ctx->args[2], .first = ctx->args[3], .count = ctx->args[4],
			    .from = ARG_U8(ctx, 5), .to = ARG_U8(ctx, 6),
			    .action = ARG_U8(ctx, 7), .flags = ctx->args[8] };
	struct walk w = { .from = entry_state(c.from), .entry = entry_of(c.action, c.to),
			  .latency = latency_kind(&c) };
	struct target t = target_of(ctx);
	struct llb_event *e;
	__u32 order, context;
	__u64 rule, key;
	bool stream;

	if (!watched(&t, LLB_EV_TRANSITION))
		return 0;
	seq_seen(&t, c.seq, LLB_JUDGE_TRANSITION);
	count_change(t.stats, &c);
	stream = change_streamed(&c);
	if (cfg_latencies || stream)
		w.now = bpf_ktime_get_ns();
	order = walk_begin(&w, &t, c.seq, c.first, c.count);
	if (w.page)
		walk_chunks(&w, c.count);
	if (cfg_count_only)
		return 0;

	context = context_of(&c, &t.slot->drains);
	key = judgement_key(&c, context, t.slot->parity);
	rule = LLB_OK;
	if (t.stats->judged != key)
		rule = judge(c.from, c.action, c.to, context, t.slot->parity);
	rule = objection(&t, &w, order, rule);
	if (w.page && llb_is_relied_on(c.from, c.action, c.to, c.flags))
		w.page->stored.relied = c.seq;
	if (!rule) {
		count_legal(t.stats, &c, context, key, t.slot->parity);
		if (!stream)
			return 0;
	} else if (rule < LLB_NR_RULES) {
		t.stats->violations[LLB_JUDGE_TRANSITION][rule]++;
	}

	e = event_new(ctx, &t, LLB_EV_TRANSITION, w.now, cfg_stacks || rule);
	if (!e)
		return 0;
	e->transition.seq = c.seq;
	e->transition.first = c.first;
	e->transition.count = c.count;
	e->transition.from = c.from;
	e->transition.to = c.to;
	e->transition.action = c.action;
	e->transition.flags = c.flags;
	if (rule)
		tell_finding(e, rule, &w, c.first);
	event_submit(e);
	return 0;
}

SEC("raw_tp/llbitmap_snapshot")
int on_snapshot(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 seq = ctx->args[2], first = ctx->args[3], rule;
	__u32 count = ctx->args[4], flags = ctx->args[6], order;
	__u8 state = ctx->args[5];
	struct walk w = { .from = entry_state(state), .entry = entry_of(LLB_SEEN >> 4, state),
			  .repeat = true, .latency = -1 };
	struct target t = target_of(ctx);
	struct llb_event *e;

	if (!watched(&t, LLB_EV_SNAPSHOT))
		return 0;
	/* From the first event of the first snapshot on, every number must be seen. */
	if ((flags & LLB_SNAPSHOT_FIRST) && !t.slot->base)
		__sync_val_compare_and_swap(&t.slot->base, 0, seq);
	seq_seen(&t, seq, LLB_JUDGE_SNAPSHOT);
	order = walk_begin(&w, &t, seq, first, count);
	if (w.page)
		walk_chunks(&w, count);
	if (flags & LLB_SNAPSHOT_LAST) {
		/* The kernel changes no size while it tells a snapshot. */
		if (!t.slot->chunks && first + count <= LLB_MAX_CHUNKS)
			t.slot->chunks = first + count;
		__sync_fetch_and_add(&t.slot->snapshots, 1);
	}
	rule = objection(&t, &w, order, state < LLB_NR_STATES ? LLB_OK : LLB_RULE_TABLE);
	if (cfg_count_only)
		rule = LLB_OK;
	if (rule && rule < LLB_NR_RULES)
		t.stats->violations[LLB_JUDGE_SNAPSHOT][rule]++;
	if (!rule && !streamed(LLB_EV_SNAPSHOT))
		return 0;

	e = event_new(ctx, &t, LLB_EV_SNAPSHOT, 0, rule);
	if (!e)
		return 0;
	e->snapshot.seq = seq;
	e->snapshot.first = first;
	e->snapshot.count = count;
	e->snapshot.state = state;
	e->snapshot.flags = flags;
	if (rule)
		tell_finding(e, rule, &w, first);
	event_submit(e);
	return 0;
}
