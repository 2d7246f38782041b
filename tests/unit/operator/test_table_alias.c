/*
 * test_table_alias.c - lines of alias files, and messages taken apart into keys.
 */
#include "operator/table_alias.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "operator/table_scan.h"

static void
test_aliases(void **state UNUSED)
{
	static const struct {
		const char *line;
		const char *name;
		const char *value;
	} cases[] = {
	    {"a1:b,c", "a1", "b, c"},
	    {"a2: b ,c   ,  d", "a2", "b, c, d"},
	    {"a3: \"|x  y\", :include:/x/y", "a3", "\"|x  y\", :include:/x/y"},
	    {"a4: user@dom, \"q u\"@dom", "a4", "user@dom, \"q u\"@dom"},
	    {"a5 : spaced", "a5", "spaced"},
	    {"\"a 7\": /file/name, |cmd", "a 7", "/file/name, |cmd"},
	    {"\"a:b\\\"\": x", "a:b\"", "x"},
	    {"a9: \"unclosed", "a9", "\"unclosed\""},
	    {"a 13: x", "a 13", "x"},
	    {"a12::include:/y", "a12", ":include:/y"},
	    {"b1: \\user, a\\ b, \\\\c", "b1", "user, \"a b\", \"\\\\c\""},
	    {"b2: Full Name <a @ b . c>", "b2", "Full Name <a@b.c>"},
	    {"b3: g: a,b;(c)", "b3", "g:a, b;(c)"},
	    {"b4: a\"b\"[c (d", "b4", "a \"b\" [c (d]"},
	    {"b5: (x\\)y (z)) b,", "b5", "(x\\)y (z)) b, "},
	    {"\"x y\"z (c) : w", "x y z (c)", "w"},
	    {"a, b: c", NULL, NULL},
	    {"none", NULL, NULL},
	    {": none", NULL, NULL},
	    {"a18:", NULL, NULL},
	    {"a18:  ", NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf name CLEANUP(buf_done) = {0};
		struct buf value CLEANUP(buf_done) = {0};
		enum table_alias_result r =
		    table_alias_parse(span_str(cases[i].line), &name, &value);

		assert_int_equal(r, cases[i].name == NULL ? TABLE_ALIAS_NO_PAIR : TABLE_ALIAS_OK);
		if (cases[i].name == NULL)
			continue;
		assert_string_equal(buf_str(&name), cases[i].name);
		assert_string_equal(buf_str(&value), cases[i].value);
	}
}

static void
test_not_local(void **state UNUSED)
{
	struct buf name CLEANUP(buf_done) = {0};
	struct buf value CLEANUP(buf_done) = {0};

	assert_int_equal(
	    table_alias_parse(SPAN_LIT("a@b: x"), &name, &value), TABLE_ALIAS_NOT_LOCAL);
	buf_clear(&name);
	assert_int_equal(table_alias_parse(SPAN_LIT("\"a@b\": x"), &name, &value), TABLE_ALIAS_OK);
}

static void
add_key(void *arg, struct span key)
{
	buf_add_char(arg, '<');
	buf_add_span(arg, key);
	buf_add_char(arg, '>');
}

static void
check_scan(bool headers, bool body, bool mime, const char *message, const char *want)
{
	struct buf got CLEANUP(buf_done) = {0};
	struct table_scan scan = {headers, body, mime, add_key, &got};

	table_scan(&scan, span_str(message));
	assert_string_equal(buf_str(&got), want);
}

static void
test_scan(void **state UNUSED)
{
	static const char plain[] = "A: 1\n two\nB: 2\n\nbody\n\nmore";
	static const char parts[] = "A: 1\nContent-Type: multipart/mixed; boundary=x\n\npre\n"
				    "--x\nC: 3\n\ntext\n--x\nContent-Type: message/rfc822\n\n"
				    "D: 4\n\ninner\n--x--\npost\n";

	check_scan(true, false, false, plain, "<A: 1\n two><B: 2>");
	check_scan(false, true, false, plain, "<><body><><more>");
	check_scan(true, true, false, plain, "<A: 1\n two><B: 2><><body><><more>");
	check_scan(true, false, true, parts,
	    "<A: 1><Content-Type: multipart/mixed; boundary=x><C: 3>"
	    "<Content-Type: message/rfc822><D: 4>");
	check_scan(false, true, true, parts, "<><pre><--x><><text><--x><><><inner><--x--><post>");
	check_scan(true, true, true, "", "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_aliases),
	    cmocka_unit_test(test_not_local),
	    cmocka_unit_test(test_scan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
