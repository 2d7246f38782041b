# Isolation tests: the protocol rules of the queue (docs/queue.md), one or more test functions named after each, with interleaved sessions
# on a real PostgreSQL. They are run by `make unit`.
ISOLATION := $(patsubst tests/isolation/%.c,$(BUILD)/unit/isolation/%,$(wildcard tests/isolation/test_*.c))
UNITS += $(ISOLATION)
unit: $(ISOLATION)
unit-isolation: $(ISOLATION)
$(BUILD)/unit/isolation/%: $(BUILD)/tests/isolation/%.o $(BUILD)/lib/cluster.a $(LINK_queue)
	@mkdir -p $(@D); $(if $(V),,echo "LD $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -lcmocka

# make bench-queue   the queue alone, against a private server with fsync on
bench-queue: $(BUILD)/unit/isolation/bench_queue
	@for args in "1024 100 5" "1024 100 5 20" "10240 100 5" "1024 20 5" "1024 1 3"; do \
	  tests/lib/pgtest.py run --fsync --database queue -- sh -c '$< "host=$$PGHOST user=$$PGUSER dbname=queue" '"$$args"; done
.PHONY: bench-queue
