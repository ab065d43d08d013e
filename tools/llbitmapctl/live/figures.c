// SPDX-License-Identifier: GPL-2.0-or-later
/* What the BPF side counted and measured, summed over the CPUs. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "session_int.h"

/* Room in session.percpu for the largest value of each CPU. */
int figures_room(struct session *s)
{
	size_t room = ROUND8(sizeof(struct llb_slot_stats));

	if (ROUND8(sizeof(struct llb_latencies)) > room)
		room = ROUND8(sizeof(struct llb_latencies));
	s->percpu = malloc(room * s->cpus);
	return s->percpu ? 0 : -ENOMEM;
}

int slots_stats(struct session *s, uint32_t slot, struct llb_slot_stats *sum)
{
	size_t words = sizeof(*sum) / sizeof(__u64), stride = ROUND8(sizeof(*sum));
	struct llb_slot_stats total = {};

	if (bpf_map_lookup_elem(bpf_map__fd(s->skel->maps.stats), &slot, s->percpu))
		return -errno;
	for (int cpu = 0; cpu < s->cpus; cpu++) {
		const struct llb_slot_stats *c = (void *)((char *)s->percpu + cpu * stride);

		/* All members are counters, but for seq_max. */
		for (size_t i = 0; i < words; i++)
			((__u64 *)&total)[i] += ((const __u64 *)c)[i];
		for (int of = 0; of < LLB_JUDGES; of++) {
			total.seq_max[of] -= c->seq_max[of];
			if (c->seq_max[of] > total.seq_max[of])
				total.seq_max[of] = c->seq_max[of];
		}
	}
	*sum = total;
	return 0;
}

int session_stats(struct session *s, size_t i, struct llb_slot_stats *sum)
{
	if (i >= s->nloads)
		return -EINVAL;
	if (s->loads[i].slot != LLB_NO_SLOT)
		return slots_stats(s, s->loads[i].slot, sum);
	*sum = s->loads[i].sum;
	return 0;
}

int slots_latencies(struct session *s, uint32_t slot, struct llb_latencies *to)
{
	size_t stride = ROUND8(sizeof(*to));

	if (bpf_map_lookup_elem(bpf_map__fd(s->skel->maps.latencies), &slot, s->percpu))
		return -errno;
	for (int cpu = 0; cpu < s->cpus; cpu++) {
		const struct llb_latencies *c = (void *)((char *)s->percpu + cpu * stride);

		for (int k = 0; k < LLB_NR_LATENCIES; k++) {
			for (int b = 0; b < LLB_BUCKETS; b++)
				to->kind[k].bucket[b] += c->kind[k].bucket[b];
			to->kind[k].sum += c->kind[k].sum;
			if (c->kind[k].max > to->kind[k].max)
				to->kind[k].max = c->kind[k].max;
		}
	}
	return 0;
}

int session_latency(struct session *s, size_t i, enum llb_latency kind, struct llb_hist *hist)
{
	struct llb_latencies sum = {};
	int err = 0;

	if (i == SIZE_MAX) {
		sum = *s->done;
		for (size_t j = 0; j < s->nloads && !err; j++)
			if (s->loads[j].slot != LLB_NO_SLOT)
				err = slots_latencies(s, s->loads[j].slot, &sum);
	} else if (i < s->nloads && s->loads[i].slot != LLB_NO_SLOT) {
		err = slots_latencies(s, s->loads[i].slot, &sum);
	}
	memset(hist, 0, sizeof(*hist));
	for (int b = 0; b < LLB_BUCKETS; b++) {
		hist->bucket[b] = sum.kind[kind].bucket[b];
		hist->count += hist->bucket[b];
	}
	hist->sum = sum.kind[kind].sum;
	hist->max = sum.kind[kind].max;
	return err;
}

uint8_t session_shadow(const struct session *s, size_t i, uint64_t chunk)
{
	const struct session_load *l = session_load_at(s, i);

	if (!l || l->slot == LLB_NO_SLOT || chunk >= LLB_MAX_CHUNKS)
		return 0;
	return s->pages[l->slot * LLB_MAX_PAGES + llb_page_of(chunk)]
		.word[(LLB_FIRST_BYTE + chunk) % LLB_PAGE_SIZE];
}

static uint64_t recursion_misses(struct session *s)
{
	struct bpf_program *prog;
	uint64_t sum = 0;

	bpf_object__for_each_program(prog, s->skel->obj) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		if (!bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
			sum += info.recursion_misses;
	}
	return sum;
}

int session_counters(struct session *s, struct llb_counters *sum)
{
	size_t stride = ROUND8(sizeof(*sum));
	__u32 zero = 0;

	memset(sum, 0, sizeof(*sum));
	if (bpf_map_lookup_elem(bpf_map__fd(s->skel->maps.counters), &zero, s->percpu))
		return -errno;
	for (int cpu = 0; cpu < s->cpus; cpu++) {
		const struct llb_counters *c = (void *)((char *)s->percpu + cpu * stride);

		for (int i = 0; i < LLB_NR_EVENT_TYPES; i++)
			sum->events[i] += c->events[i];
		for (int i = 0; i < LLB_NR_LOSS_KINDS; i++)
			sum->loss[i] += c->loss[i];
	}
	sum->loss[LLB_LOSS_RECURSION] += recursion_misses(s);
	sum->loss[LLB_LOSS_MAP] += s->lost_accounts;
	return 0;
}
