# SPDX-License-Identifier: GPL-2.0-or-later
# The tool and its BPF side, as one binary: build/llbitmapctl.

BUILD_DEPS += gcc libc6-dev clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev libzstd-dev libxxhash-dev \
	libncurses-dev libcap-dev

# The BPF side, and its skeleton as BPF_SKEL.
include bpf/bpf.mk

TOOL := tools/llbitmapctl
OBJ := $(BUILD)/obj

CFLAGS ?= -O2 -g
TOOL_CFLAGS := -std=gnu11 -Wall -Wextra -Wno-unused-parameter -D_GNU_SOURCE \
	-D_FILE_OFFSET_BITS=64 -I$(BUILD)/bpf -I$(OBJ)/gen
TOOL_LIBS := -lbpf -lelf -lz -lzstd -lncursesw -ltinfo -lcap
VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)

# Folders without printf or exit, which test helpers link too.
LIB_SRC := $(wildcard $(addprefix $(TOOL)/,model/*.c recording/*.c output/*.c))
TOOL_SRC := $(wildcard $(TOOL)/*.c $(TOOL)/live/*.c)

LIB_OBJ := $(LIB_SRC:%.c=$(OBJ)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(OBJ)/%.o)

$(BUILD)/llbitmapctl: $(TOOL_OBJ) $(BUILD)/libllb.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(TOOL_OBJ) $(BUILD)/libllb.a $(TOOL_LIBS)

$(BUILD)/libllb.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(OBJ)/%.o: %.c | $(BPF_SKEL) $(OBJ)/gen/version.h
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(TOOL_CFLAGS) -MMD -MP -c -o $@ $<

# Rewritten only when it changes, so that only what shows it is built again.
$(OBJ)/gen/version.h: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)echo '#define LLB_TOOL_VERSION "$(VERSION)"' >$@.new
	$(Q)cmp -s $@.new $@ && rm $@.new || mv $@.new $@

.PHONY: FORCE
FORCE:

# The commands' part of the man page comes from the tool, the operations' from the kernel side.
all: $(BUILD)/llbitmapctl.8
$(BUILD)/llbitmapctl.8: $(TOOL)/llbitmapctl.8.in $(BUILD)/llbitmapctl \
		kernel-patch/operations kernel-patch/operations.tsv
	$(call say,MAN,$@)
	$(Q)$(BUILD)/llbitmapctl help --man >$(OBJ)/commands.8
	$(Q)kernel-patch/operations --man >$(OBJ)/operations.8
	$(Q)sed -e '/^@COMMANDS@$$/{r $(OBJ)/commands.8' -e 'd}' \
		-e '/^@OPERATIONS@$$/{r $(OBJ)/operations.8' -e 'd}' $< >$@.new && mv $@.new $@

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d)

##@ Installing

PREFIX ?= /usr/local
INSTALLED := bin/llbitmapctl share/man/man8/llbitmapctl.8 \
	share/bash-completion/completions/llbitmapctl

.PHONY: install uninstall
install: all ## install the tool, its man page and completion (PREFIX=/usr/local, DESTDIR=)
	$(Q)install -D -m 755 $(BUILD)/llbitmapctl $(DESTDIR)$(PREFIX)/$(word 1,$(INSTALLED))
	$(Q)install -D -m 644 $(BUILD)/llbitmapctl.8 $(DESTDIR)$(PREFIX)/$(word 2,$(INSTALLED))
	$(Q)install -D -m 644 $(TOOL)/completion.bash $(DESTDIR)$(PREFIX)/$(word 3,$(INSTALLED))

uninstall: ## remove what `make install` installed
	$(Q)rm -f $(addprefix $(DESTDIR)$(PREFIX)/,$(INSTALLED))

##@ Without a VM

.PHONY: check-unit bench-replay
check-unit: all test-helpers ## run the tests that need neither root nor a kernel
	$(Q)$(PYTHON) -m pytest tests/unit $(PYTEST_ARGS)

bench-replay: all test-helpers ## measure what replay costs: instructions, memory
	$(Q)$(PYTHON) tests/bench/replay.py

# Seconds that the fuzzer runs.
FUZZ_TIME ?= 60
.PHONY: fuzz
fuzz: $(BUILD)/fuzz-replay ## feed nonsense to replay (FUZZ_TIME=60 seconds)
	$(Q)mkdir -p $(BUILD)/corpus
	$(Q)cd $(BUILD) && ./fuzz-replay -max_total_time=$(FUZZ_TIME) -max_len=4096 -verbosity=0 \
		-print_final_stats=1 corpus

$(BUILD)/fuzz-replay: tests/fuzz/fuzz_replay.c $(LIB_SRC)
	$(call say,FUZZ,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(TOOL_CFLAGS) -g -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $^ -lzstd

DEPS += python3-pytest valgrind libclang-rt-dev

# Programs that only tests use: recordings made to measure, and damaged ones.
HELPERS := $(BUILD)/llb-generate $(BUILD)/llb-doctor $(BUILD)/llb-arrays $(BUILD)/llb-child \
	$(BUILD)/llb-syncer
.PHONY: test-helpers
test-helpers: $(HELPERS)

$(BUILD)/llb-generate: $(OBJ)/tests/unit/generate.o $(BUILD)/libllb.a
$(BUILD)/llb-doctor: $(OBJ)/tests/recordings/doctor.o $(BUILD)/libllb.a
$(BUILD)/llb-arrays: $(OBJ)/tests/unit/arrays.o $(addprefix $(OBJ)/$(TOOL)/live/,arrays.o verdict.o)
$(BUILD)/llb-child: $(OBJ)/tests/unit/child.o $(OBJ)/$(TOOL)/live/child.o
$(BUILD)/llb-syncer: $(OBJ)/tests/unit/syncer.o $(OBJ)/$(TOOL)/recording/syncer.o
$(HELPERS):
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lzstd
-include $(patsubst %,$(OBJ)/tests/unit/%.d,generate arrays child syncer) \
	$(OBJ)/tests/recordings/doctor.d

.PHONY: recordings
recordings: all modules ## make the golden recordings anew, in a VM
	$(Q)$(PYTHON) -m pytest tests/recordings/record_golden.py $(PYTEST_ARGS)
