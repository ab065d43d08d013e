# SPDX-License-Identifier: GPL-2.0-or-later
# Calls that fail: see README.md.

##@ Faults

.PHONY: faults
faults: modules all test-helpers ## each call that can fail, failing; hours, resumable (SEED=, LEVEL=, PHASE=, BROKEN=)
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/faults/campaign.py $(if $(SEED),--seed $(SEED)) \
		$(foreach level,$(LEVEL),--level $(level)) $(foreach phase,$(PHASE),--phase $(phase)) \
		$(if $(BROKEN),--broken $(BROKEN)) $(if $(filter 1,$(V)),--verbose)
