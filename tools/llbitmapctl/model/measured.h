/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Context that is measured, not told: what the events around a transition show,
 * whatever its flags claim. Feeds the LLB_M_ flags to rules.def. Plain C without
 * loops or calls, so that the BPF programs can include it too.
 *
 * There is no false alarm because of what the kernel guarantees:
 * - barrier suspend and resume, and begin and end of a bitmap write, are raised
 *   under the lock of their page, as its transitions are: they have one order;
 *   resume comes before the first writer that it lets in.
 * - Pages are suspended by one thread at a time, several only by a size change,
 *   which cleans nothing; a daemon pass begins with none suspended.
 * - Members are flushed while the page that it is for is suspended.
 * What was not seen from its beginning is not known, and nothing follows from it.
 */
#ifndef LLB_MODEL_MEASURED_H
#define LLB_MODEL_MEASURED_H

#include "rules.h"

/* Of a load. Pages are bits. */
struct llb_drains {
	__u32 suspended; /* pages known to be suspended */
	__u32 open; /* pages known not to be */
	__u32 unstored; /* suspended, and a write was complete before its bitmap write */
	__u32 unflushed; /* a flush failed since the last suspend */
	__u32 broken; /* no member takes bitmap writes: data do not wait for them */
};

/* Of a page. Sequence numbers; all 0: nothing known. */
struct llb_stored {
	__u64 relied; /* of the last Startwrite that a write has to wait for */
	__u64 durable; /* highest that a bitmap write made durable */
	__u64 carried; /* one more than the highest in the bitmap write that runs */
};

/* The load was seen: no page of it is suspended. */
static inline void llb_drains_start(struct llb_drains *d)
{
	d->open = ~0u;
}

static inline void llb_drains_daemon(struct llb_drains *d, __u8 op)
{
	if (op != LLB_BEGIN)
		return;
	d->suspended = d->unstored = 0;
	d->open = ~0u;
}

/**
 * llb_drains_barrier() - a barrier event
 * @d: of its load
 * @s: of its page
 * @page: any value
 * @op: enum llb_barrier_op, any value
 */
static inline void llb_drains_barrier(struct llb_drains *d, const struct llb_stored *s,
				      __u64 page, __u8 op)
{
	__u32 bit = 1u << (page % LLB_MAX_PAGES);

	if (op == LLB_BARRIER_SUSPEND) {
		d->suspended |= bit;
		d->open &= ~bit;
		d->unflushed = 0;
		if (s->relied > s->durable && !d->broken)
			d->unstored |= bit;
	} else if (op == LLB_BARRIER_RESUME) {
		d->suspended &= ~bit;
		d->open |= bit;
		d->unstored &= ~bit;
	}
}

static inline void llb_drains_error(struct llb_drains *d, __u8 kind)
{
	if (kind == LLB_ERR_FLUSH)
		d->unflushed = 1;
	else if (kind == LLB_ERR_NO_MEMBER)
		d->broken = 1;
}

/* The LLB_M_ flags of a transition in this page. */
static inline __u32 llb_measured(const struct llb_drains *d, __u32 page)
{
	return (d->open >> page % LLB_MAX_PAGES & 1) * LLB_M_OPEN |
	       (d->suspended >> page % LLB_MAX_PAGES & 1) * LLB_M_SUSPENDED |
	       (d->unstored >> page % LLB_MAX_PAGES & 1) * LLB_M_UNSTORED |
	       (d->unflushed & 1) * LLB_M_UNFLUSHED;
}

/*
 * Does a write wait until this transition is durable? What is marked through
 * sysfs is made durable by who marked it, and no write waits.
 */
static inline int llb_is_relied_on(__u8 from, __u8 action, __u8 to, __u32 flags)
{
	return action == LLB_STARTWRITE && !(flags & LLB_F_USER) && to > LLB_CLEAN &&
	       to < LLB_NR_STATES && (from <= LLB_CLEAN || from >= LLB_NR_STATES);
}

/**
 * llb_stored_writeback() - a writeback event
 * @s: of its page
 * @op: enum llb_begin_end
 * @seq: the highest number that the write carries; at its end: that is durable
 *
 * Returns LLB_OK or the rule that is broken. Numbers that became durable stay
 * so, also when a later write fails.
 */
static inline enum llb_rule llb_stored_writeback(struct llb_stored *s, __u8 op, __u64 seq)
{
	enum llb_rule rule = LLB_OK;

	if (op == LLB_BEGIN) {
		s->carried = seq + 1;
		return LLB_OK;
	}
	if ((s->carried && seq >= s->carried) || seq < s->durable)
		rule = LLB_RULE_BITMAP_WRITE;
	s->carried = 0;
	if (seq > s->durable)
		s->durable = seq;
	return rule;
}

#endif
