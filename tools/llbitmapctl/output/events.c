// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include "../model/names.h"
#include "events.h"
#include "foreign.h"
#include "parts.h"

#define STACK_LEAD "              "

/* "chunk 5" or "chunks 5..9" */
static const char *chunks_text(unsigned long long first, uint32_t count, char *buf, size_t size)
{
	if (count == 1)
		snprintf(buf, size, "chunk %llu", first);
	else
		snprintf(buf, size, "chunks %llu..%llu", first, first + count - 1);
	return buf;
}

static void details_text(struct llb_out *out, const struct llb_event *e)
{
	char chunks[64], flags[256], time[32];

	switch (e->type) {
	case LLB_EV_TRANSITION:
		llb_flags_text(e->transition.flags, flags, sizeof(flags));
		llb_text(out, "#%-6llu %s  ", e->transition.seq,
			 chunks_text(e->transition.first, e->transition.count, chunks,
				     sizeof(chunks)));
		llb_styled(out, LLB_BOLD, "%s -> %s", llb_state_name(e->transition.from),
			   llb_state_name(e->transition.to));
		llb_text(out, "  %s%s%s%s", llb_action_name(e->transition.action),
			 *flags ? " [" : "", flags, *flags ? "]" : "");
		if (e->transition.rule)
			llb_styled(out, LLB_BAD, "  breaks %s", llb_rule_name(e->transition.rule));
		break;
	case LLB_EV_SNAPSHOT:
		llb_text(out, "#%-6llu %s  %s%s%s", e->snapshot.seq,
			 chunks_text(e->snapshot.first, e->snapshot.count, chunks, sizeof(chunks)),
			 llb_state_name(e->snapshot.state),
			 e->snapshot.flags & LLB_SNAPSHOT_FIRST ? " [first]" : "",
			 e->snapshot.flags & LLB_SNAPSHOT_LAST ? " [last]" : "");
		break;
	case LLB_EV_LOAD:
		llb_text(out, "%s: level %d, %u members (%u missing), %llu"
			 " chunks of %llu sectors, events: bitmap %llu"
			 ", array %llu", llb_decision_name(e->load_info.decision),
			 e->load_info.level, e->load_info.members, e->load_info.degraded,
			 e->load_info.chunks, e->load_info.chunk_sectors,
			 e->load_info.bitmap_events, e->load_info.array_events);
		break;
	case LLB_EV_UNLOAD:
		llb_text(out, "last seq %llu", e->unload.seq);
		break;
	case LLB_EV_RESIZE:
		llb_text(out, "#%-6llu %u -> %u chunks of %u sectors, events: bitmap %llu"
			 ", array %llu", e->resize.seq, e->resize.old_chunks, e->resize.chunks,
			 e->resize.chunk_sectors, e->resize.bitmap_events,
			 e->resize.array_events);
		if (e->resize.rule)
			llb_styled(out, LLB_BAD, "  breaks %s", llb_rule_name(e->resize.rule));
		break;
	case LLB_EV_WRITEBACK:
		llb_text(out, "%s page %u up to #%llu, %u sectors",
			 e->writeback.op ? "end" : "begin", e->writeback.page, e->writeback.seq,
			 e->writeback.blocks);
		if (e->writeback.error)
			llb_styled(out, LLB_BAD, " error %d", e->writeback.error);
		break;
	case LLB_EV_BARRIER:
		llb_text(out, "%s page %llu", llb_barrier_name(e->barrier.op),
			 e->barrier.page);
		if (e->barrier.ns)
			llb_text(out, " after %s", llb_ns_text(e->barrier.ns, time, sizeof(time)));
		break;
	case LLB_EV_DAEMON:
		if (e->daemon.op == LLB_BEGIN)
			llb_text(out, "begin");
		else
			llb_text(out, "end: %u pages, %u skipped, %llu chunks cleaned",
				 e->daemon.pages, e->daemon.skipped, e->daemon.cleaned);
		break;
	case LLB_EV_SYNC:
		llb_text(out, "%s sectors %llu+%llu", llb_sync_name(e->sync.op),
			 e->sync.sector, e->sync.sectors);
		if (e->sync.op == LLB_SYNC_SKIP)
			llb_text(out, ": %s", llb_state_name(e->sync.reason));
		break;
	case LLB_EV_ERROR:
		llb_styled(out, LLB_BAD, "%s", llb_error_name(e->error.kind));
		llb_text(out, " errno %d at %llu", e->error.error, e->error.info);
		if (e->error.member)
			llb_text(out, " member %s",
				 llb_dev_name(e->error.member, chunks, sizeof(chunks)));
		break;
	case LLB_EV_LOSS:
		llb_styled(out, LLB_WARN, "%llu lost: %s", e->loss.count,
			   llb_loss_name(e->loss.kind));
		break;
	}
}

