# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel side: the series, a tree to edit it in, and modules for a stock Debian kernel.

BUILD_DEPS += build-essential pahole xz-utils perl
# What make mdadm needs.
BUILD_DEPS += dpkg-dev debian-archive-keyring libudev-dev
# What only some verbs need: those that build (some of) a kernel, and check-series.
KERNEL_DEPS := bc bison flex libelf-dev libssl-dev python3
SERIES_DEPS := python3-docutils sparse

KERNEL_TREE := $(CACHE)/kernel-tree
# A drivers/md to build the modules from, for example $(KERNEL_TREE)/drivers/md while editing;
# without it they are built from the series. `make kernel-image` and `make kunit` look at it too.
MD_SRC ?=

export CACHE

##@ Kernel

.PHONY: kernel-tree kernel-patch modules dkms mdadm check-kernel-patch check-series
.PHONY: kernel kernel-deps series-deps kernel-image kunit
kernel-tree: ## a git tree with the series applied, to edit and rebase in
	$(Q)kernel-patch/kernel-tree $(KERNEL_TREE)
	@echo $(KERNEL_TREE)

kernel-patch: ## write the commits of that tree back as the series
	$(call say,EXPORT,kernel-patch)
	$(Q)kernel-patch/series-export $(KERNEL_TREE) kernel-patch

modules: ## build the md modules for the newest stock 6.12 kernel (build/modules/<version>)
	$(Q)kernel-patch/modules/for-stock-kernel $(BUILD)/modules $(MD_SRC)

dkms: ## put the modules' sources into build/dkms, for DKMS
	$(Q)kernel-patch/modules/dkms-source $(BUILD)/dkms

mdadm: $(BUILD)/sbin/mdadm ## build an mdadm that can create such arrays (build/sbin/mdadm)
$(BUILD)/sbin/mdadm: kernel-patch/mdadm-build kernel-patch/mdadm-source
	$(call say,MDADM,$@)
	$(Q)kernel-patch/mdadm-build $@

check-kernel-patch: ## the series and its tree agree; checkpatch is content
	$(call say,CHECK,series)
	$(Q)kernel-patch/check-series agree
	$(Q)kernel-patch/check-series style

check-series: series-deps kernel-deps ## every patch of the series builds, lint is content (BOOT=1: and boots)
	$(call say,CHECK,each patch builds)
	$(Q)kernel-patch/check-series builds
	$(call say,CHECK,sparse and W=1)
	$(Q)kernel-patch/check-series lint
	$(call say,CHECK,kernel-doc and Documentation)
	$(Q)kernel-patch/check-series documented
ifdef BOOT
	$(call say,CHECK,each patch boots)
	$(Q)PYTEST="$(PYTEST)" kernel-patch/check-series boots
endif

kernel-deps:
	$(Q)./tests/install-deps $(KERNEL_DEPS)

series-deps:
	$(Q)./tests/install-deps $(SERIES_DEPS)

kunit: kernel-deps ## run the series' KUnit tests under user-mode Linux (minutes at first)
	$(Q)kernel-patch/kernel/kunit $(MD_SRC)

kernel-image: kernel-deps ## build the whole patched kernel, md built in; prints where it is
	$(Q)kernel-patch/kernel/build $(MD_SRC)

kernel: kernel-image all test-helpers ## build it and run the VM tests on it (an hour at first; PYTEST_ARGS)
	$(Q)dir=$$(kernel-patch/kernel/build $(MD_SRC)) && \
		LLBITMAP_KERNEL=$$dir $(PYTEST) $(PARALLEL) tests/vm $(PYTEST_ARGS)
