/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Maps, tunables and what every program needs. Each *.bpf.c includes this; the
 * linker makes one of the weak definitions.
 */
#ifndef LLBITMAP_MAPS_BPF_H
#define LLBITMAP_MAPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "llbitmap_live.h"

#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

/* An argument that indexes: keeps the compiler from testing one copy and using another. */
#define ARG_U8(ctx, n)                                         \
	({                                                     \
		__u64 __v = (__u8)(ctx)->args[n];              \
		asm volatile("" : "+r"(__v));                  \
		__v;                                           \
	})

/* Set by the session before loading. */
const volatile __u32 cfg_slots __weak = 16;
const volatile bool cfg_all_arrays __weak = true; /* arrays that appear are watched too */
const volatile bool cfg_stream __weak = false; /* all events, not only what a verdict needs */
const volatile bool cfg_latencies __weak = false;
const volatile bool cfg_count_only __weak = false; /* judge nothing, for who shows only figures */
const volatile bool cfg_stacks __weak = false; /* of streamed events; violations have theirs */

/* What is streamed. Everything, unless the session sets it. */
const volatile __u32 cfg_types __weak = ~0u; /* set of enum llb_event_type */
const volatile __u32 cfg_states __weak = ~0u; /* set of states, from or to */
const volatile __u32 cfg_actions __weak = ~0u; /* set of enum llb_action */
const volatile __u64 cfg_first __weak = 0; /* chunks */
const volatile __u64 cfg_last __weak = ~0ull;
const volatile __u32 cfg_pid __weak = 0;
const volatile __u64 cfg_comm[2] __weak = {}; /* LLB_COMM_LEN bytes, padded with 0 */

/* enum llb_phase; the session moves it on. */
volatile __u32 phase __weak = LLB_PHASE_RUNS;

/* The session sees it as memory, too. */
#define SHARED_ARRAY(name, of, entries)                  \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_ARRAY);        \
		__uint(map_flags, BPF_F_MMAPABLE);       \
		__uint(max_entries, entries);            \
		__type(key, __u32);                      \
		__type(value, of);                       \
	} name SEC(".maps") __weak

#define PERCPU_ARRAY(name, of, entries)                  \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, entries);            \
		__type(key, __u32);                      \
		__type(value, of);                       \
	} name SEC(".maps") __weak

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps") __weak;

/* dev_t -> slot or LLB_NO_SLOT. An entry may be out of date; slot_of() compares. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} devs SEC(".maps") __weak;

/* The session makes them as large as its slots. */
SHARED_ARRAY(slots, struct llb_slot, 16);
SHARED_ARRAY(pages, struct llb_page, 16 * LLB_MAX_PAGES); /* slot * LLB_MAX_PAGES + page */
SHARED_ARRAY(stamps, struct llb_stamps, 1); /* the same with cfg_latencies */
SHARED_ARRAY(writes, __u64, 16 * LLB_MAX_PAGES); /* when the bitmap write in flight began */
/* slot * LLB_LOG_SIZE + i: sequence numbers while a session starts or ends */
SHARED_ARRAY(seqs, __u64, 16 * LLB_LOG_SIZE);
PERCPU_ARRAY(stats, struct llb_slot_stats, 16);
PERCPU_ARRAY(latencies, struct llb_latencies, 16);
PERCPU_ARRAY(counters, struct llb_counters, 1);

/* Ids are below max_entries; a recording keeps 1024 of them. */
#define LLB_STACK_DEPTH 32
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, LLB_STACK_DEPTH * sizeof(__u64));
} stacks SEC(".maps") __weak;

/* The load that an event is about. */
struct target {
	__u32 dev;
	__u32 load;
	__u32 index; /* of its slot */
	struct llb_slot *slot;
	struct llb_slot_stats *stats; /* of this CPU */
};

static __always_inline void count_loss(__u32 kind)
{
	__u32 zero = 0;
	struct llb_counters *c = bpf_map_lookup_elem(&counters, &zero);

	/* An event in an interrupt can meet this addition of another program half done. */
	if (c && kind < LLB_NR_LOSS_KINDS)
		__sync_fetch_and_add(&c->loss[kind], 1);
}

static __always_inline void count_event(__u32 type)
{
	__u32 zero = 0;
	struct llb_counters *c = bpf_map_lookup_elem(&counters, &zero);

	if (c && type < LLB_NR_EVENT_TYPES)
		c->events[type]++;
}

/* Reserves room for an event, or counts the loss and is NULL. */
#define EVENT_RESERVE()                                                          \
	({                                                                       \
		struct llb_event *__e = bpf_ringbuf_reserve(&events, sizeof(*__e), 0); \
		if (!__e)                                                        \
			count_loss(LLB_LOSS_RINGBUF);                            \
		__e;                                                             \
	})

/*
 * The reader looks 20 times a second; it is woken only when the buffer fills
 * up, as a wake-up costs more than the event.
 */
