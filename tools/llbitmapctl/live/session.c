// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <time.h>
#include "session_int.h"

#define RING_STREAM (16u << 20)
#define RING_QUIET (1u << 20)

uint64_t session_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* The session says what went wrong; libbpf does not. */
static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static int give(struct session *s, const struct llb_event *e)
{
	if (!s->sink || s->sink_result)
		return s->sink_result;
	return s->sink_result = s->sink->event(s->sink->ctx, e);
}

/* A load event for a bitmap that was there before us, ahead of its first event. */
static void announce(struct session *s, struct session_load *l, const struct llb_event *first)
{
	struct llb_event e = {
		.ts_ns = first->ts_ns,
		.dev = l->dev,
		.load = first->load,
		.type = LLB_EV_LOAD,
		.version = LLB_EVENT_VERSION,
		.stack = -1,
		.load_info = {
			.chunks = l->chunks,
			.level = l->level,
			.members = l->members,
			.chunk_sectors = l->chunk_sectors,
			.decision = LLB_LOAD_RUNNING,
		},
	};

	l->load = first->load;
	l->announced = true;
	if (filter_wants(&s->config.filter, &e))
		give(s, &e);
}

static int on_ring_event(void *ctx, void *data, size_t size)
{
	struct session *s = ctx;
	const struct llb_event *e = data;
	struct session_load *l;

	if (size < sizeof(*e))
		return 0;
	if (e->type == LLB_EV_LOAD) {
		l = slots_loaded(s, e);
		if (!l)
			return -ENOMEM;
	} else {
		l = slots_find(s, e->dev, e->load);
		if (l && !l->announced)
			announce(s, l, e);
	}
	if (l && e->type == LLB_EV_UNLOAD)
		l->unloaded = true;
	if (l && e->type == LLB_EV_RESIZE)
		l->chunks = e->resize.chunks;
	if (llb_event_rule(e))
		findings_violation(s, e);
	if (filter_wants(&s->config.filter, e))
		give(s, e);
	/* Whatever the sink says: what lies in the ring after this is not skipped. */
	return 0;
}

static int configure(struct session *s)
{
	struct llbitmap *skel = s->skel;
	const struct session_config *c = &s->config;
	struct llb_wanted wanted = filter_wanted(&c->filter);
	uint32_t slots = c->slots;
	int err;

	skel->rodata->cfg_slots = slots;
	skel->rodata->cfg_all_arrays = c->all;
	skel->rodata->cfg_stream = c->stream;
	skel->rodata->cfg_latencies = c->latencies;
	skel->rodata->cfg_count_only = c->count_only;
	skel->rodata->cfg_stacks = c->stacks;
	skel->rodata->cfg_types = c->filter.types ? c->filter.types : ~0u;
	skel->rodata->cfg_states = wanted.states;
	skel->rodata->cfg_actions = wanted.actions;
	skel->rodata->cfg_first = wanted.first;
	skel->rodata->cfg_last = wanted.last;
	skel->rodata->cfg_pid = c->filter.pid;
	memcpy((void *)skel->rodata->cfg_comm, c->filter.comm, LLB_COMM_LEN);

	err = bpf_map__set_max_entries(skel->maps.events, c->ring);
	err = err ?: bpf_map__set_max_entries(skel->maps.slots, slots);
	err = err ?: bpf_map__set_max_entries(skel->maps.pages, slots * LLB_MAX_PAGES);
	err = err ?: bpf_map__set_max_entries(skel->maps.writes, slots * LLB_MAX_PAGES);
	err = err ?: bpf_map__set_max_entries(skel->maps.seqs, slots * LLB_LOG_SIZE);
	err = err ?: bpf_map__set_max_entries(skel->maps.stats, slots);
	err = err ?: bpf_map__set_max_entries(skel->maps.latencies, slots);
	if (!err && c->latencies)
		err = bpf_map__set_max_entries(skel->maps.stamps, slots * LLB_MAX_PAGES);
	return err;
}

static int attach_one(struct bpf_program *prog, struct bpf_link **link)
{
	*link = bpf_program__attach(prog);
	if (*link)
		return 0;
	return -errno;
}

/*
 * A load is believed only when all its events can be seen: on_load comes last. What was loaded
 * before is found in sysfs afterwards.
 */
static int attach(struct session *s)
{
	struct llbitmap *skel = s->skel;
	int err = 0;

#define ATTACH(name) err = err ?: attach_one(skel->progs.name, &skel->links.name)
	ATTACH(on_snapshot);
	ATTACH(on_transition);
	ATTACH(on_writeback);
	ATTACH(on_barrier);
	ATTACH(on_daemon);
	ATTACH(on_sync);
	ATTACH(on_resize);
	ATTACH(on_error);
	ATTACH(on_unload);
	ATTACH(on_load);
#undef ATTACH
	return err;
}

void session_detach(struct session *s)
{
	s->detached = true;
	llbitmap__detach(s->skel);
}

