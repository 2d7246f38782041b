/*
 * test_mail_seeds.c - the fuzz targets of this room on their seeds and on changed seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/seeds.h"

#define LLVMFuzzerTestOneInput fuzz_mail_addr
#include "../../fuzz/fuzz_mail_addr.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_mail_content
#include "../../fuzz/fuzz_mail_content.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_mail_ids
#include "../../fuzz/fuzz_mail_ids.c"
#undef LLVMFuzzerTestOneInput

static void
test_mail_addr(void **state)
{
	(void)state;
	assert_true(seeds_replay("mail_addr", fuzz_mail_addr) > 0);
}

static void
test_mail_content(void **state)
{
	(void)state;
	assert_true(seeds_replay("mail_content", fuzz_mail_content) > 0);
}

static void
test_mail_ids(void **state)
{
	(void)state;
	assert_true(seeds_replay("mail_ids", fuzz_mail_ids) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mail_addr),
	    cmocka_unit_test(test_mail_content),
	    cmocka_unit_test(test_mail_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
