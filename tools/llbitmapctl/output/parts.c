// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "../model/audit.h"
#include "../model/names.h"
#include "foreign.h"
#include "parts.h"

#define MD_MAJOR 9
#define MINOR_BITS 20

const char *llb_dev_name(uint32_t dev, char *buf, size_t size)
{
	uint32_t major = dev >> MINOR_BITS, minor = dev & ((1u << MINOR_BITS) - 1);

	if (major == MD_MAJOR)
		snprintf(buf, size, "md%u", minor);
	else
		snprintf(buf, size, "%u:%u", major, minor);
	return buf;
}

const char *llb_ns_text(uint64_t ns, char *buf, size_t size)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double value = (double)ns;
	unsigned int unit = 0;

	while (value >= 1000 && unit < 3) {
		value /= 1000;
		unit++;
	}
	snprintf(buf, size, unit ? "%.3g %s" : "%.0f %s", value, units[unit]);
	if (value >= 999.5 && unit)
		snprintf(buf, size, "%.0f %s", value, units[unit]);
	return buf;
}

const char *llb_time_text(uint64_t ns, char *buf, size_t size)
{
	time_t seconds = (time_t)(ns / 1000000000);
	char date[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, size, "%s.%06uZ", date, (unsigned int)(ns % 1000000000 / 1000));
	return buf;
}

const char *llb_local_time_text(uint64_t ns, char *buf, size_t size)
{
	time_t seconds = (time_t)(ns / 1000000000);
	char date[32], zone[8];
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	snprintf(buf, size, "%s.%06u%s", date, (unsigned int)(ns % 1000000000 / 1000), zone);
	return buf;
}

void llb_json_geometry(struct llb_out *out, int level, uint64_t members, uint64_t chunks,
		       uint64_t chunk_sectors)
{
	llb_json_i64(out, "level", level);
	llb_json_u64(out, "members", members);
	llb_json_u64(out, "chunks", chunks);
	llb_json_u64(out, "chunk_bytes", chunk_sectors * 512);
}

void llb_json_states(struct llb_out *out, const uint64_t counts[LLB_NR_STATES])
{
	for (uint8_t s = 0; s < LLB_NR_STATES; s++)
		llb_json_u64(out, llb_state_key(s), counts[s]);
}

void llb_json_actions(struct llb_out *out, const char *key, const uint64_t counts[LLB_NR_ACTIONS])
{
	llb_json_object(out, key);
	for (uint8_t a = 0; a < LLB_NR_ACTIONS; a++)
		llb_json_u64(out, llb_action_name(a), counts[a]);
	llb_json_close(out);
}

void llb_json_flags(struct llb_out *out, uint32_t flags)
{
	llb_json_array(out, "flags");
	for (unsigned int bit = 0; bit < 32; bit++)
		if (flags & 1u << bit)
			llb_json_string(out, NULL, llb_flag_name(bit) ? llb_flag_name(bit) : "?");
	llb_json_close(out);
}

void llb_lost_text(struct llb_out *out, uint64_t lost, uint64_t missing, uint64_t unwatched)
{
	if (lost)
		llb_styled(out, LLB_WARN, "lost: %" PRIu64 " events\n", lost);
	if (missing)
		llb_styled(out, LLB_WARN, "missing: %" PRIu64 " sequence numbers\n", missing);
	if (unwatched)
		llb_styled(out, LLB_WARN, "not watched: %" PRIu64 " loads\n", unwatched);
}

bool llb_note_losses(struct llb_out *out, const uint64_t loss[LLB_NR_LOSS_KINDS],
		     uint64_t missing)
{
	bool matters = missing > 0;

	for (unsigned int kind = 0; kind < LLB_NR_LOSS_KINDS; kind++) {
		if (!loss[kind])
			continue;
		llb_note(out, "%" PRIu64 " lost: %s", loss[kind], llb_loss_name(kind));
		matters |= llb_loss_matters(kind);
	}
	if (missing)
		llb_note(out, "%" PRIu64 " sequence numbers missing: events were lost", missing);
	return matters;
}

void llb_stack_text(struct llb_out *out, const char *stack, const char *first, const char *lead)
{
	char line[1024]; /* the kernel names symbols with up to 511 bytes */
	size_t length;

	for (; *stack; stack += length + (stack[length] == '\n')) {
		length = strcspn(stack, "\n");
		snprintf(line, sizeof(line), "%.*s", (int)length, stack);
		llb_text(out, "%s%s\n", first, llb_foreign(line, line, sizeof(line)));
		first = lead;
	}
}
