// SPDX-License-Identifier: GPL-2.0
/*
 * The array changes its size. The kernel lets no event name a chunk that is
 * gone, or not there yet, on the other side of this one; what a shadow says of
 * a chunk that comes back is forgotten.
 */
#include "maps.bpf.h"

char LICENSE[] SEC("license") __weak = "GPL";

struct fresh {
	struct llb_page *page;
	struct llb_stamps *stamps;
	__u64 first; /* chunks */
	__u64 end;
	__u32 slot;
	__u32 offset;
};

static long forget_chunk(__u32 i, void *arg)
{
	struct fresh *f = arg;
	__u32 at = (f->offset + i) & (LLB_PAGE_SIZE - 1);

	if ((__u8)f->page->word[at] != (LLB_SEEN | 0xf))
		f->page->word[at] = f->page->word[at] << 8 | LLB_SEEN | 0xf;
	if (f->stamps)
		f->stamps->ns[at] = 0;
	return 0;
}

/* The part of the chunks that lies in page i of the slot. */
static long forget_page(__u32 i, void *arg)
{
	struct fresh *f = arg;
	__u64 first = (__u64)i * LLB_PAGE_SIZE, end = first + LLB_PAGE_SIZE;
	__u64 from = f->first + LLB_FIRST_BYTE, to = f->end + LLB_FIRST_BYTE;
	__u32 key = f->slot * LLB_MAX_PAGES + i;

	if (from < first)
		from = first;
	if (to > end)
		to = end;
	if (from >= to)
		return 0;
	f->page = bpf_map_lookup_elem(&pages, &key);
	if (!f->page) {
		count_loss(LLB_LOSS_MAP);
		return 0;
	}
	if (cfg_latencies)
		f->stamps = bpf_map_lookup_elem(&stamps, &key);
	f->offset = from - first;
	bpf_loop(to - from, forget_chunk, f, 0);
	return 0;
}

/* In the order in which model/verify.c objects. */
static __always_inline __u64 judge_resize(const struct llb_slot *s, struct llb_page *page0,
					  __u64 seq, __u64 old, __u64 chunks)
{
	bool in_order = !page0 || seq > page0->seq;

	if (page0)
		page0->seq = seq;

	if (READ_ONCE(s->state) == LLB_SLOT_ENDED)
		return LLB_RULE_LIFETIME;
	if (!old || old > LLB_MAX_CHUNKS || !chunks || chunks > LLB_MAX_CHUNKS)
		return LLB_RULE_RANGE;
	if (!in_order)
		return LLB_RULE_SEQUENCE;
	if (s->chunks && s->chunks != old)
		return LLB_RULE_CONTINUITY;
	return LLB_OK;
}

static __always_inline __u32 saturated(__u64 chunks)
{
	return chunks > ~0u ? ~0u : chunks;
}

SEC("raw_tp/llbitmap_resize")
int on_resize(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 old = ctx->args[5], chunks = ctx->args[6], rule;
	struct fresh f = { .first = old, .end = chunks };
	struct target t = target_of(ctx);
	struct llb_event *e;

	if (!watched(&t, LLB_EV_RESIZE))
		return 0;
	seq_seen(&t, ctx->args[2], LLB_JUDGE_RESIZE);
	rule = judge_resize(t.slot, page_of(&t, 0), ctx->args[2], old, chunks);
	if (rule != LLB_RULE_RANGE) {
		f.slot = t.index;
		if (t.slot->chunks && t.slot->chunks < old)
			f.first = t.slot->chunks;
		if (chunks > f.first)
			bpf_loop(LLB_MAX_PAGES, forget_page, &f, 0);
		t.slot->chunks = chunks;
	}
	if (cfg_count_only)
		rule = LLB_OK;
	asm volatile("" : "+r"(rule));
	if (rule && rule < LLB_NR_RULES)
		t.stats->violations[LLB_JUDGE_RESIZE][rule]++;

	/* Always told: what comes later is not understood without it. */
	e = event_new(ctx, &t, LLB_EV_RESIZE, 0, cfg_stacks || rule);
	if (!e)
		return 0;
	e->resize.seq = ctx->args[2];
	e->resize.level = ctx->args[3];
	e->resize.members = ctx->args[4];
	e->resize.old_chunks = saturated(old);
	e->resize.chunks = saturated(chunks);
	e->resize.chunk_sectors = ctx->args[7];
	e->resize.bitmap_events = ctx->args[8];
	e->resize.array_events = ctx->args[9];
	e->resize.degraded = ctx->args[10];
	e->resize.rule = rule;
	event_submit(e);
	return 0;
}
