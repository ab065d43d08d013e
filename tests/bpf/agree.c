// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs the BPF programs on made-up events, without attaching them, and
 * verify.c on the same: both have to object to the same events, for the same
 * reason, at the same chunk, with the same history.
 *
 * usage: agree SEED EVENTS, or agree end: how a session ends
 * exit status 0 they agree, 1 they do not, 77 no BPF here
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../tools/llbitmapctl/model/names.h"
#include "../../tools/llbitmapctl/model/verify.h"
#include "../../bpf/llbitmap_live.h"
#include "llbitmap.skel.h"

#define CHUNKS 9000 /* three pages: at first */
#define MAX_CHUNKS 16000
#define DEV (9u << 20)

static struct llb_event got; /* last one of the ring buffer */
static unsigned int nr_got;
static uint64_t rng;
static uint64_t last_first; /* chunk of the event before */
static bool last_on_page; /* what is out of range has none */
static bool elsewhere; /* this event repeats a number on another page */
static uint64_t repeats; /* events whose number came before */
static uint32_t chunks = CHUNKS;

static uint32_t rnd(uint32_t n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33) % n;
}

static int on_event(void *ctx, void *data, size_t size)
{
	memcpy(&got, data, sizeof(got));
	nr_got++;
	return 0;
}

static int fire(struct bpf_program *prog, uint64_t *args, size_t nr)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = nr * sizeof(*args));

	return bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
}

/* A run of chunks inside one page; now and then one that is not. */
static void make_range(__u64 *first, __u32 *count)
{
	__u32 room;

	*first = rnd(40) ? rnd(chunks) : rnd(chunks * 2);
	room = LLB_PAGE_SIZE - (LLB_FIRST_BYTE + *first) % LLB_PAGE_SIZE;
	if (*first < chunks && *first + room > chunks && rnd(40))
		room = chunks - *first;
	*count = rnd(3) ? 1 : 1 + rnd(rnd(2) ? 20 : room);
	if (*count > room && rnd(40))
		*count = room;
}

static void make_transition(struct llb_event *e, const uint8_t *shadow, uint64_t *seq)
{
	static const uint32_t usual[] = { 0, LLB_F_DRAINED | LLB_F_FLUSHED, LLB_F_SYNCED,
					  LLB_F_SYNC_IO, LLB_F_DEGRADED,
					  LLB_F_WHOLE | LLB_F_DURABLE | LLB_F_ALL_DISCARDED |
						  LLB_F_DRAINED | LLB_F_FLUSHED | LLB_F_DISCARD };

	e->type = LLB_EV_TRANSITION;
	make_range(&e->transition.first, &e->transition.count);
	e->transition.seq = ++*seq;
	/* the number of the event before, on its page or another one */
	if (*seq > 2 && last_on_page && !rnd(30)) {
		if (rnd(2)) {
			e->transition.first = last_first;
			e->transition.count = 1;
		}
		elsewhere = llb_page_of(e->transition.first) != llb_page_of(last_first);
		repeats++;
		e->transition.seq = --*seq;
	}
	e->transition.action = rnd(30) ? rnd(LLB_NR_ACTIONS) : rnd(256);
	e->transition.flags = rnd(4) ? usual[rnd(6)] : rnd(0x10000);
	e->transition.from = rnd(8) ? rnd(LLB_NR_STATES) : rnd(256);
	if (e->transition.first < chunks && shadow[e->transition.first] < LLB_NR_STATES && rnd(4))
		e->transition.from = shadow[e->transition.first];
	e->transition.to = llb_table_next(e->transition.from, e->transition.action);
	if (e->transition.to == LLB_NONE || !rnd(6))
		e->transition.to = rnd(LLB_NR_STATES);
}

static void make_snapshot(struct llb_event *e, const uint8_t *shadow, uint64_t *seq)
{
	e->type = LLB_EV_SNAPSHOT;
	do
		make_range(&e->snapshot.first, &e->snapshot.count);
	while (e->snapshot.first + e->snapshot.count > chunks ||
	       llb_page_of(e->snapshot.first) !=
		       llb_page_of(e->snapshot.first + e->snapshot.count - 1));
	e->snapshot.seq = ++*seq;
	e->snapshot.state = rnd(LLB_NR_STATES);
	if (e->snapshot.first < chunks && shadow[e->snapshot.first] < LLB_NR_STATES && rnd(3)) {
		e->snapshot.state = shadow[e->snapshot.first];
		e->snapshot.count = 1;
	}
}