static __always_inline void event_submit(struct llb_event *e)
{
	bool hurry = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >
		     bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 4;

	bpf_ringbuf_submit(e, hurry ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/*
 * Room for an event with what all events have, and the rest cleared; NULL: it is
 * lost, and counted. @now: 0 if the caller did not need the time so far.
 */
static __always_inline struct llb_event *event_new(void *ctx, const struct target *t, __u8 type,
						   __u64 now, bool stack)
{
	struct llb_event *e = EVENT_RESERVE();
	__u64 id;

	if (!e)
		return 0;
	id = bpf_get_current_pid_tgid();
	e->ts_ns = now ?: bpf_ktime_get_ns();
	e->dev = t->dev;
	e->load = t->load;
	e->type = type;
	e->version = LLB_EVENT_VERSION;
	e->cpu = bpf_get_smp_processor_id();
	e->stack = -1;
	e->pid = id >> 32;
	e->tid = (__u32)id;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->word[0] = e->word[1] = e->word[2] = 0;
	e->word[3] = e->word[4] = e->word[5] = 0;
	if (stack) {
		e->stack = bpf_get_stackid(ctx, &stacks, 0);
		if (e->stack < 0)
			count_loss(LLB_LOSS_STACK);
	}
	return e;
}

/* Is an event of this type, by this process, wanted in the stream? */
static __always_inline bool streamed(__u8 type)
{
	if (!cfg_stream || !(cfg_types & 1u << type))
		return false;
	if (cfg_pid && cfg_pid != bpf_get_current_pid_tgid() >> 32)
		return false;
	if (cfg_comm[0]) {
		__u64 comm[2] = {};

		bpf_get_current_comm(comm, sizeof(comm));
		if (comm[0] != cfg_comm[0] || comm[1] != cfg_comm[1])
			return false;
	}
	return true;
}

/*
 * The slot of this load and its index, or NULL. Devices without an entry are
 * not asked for; LLB_NO_SLOT marks those that are, but found no room.
 */
static __always_inline struct llb_slot *slot_of(__u32 dev, __u32 load, __u32 *index)
{
	__u32 *i = bpf_map_lookup_elem(&devs, &dev);
	struct llb_slot *s;

	if (!i || phase == LLB_PHASE_OVER)
		return 0;
	*index = *i;
	s = bpf_map_lookup_elem(&slots, index);
	if (!s || s->dev != dev || READ_ONCE(s->state) == LLB_SLOT_FREE) {
		count_loss(LLB_LOSS_SLOT);
		return 0;
	}
	if (s->load == load)
		return s;
	/* The session knows the device only: the first event tells the load. */
	if (!s->load) {
		__u32 was = __sync_val_compare_and_swap(&s->load, 0, load);

		if (!was || was == load)
			return s;
	}
	/* Another load of the same device, whose start was not seen. */
	count_loss(LLB_LOSS_SLOT);
	return 0;
}

/* Whom an event is about; its first two arguments say so. */
static __always_inline struct target target_of(const struct bpf_raw_tracepoint_args *ctx)
{
	return (struct target){ .dev = ctx->args[0], .load = ctx->args[1] };
}

/* Finds slot and figures of a load that is watched, and counts the event; else false. */
static __always_inline bool watched(struct target *t, __u8 type)
{
	t->slot = slot_of(t->dev, t->load, &t->index);
	if (!t->slot)
		return false;
	t->stats = bpf_map_lookup_elem(&stats, &t->index);
	if (!t->stats)
		return false;
	count_event(type);
	return true;
}

/* Counts a number, by the program that sees it: enum llb_judge. */
static __always_inline void seq_seen(const struct target *t, __u64 seq, __u32 of)
{
	struct llb_slot_stats *st = t->stats;
	struct llb_slot *s = t->slot;
	__u64 base = READ_ONCE(s->base), end = READ_ONCE(s->end);

	if (base) {
		if (seq < base || (end && seq >= end))
			return;
		llb_numbers_add(&st->counted[of], seq);
		if (seq > st->seq_max[of])
			st->seq_max[of] = seq;
		if (!READ_ONCE(s->closing))
			return;
	}
	__u64 i = __sync_fetch_and_add(&s->logged, 1);

	if (i < LLB_LOG_SIZE) {
		__u32 key = t->index * LLB_LOG_SIZE + i;
		__u64 *entry = bpf_map_lookup_elem(&seqs, &key);

		if (entry)
			*entry = seq;
	}
}

/* One of its pages, or NULL. */
static __always_inline struct llb_page *page_of(const struct target *t, __u32 page)
{
	__u32 key = t->index * LLB_MAX_PAGES + page;

	return page < LLB_MAX_PAGES ? bpf_map_lookup_elem(&pages, &key) : 0;
}

/* Not static: verified once, by itself, and not anew for each of its 64 paths. */
__weak __noinline __u32 log2_of(__u64 v)
{
	__u32 r = 0;

	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	return r + (v >> 1);
}

static __always_inline void latency_add(struct llb_latencies *l, __u32 kind, __u64 ns)
{
	__u32 b = log2_of(ns);

	if (b >= LLB_BUCKETS)
		b = LLB_BUCKETS - 1;
	if (kind >= LLB_NR_LATENCIES)
		return;
	l->kind[kind].bucket[b]++;
	l->kind[kind].sum += ns;
	if (ns > l->kind[kind].max)
		l->kind[kind].max = ns;
}

#endif
