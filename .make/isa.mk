# One program for every x86-64: without an ARCH, the hot files are compiled once for each set of
# instructions, each set's functions get its name as a suffix, and a table of jumps (isa_table)
# leads callers to the set that src/base/isa.c chooses before main. With an ARCH, and on other
# machines, every file is compiled once.

# The step's own loops over arrays. What is compiled several times must have no state of its own,
# and no variables that other files use.
HOT := $(wildcard $(addprefix src/,kern/attention*.c kern/dropout.c kern/embed.c kern/geglu.c kern/heads.c \
         kern/rmsnorm.c kern/softmax_ce.c optim/*.c par/fold.c base/half.c))

# Each set's features are those that isa.c asks the processor for.
ISA_baseline :=
ISA_v3       := -mavx2 -mfma -mbmi2
ISA_v4       := $(ISA_v3) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
ISA_v4_bf16  := $(ISA_v4) -mavx512bf16

ifeq ($(ARCH)$(filter-out x86_64,$(shell uname -m)),)
knows = $(shell $(CC) $(ISA_$(1)) -E -x c /dev/null >/dev/null 2>&1 && echo $(1))
ISAS := baseline $(call knows,v3) $(call knows,v4) $(call knows,v4_bf16)
endif

ifneq ($(ISAS),)
COLD_OBJ = $(filter-out $(HOT:%.c=$(BUILD)/%.o),$(OBJ))
HOT_OBJ  = $(ISAS:%=$(BUILD)/isa/%.o) $(BUILD)/isa/table.o
$(BUILD)/src/base/isa.o: CFLAGS += -DCARAT_ISA_TABLE

define isa_set
$(BUILD)/isa/$(1)/src/optim/%.o $(BUILD)/isa/$(1)/src/par/%.o: CFLAGS += -ffp-contract=off
$(BUILD)/isa/$(1)/%.o: %.c | $(BUILD)/version.h found
	@mkdir -p $$(@D)
	$$(call say,CC)
	$$(Q)$$(CC) $$(CFLAGS) $$(ISA_$(1)) -I$$(BUILD) -MMD -MP -c -o $$@ $$<
$(BUILD)/isa/$(1)/all.o: $(HOT:%.c=$(BUILD)/isa/$(1)/%.o)
	@$(LD) -r -o $$@ $$^
$(BUILD)/isa/$(1).o: $(BUILD)/isa/$(1)/all.o $(BUILD)/isa/names
	@awk '{ print $$$$1, $$$$1 "_$(1)" }' $(BUILD)/isa/names >$$@.map
	@objcopy --redefine-syms=$$@.map $$< $$@
-include $(HOT:%.c=$(BUILD)/isa/$(1)/%.d)
endef
$(foreach set,$(ISAS),$(eval $(call isa_set,$(set))))

# Names and types of what the hot files define.
$(BUILD)/isa/names: $(BUILD)/isa/baseline/all.o
	@nm -g --defined-only $< | awk '{ print $$3, $$2 }' >$@
$(BUILD)/isa/table.o: $(BUILD)/isa/names .make/isa_table
	@.make/isa_table $< $(ISAS) >$(@:.o=.s)
	@$(CC) -c -o $@ $(@:.o=.s)
endif
