// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * llb-generate: recordings for tests.
 *
 *	llb-generate -o FILE < SCRIPT	what a script says, event by event
 *	llb-generate -o FILE -n EVENTS [-a ARRAYS]	a long legal one, to measure with
 *	llb-generate -j < CASES		no recording: the rule that each case breaks
 *
 * A case is "FROM ACTION TO FLAGS", flags with commas between or "-".
 *
 * A line of a script is a word and KEY=VALUE pairs; what is not given keeps
 * its default or counts on (seq). '#' begins a comment, "\x1b" is any byte in a
 * comm, meta or stack.
 *
 *	meta KEY VALUE | stack ID TEXT | flush | stop (no end mark)
 *	load|unload|resize|transition|snapshot|writeback|barrier|daemon|sync|error|loss
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../tools/llbitmapctl/model/names.h"
#include "../../tools/llbitmapctl/recording/recording.h"

#define MD_DEV(minor) (9u << 20 | (minor))

static struct llb_writer *writer;
static uint64_t clock_ns = 1000000000, next_seq = 1;
static unsigned int line_nr;

static void die(const char *what)
{
	fprintf(stderr, "llb-generate: line %u: %s\n", line_nr, what);
	exit(2);
}

static void check(int ret)
{
	if (ret) {
		fprintf(stderr, "llb-generate: write: %s\n", strerror(-ret));
		exit(1);
	}
}

/* ---- scripts ---- */

static char pair_key[64][32], pair_value[64][128];
static unsigned int nr_pairs, used_pairs;

static void split_pairs(char *text)
{
	char *save = NULL;

	nr_pairs = used_pairs = 0;
	for (char *p = strtok_r(text, " \t", &save); p; p = strtok_r(NULL, " \t", &save)) {
		char *eq = strchr(p, '=');

		if (!eq || nr_pairs == 64)
			die("not KEY=VALUE");
		*eq = 0;
		snprintf(pair_key[nr_pairs], sizeof(pair_key[0]), "%s", p);
		snprintf(pair_value[nr_pairs++], sizeof(pair_value[0]), "%s", eq + 1);
	}
}

static const char *text_of(const char *key, const char *otherwise)
{
	for (unsigned int i = 0; i < nr_pairs; i++)
		if (!strcmp(pair_key[i], key)) {
			used_pairs++;
			return pair_value[i];
		}
	return otherwise;
}

/* In place: "\x1b" becomes that byte. */
static char *unescape(char *text)
{
	char *to = text, digits[3] = "";

	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] == 'x' && p[2] && p[3]) {
			memcpy(digits, p + 2, 2);
			*to++ = (char)strtoul(digits, NULL, 16);
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = 0;
	return text;
}

static uint64_t number(const char *key, uint64_t otherwise)
{
	const char *text = text_of(key, NULL);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static uint8_t state(const char *text)
{
	int value = llb_state_parse(text);

	return value >= 0 ? (uint8_t)value : (uint8_t)strtoul(text, NULL, 0);
}

static uint8_t action(const char *text)
{
	int value = llb_action_parse(text);

	return value >= 0 ? (uint8_t)value : (uint8_t)strtoul(text, NULL, 0);
}

static uint8_t rule(const char *text)
{
	for (unsigned int r = 0; r < LLB_NR_RULES; r++)
		if (!strcmp(llb_rule_name(r), text))
			return (uint8_t)r;
	die("unknown rule");
	return 0;
}

/* "drained,flushed", "-" or a number */
static uint32_t flags(const char *text)
{
	char copy[256], *save = NULL;
	uint32_t set = 0;

	snprintf(copy, sizeof(copy), "%s", strcmp(text, "-") ? text : "");
	if (*copy >= '0' && *copy <= '9')
		return (uint32_t)strtoul(copy, NULL, 0);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		unsigned int bit = 0;

		while (bit < 32 && (!llb_context_name(bit) || strcmp(llb_context_name(bit), p)))
			bit++;
		if (bit == 32)
			die("unknown flag");
		set |= 1u << bit;
	}
	return set;
}

static uint64_t seq(void)
{
	uint64_t value = number("seq", next_seq);

	next_seq = value + 1;
	return value;
}

