/*
 * test_mail_addr_field.c - headers of addresses written anew. What Postfix 3.7.11 made of each value, with "bare" addresses
 * completed to @rp.test, was recorded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/mail_addr_field.h"

static bool
complete(void *arg, struct span internal, struct buf *ret)
{
	unsigned *limit = arg;

	if (limit != NULL && (*limit)-- == 0)
		return false;
	buf_add_span(ret, internal);
	if (span_find(internal, '@') == internal.len)
		buf_add_str(ret, "@rp.test");
	return true;
}

static const struct {
	const char *value;
	const char *now; /* NULL: no address changes */
} cases[] = {
    {"(comment) u", "u@rp.test (comment)"},
    {"U (c) <bare>", "U (c) <bare@rp.test>"},
    {"<bare> (c)", "<bare@rp.test>(c)"},
    {"N <bare> (c), x", "N <bare@rp.test>(c), x@rp.test"},
    {"a b c", "a@rp.test, b@rp.test, c@rp.test"},
    {"<a> b", "<a@rp.test>, b@rp.test"},
    {"a <b> <c>", "a <b@rp.test> <c@rp.test>"},
    {"grp: a, b;", "grp: a@rp.test, b@rp.test;"},
    {"grp: ;", NULL},
    {"list: a, b; , c", "list: a@rp.test, b@rp.test;, c@rp.test"},
    {"a, grp: b, <c>; d", "a@rp.test, grp: b@rp.test, <c@rp.test>;, d@rp.test"},
    {"a: b: c;", "a:b: c@rp.test;"},
    {"a:b", "\"a:b\"@rp.test"},
    {"@a,@b:c", "\"\"@a, c@rp.test"},
    {"<@a,@b:c>", "<c@rp.test>"},
    {"@", "\"\""},
    {"<>", NULL},
    {"a..b", "\"a..b\"@rp.test"},
    {"a . b @ c", NULL},
    {"\"a\"@h", "a@h"},
    {"\"a,b\"@h", NULL},
    {"a@[1.2.3.4", NULL},
    {"(unclosed", NULL},
    {"\"unclosed", "unclosed@rp.test"},
    {"<unclosed", "\"<unclosed\"@rp.test"},
    {"unopened>", "unopened@rp.test>"},
    {"Some One>", "SomeOne@rp.test>"},
    {",a", ", a@rp.test"},
    {"a,", "a@rp.test, "},
    {"<<a>>", "< <\"a>\"@rp.test>"},
    {"a(b)c", "a@rp.test, c@rp.test (b)"},
    {"a\\ b", "\"a b\"@rp.test"},
    {"\\\"a", "\"\\\"a\"@rp.test"},
    {"a\\", "a@rp.test"},
    {"\\", NULL},
    {"<a, b>", "<\"a, b\"@rp.test>"},
    {"<(c) a>", "<a@rp.test (c)>"},
    {"First Last <bare> trailing", "First Last <bare@rp.test>, trailing@rp.test"},
    {"J. R. Doe <bare>", "J.R.Doe <bare@rp.test>"},
    {"\"Doe, John\" <bare>", "\"Doe, John\" <bare@rp.test>"},
    {"bare,\n\tx@y.test,\n z", "bare@rp.test, x@y.test, z@rp.test"},
    {"\"a\n b\" <bare>", "\"a  b\" <bare@rp.test>"},
    {"a@b <c@d> e@f", NULL},
    {"a<b", "\"a <b\"@rp.test"},
    {"a@b@c", "\"a@b\"@c"},
    {"x (a)(b)", "x@rp.test (a) (b)"},
    {"aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb, cccccccccccccccc",
	"aaaaaaaaaaaaaaaa@rp.test, bbbbbbbbbbbbbbbb@rp.test,\n\tcccccccccccccccc@rp.test"},
};

static void
test_rewrite(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};
		struct buf want CLEANUP(buf_done) = {0};
		bool changed;

		if (cases[i].now != NULL)
			buf_printf(&want, "To: %s\n", cases[i].now);
		assert_true(mail_addr_field_rewrite(
		    SPAN_LIT("To"), span_str(cases[i].value), 0, complete, NULL, &out, &changed));
		assert_string_equal(buf_str(&out), buf_str(&want));
		assert_int_equal(changed, cases[i].now != NULL);
	}
}

static void
test_token_limit(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};
	bool changed;

	(void)state;
	assert_true(mail_addr_field_rewrite(SPAN_LIT("To"),
	    SPAN_LIT("one@dest.test, Two <two@dest.test>"), 10, complete, NULL, &out, &changed));
	assert_true(changed);
	assert_string_equal(buf_str(&out), "To: one@dest.test, \"Two <two\"@\n");
}

static void
test_give_up(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};
	unsigned limit = 1;
	bool changed;

	(void)state;
	assert_false(mail_addr_field_rewrite(
	    SPAN_LIT("To"), SPAN_LIT("a, b, c"), 0, complete, &limit, &out, &changed));
	assert_int_equal(out.len, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rewrite),
	    cmocka_unit_test(test_token_limit),
	    cmocka_unit_test(test_give_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
