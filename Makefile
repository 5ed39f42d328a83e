# carat: build, test, try. `make help` lists the targets; README.md tells the rest.

# What a build may set:  make ARCH=native PREFIX=/opt/carat
# Without an ARCH the program runs on every processor of the machine's architecture, and on x86-64
# uses what the one it runs on has.
ARCH   ?=
BUILD  ?= .build/$(or $(ARCH),release)
PREFIX ?= /usr/local
CC      = mpicc
CXX     = mpicxx
EXTRA  ?=

PKGS    = hdf5-openmpi openblas libfyaml jansson sentencepiece zlib
pkgs    = $(shell pkg-config $(1) $(PKGS) 2>/dev/null)
OPT    ?= -O3 $(if $(ARCH),-march=$(ARCH))
WARN    = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
VERSION = $(shell git describe --always --dirty 2>/dev/null || echo unversioned)
DEFS    = -D_GNU_SOURCE -DOMPI_SKIP_MPICXX
# Contraction is wanted (fused multiply-add); reassociation is not: sums keep their written order.
CFLAGS  = -std=c11 -g $(OPT) -ffp-contract=fast -fno-math-errno -fno-trapping-math $(WARN) $(DEFS) \
          -Iinclude $(call pkgs,--cflags) $(EXTRA)
CXXFLAGS = -std=c++17 -g $(OPT) -Wall -Wextra -Werror -Iinclude $(call pkgs,--cflags) $(EXTRA)
LDLIBS  = $(call pkgs,--libs) $(if $(DNNL),-ldnnl -fopenmp) -lstdc++ -lpthread -lm
CHECK_LIBS = $(shell pkg-config --libs check 2>/dev/null)

# oneDNN 2 over OpenMP, where it is there: it has no pkg-config file everywhere, so it is tried, once
# and only after the dependencies have been looked for. `make DNNL=` builds without it.
DNNL_TRY = \#include <oneapi/dnnl/dnnl.h>\n\#include <omp.h>\nint main(void) { dnnl_matmul_desc_t m; \
	   (void)m; omp_set_num_threads(1); return dnnl_version()->major != 2; }\n
DNNL     = $(eval DNNL := $$(shell printf '$(DNNL_TRY)' | $(CC) -x c - -o /dev/null -ldnnl -fopenmp \
	   2>/dev/null && echo yes))$(DNNL)

# What Open MPI needs in containers, as root and with more ranks than cores. Slurm scripts set the
# same; README.md, "MPI settings", says why.
export OMPI_ALLOW_RUN_AS_ROOT=1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_fbtl_posix_write_datasieving=0
export OMPI_MCA_fbtl_posix_read_datasieving=0
export HDF5_USE_FILE_LOCKING=FALSE

SRC  := $(wildcard src/*/*.c) $(wildcard src/*/*.cc)
OBJ  := $(patsubst %,$(BUILD)/%.o,$(basename $(SRC)))
LIB   = $(BUILD)/libcarat.a
TEST_SRC := $(wildcard tests/*/test_*.c)
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_SRC))
REF  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/ref/*.c))
BENCHES := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench/*.c))

# One short line a file; `make V=1` shows whole commands.
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' $(1) '$(patsubst $(BUILD)/%,%,$@)';)

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all help deps demo check check-slurm bench format lint layers asan ubsan install clean

all: carat ## build ./carat

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

deps: ## check every dependency; as root on Debian install what is missing
	@.make/deps --tests

carat: $(BUILD)/carat FORCE
	@cmp -s $< $@ || { cp -f $< $@.new && mv -f $@.new $@; }

# -rdynamic: so that a backtrace has names.
$(BUILD)/carat: $(BUILD)/src/cmd/main.o $(LIB)
	$(call say,LD)
	$(Q)$(CC) -rdynamic -o $@ $^ $(LDLIBS) $(EXTRA)

include .make/isa.mk
$(LIB): $(filter-out $(BUILD)/src/cmd/main.o,$(or $(COLD_OBJ),$(OBJ))) $(HOT_OBJ)
	@rm -f $@
	@ar rcs $@ $^

# The version is compiled in; the stamp changes only when it does.
$(BUILD)/version.h: FORCE
	@mkdir -p $(@D); echo '#define CARAT_VERSION "$(VERSION)"' >$@.new; \
	cmp -s $@.new $@ && rm -f $@.new || mv -f $@.new $@
FORCE:

# Element-wise updates and fixed-order sums must round alike in a vector's body and in its tail.
$(BUILD)/src/optim/%.o $(BUILD)/src/par/%.o: CFLAGS += -ffp-contract=off

# The only files that know of oneDNN.
$(BUILD)/src/kern/gemm.o $(BUILD)/src/kern/gemm16.o: CFLAGS += $(if $(DNNL),-DHAVE_DNNL -fopenmp)

$(BUILD)/%.o: %.c | $(BUILD)/version.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) -I$(BUILD) -Itests -MMD -MP -c -o $@ $<
$(BUILD)/%.o: %.cc
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) $(CXXFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(REF) $(LIB)
	$(call say,LD)
	$(Q)$(CC) -o $@ $^ $(CHECK_LIBS) $(LDLIBS) $(EXTRA)

tests/fixture_check: $(BUILD)/tests/model/fixture_check
	@cp -f $< $@
tests/bench/science: $(BUILD)/tests/bench/science
	@cp -f $< $@
.PHONY: tests/fixture_check tests/bench/science

check: ## install what is missing, build, run every test (one: make check T=rmsnorm)
	@.make/deps --quiet --tests
	@$(MAKE) --no-print-directory -j2 all tests tests/fixture_check
	@.make/check $(BUILD) $(T)
tests: $(TESTS)
.PHONY: tests

include .make/targets.mk

# The demo's text: any file or folder that `carat prepare` reads.
CORPUS ?= /usr/share/debian-reference/debian-reference.en.txt.gz
DEMO    = runs/demo/$(firstword $(subst ., ,$(notdir $(CORPUS))))
demo: ## install what is missing, build, train a small model on real text (CORPUS=file) and use it
	@.make/deps --quiet $(if $(findstring debian-reference,$(CORPUS)),--demo)
	@$(MAKE) --no-print-directory -j2 all
	@.make/demo "$(CORPUS)" "$(DEMO)"

clean: ## remove what was built
	rm -rf .build carat tests/fixture_check tests/bench/science

.PRECIOUS: $(BUILD)/%.o
-include $(OBJ:.o=.d) $(TESTS:=.d) $(REF:.o=.d) $(BENCHES:=.d)