static void json_transition(struct llb_out *out, const struct llb_event *e)
{
	llb_json_u64(out, "seq", e->transition.seq);
	llb_json_u64(out, "first", e->transition.first);
	llb_json_u64(out, "count", e->transition.count);
	llb_json_string(out, "from", llb_state_name(e->transition.from));
	llb_json_string(out, "to", llb_state_name(e->transition.to));
	llb_json_string(out, "action", llb_action_name(e->transition.action));
	llb_json_flags(out, e->transition.flags);
	if (e->transition.rule)
		llb_json_string(out, "breaks", llb_rule_name(e->transition.rule));
}

static void json_load(struct llb_out *out, const struct llb_event *e)
{
	llb_json_string(out, "decision", llb_decision_name(e->load_info.decision));
	llb_json_geometry(out, e->load_info.level, e->load_info.members, e->load_info.chunks,
			  e->load_info.chunk_sectors);
	llb_json_u64(out, "degraded", e->load_info.degraded);
	llb_json_u64(out, "bitmap_events", e->load_info.bitmap_events);
	llb_json_u64(out, "array_events", e->load_info.array_events);
}

static void json_resize(struct llb_out *out, const struct llb_event *e)
{
	llb_json_u64(out, "seq", e->resize.seq);
	llb_json_u64(out, "old_chunks", e->resize.old_chunks);
	llb_json_u64(out, "chunks", e->resize.chunks);
	llb_json_u64(out, "chunk_bytes", (uint64_t)e->resize.chunk_sectors * 512);
	llb_json_i64(out, "level", e->resize.level);
	llb_json_u64(out, "members", e->resize.members);
	llb_json_u64(out, "degraded", e->resize.degraded);
	llb_json_u64(out, "bitmap_events", e->resize.bitmap_events);
	llb_json_u64(out, "array_events", e->resize.array_events);
	if (e->resize.rule)
		llb_json_string(out, "breaks", llb_rule_name(e->resize.rule));
}

