// SPDX-License-Identifier: GPL-2.0
/*
 * What happens around the transitions: bitmap writes, barrier, daemon, sync,
 * errors. They are counted, measured, and taken as evidence of what the
 * transitions claim: see measured.h.
 */
#include "maps.bpf.h"

char LICENSE[] SEC("license") __weak = "GPL";

static __always_inline void latency_of(__u32 index, __u32 kind, __u64 ns)
{
	struct llb_latencies *l;

	if (!cfg_latencies)
		return;
	l = bpf_map_lookup_elem(&latencies, &index);
	if (l)
		latency_add(l, kind, ns);
}

/* One write of a page at a time. */
static __always_inline void write_latency(const struct target *t, __u32 page, __u8 op, __u64 now)
{
	__u32 key = t->index * LLB_MAX_PAGES + page;
	__u64 *began = bpf_map_lookup_elem(&writes, &key);

	if (!began)
		return;
	if (op == LLB_END && *began && now > *began)
		latency_of(t->index, LLB_LAT_WRITE, now - *began);
	*began = op == LLB_BEGIN ? now : 0;
}

static __always_inline void count_write(struct llb_slot_stats *st, __u32 blocks, __s32 error)
{
	st->writes++;
	st->write_sectors += blocks;
	if (error)
		st->write_errors++;
}

SEC("raw_tp/llbitmap_writeback")
int on_writeback(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 page = ctx->args[2], blocks = ctx->args[5], rule = LLB_OK;
	__u64 seq = ctx->args[4], now = 0;
	__u8 op = ctx->args[3];
	__s32 error = ctx->args[6];
	struct target t = target_of(ctx);
	struct llb_page *p;
	struct llb_event *e;

	if (!watched(&t, LLB_EV_WRITEBACK))
		return 0;
	if (cfg_latencies && page < LLB_MAX_PAGES) {
		now = bpf_ktime_get_ns();
		write_latency(&t, page, op, now);
	}
	if (op == LLB_END)
		count_write(t.stats, blocks, error);
	p = page_of(&t, page);
	if (p && !cfg_count_only)
		rule = llb_stored_writeback(&p->stored, op, seq);
	if (rule)
		t.stats->violations[LLB_JUDGE_WRITEBACK][LLB_RULE_BITMAP_WRITE]++;
	else if (!streamed(LLB_EV_WRITEBACK))
		return 0;
	e = event_new(ctx, &t, LLB_EV_WRITEBACK, now, cfg_stacks || rule);
	if (!e)
		return 0;
	e->writeback.seq = seq;
	e->writeback.page = page;
	e->writeback.blocks = blocks;
	e->writeback.error = error;
	e->writeback.op = op;
	e->writeback.rule = rule;
	if (rule)
		e->writeback.at = llb_page_first(page);
	event_submit(e);
	return 0;
}

static __always_inline void count_barrier(const struct target *t, __u8 op, __u64 ns)
{
	switch (op) {
	case LLB_BARRIER_WAIT:
		/* Waiting ends in process context, but not with the others' lock held. */
		__sync_fetch_and_add(&t->stats->waits, 1);
		__sync_fetch_and_add(&t->stats->wait_ns, ns);
		latency_of(t->index, LLB_LAT_BARRIER, ns);
		break;
	case LLB_BARRIER_SUSPEND:
		t->stats->suspends++;
		break;
	case LLB_BARRIER_TIMEOUT:
		t->stats->timeouts++;
		break;
	}
}

SEC("raw_tp/llbitmap_barrier")
int on_barrier(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 page = ctx->args[2];
	__u64 ns = ctx->args[4];
	__u8 op = ctx->args[3];
	struct target t = target_of(ctx);
	struct llb_page *p;
	struct llb_event *e;

	if (!watched(&t, LLB_EV_BARRIER))
		return 0;
	count_barrier(&t, op, ns);
	p = page_of(&t, page);
	if (p)
		llb_drains_barrier(&t.slot->drains, &p->stored, page, op);
	if (!streamed(LLB_EV_BARRIER))
		return 0;
	e = event_new(ctx, &t, LLB_EV_BARRIER, 0, cfg_stacks);
	if (!e)
		return 0;
	e->barrier.ns = ns;
	e->barrier.page = page;
	e->barrier.op = op;
	event_submit(e);
	return 0;
}

