# SPDX-License-Identifier: GPL-2.0-or-later
# The VM tests and a load of everything at once, on debug kernels: see README.md.

##@ Debug kernels

# VM tests that bring their own md, or measure, are skipped or say little there
RACES_TESTS ?= $(wildcard tests/vm/test_*.py)

.PHONY: races
races: kernel-deps all test-helpers ## VM tests and a stress load under KASAN, lockdep and KCSAN (FLAVOUR=, MINUTES=30, SEED=, LEVEL=, RACES_LONG=1, BROKEN=)
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/races/campaign.py $(if $(MINUTES),--minutes $(MINUTES)) \
		$(foreach flavour,$(FLAVOUR),--kernel $(flavour)) $(if $(SEED),--seed $(SEED)) \
		$(foreach level,$(LEVEL),--level $(level)) $(if $(BROKEN),--broken $(BROKEN)) \
		$(if $(RACES_LONG),--long) --jobs $(JOBS) $(RACES_TESTS)