/* Now and then one that is out of range, or not from the size that there is. */
static void make_resize(struct llb_event *e, uint64_t *seq)
{
	e->type = LLB_EV_RESIZE;
	e->resize.seq = ++*seq;
	if (*seq > 2 && !rnd(10)) {
		/* raised under the lock of page 0 */
		elsewhere = !last_on_page || llb_page_of(last_first);
		repeats++;
		e->resize.seq = --*seq;
	}
	e->resize.old_chunks = rnd(10) ? chunks : 1 + rnd(MAX_CHUNKS);
	e->resize.chunks = rnd(10) ? 1 + rnd(MAX_CHUNKS) : rnd(2) * (LLB_MAX_CHUNKS + 1);
}

/* Pages of the bitmap, and now and then one that it does not have. */
static __u32 make_page(void)
{
	return rnd(100) ? rnd(llb_page_of(chunks - 1) + 1) : rnd(1000);
}

static void make_writeback(struct llb_event *e, uint64_t seq)
{
	e->type = LLB_EV_WRITEBACK;
	e->writeback.page = make_page();
	e->writeback.seq = rnd(3) ? seq : rnd(seq + 2);
	e->writeback.op = rnd(2);
	e->writeback.error = rnd(8) ? 0 : -5;
}

/* What happens around the transitions. */
static void make_other(struct llb_event *e, uint64_t seq)
{
	switch (rnd(6)) {
	case 0:
		make_writeback(e, seq);
		break;
	case 1:
	case 2:
	case 3:
		e->type = LLB_EV_BARRIER;
		e->barrier.page = make_page();
		e->barrier.op = rnd(50) ? rnd(LLB_NR_BARRIER_OPS) : rnd(256);
		break;
	case 4:
		e->type = LLB_EV_DAEMON;
		e->daemon.op = rnd(2);
		break;
	default:
		e->type = LLB_EV_ERROR;
		/* Once nobody takes bitmap writes, less is judged. */
		e->error.kind = rnd(5000) ? rnd(LLB_ERR_NO_MEMBER) : LLB_ERR_NO_MEMBER;
	}
}

static int fire_transition(struct llbitmap *skel, const struct llb_event *e)
{
	uint64_t args[] = { e->dev, e->load, e->transition.seq, e->transition.first,
			    e->transition.count, e->transition.from, e->transition.to,
			    e->transition.action, e->transition.flags };

	return fire(skel->progs.on_transition, args, 9);
}

static int fire_snapshot(struct llbitmap *skel, const struct llb_event *e)
{
	uint64_t args[] = { e->dev, e->load, e->snapshot.seq, e->snapshot.first,
			    e->snapshot.count, e->snapshot.state, e->snapshot.flags };

	return fire(skel->progs.on_snapshot, args, 7);
}

static int fire_writeback(struct llbitmap *skel, const struct llb_event *e)
{
	uint64_t args[] = { e->dev, e->load, e->writeback.page, e->writeback.op,
			    e->writeback.seq, e->writeback.blocks, (uint32_t)e->writeback.error };

	return fire(skel->progs.on_writeback, args, 7);
}

static int fire_event(struct llbitmap *skel, const struct llb_event *e)
{
	uint64_t args[12] = { e->dev, e->load };

	switch (e->type) {
	case LLB_EV_TRANSITION:
		return fire_transition(skel, e);
	case LLB_EV_SNAPSHOT:
		return fire_snapshot(skel, e);
	case LLB_EV_WRITEBACK:
		return fire_writeback(skel, e);
	case LLB_EV_BARRIER:
		args[2] = e->barrier.page;
		args[3] = e->barrier.op;
		return fire(skel->progs.on_barrier, args, 5);
	case LLB_EV_DAEMON:
		args[2] = e->daemon.op;
		return fire(skel->progs.on_daemon, args, 6);
	case LLB_EV_RESIZE:
		args[2] = e->resize.seq;
		args[5] = e->resize.old_chunks;
		args[6] = e->resize.chunks;
		return fire(skel->progs.on_resize, args, 11);
	case LLB_EV_UNLOAD:
		args[2] = e->unload.seq;
		return fire(skel->progs.on_unload, args, 3);
	default:
		args[3] = e->error.kind;
		return fire(skel->progs.on_error, args, 6);
	}
}