static void header(struct llb_event *e, uint8_t type)
{
	char comm[128];

	memset(e, 0, sizeof(*e));
	clock_ns = number("ts", clock_ns + 1000);
	e->ts_ns = clock_ns;
	e->dev = (uint32_t)number("dev", MD_DEV(0));
	e->load = (uint32_t)number("load", 1);
	e->type = type;
	e->version = LLB_EVENT_VERSION;
	e->cpu = (uint16_t)number("cpu", 0);
	e->stack = (int32_t)number("stack", (uint64_t)-1);
	e->pid = (uint32_t)number("pid", 100);
	e->tid = (uint32_t)number("tid", e->pid);
	snprintf(comm, sizeof(comm), "%s", text_of("comm", "fio"));
	snprintf(e->comm, sizeof(e->comm), "%s", unescape(comm));
}

static void fill(struct llb_event *e, uint8_t type)
{
	switch (type) {
	case LLB_EV_TRANSITION:
		e->transition.seq = seq();
		e->transition.first = number("first", 0);
		e->transition.count = (uint32_t)number("count", 1);
		e->transition.flags = flags(text_of("flags", ""));
		e->transition.from = state(text_of("from", "Unwritten"));
		e->transition.to = state(text_of("to", "Dirty"));
		e->transition.action = action(text_of("action", "Startwrite"));
		e->transition.rule = rule(text_of("rule", "ok"));
		break;
	case LLB_EV_SNAPSHOT:
		e->snapshot.seq = seq();
		e->snapshot.first = number("first", 0);
		e->snapshot.count = (uint32_t)number("count", 1);
		e->snapshot.flags = (uint32_t)number("marks", 0);
		e->snapshot.state = state(text_of("state", "Unwritten"));
		break;
	case LLB_EV_LOAD:
		next_seq = 1;
		e->load_info.chunks = number("chunks", 100);
		e->load_info.chunk_sectors = number("chunk_sectors", 128);
		e->load_info.level = (int32_t)number("level", 10);
		e->load_info.members = (uint32_t)number("members", 4);
		e->load_info.decision = (uint8_t)number("decision", LLB_LOAD_FIRST_USE);
		e->load_info.degraded = (uint32_t)number("degraded", 0);
		e->load_info.bitmap_events = number("bitmap_events", 1);
		e->load_info.array_events = number("array_events", 1);
		break;
	case LLB_EV_UNLOAD:
		e->unload.seq = number("seq", next_seq - 1);
		break;
	case LLB_EV_RESIZE:
		e->resize.seq = seq();
		e->resize.old_chunks = (uint32_t)number("old", 100);
		e->resize.chunks = (uint32_t)number("chunks", 100);
		e->resize.chunk_sectors = (uint32_t)number("chunk_sectors", 128);
		e->resize.level = (int16_t)number("level", 10);
		e->resize.members = (uint16_t)number("members", 4);
		e->resize.degraded = (uint32_t)number("degraded", 0);
		e->resize.bitmap_events = number("bitmap_events", 1);
		e->resize.array_events = number("array_events", 1);
		e->resize.rule = rule(text_of("rule", "ok"));
		break;
	case LLB_EV_WRITEBACK:
		e->writeback.seq = number("seq", next_seq - 1);
		e->writeback.page = (uint32_t)number("page", 0);
		e->writeback.blocks = (uint32_t)number("blocks", 1);
		e->writeback.error = (int32_t)number("error", 0);
		e->writeback.op = (uint8_t)number("op", LLB_BEGIN);
		e->writeback.rule = rule(text_of("rule", "ok"));
		break;
	case LLB_EV_BARRIER:
		e->barrier.ns = number("ns", 0);
		e->barrier.page = number("page", 0);
		e->barrier.op = (uint8_t)number("op", LLB_BARRIER_WAIT);
		break;
	case LLB_EV_DAEMON:
		e->daemon.pages = (uint32_t)number("pages", 0);
		e->daemon.skipped = (uint32_t)number("skipped", 0);
		e->daemon.cleaned = number("cleaned", 0);
		e->daemon.op = (uint8_t)number("op", LLB_BEGIN);
		break;
	case LLB_EV_SYNC:
		e->sync.sector = number("sector", 0);
		e->sync.sectors = number("sectors", 128);
		e->sync.op = (uint8_t)number("op", LLB_SYNC_START);
		e->sync.reason = state(text_of("reason", "None"));
		break;
	case LLB_EV_ERROR:
		e->error.info = number("info", 0);
		e->error.member = (uint32_t)number("member", 0);
		e->error.error = (int32_t)number("errno", -5);
		e->error.kind = (uint8_t)number("kind", LLB_ERR_WRITE);
		break;
	case LLB_EV_LOSS:
		e->loss.count = number("count", 1);
		e->loss.kind = (uint8_t)number("kind", LLB_LOSS_RINGBUF);
		break;
	}
}

