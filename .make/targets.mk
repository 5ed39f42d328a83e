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

asan: ## the tests under AddressSanitizer, leaks included
	@mkdir -p .build/asan; gcc -c -o .build/asan/keep_open.o .make/keep_open.c
	@$(call instrumented,asan,-O1,-fsanitize=address -fno-omit-frame-pointer \
	  -Wl$(comma).build/asan/keep_open.o)
comma := ,

ubsan: ## the tests under UndefinedBehaviorSanitizer
	@$(call instrumented,ubsan,-O1,-fsanitize=undefined -fno-sanitize-recover=all)

coverage: ## run the tests, then say which share of each file's lines they reach (gcov)
	@find .build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(call instrumented,coverage,-O1,--coverage -Wno-error)
	@.make/coverage .build/coverage

bench: ## the README's figures and tests/bench (one: make bench T=w1, T=table, T=reduce)
	@.make/deps --quiet --tests
	@$(MAKE) --no-print-directory -j2 all $(BENCHES) tests/bench/science
	@.make/bench $(BUILD) $(T)

check-slurm: all ## real Slurms on this machine: runs and searches cut, killed, queued again, with the same results
	@tests/slurm/run && tests/slurm/study

# What makes faults happen: a library to preload.
SHIM = $(BUILD)/tests/fault/shim.so
$(SHIM): tests/fault/shim.c
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)gcc -std=c11 -O1 -g $(WARN) -D_GNU_SOURCE -shared -fPIC -o $@ $< -ldl

fault: ## the fault matrix, ends with its table (N=1000 SEED= JOBS=4 CASE=one)
	@.make/deps --quiet --tests
	@$(MAKE) --no-print-directory -j2 all $(SHIM)
	@N=$(N) SEED=$(SEED) JOBS=$(JOBS) CASE='$(CASE)' CARAT=$(BUILD)/carat SHIM=$(SHIM) tests/fault/run
.PHONY: coverage fault
