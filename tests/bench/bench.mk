# SPDX-License-Identifier: GPL-2.0-or-later
# Measuring: see bench.py.

DEPS += valgrind

##@ Measuring

.PHONY: bench
bench: modules all test-helpers ## measure cost beside the alternatives (an hour; QUICK=1, JSON=1, BENCH="replay ...")
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/bench.py $(if $(filter 1,$(QUICK)),--quick) \
		$(if $(filter 1,$(JSON)),--json) $(BENCH)