/* Returns false at "stop". */
static bool script_line(char *line)
{
	char *rest = line + strcspn(line, " \t"), *value;
	struct llb_event e;
	uint8_t type;

	if (*rest)
		*rest++ = 0;
	if (!*line || *line == '#')
		return true;
	if (!strcmp(line, "stop") || !strcmp(line, "flush")) {
		check(llb_writer_flush(writer));
		return *line == 'f';
	}
	value = rest + strcspn(rest, " ");
	if (!strcmp(line, "meta") || !strcmp(line, "stack")) {
		if (*value)
			*value++ = 0;
		unescape(value);
		check(*line == 'm' ? llb_writer_meta(writer, rest, value) :
				     llb_writer_stack(writer, atoi(rest), value));
		return true;
	}
	for (type = 1; type < LLB_NR_EVENT_TYPES; type++)
		if (!strcmp(line, llb_event_type_name(type)))
			break;
	if (type == LLB_NR_EVENT_TYPES)
		die("unknown word");
	split_pairs(rest);
	header(&e, type);
	fill(&e, type);
	if (used_pairs != nr_pairs)
		die("a key that this event does not have");
	check(llb_writer_event(writer, &e));
	return true;
}

static bool run_script(void)
{
	char line[4096];

	while (fgets(line, sizeof(line), stdin)) {
		line_nr++;
		line[strcspn(line, "\n")] = 0;
		if (!script_line(line))
			return false;
	}
	return true;
}

static int judge_cases(void)
{
	char from[32], act[32], to[32], set[256];

	while (scanf("%31s %31s %31s %255s", from, act, to, set) == 4)
		puts(llb_rule_name(llb_rule_check(state(from), action(act), state(to), flags(set),
						  0)));
	return 0;
}

/* ---- a long legal recording ---- */

#define BENCH_CHUNKS 130048
#define BENCH_CPUS 2
#define BENCH_ROUND 10000 /* writes before the chunks are cleaned */

static uint64_t random_state = 0x2545f4914f6cdd1d;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* An array of the long recording. */
struct bench_array {
	uint8_t state[BENCH_CHUNKS];
	uint64_t seq; /* next number */
	uint32_t dirty[BENCH_ROUND]; /* chunks, in no order */
	unsigned int nr_dirty;
	bool cleaning;
};

static struct llb_event bench_event(unsigned int array, uint8_t type, unsigned int who)
{
	static const char *const comms[] = { "fio", "kworker/0:1H", "md0_raid10", "fio" };
	struct llb_event e = {
		.ts_ns = clock_ns += 800 + random_number() % 8000,
		.dev = MD_DEV(array),
		.load = array + 1,
		.type = type,
		.version = LLB_EVENT_VERSION,
		.cpu = (uint16_t)(random_number() % BENCH_CPUS),
		.stack = -1,
		.pid = 400 + who,
		.tid = 400 + who,
	};

	snprintf(e.comm, sizeof(e.comm), "%s", comms[who]);
	return e;
}

static void emit(unsigned int array, struct bench_array *b, uint8_t act, uint8_t to, uint32_t set,
		 uint64_t chunk, unsigned int who)
{
	struct llb_event e = bench_event(array, LLB_EV_TRANSITION, who);

	e.transition.seq = b->seq++;
	e.transition.first = chunk;
	e.transition.count = 1;
	e.transition.flags = set;
	e.transition.from = b->state[chunk];
	e.transition.to = to;
	e.transition.action = act;
	b->state[chunk] = to;
	check(llb_writer_event(writer, &e));
}

static void emit_writeback(unsigned int array, const struct bench_array *b, uint32_t page, uint8_t op)
{
	struct llb_event e = bench_event(array, LLB_EV_WRITEBACK, 1);

	e.writeback.seq = b->seq - 1;
	e.writeback.page = page;
	e.writeback.blocks = 8;
	e.writeback.op = op;
	check(llb_writer_event(writer, &e));
}

