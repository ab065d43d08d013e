# SPDX-License-Identifier: GPL-2.0-or-later
# The BPF programs as one skeleton (BPF_SKEL), and the kernel types that they use.

BUILD_DEPS += python3-minimal dpkg

CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
# v3: atomic operations that return the old value.
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -I. -Ibpf
BPF_SRC := $(wildcard bpf/*.bpf.c)
BPF_OBJ := $(BPF_SRC:%.c=$(BUILD)/%.o)
BPF_SKEL := $(BUILD)/bpf/llbitmap.skel.h

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

# All BPF sources become one object and one skeleton.
$(BUILD)/bpf/llbitmap.linked.o: $(BPF_OBJ)
	$(call say,BPFLINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(BPF_SKEL): $(BUILD)/bpf/llbitmap.linked.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name llbitmap >$@.new && mv $@.new $@

-include $(BPF_OBJ:.o=.d)

##@ BPF

# Only when asked for: what includes it must not have it written anew.
ifneq ($(filter vmlinux.h,$(MAKECMDGOALS)),)
.PHONY: vmlinux.h
endif
vmlinux.h: ## write vmlinux.h anew, from the BTF of a stock Debian 6.12 kernel
	$(Q)headers=$$(CACHE='$(CACHE)' kernel-patch/kernel-env | sed -n 's/^headers=//p') && \
		BPFTOOL='$(BPFTOOL)' bpf/gen-vmlinux.py "$$headers/vmlinux" >$@.new
	$(Q)mv $@.new $@

# Runs the programs without attaching them, beside the tool's own verifier; in VMs as well.
test-helpers: $(BUILD)/bpf/agree
$(BUILD)/bpf/agree: tests/bpf/agree.c $(BPF_SKEL) $(BUILD)/libllb.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -Wall -D_GNU_SOURCE -I$(BUILD)/bpf -o $@ $< $(BUILD)/libllb.a \
		-lbpf -lelf -lz -lzstd
