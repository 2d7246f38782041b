# make bench-task   what the runtime costs, with its own switch and with ucontext's
BENCH_TASK_SRC := $(wildcard src/task/*.c) tests/unit/task/bench_task.c

bench-task: $(BUILD)/bench/task $(BUILD)/bench/task-ucontext
	@echo "ucontext:"; $(BUILD)/bench/task-ucontext
	@echo "own switch:"; MEMORY=1 $(BUILD)/bench/task
$(BUILD)/bench/task: $(BENCH_TASK_SRC) $(BUILD)/lib/base.a
$(BUILD)/bench/task-ucontext: $(BENCH_TASK_SRC) $(BUILD)/lib/base.a
$(BUILD)/bench/task-ucontext: CPPFLAGS += -DTASK_SWITCH_UCONTEXT
$(BUILD)/bench/task $(BUILD)/bench/task-ucontext:
	@mkdir -p $(@D); $(if $(V),,echo "LD $@")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

.PHONY: bench-task
