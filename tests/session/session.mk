# Session tests: the real programs over real sockets (tests/session/README.md). SESSION_ARGS='-v PATTERN' runs some.
SAN_ENV := $(if $(SAN),ASAN_OPTIONS=abort_on_error=1:disable_coredump=1 \
           UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1:disable_coredump=1 TEST_STRETCH=8)

check-session: all bench-tools
	@BUILD=$(BUILD) $(SAN_ENV) tests/session/run.py $(SESSION_ARGS)

.PHONY: check-session