static enum session_fault fault_of(int err, bool attaching)
{
	if (err == -EPERM || err == -EACCES)
		return SESSION_FAULT_PRIVILEGE;
	if (attaching && err == -ENOENT)
		return SESSION_FAULT_TRACEPOINTS;
	return SESSION_FAULT_LOAD;
}

static void set_defaults(struct session_config *c)
{
	if (!c->slots)
		c->slots = SESSION_SLOTS;
	if (!c->ring)
		c->ring = c->stream ? RING_STREAM : RING_QUIET;
	if (!c->roots)
		c->roots = &array_system_roots;
}

size_t session_memory(const struct session_config *config)
{
	struct session_config c = *config;
	size_t slot, page = sizeof(struct llb_page) + sizeof(uint64_t);
	int cpus = libbpf_num_possible_cpus();

	set_defaults(&c);
	if (c.latencies)
		page += sizeof(struct llb_stamps);
	slot = sizeof(struct llb_slot) + LLB_MAX_PAGES * page + LLB_LOG_SIZE * sizeof(uint64_t);
	if (cpus > 0)
		slot += cpus * (sizeof(struct llb_slot_stats) + sizeof(struct llb_latencies));
	return c.ring + c.slots * slot;
}

/* Programs, maps and ring buffer, not attached yet. */
static int load(struct session *s, enum session_fault *fault)
{
	int err;

	libbpf_set_print(quiet);
	s->cpus = libbpf_num_possible_cpus();
	if (s->cpus < 0)
		return s->cpus;
	s->done = calloc(1, sizeof(*s->done));
	s->skel = llbitmap__open();
	if (!s->skel || !s->done)
		return errno ? -errno : -ENOMEM;
	err = configure(s);
	if (err)
		return err;
	err = llbitmap__load(s->skel);
	if (err) {
		*fault = fault_of(err, false);
		return err;
	}
	err = figures_room(s);
	err = err ?: slots_map(s);
	if (err)
		return err;
	s->ring = ring_buffer__new(bpf_map__fd(s->skel->maps.events), on_ring_event, s, NULL);
	return s->ring ? 0 : -errno;
}

int session_open(const struct session_config *config, struct session **out,
		 enum session_fault *fault)
{
	struct session *s = calloc(1, sizeof(*s));
	int err;

	*fault = SESSION_FAULT_LOAD;
	if (!s)
		return -ENOMEM;
	s->outer = s->inner = -1;
	s->config = *config;
	set_defaults(&s->config);
	err = load(s, fault);
	if (!err) {
		ksyms_open(&s->ksyms); /* without, stacks are numbers */
		err = attach(s);
		if (err)
			*fault = fault_of(err, true);
	}
	if (err) {
		session_close(s);
		return err;
	}
	*fault = SESSION_FAULT_NONE;
	*out = s;
	return 0;
}

int session_drop_privileges(void)
{
	cap_t none = cap_init();
	int err = 0;

	if (!none)
		return -ENOMEM;
	if (cap_set_proc(none))
		err = -errno;
	cap_free(none);
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err = -errno;
	return err;
}

/* Tells the sink what was lost since it was last told. */
static void tell_losses(struct session *s)
{
	struct llb_counters c;

	if (session_counters(s, &c))
		return;
	for (int kind = 0; kind < LLB_NR_LOSS_KINDS; kind++) {
		struct llb_event e = {
			.ts_ns = session_now(),
			.type = LLB_EV_LOSS,
			.version = LLB_EVENT_VERSION,
			.stack = -1,
			.loss = { .count = c.loss[kind] - s->told[kind], .kind = kind },
		};

		if (c.loss[kind] <= s->told[kind])
			continue;
		s->told[kind] = c.loss[kind];
		give(s, &e);
	}
}

int session_poll(struct session *s, int timeout_ms, const struct llb_sink *sink)
{
	int err;

	s->sink = sink;
	s->sink_result = 0;
	err = ring_buffer__consume(s->ring);
	if (!err && timeout_ms) {
		err = ring_buffer__poll(s->ring, timeout_ms);
		/* The programs wake nobody unless the buffer fills up. */
		if (err == -EINTR || !err)
			err = ring_buffer__consume(s->ring);
	}
	if (err >= 0)
		err = slots_tend(s);
	tell_losses(s);
	s->sink = NULL;
	return err < 0 && err != -EINTR ? err : s->sink_result;
}

int session_finish(struct session *s, const struct llb_sink *sink)
{
	int err;

	s->sink = sink;
	s->sink_result = 0;
	ring_buffer__consume(s->ring);
	slots_tend(s);
	slots_finish(s);
	err = ring_buffer__consume(s->ring);
	err = slots_close(s) ?: err;
	tell_losses(s);
	s->sink = NULL;
	return err < 0 ? err : s->sink_result;
}

void session_close(struct session *s)
{
	if (!s)
		return;
	if (s->ring)
		ring_buffer__free(s->ring);
	slots_unmap(s);
	llbitmap__destroy(s->skel);
	ksyms_close(s->ksyms);
	for (size_t i = 0; i < s->nstacks; i++)
		free(s->stacks[i].text);
	free(s->stacks);
	slots_forget(s);
	free(s->done);
	free(s);
}
