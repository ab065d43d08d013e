/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where events come from and where they go: a live session and a recording
 * push the same struct llb_event into the same consumers.
 */
#ifndef LLB_SOURCE_H
#define LLB_SOURCE_H

#include "../../bpf/llbitmap_abi.h"

struct llb_sink {
	/* Takes one event, valid during the call; nonzero stops the source and
	 * is what it returns: -errno, or a positive number of the consumer's. */
	int (*event)(void *ctx, const struct llb_event *event);
	void *ctx;
};

#endif
