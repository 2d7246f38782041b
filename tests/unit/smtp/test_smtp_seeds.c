/*
 * test_smtp_seeds.c - the fuzz targets of this room on their seeds and on changed seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/seeds.h"

#define LLVMFuzzerTestOneInput fuzz_smtp_command
#include "../../fuzz/fuzz_smtp_command.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_smtp_reply
#include "../../fuzz/fuzz_smtp_reply.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_smtp_data
#include "../../fuzz/fuzz_smtp_data.c"
#undef LLVMFuzzerTestOneInput

static void
test_smtp_command(void **state)
{
	(void)state;
	assert_true(seeds_replay("smtp_command", fuzz_smtp_command) > 0);
}

static void
test_smtp_reply(void **state)
{
	(void)state;
	assert_true(seeds_replay("smtp_reply", fuzz_smtp_reply) > 0);
}

static void
test_smtp_data(void **state)
{
	(void)state;
	assert_true(seeds_replay("smtp_data", fuzz_smtp_data) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_smtp_command),
	    cmocka_unit_test(test_smtp_reply),
	    cmocka_unit_test(test_smtp_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