static uint64_t history_of(const struct llb_event *e)
{
	uint64_t h = 0;

	for (int i = 6; i >= 0; i--)
		h = h << 8 | e->judged.history[i];
	return h;
}

static int differ(const struct llb_event *e, unsigned int nr, const char *what, uint64_t bpf,
		  uint64_t model)
{
	printf("event %u: %s %s --%s--> %s flags %x seq %llu chunks %llu+%u: %s: bpf %" PRIx64
	       ", model %" PRIx64 "\n", nr, llb_event_type_name(e->type),
	       llb_state_name(e->transition.from), llb_action_name(e->transition.action),
	       llb_state_name(e->transition.to), e->transition.flags, e->transition.seq,
	       e->transition.first, e->transition.count, what, bpf, model);
	return 1;
}

/* One event through both. */
static int both(struct llbitmap *skel, struct ring_buffer *ring, struct llb_verifier *v,
		const struct llb_event *e, unsigned int nr)
{
	struct llb_audit *a;
	uint64_t before;
	uint8_t rule;
	int err;

	a = llb_verifier_audit(v);
	before = a->violations;
	a->nr_violation = 0;
	err = llb_verify_event(v, e);
	if (err)
		return err;
	a = llb_verifier_audit(v);
	nr_got = 0;
	err = fire_event(skel, e);
	if (err)
		return err;
	ring_buffer__consume(ring);
	rule = nr_got ? llb_event_rule(&got) : LLB_OK;
	/* Of no page is it known by the event alone; at the end it is: see check_numbers(). */
	if (elsewhere && a->violations > before && a->violation[0].rule == LLB_RULE_SEQUENCE &&
	    (!rule || rule == LLB_RULE_CONTINUITY))
		return 0;
	if (nr_got > 1 || !!rule != (a->violations != before))
		return differ(e, nr, "object", rule, a->violations - before);
	if (!rule)
		return 0;
	if (rule != a->violation[0].rule)
		return differ(e, nr, "rule", rule, a->violation[0].rule);
	if (rule == LLB_RULE_RANGE || e->type == LLB_EV_UNLOAD || e->type == LLB_EV_RESIZE)
		return 0;
	if (got.judged.at != a->violation[0].chunk)
		return differ(e, nr, "chunk", got.judged.at, a->violation[0].chunk);
	/* The event has room for seven of the eight. */
	if (history_of(&got) != (a->violation[0].history & ~0ull >> 8))
		return differ(e, nr, "history", history_of(&got), a->violation[0].history);
	return 0;
}

/* What the next event should find. */
static void follow(uint8_t *shadow, const struct llb_event *e)
{
	uint64_t first = e->transition.first, last = first + e->transition.count;

	if (e->type == LLB_EV_RESIZE) {
		last_on_page = false;
		if (llb_event_rule(&got) == LLB_RULE_RANGE)
			return;
		for (uint32_t c = chunks; c < e->resize.chunks; c++)
			shadow[c] = LLB_UNKNOWN;
		chunks = e->resize.chunks;
	}
	if (e->type != LLB_EV_TRANSITION && e->type != LLB_EV_SNAPSHOT)
		return;
	last_on_page = !nr_got || llb_event_rule(&got) != LLB_RULE_RANGE;
	last_first = first;
	if (!last_on_page)
		return;
	for (uint64_t c = first; c < last && c < chunks; c++)
		shadow[c] = e->type == LLB_EV_SNAPSHOT ? e->snapshot.state : e->transition.to;
}