static void details_json(struct llb_out *out, const struct llb_event *e)
{
	char buf[32];

	switch (e->type) {
	case LLB_EV_TRANSITION:
		json_transition(out, e);
		break;
	case LLB_EV_SNAPSHOT:
		llb_json_u64(out, "seq", e->snapshot.seq);
		llb_json_u64(out, "first", e->snapshot.first);
		llb_json_u64(out, "count", e->snapshot.count);
		llb_json_string(out, "state", llb_state_name(e->snapshot.state));
		llb_json_bool(out, "begins", e->snapshot.flags & LLB_SNAPSHOT_FIRST);
		llb_json_bool(out, "ends", e->snapshot.flags & LLB_SNAPSHOT_LAST);
		break;
	case LLB_EV_LOAD:
		json_load(out, e);
		break;
	case LLB_EV_UNLOAD:
		llb_json_u64(out, "seq", e->unload.seq);
		break;
	case LLB_EV_RESIZE:
		json_resize(out, e);
		break;
	case LLB_EV_WRITEBACK:
		llb_json_string(out, "op", e->writeback.op ? "end" : "begin");
		llb_json_u64(out, "page", e->writeback.page);
		llb_json_u64(out, "seq", e->writeback.seq);
		llb_json_u64(out, "bytes", (uint64_t)e->writeback.blocks * 512);
		llb_json_i64(out, "error", e->writeback.error);
		break;
	case LLB_EV_BARRIER:
		llb_json_string(out, "op", llb_barrier_name(e->barrier.op));
		llb_json_u64(out, "page", e->barrier.page);
		llb_json_u64(out, "ns", e->barrier.ns);
		break;
	case LLB_EV_DAEMON:
		llb_json_string(out, "op", e->daemon.op ? "end" : "begin");
		llb_json_u64(out, "pages", e->daemon.pages);
		llb_json_u64(out, "skipped", e->daemon.skipped);
		llb_json_u64(out, "cleaned", e->daemon.cleaned);
		break;
	case LLB_EV_SYNC:
		llb_json_string(out, "op", llb_sync_name(e->sync.op));
		llb_json_u64(out, "offset_bytes", e->sync.sector * 512);
		llb_json_u64(out, "bytes", e->sync.sectors * 512);
		if (e->sync.op == LLB_SYNC_SKIP)
			llb_json_string(out, "reason", llb_state_name(e->sync.reason));
		break;
	case LLB_EV_ERROR:
		llb_json_string(out, "kind", llb_error_name(e->error.kind));
		llb_json_i64(out, "errno", e->error.error);
		llb_json_u64(out, "info", e->error.info);
		if (e->error.member)
			llb_json_string(out, "member",
					llb_dev_name(e->error.member, buf, sizeof(buf)));
		break;
	case LLB_EV_LOSS:
		llb_json_string(out, "kind", llb_loss_key(e->loss.kind));
		llb_json_u64(out, "count", e->loss.count);
		break;
	}
}

static void time_text(struct llb_out *out, uint64_t ts_ns, const struct llb_event_clock *c)
{
	char text[48];

	if (c->absolute && c->offset_ns)
		llb_local_time_text(ts_ns + (uint64_t)c->offset_ns, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%12.6f",
			 ts_ns >= c->zero_ns ? (double)(ts_ns - c->zero_ns) / 1e9 : 0.0);
	llb_styled(out, LLB_DIM, "%s", text);
}

void llb_event_line(struct llb_out *out, const struct llb_event *e,
		    const struct llb_event_clock *clock, const char *array, const char *stack)
{
	char buf[LLB_NAME_SIZE], comm[LLB_COMM_LEN];

	if (!array)
		array = llb_dev_name(e->dev, buf, sizeof(buf));
	if (!out->json) {
		time_text(out, e->ts_ns, clock);
		llb_text(out, " %-6s %-15s %-10s ", llb_foreign(array, buf, sizeof(buf)),
			 llb_foreign(e->comm, comm, sizeof(comm)), llb_event_type_name(e->type));
		details_text(out, e);
		llb_text(out, "\n");
		if (stack)
			llb_stack_text(out, stack, STACK_LEAD, STACK_LEAD);
		return;
	}
	llb_json_begin(out);
	llb_json_string(out, "event", llb_event_type_name(e->type));
	llb_json_u64(out, "ts_ns", e->ts_ns);
	if (clock->offset_ns)
		llb_json_u64(out, "time_ns", e->ts_ns + (uint64_t)clock->offset_ns);
	llb_json_string(out, "array", array);
	llb_json_u64(out, "load", e->load);
	details_json(out, e);
	llb_json_u64(out, "cpu", e->cpu);
	llb_json_u64(out, "pid", e->pid);
	llb_json_u64(out, "tid", e->tid);
	llb_json_string(out, "comm", e->comm);
	if (stack)
		llb_json_string(out, "stack", stack);
	llb_json_end(out);
}
