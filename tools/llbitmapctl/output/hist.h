/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Latency histograms for people and programs. */
#ifndef LLB_OUTPUT_HIST_H
#define LLB_OUTPUT_HIST_H

#include "../model/hist.h"
#include "output.h"

/* All of them, figures and bars; a document of its own under --json. */
void llb_hists_print(struct llb_out *out, const struct llb_hist_set *set);

#endif
