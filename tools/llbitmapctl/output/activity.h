/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each array did: the batch form of top. */
#ifndef LLB_OUTPUT_ACTIVITY_H
#define LLB_OUTPUT_ACTIVITY_H

#include "../model/activity.h"
#include "output.h"

/* Name of the array of a load, or NULL: not known. */
typedef const char *llb_load_name(const void *ctx, uint32_t dev, uint32_t load);

/* All arrays, and what was lost; a document of its own under --json. */
void llb_activities_print(struct llb_out *out, const struct llb_activities *activities,
			  llb_load_name *name, const void *ctx);

#endif
