// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Slots: one per load of a bitmap that is watched. The BPF side takes one when
 * a bitmap is loaded, the session takes one for a bitmap that was there
 * before; only the session gives them back.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "session_int.h"

#define LOOK_NS 1000000000ull /* how often sysfs is searched for arrays */

static void *map_memory(struct bpf_map *map)
{
	size_t size = ROUND8(bpf_map__value_size(map)) * bpf_map__max_entries(map);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap_memory(struct bpf_map *map, void *p)
{
	if (p)
		munmap(p, ROUND8(bpf_map__value_size(map)) * bpf_map__max_entries(map));
}

int slots_map(struct session *s)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);

	s->inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "inner", sizeof(__u32), sizeof(__u32), 1,
				  NULL);
	if (s->inner < 0)
		return s->inner;
	opts.inner_map_fd = s->inner;
	s->outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", sizeof(__u32),
				  sizeof(__u32), 1, &opts);
	if (s->outer < 0)
		return s->outer;
	s->slots = map_memory(s->skel->maps.slots);
	s->pages = map_memory(s->skel->maps.pages);
	s->stamps = map_memory(s->skel->maps.stamps);
	s->writes = map_memory(s->skel->maps.writes);
	s->seqs = map_memory(s->skel->maps.seqs);
	return s->slots && s->pages && s->stamps && s->writes && s->seqs ? 0 : -ENOMEM;
}

void slots_unmap(struct session *s)
{
	if (s->skel) {
		unmap_memory(s->skel->maps.slots, s->slots);
		unmap_memory(s->skel->maps.pages, s->pages);
		unmap_memory(s->skel->maps.stamps, s->stamps);
		unmap_memory(s->skel->maps.writes, s->writes);
		unmap_memory(s->skel->maps.seqs, s->seqs);
	}
	if (s->outer >= 0)
		close(s->outer);
	if (s->inner >= 0)
		close(s->inner);
	free(s->percpu);
}

/*
 * Waits until every program that runs has ended, and so every event whose
 * number was taken has been counted: events are raised under a spinlock, with
 * preemption off, which an RCU grace period waits for. The kernel does so when
 * an inner map is exchanged, as no program may use the old one afterwards; unlike
 * membarrier(2) also with nohz_full.
 */
static void quiesce(struct session *s)
{
	__u32 zero = 0;

	if (bpf_map_update_elem(s->outer, &zero, &s->inner, BPF_ANY))
		s->lost_accounts++;
}

/* ---- list of loads ---- */

struct session_load *slots_find(struct session *s, uint32_t dev, uint32_t load)
{
	/* Newest first: a device number comes back. */
	for (size_t i = s->nloads; i-- > 0;) {
		struct session_load *l = &s->loads[i];

		if (l->dev == dev && (l->load == load || !l->load))
			return l;
	}
	return NULL;
}

static struct session_load *load_add(struct session *s, uint32_t dev)
{
	struct session_load *v = reallocarray(s->loads, s->nloads + 1, sizeof(*v));

	if (!v)
		return NULL;
	s->loads = v;
	v += s->nloads++;
	memset(v, 0, sizeof(*v));
	v->dev = dev;
	v->slot = LLB_NO_SLOT;
	v->snapshot_fd = -1;
	return v;
}

static void close_snapshot(struct session_load *l)
{
	if (l->snapshot_fd >= 0)
		close(l->snapshot_fd);
	l->snapshot_fd = -1;
}

void slots_forget(struct session *s)
{
	for (size_t i = 0; i < s->nloads; i++)
		close_snapshot(&s->loads[i]);
	free(s->loads);
}

static int level_number(const char *level)
{
	return strncmp(level, "raid", 4) ? 0 : atoi(level + 4);
}

static void load_name(struct session_load *l, const struct array_info *a)
{
	snprintf(l->name, sizeof(l->name), "%s", a->name);
	snprintf(l->uuid, sizeof(l->uuid), "%s", a->uuid);
}

