// SPDX-License-Identifier: GPL-2.0
/* Bitmaps that come and go while a session runs: slots are taken and given up. */
#include "maps.bpf.h"

char LICENSE[] SEC("license") __weak = "GPL";

struct claim {
	__u32 index;
	bool found;
};

static long claim_slot(__u32 i, void *arg)
{
	struct claim *c = arg;
	struct llb_slot *s = bpf_map_lookup_elem(&slots, &i);

	if (!s)
		return 1;
	if (__sync_val_compare_and_swap(&s->state, LLB_SLOT_FREE, LLB_SLOT_LIVE) != LLB_SLOT_FREE)
		return 0;
	c->index = i;
	c->found = true;
	return 1;
}

/* Takes a free slot for the load; LLB_NO_SLOT if there is none. */
static __always_inline __u32 take_slot(struct bpf_raw_tracepoint_args *ctx, const struct target *t)
{
	__s32 level = ctx->args[2];
	struct claim c = {};
	struct llb_slot *s;

	bpf_loop(cfg_slots, claim_slot, &c, 0);
	s = c.found ? bpf_map_lookup_elem(&slots, &c.index) : 0;
	if (!s) {
		count_loss(LLB_LOSS_SLOT);
		return LLB_NO_SLOT;
	}
	s->dev = t->dev;
	s->load = t->load;
	s->chunks = ctx->args[4];
	s->fresh = (__u8)ctx->args[8] == LLB_LOAD_FIRST_USE;
	s->parity = level >= 4 && level <= 6;
	/* Nothing of this load happened yet: count from its first number. */
	s->base = 1;
	llb_drains_start(&s->drains);
	return c.index;
}

SEC("raw_tp/llbitmap_load")
int on_load(struct bpf_raw_tracepoint_args *ctx)
{
	struct target t = target_of(ctx);
	struct llb_event *e;

	if (!cfg_all_arrays && !bpf_map_lookup_elem(&devs, &t.dev))
		return 0;
	if (phase != LLB_PHASE_RUNS) {
		/* The load before this one has had its last event. */
		bpf_map_delete_elem(&devs, &t.dev);
		return 0;
	}
	count_event(LLB_EV_LOAD);
	t.index = take_slot(ctx, &t);
	/* From here on, events of this device go to the new slot. */
	if (bpf_map_update_elem(&devs, &t.dev, &t.index, BPF_ANY))
		count_loss(LLB_LOSS_MAP);

	e = event_new(ctx, &t, LLB_EV_LOAD, 0, false);
	if (!e)
		return 0;
	e->load_info.chunks = ctx->args[4];
	e->load_info.bitmap_events = ctx->args[6];
	e->load_info.array_events = ctx->args[7];
	e->load_info.level = ctx->args[2];
	e->load_info.members = ctx->args[3];
	e->load_info.chunk_sectors = ctx->args[5];
	e->load_info.degraded = ctx->args[9];
	e->load_info.decision = ctx->args[8];
	event_submit(e);
	return 0;
}

/* The highest number that any page has seen. */
struct highest {
	__u32 index;
	__u64 seq;
};

static long higher_page(__u32 i, void *arg)
{
	struct highest *h = arg;
	__u32 key = h->index * LLB_MAX_PAGES + i;
	struct llb_page *p = bpf_map_lookup_elem(&pages, &key);

	if (p && p->seq > h->seq)
		h->seq = p->seq;
	return 0;
}

SEC("raw_tp/llbitmap_unload")
int on_unload(struct bpf_raw_tracepoint_args *ctx)
{
	struct target t = target_of(ctx);
	__u64 seq = ctx->args[2];
	struct highest h = {};
	struct llb_event *e;
	__u32 rule = LLB_OK;

	if (!watched(&t, LLB_EV_UNLOAD))
		return 0;
	h.index = t.index;
	bpf_loop(LLB_MAX_PAGES, higher_page, &h, 0);
	if (h.seq > seq && !cfg_count_only) {
		rule = LLB_RULE_SEQUENCE;
		t.stats->violations[LLB_JUDGE_UNLOAD][LLB_RULE_SEQUENCE]++;
	}
	e = event_new(ctx, &t, LLB_EV_UNLOAD, 0, rule);
	if (e) {
		e->unload.seq = seq;
		e->unload.rule = rule;
		event_submit(e);
	}
	t.slot->last = seq;
	/* The session may take the slot as soon as it sees this. */
	__sync_val_compare_and_swap(&t.slot->state, LLB_SLOT_LIVE, LLB_SLOT_ENDED);
	return 0;
}
