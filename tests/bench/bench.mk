# make bench [QUICK=1] [BENCH_ARGS=...]   Rowpost beside Debian's Postfix (tests/bench/README.md)
# make bench-scenarios [BENCH_ARGS=NAME]  a backlog, a soak, idle sessions and others, each with its targets
# make bench-tools                        the load generator and the sink, in $(BUILD)/bench
# make check-bench-tools                  do the tools count right?
BENCH_OBJS  = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/bench/$(1).c tests/bench/$(1)_*.c tests/bench/util.c))
BENCH_TOOLS := $(BUILD)/bench/load $(BUILD)/bench/sink

bench-tools: $(BENCH_TOOLS)
$(BUILD)/bench/load: $(call BENCH_OBJS,load)
$(BUILD)/bench/sink: $(call BENCH_OBJS,sink)
$(BENCH_TOOLS):
	@mkdir -p $(@D); $(if $(V),,echo "LD $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

bench: all bench-tools
	$(Q)python3 tests/bench/bench.py --build $(BUILD) $(if $(QUICK),--quick) $(BENCH_ARGS)
bench-scenarios: all bench-tools
	$(Q)python3 tests/bench/scenarios.py --build $(BUILD) $(BENCH_ARGS)
check-bench-tools: bench-tools
	$(Q)python3 tests/bench/test_tools.py --build $(BUILD)

.PHONY: bench bench-scenarios bench-tools check-bench-tools
