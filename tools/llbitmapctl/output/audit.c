// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include "../model/kernel_table.h"
#include "../model/names.h"
#include "audit.h"
#include "foreign.h"
#include "parts.h"

int llb_audit_exit(const struct llb_audit *audit)
{
	switch (llb_audit_verdict(audit)) {
	case LLB_PASS:
		return 0;
	case LLB_FAIL:
		return 1;
	default:
		return 3;
	}
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static const char *load_name(const struct llb_audit_load *load, char *buf, size_t size)
{
	return *load->name ? load->name : llb_dev_name(load->dev, buf, size);
}

/* The load that an event is of; NULL: not kept. */
static const struct llb_audit_load *event_load(const struct llb_audit *audit,
					       const struct llb_event *e)
{
	for (unsigned int i = 0; i < audit->nr_load; i++)
		if (audit->load[i].dev == e->dev && audit->load[i].load == e->load)
			return &audit->load[i];
	return NULL;
}

/* Entries of a history, oldest first; returns how many. */
static unsigned int history_entries(uint64_t history, uint8_t entries[8])
{
	unsigned int nr = 0;

	for (int shift = 56; shift >= 0; shift -= 8)
		if ((uint8_t)(history >> shift))
			entries[nr++] = (uint8_t)(history >> shift);
	return nr;
}

static const char *entry_action(uint8_t entry)
{
	return entry >> 4 == LLB_PAST_SEEN ? "seen" : llb_action_name(entry >> 4);
}

/* ---- violations ---- */

/* "Dirty --Daemon--> Clean", or what another event says. */
static void describe(const struct llb_event *e, char *buf, size_t size)
{
	switch (e->type) {
	case LLB_EV_TRANSITION:
		snprintf(buf, size, "%s --%s--> %s", llb_state_name(e->transition.from),
			 llb_action_name(e->transition.action), llb_state_name(e->transition.to));
		break;
	case LLB_EV_SNAPSHOT:
		snprintf(buf, size, "snapshot shows %s", llb_state_name(e->snapshot.state));
		break;
	case LLB_EV_RESIZE:
		snprintf(buf, size, "resize from %u to %u chunks", e->resize.old_chunks,
			 e->resize.chunks);
		break;
	case LLB_EV_WRITEBACK:
		snprintf(buf, size, "page %u said to be durable up to #%llu", e->writeback.page,
			 e->writeback.seq);
		break;
	case LLB_EV_UNLOAD:
		snprintf(buf, size, "unload after #%llu", e->unload.seq);
		break;
	case LLB_EV_NONE:
		snprintf(buf, size, "%llu numbers came twice, on different pages", e->word[0]);
		break;
	default:
		snprintf(buf, size, "%s event", llb_event_type_name(e->type));
	}
}

static void history_text(struct llb_out *out, uint64_t history)
{
	uint8_t entries[8];
	unsigned int nr = history_entries(history, entries);

	llb_text(out, "  history  ");
	for (unsigned int i = 0; i < nr; i++) {
		if (entries[i] >> 4 == LLB_PAST_SEEN && !i)
			llb_text(out, "%s", llb_state_name(llb_past_state(entries[i])));
		else
			llb_text(out, "%s--%s--> %s", i ? " " : "... ", entry_action(entries[i]),
				 llb_state_name(llb_past_state(entries[i])));
	}
	llb_text(out, "%s\n", nr ? "" : "nothing known");
}

/* What is to be told of a violation beside what is in it. */
struct context {
	const char *array;
	const char *stack; /* or NULL */
	uint64_t time_ns; /* since 1970; 0: not known */
	uint64_t chunk_sectors; /* 0: not known */
};

static void violation_text(struct llb_out *out, const struct llb_violation *v,
			   const struct context *c)
{
	const struct llb_event *e = &v->event;
	char what[96], flags[256], time[40], comm[LLB_COMM_LEN], array[LLB_NAME_SIZE];
	uint64_t sector = v->chunk * c->chunk_sectors;

	llb_foreign(c->array, array, sizeof(array));
	describe(e, what, sizeof(what));
	llb_styled(out, LLB_BAD, "violation: %s", llb_rule_name(v->rule));
	if (e->type == LLB_EV_NONE)
		llb_text(out, "  %s", array);
	else
		llb_text(out, "  %s chunk %" PRIu64, array, v->chunk);
	if (c->chunk_sectors)
		llb_text(out, " (sectors %" PRIu64 "..%" PRIu64 ")", sector,
			 sector + c->chunk_sectors - 1);
	llb_text(out, ": %s\n", what);
	if (c->time_ns)
		llb_text(out, "  time     %s\n", llb_time_text(c->time_ns, time, sizeof(time)));
	llb_text(out, "  rule     %s: %s\n", llb_rule_when(v->rule), llb_rule_effect(v->rule));
	if (e->type == LLB_EV_NONE)
		return;
	if (v->rule == LLB_RULE_CONTINUITY)
		llb_text(out, "  expected %s\n", llb_state_name(llb_past_state(v->history)));
	if (e->type == LLB_EV_TRANSITION) {
		llb_flags_text(e->transition.flags, flags, sizeof(flags));
		llb_text(out, "  context  %s\n", *flags ? flags : "no flags");
	}
	if (e->type == LLB_EV_TRANSITION || e->type == LLB_EV_SNAPSHOT)
		llb_text(out, "  event    seq %llu, chunks %llu..%llu\n",
			 e->transition.seq, e->transition.first,
			 e->transition.first + e->transition.count - 1);
	llb_text(out, "  process  %s (pid %u, thread %u) on CPU %u\n",
		 llb_foreign(e->comm, comm, sizeof(comm)), e->pid, e->tid, e->cpu);
	history_text(out, v->history);
	if (c->stack)
		llb_stack_text(out, c->stack, "  stack    ", "           ");
}

static void violation_json(struct llb_out *out, const struct llb_violation *v,
			   const struct context *c)
{
	const struct llb_event *e = &v->event;
	uint8_t entries[8];
	unsigned int nr = history_entries(v->history, entries);

	llb_json_object(out, NULL);
	llb_json_string(out, "rule", llb_rule_name(v->rule));
	llb_json_string(out, "array", c->array);
	llb_json_u64(out, "load", e->load);
	llb_json_string(out, "event",
			e->type == LLB_EV_NONE ? NULL : llb_event_type_name(e->type));
	if (e->type == LLB_EV_NONE)
		llb_json_u64(out, "repeated", e->word[0]);
	llb_json_u64(out, "chunk", v->chunk);
	if (c->chunk_sectors)
		llb_json_u64(out, "offset_bytes", v->chunk * c->chunk_sectors * 512);
	llb_json_string(out, "expected", llb_state_name(llb_past_state(v->history)));
	if (e->type == LLB_EV_TRANSITION) {
		llb_json_string(out, "from", llb_state_name(e->transition.from));
		llb_json_string(out, "action", llb_action_name(e->transition.action));
		llb_json_string(out, "to", llb_state_name(e->transition.to));
		llb_json_flags(out, e->transition.flags);
	} else if (e->type == LLB_EV_SNAPSHOT) {
		llb_json_string(out, "state", llb_state_name(e->snapshot.state));
	}
	if (e->type == LLB_EV_TRANSITION || e->type == LLB_EV_SNAPSHOT) {
		llb_json_u64(out, "seq", e->transition.seq);
		llb_json_u64(out, "first", e->transition.first);
		llb_json_u64(out, "count", e->transition.count);
	}
	llb_json_u64(out, "ts_ns", e->ts_ns);
	if (c->time_ns)
		llb_json_u64(out, "time_ns", c->time_ns);
	llb_json_u64(out, "pid", e->pid);
	llb_json_u64(out, "tid", e->tid);
	llb_json_string(out, "comm", e->comm);
	llb_json_u64(out, "cpu", e->cpu);
	llb_json_array(out, "history");
	for (unsigned int i = 0; i < nr; i++) {
		llb_json_object(out, NULL);
		llb_json_string(out, "action", entry_action(entries[i]));
		llb_json_string(out, "to", llb_state_name(llb_past_state(entries[i])));
		llb_json_close(out);
	}
	llb_json_close(out);
	llb_json_string(out, "stack", c->stack);
	llb_json_close(out);
}

void llb_violation_print(struct llb_out *out, const struct llb_violation *v,
			 const struct llb_audit_view *view)
{
	const struct llb_audit_load *load = event_load(view->audit, &v->event);
	struct context c = {};
	char buf[32];

	c.array = load ? load_name(load, buf, sizeof(buf)) :
			 llb_dev_name(v->event.dev, buf, sizeof(buf));
	/* Others are of a page, or of none. */
	if (load && (v->event.type == LLB_EV_TRANSITION || v->event.type == LLB_EV_SNAPSHOT))
		c.chunk_sectors = load->chunk_sectors;
	if (view->clock_offset_ns && v->event.ts_ns)
		c.time_ns = v->event.ts_ns + (uint64_t)view->clock_offset_ns;
	if (view->stack && v->event.stack >= 0)
		c.stack = view->stack(view->ctx, v->event.stack);
	if (out->json)
		violation_json(out, v, &c);
	else
		violation_text(out, v, &c);
}

void llb_violation_note(struct llb_out *out, const struct llb_event *e, const char *array)
{
	char what[96], buf[32];

	describe(e, what, sizeof(what));
	llb_note(out, "violation: %s  %s: %s", llb_rule_name(llb_event_rule(e)),
		 array ? array : llb_dev_name(e->dev, buf, sizeof(buf)), what);
}

/* ---- coverage ---- */

/* A cell that can be seen: self-transitions raise no event. */
static bool is_cell(uint8_t from, uint8_t action)
{
	uint8_t to = llb_table_next(from, action);

	return to != LLB_NONE && to != from;
}

static void coverage_text(struct llb_out *out, const struct llb_audit *audit)
{
	unsigned int cells = 0, seen = 0, rules = 0, applied = 0;

	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		for (uint8_t a = 0; a < LLB_NR_ACTIONS; a++)
			if (is_cell(s, a)) {
				cells++;
				seen += audit->cells[s][a] != 0;
			}
	for (unsigned int r = 0; r < LLB_NR_RULES; r++)
		if (llb_rule_kind(r) == LLB_SHOWN) {
			rules++;
			applied += audit->applied[r] != 0;
		}
	llb_text(out, "\ncoverage: %u of %u cells of the table, %u of %u rules that events show\n",
		 seen, cells, applied, rules);
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		for (uint8_t a = 0; a < LLB_NR_ACTIONS; a++)
			if (audit->cells[s][a])
				llb_text(out, "  %-10s %-11s %12" PRIu64 " chunk%s\n",
					 llb_state_name(s), llb_action_name(a),
					 audit->cells[s][a], plural(audit->cells[s][a]));
	for (unsigned int r = 0; r < LLB_NR_RULES; r++)
		if (llb_rule_kind(r) == LLB_SHOWN && audit->applied[r])
			llb_text(out, "  %-22s %12" PRIu64 " event%s\n", llb_rule_name(r),
				 audit->applied[r], plural(audit->applied[r]));
}

static void coverage_json(struct llb_out *out, const struct llb_audit *audit)
{
	llb_json_object(out, "coverage");
	llb_json_array(out, "cells");
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		for (uint8_t a = 0; a < LLB_NR_ACTIONS; a++) {
			if (!is_cell(s, a) && !audit->cells[s][a])
				continue;
			llb_json_object(out, NULL);
			llb_json_string(out, "from", llb_state_name(s));
			llb_json_string(out, "action", llb_action_name(a));
			llb_json_u64(out, "chunks", audit->cells[s][a]);
			llb_json_close(out);
		}
	llb_json_close(out);
	llb_json_object(out, "rules");
	for (unsigned int r = 0; r < LLB_NR_RULES; r++)
		if (llb_rule_kind(r) == LLB_SHOWN)
			llb_json_u64(out, llb_rule_name(r), audit->applied[r]);
	llb_json_close(out);
	llb_json_close(out);
}

/* ---- the report ---- */

static const char *const doubt_texts[] = {
	"events were lost",
	"sequence numbers are missing",
	"the recording is cut short",
	"no complete snapshot of a load",
	"more arrays than can be watched",
	"no array seen",
	"the recording could not be read to its end",
};
static const char *const doubt_keys[] = { "loss", "gap", "cut", "base", "unwatched", "empty",
					 "damaged" };

static void loads_text(struct llb_out *out, const struct llb_audit *audit)
{
	char buf[LLB_NAME_SIZE];

	if (audit->nr_load)
		llb_styled(out, LLB_BOLD, "%-10s %5s %6s %8s %12s %12s %8s %10s\n", "array",
			   "load", "level", "chunks", "events", "changed", "missing",
			   "violations");
	for (unsigned int i = 0; i < audit->nr_load; i++) {
		const struct llb_audit_load *l = &audit->load[i];
		const char *name = llb_foreign(load_name(l, buf, sizeof(buf)), buf, sizeof(buf));

		if (l->unwatched) {
			llb_text(out, "%-10s %5u not watched: no room for its chunks\n", name,
				 l->load);
			continue;
		}
		llb_text(out, "%-10s %5u", name, l->load);
		if (l->known)
			llb_text(out, " %6d %8" PRIu64, l->level, l->chunks);
		else
			llb_text(out, " %6s %8s", "?", "?");
		llb_text(out, " %12" PRIu64 " %12" PRIu64 " %8" PRIu64 " %10" PRIu64 "%s\n",
			 l->transitions, l->changed, l->missing, l->violations,
			 l->known && l->based ? "" : "  no complete snapshot");
	}
}

static void verdict_text(struct llb_out *out, const struct llb_audit *audit)
{
	unsigned int doubts = llb_audit_doubts(audit), rules = 0;
	const char *lead = ": ";

	for (unsigned int r = 0; r < LLB_NR_RULES; r++)
		rules += audit->broken[r] != 0;
	llb_text(out, "\nverdict: ");
	switch (llb_audit_verdict(audit)) {
	case LLB_PASS:
		llb_styled(out, LLB_GOOD, "pass");
		llb_text(out, audit->events[LLB_EV_TRANSITION] ?
				      ": every transition was seen and is legal\n" :
				      ": nothing was lost, but there was no transition to verify\n");
		return;
	case LLB_FAIL:
		llb_styled(out, LLB_BAD, "fail");
		llb_text(out, ": %" PRIu64 " violation%s of %u rule%s", audit->violations,
			 plural(audit->violations), rules, plural(rules));
		lead = "; also, ";
		break;
	default:
		llb_styled(out, LLB_WARN, "inconclusive");
	}
	for (unsigned int i = 0; i < sizeof(doubt_texts) / sizeof(*doubt_texts); i++)
		if (doubts & 1u << i) {
			llb_text(out, "%s%s", lead, doubt_texts[i]);
			lead = ", ";
		}
	llb_text(out, "\n");
}

static void losses_text(struct llb_out *out, const struct llb_audit *audit)
{
	for (unsigned int kind = 0; kind < LLB_NR_LOSS_KINDS; kind++)
		if (audit->loss[kind])
			llb_styled(out, LLB_WARN, "lost: %" PRIu64 " (%s)\n", audit->loss[kind],
				   llb_loss_name(kind));
	llb_lost_text(out, 0, llb_audit_missing(audit), audit->unwatched);
}

static void print_text(struct llb_out *out, const struct llb_audit *audit,
		       const struct llb_audit_view *view)
{
	char text[PATH_MAX];

	llb_styled(out, LLB_BOLD, "audit of %s\n", llb_foreign(out->source, text, sizeof(text)));
	if (view->about)
		llb_text(out, "%s\n", llb_foreign(view->about, text, sizeof(text)));
	loads_text(out, audit);
	for (unsigned int i = 0; i < audit->nr_violation; i++) {
		llb_text(out, "\n");
		llb_violation_print(out, &audit->violation[i], view);
	}
	if (audit->violations > audit->nr_violation)
		llb_text(out, "\n%" PRIu64 " more violations not shown\n",
			 audit->violations - audit->nr_violation);
	coverage_text(out, audit);
	losses_text(out, audit);
	verdict_text(out, audit);
}

static void loads_json(struct llb_out *out, const struct llb_audit *audit)
{
	char buf[32];

	llb_json_array(out, "loads");
	for (unsigned int i = 0; i < audit->nr_load; i++) {
		const struct llb_audit_load *l = &audit->load[i];

		llb_json_object(out, NULL);
		llb_json_string(out, "array", load_name(l, buf, sizeof(buf)));
		llb_json_u64(out, "load", l->load);
		llb_json_bool(out, "watched", !l->unwatched);
		if (l->known)
			llb_json_geometry(out, l->level, l->members, l->chunks, l->chunk_sectors);
		llb_json_bool(out, "complete_snapshot", l->based);
		llb_json_bool(out, "unloaded", l->unloaded);
		llb_json_u64(out, "transitions", l->transitions);
		llb_json_u64(out, "chunks_changed", l->changed);
		llb_json_u64(out, "seq_first", l->seq_min);
		llb_json_u64(out, "seq_last", l->seq_max);
		llb_json_u64(out, "missing", l->missing);
		llb_json_u64(out, "violations", l->violations);
		llb_json_close(out);
	}
	llb_json_close(out);
}

static void print_json(struct llb_out *out, const struct llb_audit *audit,
		       const struct llb_audit_view *view)
{
	static const char *const verdicts[] = { "pass", "fail", "inconclusive" };
	unsigned int doubts = llb_audit_doubts(audit);

	llb_json_begin(out);
	llb_json_string(out, "about", view->about);
	llb_json_string(out, "verdict", verdicts[llb_audit_verdict(audit)]);
	llb_json_array(out, "doubts");
	for (unsigned int i = 0; i < sizeof(doubt_keys) / sizeof(*doubt_keys); i++)
		if (doubts & 1u << i)
			llb_json_string(out, NULL, doubt_keys[i]);
	llb_json_close(out);
	loads_json(out, audit);
	llb_json_object(out, "events");
	for (unsigned int t = LLB_EV_NONE + 1; t < LLB_NR_EVENT_TYPES; t++)
		llb_json_u64(out, llb_event_type_name(t), audit->events[t]);
	llb_json_close(out);
	llb_json_object(out, "lost");
	for (unsigned int kind = 0; kind < LLB_NR_LOSS_KINDS; kind++)
		llb_json_u64(out, llb_loss_key(kind), audit->loss[kind]);
	llb_json_close(out);
	llb_json_u64(out, "missing", llb_audit_missing(audit));
	llb_json_u64(out, "violations", audit->violations);
	llb_json_object(out, "broken");
	for (unsigned int r = LLB_OK + 1; r < LLB_NR_RULES; r++)
		if (audit->broken[r])
			llb_json_u64(out, llb_rule_name(r), audit->broken[r]);
	llb_json_close(out);
	llb_json_array(out, "details");
	for (unsigned int i = 0; i < audit->nr_violation; i++)
		llb_violation_print(out, &audit->violation[i], view);
	llb_json_close(out);
	coverage_json(out, audit);
	llb_json_end(out);
}

void llb_audit_print(struct llb_out *out, const struct llb_audit_view *view)
{
	if (out->json)
		print_json(out, view->audit, view);
	else
		print_text(out, view->audit, view);
}
