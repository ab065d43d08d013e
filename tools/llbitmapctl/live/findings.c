// SPDX-License-Identifier: GPL-2.0-or-later
/* What the BPF side found, in the form in which every audit reports. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "session_int.h"

/* Room for one more; NULL: there is none, but it is counted. */
static struct llb_violation *next_violation(struct session *s)
{
	struct llb_audit *a = &s->audit;
	struct llb_violation *v;

	if (a->nr_violation == LLB_AUDIT_VIOLATIONS)
		return NULL;
	v = &a->violation[a->nr_violation++];
	memset(v, 0, sizeof(*v));
	return v;
}

void findings_repeated(struct session *s, const struct session_load *l)
{
	struct llb_violation *v = next_violation(s);

	if (!v)
		return;
	v->rule = LLB_RULE_SEQUENCE;
	v->event.type = LLB_EV_NONE;
	v->event.dev = l->dev;
	v->event.load = l->load;
	v->event.stack = -1;
	v->event.word[0] = l->repeated;
}

void findings_violation(struct session *s, const struct llb_event *e)
{
	struct llb_violation *v = next_violation(s);

	if (!v)
		return;
	v->event = *e;
	v->rule = e->judged.rule;
	if (e->type == LLB_EV_RESIZE)
		return; /* of no chunk: other things stand there */
	v->chunk = e->judged.at;
	for (int i = 6; i >= 0; i--)
		v->history = v->history << 8 | e->judged.history[i];
}

static void describe(const struct session *s, const struct session_load *l,
		     struct llb_audit_load *r)
{
	memset(r, 0, sizeof(*r));
	r->dev = l->dev;
	r->load = l->load;
	snprintf(r->name, sizeof(r->name), "%s", l->name);
	r->level = l->level;
	r->members = l->members;
	r->chunks = l->chunks;
	r->chunk_sectors = l->chunk_sectors;
	r->known = l->chunks > 0;
	r->unloaded = l->unloaded;
	r->unwatched = l->unwatched;
	r->based = l->based && !l->open_ended;
	r->snapshots = l->slot == LLB_NO_SLOT ? l->snapshots : s->slots[l->slot].snapshots;
}

static void add_figures(const struct llb_slot_stats *sum, struct llb_audit *a,
			struct llb_audit_load *r)
{
	for (int action = 0; action < LLB_NR_ACTIONS; action++) {
		r->transitions += sum->transitions[action];
		r->changed += sum->chunks[action];
		for (int row = 0; row < LLB_NR_STATES + 2; row++)
			a->cells[row][action] += sum->cells[action][row];
	}
	for (int rule = 0; rule < LLB_NR_RULES; rule++) {
		a->applied[rule] += sum->rules[rule];
		for (int judge = 0; judge < LLB_JUDGES; judge++) {
			a->broken[rule] += sum->violations[judge][rule];
			r->violations += sum->violations[judge][rule];
		}
	}
	a->violations += r->violations;
}

static void add_numbers(const struct session_load *l, struct llb_audit *a,
			struct llb_audit_load *r)
{
	if (l->base && l->last >= l->base) {
		r->seq_min = l->base;
		r->seq_max = l->last;
	}
	r->missing = l->missing;
	r->violations += l->repeated;
	a->broken[LLB_RULE_SEQUENCE] += l->repeated;
	a->violations += l->repeated;
}

static void add_load(struct session *s, size_t i, struct llb_audit *a, struct llb_audit_load *r)
{
	const struct session_load *l = &s->loads[i];
	struct llb_slot_stats sum;

	describe(s, l, r);
	a->nr_loads++;
	a->unwatched += l->unwatched;
	if (session_stats(s, i, &sum))
		return;
	add_figures(&sum, a, r);
	add_numbers(l, a, r);
}

static void add_forgotten(struct session *s, size_t i, struct llb_audit *a)
{
	struct llb_audit_load load;

	add_load(s, i, a, &load);
	a->forgotten_missing += load.missing;
	a->forgotten_baseless += !load.based && !load.unwatched;
}

void findings_forget(struct session *s, size_t i)
{
	add_forgotten(s, i, &s->forgotten);
}

const struct llb_audit *session_audit(struct session *s)
{
	const struct llb_audit *f = &s->forgotten;
	struct llb_audit *a = &s->audit;
	struct llb_counters c;

	memcpy(a->cells, f->cells, sizeof(a->cells));
	memcpy(a->applied, f->applied, sizeof(a->applied));
	memcpy(a->broken, f->broken, sizeof(a->broken));
	a->violations = f->violations;
	a->nr_loads = f->nr_loads;
	a->nr_load = 0;
	a->forgotten_missing = f->forgotten_missing;
	a->forgotten_baseless = f->forgotten_baseless;
	a->unwatched = f->unwatched;
	if (!session_counters(s, &c)) {
		memcpy(a->events, c.events, sizeof(a->events));
		memcpy(a->loss, c.loss, sizeof(a->loss));
	}
	for (size_t i = 0; i < s->nloads; i++)
		if (a->nr_load < LLB_AUDIT_LOADS)
			add_load(s, i, a, &a->load[a->nr_load++]);
		else
			add_forgotten(s, i, a);
	return a;
}

/* The way from the tracepoint to our program is the same in every stack. */
static bool is_tracing(const char *name)
{
	static const char *const prefixes[] = { "bpf_prog_", "bpf_trace_run", "__bpf_trace_",
						"__traceiter_" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

const char *session_stack(void *session, int id)
{
	struct session *s = session;
	__u64 ips[STACK_DEPTH] = {};
	struct stack_text *v;
	char name[256];
	__u32 key = id;
	size_t n = 0;

	if (id < 0)
		return NULL;
	for (size_t i = 0; i < s->nstacks; i++)
		if (s->stacks[i].id == id)
			return s->stacks[i].text;
	if (bpf_map_lookup_elem(bpf_map__fd(s->skel->maps.stacks), &key, ips))
		return NULL;
	v = reallocarray(s->stacks, s->nstacks + 1, sizeof(*v));
	if (!v)
		return NULL;
	s->stacks = v;
	v += s->nstacks;
	v->id = id;
	v->text = malloc(STACK_TEXT);
	if (!v->text)
		return NULL;
	s->nstacks++;
	v->text[0] = '\0';
	for (int i = 0; i < STACK_DEPTH && ips[i] && n < STACK_TEXT - 1; i++) {
		ksyms_name(s->ksyms, ips[i], name, sizeof(name));
		if (n || !is_tracing(name))
			n += snprintf(v->text + n, STACK_TEXT - n, "%s%s", n ? "\n" : "", name);
	}
	return v->text;
}
