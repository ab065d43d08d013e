# SPDX-License-Identifier: GPL-2.0-or-later
# The verbs of the project. What a verb does stands in the fragment of its folder.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/llbitmap
BUILD := build
PYTHON := /usr/bin/python3
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = @printf '  %-8s %s\n' '$(1)' '$(2)'

# Debian packages; each fragment adds what its verbs need: to build what is installed, and the rest.
BUILD_DEPS := make git ca-certificates
DEPS :=

.DEFAULT_GOAL := all

include kernel-patch/kernel.mk
include tools/llbitmapctl/build.mk
include tests/tests.mk
include tests/model/model.mk
include tests/mdadm/mdadm.mk
include tests/demo/demo.mk
include tests/stateful/stateful.mk
include tests/faults/faults.mk
include tests/bench/bench.mk
include tests/races/races.mk

##@ Everything

.PHONY: all deps build-deps help clean
all: $(BUILD)/llbitmapctl ## build the tool (build/llbitmapctl)

deps: ## install the Debian packages that building and testing need
	$(Q)./tests/install-deps $(BUILD_DEPS) $(DEPS)

build-deps: ## install only those that building the modules, the tool and mdadm needs
	$(Q)./tests/install-deps $(BUILD_DEPS)

help: ## show this list
	$(Q)awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z.-]*:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

clean: ## remove what was built in the tree (caches stay)
	$(Q)rm -rf $(BUILD)
