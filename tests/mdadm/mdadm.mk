# SPDX-License-Identifier: GPL-2.0-or-later
# mdadm's own test suite, from Debian's source package.

DEPS += gcc libc6-dev busybox-static

##@ mdadm's own tests

.PHONY: mdadm-tests
mdadm-tests: modules all test-helpers ## run them on stock, ours, lockless; resumable (SCRIPT='00raid1 ...', RUN=, ARGS=--help)
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/mdadm/campaign.py $(foreach run,$(RUN),--run $(run)) \
		$(ARGS) $(SCRIPT)
