/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Latency histograms for people and programs. */
#ifndef LLB_OUTPUT_HIST_H
#define LLB_OUTPUT_HIST_H

#include "../model/hist.h"
#include "output.h"

/* One histogram: figures and bars; an object inside an array under --json. */
void llb_hist_print(struct llb_out *out, enum llb_hist_kind kind, const struct llb_hist *hist);

/* All of them; a document of its own under --json. */
void llb_hists_print(struct llb_out *out, const struct llb_hists *hists, const char *source);

#endif