static int load(struct llbitmap *skel, struct llb_verifier *v)
{
	uint64_t args[] = { DEV, 1, 1, 2, CHUNKS, 128, 1, 1, 0, 0 };
	struct llb_event e = {
		.dev = DEV,
		.load = 1,
		.type = LLB_EV_LOAD,
		.version = LLB_EVENT_VERSION,
		.load_info = { .chunks = CHUNKS, .level = 1, .members = 2, .chunk_sectors = 128 },
	};

	return fire(skel->progs.on_load, args, 10) ?: llb_verify_event(v, &e);
}

/* What a session knows of the numbers once it is over. */
static int numbers(struct llbitmap *skel, uint64_t last, __u64 *repeated, __u64 *missing)
{
	int cpus = libbpf_num_possible_cpus();
	struct llb_slot_stats *of = calloc(cpus, sizeof(*of));
	struct llb_numbers n = {};
	__u32 slot = 0;
	int err = of ? 0 : -ENOMEM;

	if (!err && bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &slot, of))
		err = -errno;
	for (int cpu = 0; !err && cpu < cpus; cpu++)
		for (int judge = 0; judge < LLB_JUDGES; judge++)
			n = llb_numbers_plus(n, of[cpu].counted[judge]);
	if (!err)
		*repeated = llb_numbers_compare(n, 1, last, missing);
	free(of);
	return err;
}

static int check_numbers(struct llbitmap *skel, uint64_t last, uint64_t want_repeated,
			 uint64_t want_missing)
{
	__u64 repeated, missing;
	int err = numbers(skel, last, &repeated, &missing);

	if (err || (repeated == want_repeated && missing == want_missing))
		return err;
	printf("of %" PRIu64 " numbers %llu came twice, %llu not at all; not %" PRIu64 " and %"
	       PRIu64 "\n", last, repeated, missing, want_repeated, want_missing);
	return 1;
}

static uint64_t lost(struct llbitmap *skel)
{
	int cpus = libbpf_num_possible_cpus();
	struct llb_counters *of = calloc(cpus, sizeof(*of));
	uint64_t sum = 0;
	__u32 zero = 0;

	if (!of || bpf_map_lookup_elem(bpf_map__fd(skel->maps.counters), &zero, of))
		sum = ~0ull;
	for (int cpu = 0; sum != ~0ull && cpu < cpus; cpu++)
		for (int kind = 0; kind < LLB_NR_LOSS_KINDS; kind++)
			sum += of[cpu].loss[kind];
	free(of);
	return sum;
}

static int run(struct llbitmap *skel, unsigned int events)
{
	struct ring_buffer *ring =
		ring_buffer__new(bpf_map__fd(skel->maps.events), on_event, NULL, NULL);
	struct llb_verifier *v = llb_verifier_new(NULL);
	unsigned long rules[LLB_NR_RULES] = {};
	static uint8_t shadow[MAX_CHUNKS];
	uint64_t seq = 0;
	int err;

	if (!ring || !v)
		return -ENOMEM;
	memset(shadow, LLB_UNKNOWN, sizeof(shadow));
	err = load(skel, v);
	ring_buffer__consume(ring);
	for (unsigned int i = 0; i < events && !err; i++) {
		struct llb_event e = { .dev = DEV, .load = 1, .version = 1, .ts_ns = i };
		unsigned int what = rnd(10);

		elsewhere = false;
		if (i == events - 1) {
			e.type = LLB_EV_UNLOAD;
			e.unload.seq = seq - rnd(2);
		} else if (!rnd(200)) {
			make_resize(&e, &seq);
		} else if (what < 6) {
			make_transition(&e, shadow, &seq);
		} else if (what < 8) {
			make_snapshot(&e, shadow, &seq);
		} else {
			make_other(&e, seq);
		}
		err = both(skel, ring, v, &e, i);
		rules[nr_got ? llb_event_rule(&got) : 0]++;
		follow(shadow, &e);
	}
	err = err ?: check_numbers(skel, seq, repeats, 0);
	if (!err)
		for (int rule = 0; rule < LLB_NR_RULES; rule++)
			printf("%-20s %lu\n", llb_rule_name(rule), rules[rule]);
	llb_verifier_free(v);
	ring_buffer__free(ring);
	return err;
}