static void load_describe(struct session_load *l, const struct array_info *a)
{
	load_name(l, a);
	l->level = level_number(a->level);
	l->members = a->members;
	l->chunks = a->chunks;
	l->chunk_sectors = a->chunk_sectors;
}

size_t session_loads(const struct session *s)
{
	return s->nloads;
}

const struct session_load *session_load_at(const struct session *s, size_t i)
{
	return i < s->nloads ? &s->loads[i] : NULL;
}

size_t session_load_find(const struct session *s, uint32_t dev, uint32_t load)
{
	size_t i = s->nloads;

	while (i-- > 0)
		if (s->loads[i].dev == dev && s->loads[i].load == load)
			return i;
	return SIZE_MAX;
}

const char *session_name(const struct session *s, uint32_t dev)
{
	for (size_t i = s->nloads; i-- > 0;)
		if (s->loads[i].dev == dev && s->loads[i].name[0])
			return s->loads[i].name;
	return NULL;
}

/* ---- numbers ---- */

/* Entries of the slot's log above @than. */
static struct llb_numbers log_above(struct session *s, uint32_t slot, uint64_t than)
{
	const uint64_t *log = s->seqs + (size_t)slot * LLB_LOG_SIZE;
	uint64_t n = __atomic_load_n(&s->slots[slot].logged, __ATOMIC_ACQUIRE);
	struct llb_numbers above = {};

	for (uint64_t i = 0; i < n && i < LLB_LOG_SIZE; i++)
		if (log[i] > than)
			llb_numbers_add(&above, log[i]);
	return above;
}

static uint64_t highest_number(const struct llb_slot_stats *sum)
{
	uint64_t highest = 0;

	for (int of = 0; of < LLB_JUDGES; of++)
		if (sum->seq_max[of] > highest)
			highest = sum->seq_max[of];
	return highest;
}

static void look_at_log(struct session *s, struct session_load *l)
{
	if (s->slots[l->slot].logged <= LLB_LOG_SIZE)
		return;
	l->overrun = true;
	s->lost_accounts++;
}

/* The load ended, or the session. */
static void account(struct session *s, struct session_load *l)
{
	const struct llb_slot *slot = &s->slots[l->slot];
	__u64 told = 0, missing;

	slots_stats(s, l->slot, &l->sum);
	l->load = slot->load;
	l->base = slot->base;
	l->last = slot->end ? slot->end - 1 : slot->last;
	/* An unload that tells less than was seen is a violation, and has been counted as one. */
	if (!slot->end && highest_number(&l->sum) > l->last)
		l->last = highest_number(&l->sum);
	l->received = l->early;
	for (int of = 0; of < LLB_JUDGES; of++)
		l->received = llb_numbers_plus(l->received, l->sum.counted[of]);
	l->snapshots = slot->snapshots;
	l->based = l->based || l->snapshots;
	/* Without a first snapshot of our own nobody knows which numbers came before another's. */
	if (!s->config.snapshot && !l->from_start)
		return;
	if (slot->closing) {
		l->received = llb_numbers_minus(l->received, log_above(s, l->slot, l->last));
		look_at_log(s, l);
	}
	if (!l->base || l->overrun)
		return;
	l->repeated = llb_numbers_compare(l->received, l->base, l->last, &missing);
	l->missing = missing;
	/* A number that was there before on its page, or among the resizes, is a violation already. */
	for (int of = 0; of < LLB_JUDGES; of++)
		told += l->sum.violations[of][LLB_RULE_SEQUENCE];
	l->repeated -= told < l->repeated ? told : l->repeated;
	if (l->repeated)
		findings_repeated(s, l);
}

/* ---- taking and giving back ---- */

static enum llb_slot_state slot_state(const struct llb_slot *slot)
{
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
}