static void emit_barrier(unsigned int array, uint32_t page, uint8_t op)
{
	struct llb_event e = bench_event(array, LLB_EV_BARRIER, 1);

	e.barrier.page = page;
	e.barrier.op = op;
	e.barrier.ns = 1000 + random_number() % 100000;
	check(llb_writer_event(writer, &e));
}

static void begin_array(unsigned int array, struct bench_array *b)
{
	char line[128];

	snprintf(line, sizeof(line), "load chunks=%d dev=%u load=%u", BENCH_CHUNKS, MD_DEV(array),
		 array + 1);
	script_line(line);
	for (unsigned int c = 0; c < BENCH_CHUNKS; c += c ? 4096 : 3072) {
		unsigned int n = c + 4096 > BENCH_CHUNKS ? BENCH_CHUNKS - c : 4096;

		snprintf(line, sizeof(line), "transition action=Init from=None to=Unwritten "
			 "first=%u count=%u dev=%u load=%u", c, c ? n : 3072, MD_DEV(array),
			 array + 1);
		script_line(line);
	}
	b->seq = next_seq;
}

/* The bitmap is on disk, and all pages are suspended, or resumed. */
static void turn(unsigned int array, struct bench_array *b)
{
	b->cleaning = !b->cleaning;
	for (uint32_t page = 0; page < LLB_MAX_PAGES; page++) {
		if (b->cleaning) {
			emit_writeback(array, b, page, LLB_BEGIN);
			emit_writeback(array, b, page, LLB_END);
		}
		emit_barrier(array, page,
			     b->cleaning ? LLB_BARRIER_SUSPEND : LLB_BARRIER_RESUME);
	}
}

static void write_one(unsigned int array, struct bench_array *b)
{
	uint32_t c = random_number() % BENCH_CHUNKS;

	while (b->state[c] == LLB_DIRTY)
		c = random_number() % BENCH_CHUNKS;
	emit(array, b, LLB_STARTWRITE, LLB_DIRTY, 0, c, random_number() & 3 ? 0 : 3);
	b->dirty[b->nr_dirty++] = c;
}

static void clean_one(unsigned int array, struct bench_array *b)
{
	unsigned int i = random_number() % b->nr_dirty;
	uint32_t c = b->dirty[i];

	b->dirty[i] = b->dirty[--b->nr_dirty];
	if (random_number() % 4)
		emit(array, b, LLB_DAEMON, LLB_CLEAN, LLB_F_DRAINED | LLB_F_FLUSHED, c, 1);
	else
		emit(array, b, LLB_DISCARD, LLB_UNWRITTEN,
		     LLB_F_WHOLE | LLB_F_DURABLE | LLB_F_ALL_DISCARDED | LLB_F_FLUSHED |
			     LLB_F_DRAINED, c, 2);
}

/*
 * Random chunks, each event with count 1: writes, then all that is Dirty is
 * cleaned or discarded, and again. Nothing repeats that a real run's random
 * writes would not repeat.
 */
static void run_long(uint64_t events, unsigned int arrays)
{
	static struct bench_array all[16];

	for (unsigned int a = 0; a < arrays; a++)
		begin_array(a, &all[a]);
	while (events--) {
		unsigned int a = (unsigned int)(random_number() % arrays);
		struct bench_array *b = &all[a];

		if (b->nr_dirty == (b->cleaning ? 0 : BENCH_ROUND))
			turn(a, b);
		if (b->cleaning)
			clean_one(a, b);
		else
			write_one(a, b);
	}
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	unsigned int arrays = 1;
	uint64_t events = 0;
	bool whole = true;
	int c, fd;

	while ((c = getopt(argc, argv, "jo:n:a:")) != -1) {
		if (c == 'j')
			return judge_cases();
		if (c == 'o')
			path = optarg;
		else if (c == 'n')
			events = strtoull(optarg, NULL, 0);
		else if (c == 'a')
			arrays = (unsigned int)strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	if (!path || optind != argc || !arrays || arrays > 16)
		return 2;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) {
		perror(path);
		return 1;
	}
	check(llb_writer_open(fd, &writer));
	if (events)
		run_long(events, arrays);
	else
		whole = run_script();
	if (whole)
		check(llb_writer_finish(writer));
	llb_writer_close(writer);
	return close(fd) ? 1 : 0;
}
