// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: any bytes as the events of a block, through every consumer. Block
 * checksums would only keep the fuzzer out; test_recording.py covers them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "../../tools/llbitmapctl/model/activity.h"
#include "../../tools/llbitmapctl/model/gaps.h"
#include "../../tools/llbitmapctl/model/hist.h"
#include "../../tools/llbitmapctl/model/verify.h"
#include "../../tools/llbitmapctl/output/audit.h"
#include "../../tools/llbitmapctl/output/events.h"
#include "../../tools/llbitmapctl/recording/format.h"

struct consumers {
	struct llb_verifier *verifier;
	struct llb_activities *activities;
	struct llb_hists *hists;
	struct llb_gaps *gaps;
	struct llb_out *out;
	struct llb_encoder *encoder;
};

static int compare(void *ctx, const struct llb_event *event)
{
	if (memcmp(ctx, event, sizeof(*event)))
		abort();
	return 0;
}

/* What was decoded must come back the same when it is coded again. */
static void check_coding(struct llb_encoder *encoder, const struct llb_event *event)
{
	static struct llb_decoder decoder;
	uint8_t coded[2 * LLB_CODED_MAX] = { 0 };
	struct llb_event copy = *event;
	struct llb_sink sink = { .event = compare, .ctx = &copy };
	size_t size;

	llb_encoder_reset(encoder);
	llb_decoder_reset(&decoder);
	size = llb_encode(encoder, event, coded);
	if (!size || size > LLB_CODED_MAX || llb_decode_block(&decoder, coded, size, 1, &sink))
		abort();
}

static int take(void *ctx, const struct llb_event *event)
{
	static const struct llb_event_clock clock = { .offset_ns = -1, .absolute = true };
	struct consumers *c = ctx;

	check_coding(c->encoder, event);
	if (llb_verify_event(c->verifier, event) || llb_activities_event(c->activities, event) ||
	    llb_hists_event(c->hists, event))
		return -ENOMEM;
	llb_gaps_event(c->gaps, event);
	llb_event_line(c->out, event, &clock, NULL, NULL);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct llb_decoder decoder;
	static struct llb_encoder encoder;
	static FILE *null;
	uint8_t *padded = calloc(1, size + LLB_CODED_MAX);
	struct llb_verify_config config = { .max_loads = 3 };
	struct llb_out out;
	struct consumers c = {
		.verifier = llb_verifier_new(&config),
		.activities = llb_activities_new(),
		.hists = llb_hists_new(),
		.gaps = llb_gaps_new(),
		.out = &out,
		.encoder = &encoder,
	};
	struct llb_sink sink = { .event = take, .ctx = &c };
	struct llb_audit_view view = { .clock_offset_ns = 1 };

	if (!null)
		null = fopen("/dev/null", "we");
	llb_out_init(&out, null, "fuzz", size && data[0] & 1);
	out.source = "fuzz";
	memcpy(padded, data, size);
	llb_decoder_reset(&decoder);
	llb_decode_block(&decoder, padded, size, UINT32_MAX, &sink);
	view.audit = llb_verifier_audit(c.verifier);
	llb_audit_print(&out, &view);
	llb_verifier_free(c.verifier);
	llb_activities_free(c.activities);
	llb_hists_free(c.hists);
	llb_gaps_free(c.gaps);
	free(padded);
	return 0;
}
