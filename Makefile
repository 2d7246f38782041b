# One Makefile for the whole tree: no recursion, so the dependency graph is complete.
#
#   make                    build the programs into build/bin
#   make run                install what is missing, build, start a relay on 127.0.0.1:2525, send one message through it
#   make check              install what the tests need, build, run every test
#   make bench              Rowpost beside Debian's Postfix on the same load (BENCH_ARGS=..., QUICK=1)
#   make WERROR=1 ...       warnings are errors            make SAN=address,undefined ...   sanitizer build
#   make CRASHPOINTS=1 ...  build with crash points        make V=1 ...                     show the commands
.DELETE_ON_ERROR:
.SUFFIXES:
SAN         ?=
CRASHPOINTS ?=
BUILD       ?= build$(if $(SAN),-san)$(if $(CRASHPOINTS),-crash)
Q           := $(if $(V),,@)

PACKAGES := libpq libssl libcrypto libcares libpcre2-8 libevent_core lmdb libidn2
HAVE_PKG := $(shell pkg-config --exists $(PACKAGES) 2>/dev/null && echo yes)
# Types of tables that are built in when their libraries are there. What depends on it is made anew when that changes.
OPTIONAL  := ldap libmariadb sqlite3 libcdb
HAVE_OPT  := $(foreach p,$(OPTIONAL),$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p)))
OPT_FLAGS := $(if $(HAVE_OPT),$(shell pkg-config --cflags $(HAVE_OPT))) \
             $(if $(filter ldap,$(HAVE_OPT)),-DHAVE_LDAP=1) $(if $(filter libmariadb,$(HAVE_OPT)),-DHAVE_MYSQL=1) \
             $(if $(filter sqlite3,$(HAVE_OPT)),-DHAVE_SQLITE=1) $(if $(filter libcdb,$(HAVE_OPT)),-DHAVE_CDB=1)
OPT_LIBS  := $(if $(HAVE_OPT),$(shell pkg-config --libs $(HAVE_OPT)))
LEFT_OUT  := $(if $(filter ldap,$(HAVE_OPT)),,$(wildcard src/backend/table_ldap*.c)) \
             $(if $(filter libmariadb,$(HAVE_OPT)),,$(wildcard src/backend/table_mysql*.c)) \
             $(if $(filter sqlite3,$(HAVE_OPT)),,src/backend/table_sqlite.c)
OPT_STAMP := $(BUILD)/.optional$(subst $(eval) ,,$(HAVE_OPT:%=-%))
# Made here, for a rule's target that is missing would be taken for an intermediate file that nobody needs.
$(shell [ -e $(OPT_STAMP) ] || { mkdir -p $(BUILD) && rm -f $(BUILD)/.optional* && touch $(OPT_STAMP); })
PKG_CFLAGS := $(if $(HAVE_PKG),$(shell pkg-config --cflags $(PACKAGES)))
PKG_LIBS   := $(if $(HAVE_PKG),$(shell pkg-config --libs $(PACKAGES)))

CFLAGS   ?= -O2 -g
CPPFLAGS += -Isrc -D_GNU_SOURCE $(PKG_CFLAGS) $(OPT_FLAGS) $(if $(CRASHPOINTS),-DCRASHPOINTS=1)
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion \
            -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
            -Wwrite-strings -Wcast-qual -Wpointer-arith -Wvla -Wformat=2 \
            -Wundef -Wnull-dereference -Wswitch-enum -Wimplicit-fallthrough \
            $(if $(WERROR),-Werror)
# Keep a flag only when this compiler takes it.
cc_option = $(shell $(CC) -Werror $(1) -x c -c -o /dev/null /dev/null 2>/dev/null && echo '$(1)')
# Without -fno-strict-aliasing gcc 12 takes the end of a list in a struct for something that adding to another list cannot
# change, and loops for ever.
HARDEN   := -fstack-protector-strong -fno-common -fno-strict-overflow -fno-strict-aliasing -fPIE \
            $(call cc_option,-fstrict-flex-arrays=3) $(call cc_option,-fcf-protection)
ifeq ($(SAN),)
HARDEN   += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 \
            $(call cc_option,-ftrivial-auto-var-init=zero) $(call cc_option,-fstack-clash-protection)
