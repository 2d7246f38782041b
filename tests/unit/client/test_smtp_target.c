/*
 * test_smtp_target.c - nexthops taken apart.
 */
#include "client/smtp_target.h"

#include <setjmp.h> /* cmocka wants it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct {
	const char *site;
	const char *host; /* NULL: refused */
	uint16_t port;
	bool direct;
} cases[] = {
    {"example.com", "example.com", 25, false},
    {"example.com:587", "example.com", 587, false},
    {"example.com:smtp", "example.com", 25, false},
    {"[example.com]", "example.com", 25, true},
    {"[example.com]:2525", "example.com", 2525, true},
    {"[192.0.2.1]:25", "192.0.2.1", 25, true},
    {"[2001:db8::1]:26", "2001:db8::1", 26, true},
    {"[IPv6:2001:db8::1]", "2001:db8::1", 25, true},
    {"2001:db8::1", "2001:db8::1", 25, false},
    {"example.com:", "example.com", 25, false},
    {"[example.com", NULL, 0, false},
    {"[example.com]25", NULL, 0, false},
    {"[]", NULL, 0, false},
    {":25", NULL, 0, false},
    {"example.com:0", NULL, 0, false},
    {"example.com:70000", NULL, 0, false},
    {"example.com:nosuchservice", NULL, 0, false},
};

static void
sites_are_taken_apart(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct smtp_target t;
		struct err err;
		bool ok = smtp_target_parse(span_str(cases[i].site), "25", &t, &err);

		assert_int_equal(ok, cases[i].host != NULL);
		if (!ok) {
			assert_int_equal(err.kind, ERR_TEMP);
			continue;
		}
		assert_string_equal(t.host, cases[i].host);
		assert_int_equal(t.port, cases[i].port);
		assert_int_equal(t.direct, cases[i].direct);
	}
}

static void
the_default_port_may_be_a_name(void **state UNUSED)
{
	struct smtp_target t;
	struct err err;

	assert_true(smtp_target_parse(SPAN_LIT("example.com"), "submission", &t, &err));
	assert_int_equal(t.port, 587);
}

static void
a_name_too_long_is_refused(void **state UNUSED)
{
	char name[400];
	struct smtp_target t;
	struct err err;

	memset(name, 'a', sizeof(name));
	assert_false(smtp_target_parse(span_of(name, sizeof(name)), "25", &t, &err));
}

static void
lists_have_blanks_or_commas(void **state UNUSED)
{
	struct span list = SPAN_LIT("[a]:1, b  c,");
	struct span site;

	assert_true(smtp_target_next(&list, &site));
	assert_true(span_equal_str(site, "[a]:1"));
	assert_true(smtp_target_next(&list, &site));
	assert_true(span_equal_str(site, "b"));
	assert_true(smtp_target_next(&list, &site));
	assert_true(span_equal_str(site, "c"));
	assert_false(smtp_target_next(&list, &site));
}

static void
sockets_are_paths(void **state UNUSED)
{
	struct span path;

	assert_true(smtp_target_is_unix(SPAN_LIT("unix:private/lmtp"), &path));
	assert_true(span_equal_str(path, "private/lmtp"));
	assert_false(smtp_target_is_unix(SPAN_LIT("inet:host:24"), &path));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sites_are_taken_apart),
	    cmocka_unit_test(the_default_port_may_be_a_name),
	    cmocka_unit_test(a_name_too_long_is_refused),
	    cmocka_unit_test(lists_have_blanks_or_commas),
	    cmocka_unit_test(sockets_are_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
