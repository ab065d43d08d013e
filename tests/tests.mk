# SPDX-License-Identifier: GPL-2.0-or-later
# Testing: everything that runs under pytest, and the VM for people.

DEPS += python3-pytest python3-pytest-xdist python3-hypothesis python3-pyte qemu-system-x86 mmdebstrap debian-archive-keyring \
	busybox-static kmod xz-utils zstd file util-linux man-db

PYTEST = PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest $(if $(filter 1,$(V)),-v)
# one invocation, so that its closing line covers them all; what fails fast comes first
CHECKED := $(wildcard $(addprefix tests/,unit bpf recordings crash stateful faults mdadm bench races vm))
PYTEST_ARGS ?=
# files side by side: a VM under emulation keeps no more than one CPU busy, and tests also wait
JOBS ?= $(shell n=$$(($$(nproc) + 1)); [ $$n -gt 4 ] && n=4; echo $$n)
PARALLEL = -n $(JOBS) --dist loadfile

##@ Tests

.PHONY: check check-run check-long check-vm breaks crash vm
check: ## set up everything and run the tests (PYTEST_ARGS='-k NAME' for some)
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory check-run

check-run: modules all test-helpers check-kernel-patch
	$(Q)$(PYTEST) $(PARALLEL) -m 'not long' $(CHECKED) $(PYTEST_ARGS)

check-long: modules all test-helpers ## the tests that make check has no time for
	$(Q)$(PYTEST) $(PARALLEL) -m long $(CHECKED) $(PYTEST_ARGS)

check-vm: modules all test-helpers ## run the tests that need a VM
	$(Q)$(PYTEST) $(PARALLEL) tests/vm $(PYTEST_ARGS)

breaks: modules all test-helpers ## take one mend out of the kernel at a time: tests must fail (NAME=...; all: hours, resumable)
	$(Q)$(PYTHON) tests/vm/breaks.py $(NAME)

crash: modules all test-helpers ## 10 000 crash states, resumable (STATES=, SEED=, LEVEL=5, DURING=re_add, BROKEN=)
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/crash/campaign.py $(if $(STATES),--states $(STATES)) \
		$(if $(SEED),--seed $(SEED)) $(foreach level,$(LEVEL),--level $(level)) \
		$(if $(DURING),--during $(DURING)) $(if $(BROKEN),--broken $(BROKEN))

vm: modules all ## a shell in a VM with the modules, the tool and empty disks (VM_ARGS=--help)
	$(Q)$(PYTHON) tests/vm/shell.py $(VM_ARGS)
