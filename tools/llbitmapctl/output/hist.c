// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include "hist.h"
#include "parts.h"

#define BAR 40

static void bucket_text(struct llb_out *out, unsigned int i, uint64_t count, uint64_t most)
{
	static const char stars[] = "****************************************";
	char from[32], to[32];
	int width = (int)((double)count / (double)most * BAR + 0.5);

	llb_ns_text(i ? 1ull << i : 0, from, sizeof(from));
	llb_ns_text(i < 63 ? 2ull << i : UINT64_MAX, to, sizeof(to));
	llb_text(out, "  %8s .. %-8s %12" PRIu64 " |%-*.*s|\n", from, to, count, BAR, width,
		 stars);
}

static void print_text(struct llb_out *out, enum llb_latency kind, const struct llb_hist *h)
{
	static const struct {
		const char *name;
		double fraction;
	} marks[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 } };
	unsigned int low = LLB_HIST_BUCKETS, high = 0;
	uint64_t most = 0;
	char text[32];

	llb_styled(out, LLB_BOLD, "%s", llb_hist_name(kind));
	llb_text(out, ": %" PRIu64, h->count);
	for (unsigned int i = 0; i < sizeof(marks) / sizeof(*marks) && h->count; i++)
		llb_text(out, ", %s %s", marks[i].name,
			 llb_ns_text(llb_hist_quantile(h, marks[i].fraction), text, sizeof(text)));
	if (h->count)
		llb_text(out, ", max %s", llb_ns_text(h->max, text, sizeof(text)));
	llb_text(out, "\n");
	for (unsigned int i = 0; i < LLB_HIST_BUCKETS; i++) {
		if (!h->bucket[i])
			continue;
		low = i < low ? i : low;
		high = i;
		most = h->bucket[i] > most ? h->bucket[i] : most;
	}
	for (unsigned int i = low; i <= high && most; i++)
		bucket_text(out, i, h->bucket[i], most);
}

static void print_json(struct llb_out *out, enum llb_latency kind, const struct llb_hist *h)
{
	llb_json_object(out, NULL);
	llb_json_string(out, "name", llb_hist_key(kind));
	llb_json_u64(out, "count", h->count);
	llb_json_u64(out, "sum_ns", h->sum);
	llb_json_u64(out, "p50_ns", llb_hist_quantile(h, 0.5));
	llb_json_u64(out, "p90_ns", llb_hist_quantile(h, 0.9));
	llb_json_u64(out, "p99_ns", llb_hist_quantile(h, 0.99));
	llb_json_u64(out, "max_ns", h->max);
	llb_json_array(out, "buckets");
	for (unsigned int i = 0; i < LLB_HIST_BUCKETS; i++) {
		if (!h->bucket[i])
			continue;
		llb_json_object(out, NULL);
		llb_json_u64(out, "from_ns", i ? 1ull << i : 0);
		llb_json_u64(out, "count", h->bucket[i]);
		llb_json_close(out);
	}
	llb_json_close(out);
	llb_json_close(out);
}

void llb_hists_print(struct llb_out *out, const struct llb_hist_set *set)
{
	if (out->json) {
		llb_json_begin(out);
		llb_json_u64(out, "duration_ns", set->duration_ns);
		llb_json_array(out, "histograms");
	}
	for (int kind = 0; kind < LLB_NR_LATENCIES; kind++)
		(out->json ? print_json : print_text)(out, kind, &set->hist[kind]);
	if (out->json) {
		llb_json_close(out);
		llb_json_u64(out, "lost", set->lost);
		llb_json_u64(out, "missing", set->missing);
		llb_json_u64(out, "unwatched", set->unwatched);
		llb_json_end(out);
	} else {
		llb_lost_text(out, set->lost, set->missing, set->unwatched);
	}
}