static int slot_claim(struct session *s)
{
	for (uint32_t i = 0; i < s->config.slots; i++) {
		uint32_t free = LLB_SLOT_FREE;

		if (__atomic_compare_exchange_n(&s->slots[i].state, &free, LLB_SLOT_LIVE, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return i;
	}
	return -ENOSPC;
}

static void slot_release(struct session *s, struct session_load *l)
{
	uint32_t slot = l->slot;
	struct llb_slot *p = &s->slots[slot];
	size_t first = (size_t)slot * LLB_MAX_PAGES;

	account(s, l);
	close_snapshot(l);
	l->unloaded = true;
	slots_latencies(s, slot, s->done);
	l->slot = LLB_NO_SLOT;
	memset(&s->pages[first], 0, sizeof(s->pages[0]) * LLB_MAX_PAGES);
	memset(&s->writes[first], 0, sizeof(s->writes[0]) * LLB_MAX_PAGES);
	if (s->config.latencies)
		memset(&s->stamps[first], 0, sizeof(s->stamps[0]) * LLB_MAX_PAGES);
	memset(s->percpu, 0, ROUND8(sizeof(struct llb_slot_stats)) * s->cpus);
	bpf_map_update_elem(bpf_map__fd(s->skel->maps.stats), &slot, s->percpu, BPF_ANY);
	memset(s->percpu, 0, ROUND8(sizeof(struct llb_latencies)) * s->cpus);
	bpf_map_update_elem(bpf_map__fd(s->skel->maps.latencies), &slot, s->percpu, BPF_ANY);
	p->dev = p->load = p->closing = p->parity = p->snapshots = p->fresh = 0;
	p->base = p->end = p->logged = p->last = p->chunks = p->daemon_begin = 0;
	p->drains = (struct llb_drains){};
	__atomic_store_n(&p->state, LLB_SLOT_FREE, __ATOMIC_RELEASE);
}

/* The snapshot that a watched load begins with: its chunks, and where its numbers begin. */
static int first_snapshot(struct session *s, struct session_load *l)
{
	struct llb_slot *slot = &s->slots[l->slot];
	int err;

	l->snapshot_fd = array_snapshot_open(s->config.roots, l->name);
	if (l->snapshot_fd < 0)
		return l->snapshot_fd;
	/* Programs that do not see the entry in devs yet have to be over. */
	quiesce(s);
	err = array_snapshot(l->snapshot_fd);
	if (err)
		return err;
	quiesce(s);
	l->based = slot->snapshots > 0;
	if (slot->chunks)
		l->chunks = slot->chunks;
	l->load = slot->load;
	look_at_log(s, l);
	l->early = log_above(s, l->slot, slot->base);
	slot->logged = 0;
	/* It may have filled most of the ring. */
	err = ring_buffer__consume(s->ring);
	return err < 0 ? err : 0;
}

/* Makes the slot (or LLB_NO_SLOT) that of the device. -EEXIST: it has one. */
static int slot_assign(struct session *s, __u32 dev, __u32 slot)
{
	if (!bpf_map_update_elem(bpf_map__fd(s->skel->maps.devs), &dev, &slot, BPF_NOEXIST))
		return 0;
	return -errno;
}

static int watch(struct session *s, const struct array_info *array)
{
	__u32 dev = array->dev, index = 0;
	struct session_load *l;
	int claimed, err;

	/* Loaded a moment ago, while we were attached: its load event is on the way. */
	if (!bpf_map_lookup_elem(bpf_map__fd(s->skel->maps.devs), &dev, &index))
		return 0;
	l = load_add(s, dev);
	if (!l)
		return -ENOMEM;
	load_describe(l, array);
	claimed = slot_claim(s);
	if (claimed >= 0) {
		/* Without a snapshot every number counts from the first one seen. */
		s->slots[claimed].dev = dev;
		/* Its chunks may be others by now than sysfs said: its snapshot tells. */
		s->slots[claimed].parity = l->level >= 4 && l->level <= 6;
	}
	err = slot_assign(s, dev, claimed < 0 ? LLB_NO_SLOT : (__u32)claimed);
	if (err) {
		if (claimed >= 0)
			__atomic_store_n(&s->slots[claimed].state, LLB_SLOT_FREE, __ATOMIC_RELEASE);
		s->nloads--;
		return err == -EEXIST ? 0 : err;
	}
	if (claimed < 0) {
		l->unwatched = true;
		return -ENOSPC;
	}
	l->slot = claimed;
	return s->config.snapshot ? first_snapshot(s, l) : 0;
}

int session_watch(struct session *s, const struct array_info *array, const struct llb_sink *sink)
{
	int err;

	s->sink = sink;
	s->sink_result = 0;
	err = watch(s, array);
	s->sink = NULL;
	return err;
}

/* Its device may show up in sysfs only after its first events. */
static void find_name(struct session *s, struct session_load *l)
{
	const struct array_info *a;
	struct array_list list;

	if (arrays_scan(s->config.roots, &list))
		return;
	a = arrays_by_dev(&list, l->dev);
	if (a)
		load_name(l, a);
	arrays_free(&list);
}

/* The slot that was taken for the load: devs may tell that of a later one already. */
static uint32_t find_slot(const struct session *s, uint32_t dev, uint32_t load)
{
	for (uint32_t i = 0; i < s->config.slots; i++)
		if (slot_state(&s->slots[i]) != LLB_SLOT_FREE && s->slots[i].dev == dev &&
		    s->slots[i].load == load)
			return i;
	return LLB_NO_SLOT;
}

struct session_load *slots_loaded(struct session *s, const struct llb_event *e)
{
	/* There is one if its end was seen before its beginning: see adopt(). */
	size_t i = session_load_find(s, e->dev, e->load);
	struct session_load *l = i == SIZE_MAX ? load_add(s, e->dev) : &s->loads[i];

	if (!l)
		return NULL;
	if (i == SIZE_MAX) {
		l->load = e->load;
		l->slot = find_slot(s, e->dev, e->load);
		l->unwatched = l->slot == LLB_NO_SLOT;
	}
	l->level = e->load_info.level;
	l->members = e->load_info.members;
	l->chunks = e->load_info.chunks;
	l->chunk_sectors = e->load_info.chunk_sectors;
	l->announced = l->from_start = true;
	/* Init tells of every chunk; for the others the kernel gives a snapshot. */
	l->based = l->based || e->load_info.decision == LLB_LOAD_FIRST_USE;
	find_name(s, l);
	return l;
}

/*
 * A slot whose load event was lost (which is counted) or is still in the ring: what
 * was found in it counts all the same, and the slot can be given back.
 */
static int adopt(struct session *s, uint32_t slot)
{
	const struct llb_slot *p = &s->slots[slot];
	struct session_load *l;

	for (size_t i = 0; i < s->nloads; i++)
		if (s->loads[i].slot == slot)
			return 0;
	l = load_add(s, p->dev);
	if (!l)
		return -ENOMEM;
	l->load = p->load;
	l->slot = slot;
	l->chunks = p->chunks;
	l->based = p->fresh;
	l->announced = true;
	find_name(s, l);
	return 0;
}

/* Arrays whose load event came between sysfs and us. */
static int find_arrays(struct session *s)
{
	struct array_list list;
	int err = arrays_scan(s->config.roots, &list);

	for (size_t i = 0; !err && i < list.n; i++) {
		__u32 dev = list.v[i].dev, index;

		if (!list.v[i].traced ||
		    !bpf_map_lookup_elem(bpf_map__fd(s->skel->maps.devs), &dev, &index))
			continue;
		err = watch(s, &list.v[i]);
		if (err != -ENOMEM)
			err = 0;
	}
	arrays_free(&list);
	return err;
}

/* A session may last for months, with arrays that come and go. */
static void forget_oldest(struct session *s)
{
	size_t ended = 0, kept = 0;

	for (size_t i = 0; i < s->nloads; i++)
		ended += s->loads[i].slot == LLB_NO_SLOT;
	if (ended <= LLB_AUDIT_LOADS)
		return;
	for (size_t i = 0; i < s->nloads; i++) {
		if (ended > LLB_AUDIT_LOADS && s->loads[i].slot == LLB_NO_SLOT) {
			findings_forget(s, i);
			ended--;
		} else {
			s->loads[kept++] = s->loads[i];
		}
	}
	s->nloads = kept;
}

int slots_tend(struct session *s)
{
	uint64_t now = session_now();
	int err = 0;

	for (uint32_t i = 0; i < s->config.slots && !err; i++)
		if (slot_state(&s->slots[i]) == LLB_SLOT_ENDED)
			err = adopt(s, i);
	if (err)
		return err;
	for (size_t i = 0; i < s->nloads; i++) {
		struct session_load *l = &s->loads[i];

		if (l->slot == LLB_NO_SLOT)
			continue;
		if (slot_state(&s->slots[l->slot]) == LLB_SLOT_ENDED)
			slot_release(s, l);
		else if (!l->name[0])
			find_name(s, l);
	}
	forget_oldest(s);
	if (!s->config.all || now - s->looked_ns < LOOK_NS)
		return 0;
	s->looked_ns = now;
	return find_arrays(s);
}

/* Bytes that changed without an event show as breaks of continuity. */
static void last_snapshot(struct session *s, struct session_load *l)
{
	int err;

	if (l->slot == LLB_NO_SLOT || l->unloaded)
		return;
	if (l->snapshot_fd < 0)
		l->snapshot_fd = array_snapshot_open(s->config.roots, l->name);
	err = l->snapshot_fd < 0 ? l->snapshot_fd : array_snapshot(l->snapshot_fd);
	/* An array that just stops has no states to compare any more. */
	l->open_ended = err == -ENODEV || err == -ENOENT ? 0 : err;
}

static void set_phase(struct session *s, enum llb_phase phase)
{
	__atomic_store_n(&s->skel->bss->phase, phase, __ATOMIC_RELEASE);
	quiesce(s);
}

/*
 * Chooses the number from which on nothing counts: above all that were counted,
 * while all programs log what they count, so that what is counted beyond it
 * nevertheless can be told.
 */
static void choose_ends(struct session *s)
{
	struct llb_slot_stats sum;

	for (uint32_t i = 0; i < s->config.slots; i++)
		if (slot_state(&s->slots[i]) == LLB_SLOT_LIVE && s->slots[i].base)
			__atomic_store_n(&s->slots[i].closing, 1, __ATOMIC_RELEASE);
	quiesce(s);
	for (uint32_t i = 0; i < s->config.slots; i++)
		if (slot_state(&s->slots[i]) == LLB_SLOT_LIVE && s->slots[i].closing &&
		    !slots_stats(s, i, &sum))
			__atomic_store_n(&s->slots[i].end, highest_number(&sum) + 1,
					 __ATOMIC_RELEASE);
	/* Those below it that were taken, but not told yet, are counted then, too. */
	quiesce(s);
}

void slots_finish(struct session *s)
{
	for (size_t i = 0; s->config.snapshot && i < s->nloads; i++) {
		last_snapshot(s, &s->loads[i]);
		/* The ring may not have room for that of another array as well. */
		ring_buffer__consume(s->ring);
	}
	set_phase(s, LLB_PHASE_ENDS);
	choose_ends(s);
	set_phase(s, LLB_PHASE_OVER);
	session_detach(s);
}

int slots_close(struct session *s)
{
	int err = 0;

	for (uint32_t i = 0; i < s->config.slots && !err; i++)
		if (slot_state(&s->slots[i]) != LLB_SLOT_FREE)
			err = adopt(s, i);
	for (size_t i = 0; i < s->nloads; i++)
		if (s->loads[i].slot != LLB_NO_SLOT)
			account(s, &s->loads[i]);
	return err;
}
