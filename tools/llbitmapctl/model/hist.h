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

const char *llb_hist_name(enum llb_latency kind); /* "Dirty before Clean" */
const char *llb_hist_key(enum llb_latency kind); /* "dirty" */

/* What hist shows, of a session or a recording. */
struct llb_hist_set {
	struct llb_hist hist[LLB_NR_LATENCIES];
	uint64_t duration_ns;
	uint64_t lost; /* events, of the kinds that matter */
	uint64_t missing; /* sequence numbers; the caller's to set */
	uint64_t unwatched; /* loads without room */
};

/* Aggregates; all arrays together. At most LLB_LOADS at the same time. */
struct llb_hists;
struct llb_hists *llb_hists_new(void);
void llb_hists_free(struct llb_hists *hists);
/* Returns 0: takes the place of `event` of a struct llb_sink. */
int llb_hists_event(void *hists, const struct llb_event *event);
struct llb_hist_set llb_hists_get(const struct llb_hists *hists);

#endif
