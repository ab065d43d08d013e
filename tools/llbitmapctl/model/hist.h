/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Latency histograms from events. */
#ifndef LLB_MODEL_HIST_H
#define LLB_MODEL_HIST_H

#include <stdint.h>
#include "../../../bpf/llbitmap_abi.h"

#define LLB_HIST_BUCKETS 64

/* bucket[i] counts values v with 2^i <= v < 2^(i+1); bucket[0] also 0. */
struct llb_hist {
	uint64_t bucket[LLB_HIST_BUCKETS];
	uint64_t count;
	uint64_t sum;
	uint64_t max;
};

void llb_hist_add(struct llb_hist *hist, uint64_t value, uint64_t times);
/* Value below which the fraction lies; interpolated in its bucket, at most max. */
uint64_t llb_hist_quantile(const struct llb_hist *hist, double fraction);

enum llb_hist_kind {
	LLB_HIST_DIRTY, /* time a chunk was Dirty before it became Clean */
	LLB_HIST_NEEDSYNC, /* time it was NeedSync before it became Syncing */
	LLB_HIST_WRITEBACK, /* write of a bitmap page */
	LLB_HIST_BARRIER, /* wait of a writer for a page */
	LLB_HIST_DAEMON, /* pass of the daemon */
	LLB_NR_HISTS,
};

const char *llb_hist_name(enum llb_hist_kind kind); /* "Dirty before Clean" */
const char *llb_hist_key(enum llb_hist_kind kind); /* "dirty" */

/* Aggregates; all arrays together. At most LLB_HIST_LOADS at the same time. */
#define LLB_HIST_LOADS 32
struct llb_hists;
struct llb_hists *llb_hists_new(void);
void llb_hists_free(struct llb_hists *hists);
/* Returns 0 or -ENOMEM. */
int llb_hists_event(void *hists, const struct llb_event *event);
const struct llb_hist *llb_hists_get(const struct llb_hists *hists, enum llb_hist_kind kind);

#endif
