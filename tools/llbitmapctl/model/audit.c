// SPDX-License-Identifier: GPL-2.0-or-later
#include "audit.h"

uint64_t llb_audit_missing(const struct llb_audit *audit)
{
	uint64_t sum = audit->forgotten_missing;

	for (unsigned int i = 0; i < audit->nr_load; i++)
		sum += audit->load[i].missing;
	return sum;
}

uint64_t llb_audit_lost(const struct llb_audit *audit)
{
	uint64_t sum = 0;

	for (unsigned int kind = 0; kind < LLB_NR_LOSS_KINDS; kind++)
		if (llb_loss_matters(kind))
			sum += audit->loss[kind];
	return sum;
}

unsigned int llb_audit_doubts(const struct llb_audit *audit)
{
	unsigned int doubts = 0;

	if (llb_audit_lost(audit))
		doubts |= LLB_DOUBT_LOSS;
	if (llb_audit_missing(audit))
		doubts |= LLB_DOUBT_GAP;
	if (audit->cut_short)
		doubts |= LLB_DOUBT_CUT;
	if (audit->unwatched)
		doubts |= LLB_DOUBT_UNWATCHED;
	if (audit->forgotten_baseless)
		doubts |= LLB_DOUBT_BASE;
	for (unsigned int i = 0; i < audit->nr_load; i++)
		if (!audit->load[i].unwatched && !(audit->load[i].known && audit->load[i].based))
			doubts |= LLB_DOUBT_BASE;
	if (audit->damaged)
		doubts |= LLB_DOUBT_DAMAGED;
	if (!audit->nr_loads)
		doubts |= LLB_DOUBT_EMPTY;
	return doubts;
}

enum llb_verdict llb_audit_verdict(const struct llb_audit *audit)
{
	if (audit->violations)
		return LLB_FAIL;
	return llb_audit_doubts(audit) ? LLB_INCONCLUSIVE : LLB_PASS;
}