SEC("raw_tp/llbitmap_daemon")
int on_daemon(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 cleaned = ctx->args[5];
	__u8 op = ctx->args[2];
	__u64 now = bpf_ktime_get_ns();
	struct target t = target_of(ctx);
	struct llb_event *e;

	if (!watched(&t, LLB_EV_DAEMON))
		return 0;
	llb_drains_daemon(&t.slot->drains, op);
	if (op == LLB_BEGIN) {
		t.slot->daemon_begin = now;
	} else {
		if (t.slot->daemon_begin && now > t.slot->daemon_begin)
			latency_of(t.index, LLB_LAT_DAEMON, now - t.slot->daemon_begin);
		t.slot->daemon_begin = 0;
		t.stats->passes++;
		t.stats->cleaned += cleaned;
	}
	if (!streamed(LLB_EV_DAEMON))
		return 0;
	e = event_new(ctx, &t, LLB_EV_DAEMON, now, cfg_stacks);
	if (!e)
		return 0;
	e->daemon.pages = ctx->args[3];
	e->daemon.skipped = ctx->args[4];
	e->daemon.cleaned = cleaned;
	e->daemon.op = op;
	event_submit(e);
	return 0;
}

SEC("raw_tp/llbitmap_sync")
int on_sync(struct bpf_raw_tracepoint_args *ctx)
{
	struct target t = target_of(ctx);
	struct llb_event *e;

	if (!watched(&t, LLB_EV_SYNC) || !streamed(LLB_EV_SYNC))
		return 0;
	e = event_new(ctx, &t, LLB_EV_SYNC, 0, cfg_stacks);
	if (!e)
		return 0;
	e->sync.sector = ctx->args[3];
	e->sync.sectors = ctx->args[4];
	e->sync.op = ctx->args[2];
	e->sync.reason = ctx->args[5];
	event_submit(e);
	return 0;
}

/*
 * Whether a load has not begun yet: its bitmap is being read, and maybe refused. Who is to see its
 * load event sees all that it watches; an error before that belongs to nothing, and is no loss.
 */
static __always_inline bool before_load(const struct target *t)
{
	__u32 *index = bpf_map_lookup_elem(&devs, &t->dev);
	struct llb_slot *s = index ? bpf_map_lookup_elem(&slots, index) : 0;

	if (!s)
		return false;
	/* The load before it is over; its slot may have been given back, and taken by another device. */
	if (s->dev != t->dev || READ_ONCE(s->state) != LLB_SLOT_LIVE)
		return true;
	return s->load && s->load < t->load;
}

SEC("raw_tp/llbitmap_error")
int on_error(struct bpf_raw_tracepoint_args *ctx)
{
	__u8 kind = ctx->args[3];
	struct target t = target_of(ctx);
	struct llb_event *e;

	if (before_load(&t) || !watched(&t, LLB_EV_ERROR))
		return 0;
	llb_drains_error(&t.slot->drains, kind);
	/* Bitmap writes end in interrupts and on any CPU. */
	__sync_fetch_and_add(&t.stats->errors, 1);
	if (cfg_stream && !streamed(LLB_EV_ERROR))
		return 0;
	e = event_new(ctx, &t, LLB_EV_ERROR, 0, cfg_stacks);
	if (!e)
		return 0;
	e->error.info = ctx->args[5];
	e->error.member = ctx->args[2];
	e->error.error = ctx->args[4];
	e->error.kind = kind;
	event_submit(e);
	return 0;
}
