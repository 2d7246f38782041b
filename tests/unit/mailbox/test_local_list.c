/*
 * test_local_list.c - lists of aliases(5), taken apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "mailbox/local_list.h"

/* The members of `list`, each in brackets. */
static void
check(const char *list, const char *expected)
{
	struct arena arena = {0};
	struct span rest = span_str(list);
	struct buf out = {0};
	const char *member;

	while ((member = local_list_next(&rest, &arena)) != NULL)
		buf_printf(&out, "[%s]", member);
	assert_string_equal(buf_str(&out), expected);
	buf_done(&out);
	arena_done(&arena);
}

static void
test_addresses(void **state)
{
	(void)state;
	check("a, b@c.example,\\d", "[a][b@c.example][\\d]");
	check("a b  c", "[a][b][c]");
	check(" , ,a,, ", "[a]");
	check("", "");
	check("Some One <a@b.example>, (x, y) c@d.example", "[a@b.example][c@d.example]");
	check("\"a, b\"@c.example", "[\"a, b\"@c.example]");
	check("\"a \\\" b\"@c.example", "[\"a \\\" b\"@c.example]");
}

static void
test_commands_and_files(void **state)
{
	(void)state;
	check("\"|cmd a, 'b c' \\\"d\\\"\", x", "[|cmd a, 'b c' \"d\"][x]");
	check("|\"cmd a b\"", "[|cmd a b]");
	check("|exit 67", "[|exit][67]");
	check("/a/b, \"/a b/c\"", "[/a/b][/a b/c]");
	check(":include:/a/b,~/mbox", "[:include:/a/b][~/mbox]");
	check("\":include:/a b\"", "[:include:/a b]");
}

static void
test_unbalanced(void **state)
{
	(void)state;
	check("\"a, b", "[\"a, b]");
	check("(a, b", "");
	check("<a, b", "[<a, b]");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_commands_and_files),
	    cmocka_unit_test(test_unbalanced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
