/*
 * test_access_list.c - how restriction lists are cut into words, and what stands in front of the texts of access tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "access/access_int.h"

static void
test_words(void **state UNUSED)
{
	struct span rest =
	    SPAN_LIT(" a,b\tinline:{ x = y, z } ,{ p, q }\n regexp:{{/a b/ c, d}} {open, e");
	static const char *const words[] = {
	    "a", "b", "inline:{ x = y, z }", "{ p, q }", "regexp:{{/a b/ c, d}}", "{open, e"};
	struct span word;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		assert_true(access_list_word(&rest, &word));
		assert_true(span_equal_str(word, words[i]));
	}
	assert_false(access_list_word(&rest, &word));
}

static void
test_dsn_in_front(void **state UNUSED)
{
	static const struct {
		const char *text;
		const char *dsn;
		const char *rest;
	} cases[] = {
	    {"5.7.1 go away", "5.7.1", "go away"},
	    {"4.123.456", "4.123.456", ""},
	    {"5.1.1234 x", "5.0.0", "5.1.1234 x"},
	    {"5.7. x", "5.0.0", "5.7. x"},
	    {"1.2.3 x", "5.0.0", "1.2.3 x"},
	    {"5.7.1x", "5.0.0", "5.7.1x"},
	    {"", "5.0.0", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char dsn[12];
		struct span rest = access_action_dsn(span_str(cases[i].text), "5.0.0", dsn);

		assert_string_equal(dsn, cases[i].dsn);
		assert_true(span_equal_str(rest, cases[i].rest));
	}
}

static void
test_table_of_a_list(void **state UNUSED)
{
	assert_string_equal(
	    access_restriction_for_table(ACCESS_THING_SENDER)->name, "check_sender_access");
	/* at DATA nobody could tell what the table is about */
	assert_null(access_restriction_for_table(ACCESS_THING_DATA));
	assert_non_null(access_restriction_find(SPAN_LIT("PERMIT_MyNetworks")));
	assert_null(access_restriction_find(SPAN_LIT("permit_mynetworks_")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_dsn_in_front),
	    cmocka_unit_test(test_table_of_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
