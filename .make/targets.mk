# Targets beside the build itself: dependencies, installing, checking the source, instrumented tests.

# `make DEPS=true` builds without looking for dependencies first.
DEPS ?= .make/deps --quiet
.PHONY: found
found:
	@$(DEPS)
# Order only: a bare machine gets its compiler before the first file is compiled.
$(OBJ) $(TESTS:=.o) $(REF) $(BENCHES:=.o): | found

# The batch script that `carat slurm` fills in, as a C string.
$(BUILD)/%_sbatch.h: slurm/%.sbatch
	@mkdir -p $(@D)
	@awk 'BEGIN { print "static const char '$(shell echo $* | tr a-z A-Z)'_SBATCH[] =" } \
	      { gsub(/[\\"]/, "\\\\&"); print "    \"" $$0 "\\n\"" } END { print "    ;" }' $< >$@
$(BUILD)/src/cmd/slurm_script.o: | $(BUILD)/train_sbatch.h $(BUILD)/study_sbatch.h

install: all ## install carat and its job and batch files (PREFIX=/usr/local, DESTDIR=)
	install -D -m 755 $(BUILD)/carat $(DESTDIR)$(PREFIX)/bin/carat
	@for f in jobs/* slurm/*.sbatch; do [ ! -f "$$f" ] || \
	  install -D -m 644 "$$f" "$(DESTDIR)$(PREFIX)/share/carat/$$f"; done

SOURCES = $(shell find src include tests -name '*.[ch]' -o -name '*.cc')
format: ## lay out every source file (clang-format)
	@.make/deps --quiet --lint
	clang-format -i $(SOURCES)

layers: ## check that includes only go downward
	@.make/layers

TIDY = $(DEFS) -include .make/lint.h -Iinclude -Itests -I$(BUILD) \
       $(call pkgs,--cflags) $(shell mpicc --showme:compile 2>/dev/null)
lint: $(BUILD)/version.h $(BUILD)/train_sbatch.h $(BUILD)/study_sbatch.h ## layers, clang-format, shellcheck, cppcheck, clang-tidy
	@.make/deps --quiet --lint
	@.make/lint $(BUILD) $(TIDY)

# The tests of another build than the one that `make` leaves behind: instrumented $(1), in its own
# folder, for this processor alone. ./carat stays what it was.
instrumented = .make/deps --quiet --tests && $(MAKE) --no-print-directory -j2 BUILD=.build/$(1) \
	  ARCH=$(or $(ARCH),native) OPT='$(2) -march=$(or $(ARCH),native)' EXTRA='$(3)' \
	  .build/$(1)/carat tests .build/$(1)/tests/model/fixture_check && \
	  TEST_TIMEOUT=900 .make/check .build/$(1) $(T)

asan: ## the tests under AddressSanitizer, leaks included, and UndefinedBehaviorSanitizer
	@mkdir -p .build/asan; gcc -c -o .build/asan/keep_open.o .make/keep_open.c
	@$(call instrumented,asan,-O1,-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	  -Wl$(comma).build/asan/keep_open.o)
comma := ,

ubsan: ## the tests under UndefinedBehaviorSanitizer alone, which is faster
	@$(call instrumented,ubsan,-O1,-fsanitize=undefined -fno-sanitize-recover=all)

# Without the vector instructions that valgrind does not know.
VALGRIND = valgrind -q --error-exitcode=9 --suppressions=$(CURDIR)/.make/valgrind.supp \
           $(addprefix --suppressions=,$(wildcard /usr/share/openmpi/openmpi-valgrind.supp))
valgrind: ## the test programs under valgrind, which takes long (one room: T=train)
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: apt-get install valgrind'; exit 69; }
	@.make/deps --quiet --tests && $(MAKE) --no-print-directory -j2 BUILD=.build/valgrind ARCH=x86-64-v3 \
	  OPT='-O1 -march=x86-64-v3' tests
	@TEST_UNDER='$(VALGRIND)' TEST_TIMEOUT=3600 .make/check .build/valgrind $(T)

coverage: ## run the tests, then say which share of each file's lines they reach (gcov)
	@find .build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(call instrumented,coverage,-O1,--coverage -Wno-error)
	@.make/coverage .build/coverage

# The fuzzers. clang compiles what they reach under both sanitizers; kernels, whose vectors are
# gcc's, and which read no files, stay gcc's. Sums are always right there (tests/fuzz/sums.c).
FUZZERS  = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJ = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(wildcard tests/fuzz/fuzz_*.c) \
           tests/fuzz/seeds.c,$(wildcard tests/fuzz/*.c)) .make/keep_open.c)
FUZZ_LIB = $(BUILD)/libfuzz.a
FUZZ_SAN = -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
FUZZ_WRAP = -Wl,--wrap=crc32c,--wrap=crc32c_combine,--wrap=sha256_hex,--wrap=sha256_of,--wrap=h5x_build
fuzz: ## fuzz every reader of files for an hour or 10^7 inputs each (T=name SECONDS=60 RUNS=1000)
	@.make/deps --quiet --tests --fuzz
	@OMPI_CC="$(patsubst %gcc,%clang,$(or $(OMPI_CC),gcc))" \
	 OMPI_CXX="$(patsubst %g++,%clang++,$(or $(OMPI_CXX),g++))" \
	 $(MAKE) --no-print-directory -j2 BUILD=.build/fuzz ARCH=native DNNL= DEPS=true \
	  OPT=-O1 EXTRA='$(FUZZ_SAN) -Wno-unknown-pragmas' GCC="$(or $(OMPI_CC),gcc)" fuzzers
	@.make/fuzz .build/fuzz "$(T)" "$(SECONDS)" "$(RUNS)"
fuzzers: $(FUZZERS) $(BUILD)/tests/fuzz/seeds
ifdef GCC
$(BUILD)/src/kern/%.o: export OMPI_CC = $(GCC)
$(BUILD)/src/kern/%.o: override EXTRA =
$(FUZZ_LIB): $(filter-out $(BUILD)/src/cmd/% $(BUILD)/src/report/%,$(OBJ)) \
             $(filter $(BUILD)/src/cmd/prepare_%,$(OBJ))
	@rm -f $@
	@ar rcs $@ $^
$(filter-out $(BUILD)/src/kern/%,$(OBJ)) $(FUZZERS:=.o) $(FUZZ_OBJ): override EXTRA += -fsanitize=fuzzer-no-link
# Comparisons of names with names there are many of, and nothing is learnt from them.
$(BUILD)/src/base/str.o $(BUILD)/src/conf/%.o: override EXTRA += -fno-sanitize-coverage=trace-cmp
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_OBJ) $(FUZZ_LIB)
	$(call say,LD)
	$(Q)$(CXX) -o $@ $^ $(LDLIBS) $(FUZZ_SAN) -fsanitize=fuzzer $(FUZZ_WRAP)
$(BUILD)/tests/fuzz/seeds: $(BUILD)/tests/fuzz/seeds.o $(FUZZ_OBJ) $(FUZZ_LIB)
	$(call say,LD)
	$(Q)$(CXX) -o $@ $^ $(LDLIBS) $(FUZZ_SAN) $(FUZZ_WRAP)
endif
.PHONY: fuzz fuzzers

bench: ## the README's figures and tests/bench (one: make bench T=w1, T=table, T=reduce)
	@.make/deps --quiet --tests
	@$(MAKE) --no-print-directory -j2 all $(BENCHES) tests/bench/science
	@.make/bench $(BUILD) $(T)

check-slurm: all ## real Slurms on this machine: runs and searches cut, killed, queued again, with the same results
	@tests/slurm/run && tests/slurm/study && tests/slurm/faults

# What makes faults happen: a library to preload, and a program that damages files.
FAULTS = $(BUILD)/tests/fault/shim.so $(BUILD)/tests/fault/flips
$(BUILD)/tests/fault/shim.so: tests/fault/shim.c
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)gcc -std=c11 -O1 -g $(WARN) -D_GNU_SOURCE -shared -fPIC -o $@ $< -ldl

tests: $(FAULTS)
fault: ## the fault matrix, ends with its table (N=1000 SEED= JOBS=4 CASE=one)
	@.make/deps --quiet --tests
	@$(MAKE) --no-print-directory -j2 all $(FAULTS)
	@N=$(N) SEED=$(SEED) JOBS=$(JOBS) CASE='$(CASE)' CARAT=$(BUILD)/carat \
	  TOOLS=$(BUILD)/tests/fault tests/fault/run
.PHONY: coverage fault valgrind