else
HARDEN   += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
ALL_CFLAGS  = -std=gnu17 $(WARN) $(HARDEN) $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed \
              $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LDLIBS     += $(PKG_LIBS) $(OPT_LIBS) -lm

# src/layers.txt names the rooms, lowest first; libraries link highest first, in one pass, so that an upward call
# fails at link time. rooms_of gives a room's own rooms in that order.
ROOMS    := $(shell awk -F: '!/^\#/ && NF && $$1 != "cmd" { l = $$1 " " l } END { print l }' src/layers.txt)
rooms_of  = $(shell awk -v want=$(1) -f tests/check/rooms.awk src/layers.txt)
LIBS     := $(ROOMS:%=$(BUILD)/lib/%.a)
CMDS     := $(notdir $(basename $(wildcard src/cmd/*.c)))
UNITS    := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*/test_*.c))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

ifneq ($(HAVE_PKG),)
all: $(CMDS:%=$(BUILD)/bin/%)
else
all:
	@echo "libraries are missing ($(PACKAGES)): run 'make deps' as root, then make again" >&2; exit 1
endif

define ROOM
$(BUILD)/lib/$(1).a: $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(LEFT_OUT),$(wildcard src/$(1)/*.c)))
LINK_$(1) := $(patsubst %,$(BUILD)/lib/%.a,$(call rooms_of,$(1)))
endef
$(foreach r,$(ROOMS),$(eval $(call ROOM,$(r))))

$(BUILD)/lib/%.a:
	@mkdir -p $(@D); rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/%.o: %.c
	@mkdir -p $(@D); $(if $(V),,echo "CC $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(patsubst %.c,$(BUILD)/%.o,$(wildcard src/table/*.c src/backend/*.c)): $(OPT_STAMP)
# It changes stacks, which a shadow stack would take for an attack: not marked as fit for one, so that none is set up.
$(BUILD)/src/task/task_switch.o: HARDEN += $(call cc_option,-fcf-protection=branch)
# A NULL that a test follows is a failed test.
$(BUILD)/tests/%.o: WARN += -Wno-null-dereference
$(BUILD)/bin/%: $(BUILD)/src/cmd/%.o $(LIBS)
	@mkdir -p $(@D); $(if $(V),,echo "LD $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(LIBS) $(LDLIBS)

# A unit test links its own room and the rooms below it, nothing else.
define UNIT
$(BUILD)/unit/$(1): $(BUILD)/tests/unit/$(1).o $(LINK_$(firstword $(subst /, ,$(1))))
	@mkdir -p $$(@D); $(if $(V),,echo "LD $$@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(filter %.a,$$^) $(LDLIBS) -lcmocka
endef
$(foreach u,$(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*/test_*.c)),$(eval $(call UNIT,$(u))))

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(LIBS)
	@mkdir -p $(@D); $(if $(V),,echo "LD $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIBS) $(LDLIBS)
fuzz:
	$(Q)$(MAKE) CC=clang SAN=fuzzer-no-link,address,undefined BUILD=build-fuzz fuzzers
fuzzers: $(FUZZERS)

# A second make: the first one read its compiler flags before the libraries were there. Every suite runs, also after one
# has failed; each leaves its count in $(BUILD)/report, and the summary ends the run.
check: check-deps
	@rm -rf $(BUILD)/report
	$(Q)$(MAKE) all
	$(Q)status=0; $(MAKE) -k check-suites || status=$$?; tests/check/summary.py --status $$status $(BUILD)/report
check-suites: check-code unit check-master check-session check-cluster check-bench-tools check-conformance check-conformance-dns check-conformance-own
# The sanitizer build: units, session tests, a fixed set of conformance cases (make SAN=address,undefined check-san).
check-san: unit check-master check-session check-conformance-san

layers:
	@tests/check/layers.sh
unit: $(UNITS)
	@BUILD=$(BUILD) tests/check/unit.sh $(UNITS)
unit-%:
	$(Q)$(MAKE) $(filter $(BUILD)/unit/$*/%,$(UNITS))
	@BUILD=$(BUILD) tests/check/unit.sh $(filter $(BUILD)/unit/$*/%,$(UNITS))
clean:
	rm -rf build build-san build-crash build-fuzz

.PHONY: all check check-suites check-san fuzz fuzzers layers unit clean
.SECONDARY:
-include $(wildcard tests/*/*.mk) $(wildcard deploy/*.mk) schema/schema.mk
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