/* Fires an event; the rule that it breaks has to be this one, LLB_OK: nothing is told of it. */
static int expect(struct llbitmap *skel, struct ring_buffer *ring, const struct llb_event *e,
		  uint8_t rule)
{
	int err;

	nr_got = 0;
	err = fire_event(skel, e);
	if (err)
		return err;
	ring_buffer__consume(ring);
	if (nr_got == (rule ? 1 : 0) && (!rule || llb_event_rule(&got) == rule))
		return 0;
	return differ(e, 0, "end", nr_got ? llb_event_rule(&got) : 0, rule);
}

static struct llb_event transition(uint64_t seq, uint64_t first, uint8_t from, uint8_t action,
				   uint8_t to, uint32_t flags)
{
	return (struct llb_event){ .dev = DEV, .load = 1, .type = LLB_EV_TRANSITION,
				   .transition = { .seq = seq, .first = first, .count = 1,
						   .from = from, .action = action, .to = to,
						   .flags = flags } };
}

/*
 * The daemon cleans a page whose suspend nobody saw: a violation, unless the
 * session is over. A number that is used again in place of the next one: both
 * are known at the end.
 */
static int end(struct llbitmap *skel)
{
	const uint32_t cleans = LLB_F_DRAINED | LLB_F_FLUSHED;
	struct llb_event events[] = {
		transition(1, 0, LLB_NONE, LLB_INIT, LLB_UNWRITTEN, 0),
		transition(2, 5000, LLB_NONE, LLB_INIT, LLB_UNWRITTEN, 0),
		transition(3, 0, LLB_UNWRITTEN, LLB_STARTWRITE, LLB_DIRTY, 0),
		transition(3, 5000, LLB_UNWRITTEN, LLB_STARTWRITE, LLB_DIRTY, 0),
		transition(5, 0, LLB_DIRTY, LLB_DAEMON, LLB_CLEAN, cleans),
	};
	struct llb_event late = transition(6, 5000, LLB_DIRTY, LLB_DAEMON, LLB_CLEAN, cleans);
	struct llb_verifier *v = llb_verifier_new(NULL);
	struct ring_buffer *ring =
		ring_buffer__new(bpf_map__fd(skel->maps.events), on_event, NULL, NULL);
	uint64_t next[] = { DEV, 2, 1, 2, CHUNKS, 128, 1, 1, 0, 0 };
	int err = ring && v ? load(skel, v) : -ENOMEM;

	if (!err)
		ring_buffer__consume(ring);
	for (int i = 0; i < 5 && !err; i++)
		err = expect(skel, ring, &events[i], i == 4 ? LLB_RULE_DRAINED_CLEAN : LLB_OK);
	err = err ?: check_numbers(skel, 5, 1, 1);

	/* A load that begins now is not of this session, and not a loss either. */
	skel->bss->phase = LLB_PHASE_ENDS;
	err = err ?: fire(skel->progs.on_load, next, 10);
	late.load = 2;
	err = err ?: expect(skel, ring, &late, LLB_OK);
	err = err ?: lost(skel) ? 1 : 0;

	skel->bss->phase = LLB_PHASE_RUNS;
	err = err ?: fire(skel->progs.on_load, next, 10);
	if (!err)
		ring_buffer__consume(ring);
	skel->bss->phase = LLB_PHASE_OVER;
	err = err ?: expect(skel, ring, &late, LLB_OK);
	err = err ?: lost(skel) ? 1 : 0;
	skel->bss->phase = LLB_PHASE_RUNS;
	err = err ?: expect(skel, ring, &late, LLB_RULE_DRAINED_CLEAN);
	ring_buffer__free(ring);
	llb_verifier_free(v);
	return err;
}

int main(int argc, char **argv)
{
	struct llbitmap *skel = llbitmap__open();
	int err;

	if (argc < 2 || !skel)
		return 2;
	rng = strtoull(argv[1], NULL, 0);
	err = llbitmap__load(skel);
	if (err == -EPERM || err == -EACCES)
		return 77;
	if (!err)
		err = argc > 2 ? run(skel, atoi(argv[2])) : end(skel);
	if (err < 0)
		fprintf(stderr, "agree: %s\n", strerror(-err));
	llbitmap__destroy(skel);
	return err ? 1 : 0;
}
