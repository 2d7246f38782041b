/*
 * test_mail_addr.c - forms of addresses, host names and literals, address lists. The table of paths is what Postfix 3.7
 * made of the same RCPT commands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/mail_addr.h"
#include "mail/mail_addr_list.h"

static void
test_split(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct mail_addr addr = mail_addr_split(SPAN_LIT("a@b@example.com"));

	(void)state;
	assert_true(span_equal_str(addr.local, "a@b"));
	assert_true(span_equal_str(addr.domain, "example.com"));
	mail_addr_join(&out, &addr);
	assert_string_equal(buf_str(&out), "a@b@example.com");
	addr = mail_addr_split(SPAN_LIT("user"));
	assert_false(addr.has_domain);
	assert_true(span_equal_str(addr.local, "user"));
	addr = mail_addr_split(SPAN_LIT("user@"));
	assert_true(addr.has_domain);
	assert_int_equal(addr.domain.len, 0);
	addr = mail_addr_split(SPAN_LIT(""));
	assert_false(addr.has_domain);
}

static void
test_quote(void **state)
{
	static const struct {
		const char *internal;
		const char *external;
	} cases[] = {
	    {"", ""},
	    {"user@example.com", "user@example.com"},
	    {"user", "user"},
	    {"a b@example.com", "\"a b\"@example.com"},
	    {"a@b@example.com", "\"a@b\"@example.com"},
	    {"a\"b\\c@dest.test", "\"a\\\"b\\\\c\"@dest.test"},
	    {".a..b.@dest.test", "\".a..b.\"@dest.test"},
	    {"a.@x", "\"a.\"@x"},
	    {"a..b@x", "\"a..b\"@x"},
	    {"a.b@x", "a.b@x"},
	    {"@dest.test", "\"\"@dest.test"},
	    {"a/b=c@dest.test", "a/b=c@dest.test"},
	    {"b.test!u%v+w@dest.test", "b.test!u%v+w@dest.test"},
	    {"j\xc3\xb6@b\xc3\xbc.test", "j\xc3\xb6@b\xc3\xbc.test"},
	    {"u@[192.0.2.7]", "u@[192.0.2.7]"},
	    {"a\rb@x", "\"a\\\rb\"@x"},
	    {"(a)@x", "\"(a)\"@x"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};

		mail_addr_quote(&out, span_str(cases[i].internal));
		assert_string_equal(buf_str(&out), cases[i].external);
		buf_clear(&out);
		assert_true(mail_addr_unquote(&out, span_str(cases[i].external)));
		assert_string_equal(buf_str(&out), cases[i].internal);
	}
}

/* Words of RCPT TO: and the recipient that Postfix shows; NULL = bad syntax. */
static const struct {
	const char *word;
	const char *internal;
	const char *given;
} paths[] = {
    {"<u@rp.test>", "u@rp.test", "u@rp.test"},
    {"<>", "", ""},
    {"< >", "", " "},
    {"<\"a b\"@rp.test>", "a b@rp.test", "\"a b\"@rp.test"},
    {"<(c)a@rp.test>", "a@rp.test", "(c)a@rp.test"},
    {"a@rp.test(c)", "a@rp.test", "a@rp.test(c)"},
    {"<<a@rp.test>>", "a@rp.test", "<a@rp.test>"},
    {"<a\\b@rp.test>", "ab@rp.test", "a\\b@rp.test"},
    {"<a\\ b@rp.test>", "a b@rp.test", "a\\ b@rp.test"},
    {"<\"a\".\"b\"@rp.test>", "a.b@rp.test", "\"a\".\"b\"@rp.test"},
    {"<\"a\\\"b\"@rp.test>", "a\"b@rp.test", "\"a\\\"b\"@rp.test"},
    {"<\"\"@rp.test>", "@rp.test", "\"\"@rp.test"},
    {"<\"a@rp.test\">", "a@rp.test", "\"a@rp.test\""},
    {"<a:b@rp.test>", "a:b@rp.test", "a:b@rp.test"},
    {"<a@b@rp.test>", "a@b@rp.test", "a@b@rp.test"},
    {"<a@rp.test>>", "a@rp.test", "a@rp.test>"},
    {"<.a@rp.test>", ".a@rp.test", ".a@rp.test"},
    {"<group: a@rp.test;>", "a@rp.test", "group: a@rp.test;"},
    {"<a @rp.test>", "a@rp.test", "a @rp.test"},
    {"<a@ rp.test>", "a@rp.test", "a@ rp.test"},
    {"< a@rp.test >", "a@rp.test", " a@rp.test "},
    {"\"a b\"@rp.test", "a b@rp.test", "\"a b\"@rp.test"},
    {"<\"ab\"cd@rp.test>", NULL, NULL},
    {"<a(x)b@rp.test>", NULL, NULL},
    {"<a\"b\"@rp.test>", NULL, NULL},
    {"<a.b. c@rp.test>", "a.b.c@rp.test", "a.b. c@rp.test"},
    {"<@x.test:a@rp.test>", "a@rp.test", "@x.test:a@rp.test"},
    {"<@x.test,@y.test:a@rp.test>", "a@rp.test", "@x.test,@y.test:a@rp.test"},
    {"<@x.test:@y.test:a@rp.test>", "@y.test:a@rp.test", "@x.test:@y.test:a@rp.test"},
    {"@x.test:a@rp.test", "a@rp.test", "@x.test:a@rp.test"},
    {"<a\"@rp.test>", NULL, NULL},
    {"<a[b@rp.test>", NULL, NULL},
    {"<a]b@rp.test>", "a]b@rp.test", "a]b@rp.test"},
    {"<a)b@rp.test>", "a)b@rp.test", "a)b@rp.test"},
    {"<(a@rp.test>", NULL, NULL},
    {"a@rp.test>", "a@rp.test", "a@rp.test>"},
    {"<a@ (c) rp.test>", "a@rp.test", "a@ (c) rp.test"},
    {"<\" a\"@rp.test>", " a@rp.test", "\" a\"@rp.test"},
    {"<a..b@rp.test>", "a..b@rp.test", "a..b@rp.test"},
    {"<a\\>@rp.test>", "a>@rp.test", "a\\>@rp.test"},
    {"<\"a>\"@rp.test>", "a>@rp.test", "\"a>\"@rp.test"},
    {"<\"a\">@rp.test", NULL, NULL},
    {"<Name <a@rp.test>>", "a@rp.test", "Name <a@rp.test>"},
    {"<a@rp.test,>", "a@rp.test", "a@rp.test,"},
    {"<,a@rp.test>", "a@rp.test", ",a@rp.test"},
    {"<a@rp.test;>", "a@rp.test", "a@rp.test;"},
    {"<:a@rp.test>", ":a@rp.test", ":a@rp.test"},
    {"<\"x\"(c)@rp.test>", "x@rp.test", "\"x\"(c)@rp.test"},
    {"<a\\@rp.test>", "a@rp.test", "a\\@rp.test"},
    {"x,y", NULL, NULL},
    {"<@rp.test>", "@rp.test", "@rp.test"},
    {"<a@rp.test><>", NULL, NULL},
    {"<a@b.test>,<c@d.test>", NULL, NULL},
    {"<a@rp.test>junk", NULL, NULL},
    {"a@rp.test,", "a@rp.test", "a@rp.test,"},
    {"a:b", "a:b", "a:b"},
    {"<a@[127.0.0.1]>", "a@[127.0.0.1]", "a@[127.0.0.1]"},
    {"<a@[127.0.0.1>", "a@[127.0.0.1]", "a@[127.0.0.1"},
    {"<a b@rp.test>", NULL, NULL},
};

static void
test_parse_path(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct buf out CLEANUP(buf_done) = {0};
		struct span given;
		bool good;

		buf_add_str(&out, "x");
		good = mail_addr_parse_path(span_str(paths[i].word), false, &out, &given);
		if (good != (paths[i].internal != NULL))
			fail_msg("%s: parsed %d: %s", paths[i].word, good, buf_str(&out));
		assert_string_equal(buf_str(&out) + 1, good ? paths[i].internal : "");
		if (good)
			assert_true(span_equal_str(given, paths[i].given));
	}
}

static void
test_parse_path_strict(void **state)
{
	static const struct {
		const char *word;
		const char *internal;
	} cases[] = {
	    {"<u@rp.test>", "u@rp.test"},
	    {"<>", ""},
	    {"<@x.test:a@rp.test>", "a@rp.test"},
	    {"u@rp.test", NULL},
	    {"<@rp.test>", NULL},
	    {"<a b@rp.test>", NULL},
	    {"Name <u@rp.test>", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};
		struct span given;
		bool good = mail_addr_parse_path(span_str(cases[i].word), true, &out, &given);

		if (good != (cases[i].internal != NULL))
			fail_msg("%s: parsed %d", cases[i].word, good);
		assert_string_equal(buf_str(&out), good ? cases[i].internal : "");
	}
}

static void
test_strip(void **state)
{
	(void)state;
	assert_true(span_equal_str(mail_addr_strip_brackets(SPAN_LIT("<a@b>")), "a@b"));
	assert_true(span_equal_str(mail_addr_strip_brackets(SPAN_LIT("<a@b")), "<a@b"));
	assert_true(span_equal_str(mail_addr_strip_brackets(SPAN_LIT("<")), "<"));
	assert_true(span_equal_str(mail_addr_strip_route(SPAN_LIT("@a,@b:c@d")), "c@d"));
	assert_true(span_equal_str(mail_addr_strip_route(SPAN_LIT("c@d:e")), "c@d:e"));
	assert_true(span_equal_str(mail_addr_strip_route(SPAN_LIT("@d")), "@d"));
}

static void
test_fold(void **state)
{
	char address[] = "User@DEST.Test";
	char word[] = "No At \xc3\x84";

	(void)state;
	mail_addr_fold_domain(address, strlen(address));
	assert_string_equal(address, "User@dest.test");
	mail_addr_fold_domain(word, strlen(word));
	assert_string_equal(word, "No At \xc3\x84");
	mail_addr_fold(word, strlen(word));
	assert_string_equal(word, "no at \xc3\x84");
}

static void
test_extension(void **state)
{
	static const struct {
		const char *local;
		const char *delimiters;
		bool split_owner;
		size_t at;
	} cases[] = {
	    {"user+ext", "+", false, 4},
	    {"user+ext", "", false, 8},
	    {"user+ext", NULL, false, 8},
	    {"user-a+b", "+-", false, 4},
	    {"+user", "+", false, 5},
	    {"++user", "+", false, 1},
	    {"user", "+", false, 4},
	    {"mailer-daemon", "-", false, 13},
	    {"MAILER-DAEMON", "-", false, 13},
	    {"double-bounce", "-", false, 13},
	    {"owner-list", "-", false, 10},
	    {"owner-list", "-", true, 5},
	    {"list-request", "-", false, 12},
	    {"list-request", "+-", true, 4},
	    {"owner-list+x", "+", false, 10},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(mail_addr_extension(span_str(cases[i].local), cases[i].delimiters,
				     cases[i].split_owner),
		    cases[i].at);
}

#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void
test_host(void **state)
{
	static const struct {
		const char *host;
		enum mail_addr_host why;
	} cases[] = {
	    {"example.com", MAIL_ADDR_HOST_OK},
	    {"host", MAIL_ADDR_HOST_OK},
	    {"my_host.test", MAIL_ADDR_HOST_OK},
	    {"dest.123", MAIL_ADDR_HOST_OK},
	    {"1and1.com", MAIL_ADDR_HOST_OK},
	    {"b\xc3\xbc"
	     "cher.test",
		MAIL_ADDR_HOST_OK},
	    {LABEL_63 ".x", MAIL_ADDR_HOST_OK},
	    {"", MAIL_ADDR_HOST_EMPTY},
	    {"a" LABEL_63 ".x", MAIL_ADDR_HOST_LABEL_LONG},
	    {"a b.test", MAIL_ADDR_HOST_CHARACTER},
	    {"a@b", MAIL_ADDR_HOST_CHARACTER},
	    {"dest..test", MAIL_ADDR_HOST_DELIMITER},
	    {".dest.test", MAIL_ADDR_HOST_DELIMITER},
	    {"dest.test.", MAIL_ADDR_HOST_DELIMITER},
	    {"-x.test", MAIL_ADDR_HOST_HYPHEN},
	    {"x-.test", MAIL_ADDR_HOST_HYPHEN},
	    {"192.0.2.7", MAIL_ADDR_HOST_NUMERIC},
	    {"2130706433", MAIL_ADDR_HOST_NUMERIC},
	    {LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63 ".xx", MAIL_ADDR_HOST_LONG},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(mail_addr_check_host(span_str(cases[i].host)), cases[i].why);
		assert_int_equal(
		    mail_addr_is_host(span_str(cases[i].host)), cases[i].why == MAIL_ADDR_HOST_OK);
		assert_true(strlen(mail_addr_host_text(cases[i].why)) > 0);
	}
}

static void
test_literal(void **state)
{
	static const struct {
		const char *domain;
		const char *address; /* NULL: not a literal */
	} cases[] = {
	    {"[192.0.2.1]", "192.0.2.1"},
	    {"[IPv6:2001:db8::1]", "2001:db8::1"},
	    {"[ipv6:::1]", "::1"},
	    {"[::1]", NULL},
	    {"[IPv6:192.0.2.1]", NULL},
	    {"[300.1.1.1]", NULL},
	    {"[foo]", NULL},
	    {"[]", NULL},
	    {"192.0.2.1", NULL},
	    {"[192.0.2.1", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct span address = {0};
		bool good = mail_addr_is_literal(span_str(cases[i].domain), &address);

		assert_int_equal(good, cases[i].address != NULL);
		if (good)
			assert_true(span_equal_str(address, cases[i].address));
	}
	assert_true(mail_addr_is_domain(SPAN_LIT("[192.0.2.1]")));
	assert_true(mail_addr_is_domain(SPAN_LIT("a.test")));
	assert_false(mail_addr_is_domain(SPAN_LIT("[a.test]")));
	assert_false(mail_addr_is_domain(SPAN_LIT("")));
	assert_false(mail_addr_is_ipv4(SPAN_LIT("")));
	assert_false(mail_addr_is_ipv6(span_of("::1\0", 4)));
}

/* Internal forms of all addresses of a header value, separated by '|'. */
static void
list_of(const char *value, struct buf *out)
{
	struct mail_addr_list list;
	struct mail_addr_item item;

	mail_addr_list_start(&list, span_str(value));
	while (mail_addr_list_next(&list, &item)) {
		if (!mail_addr_list_internal(&item, out))
			buf_add_str(out, "?");
		buf_add_char(out, '|');
	}
}

static void
test_list(void **state)
{
	static const struct {
		const char *value;
		const char *result;
	} cases[] = {
	    {"", ""},
	    {"a@b", "a@b|"},
	    {"a@b, c@d", "a@b|c@d|"},
	    {"Rcpt <rcpt@dest.test>", "rcpt@dest.test|"},
	    {"\"Last, First\" <x@y>, z", "x@y|z|"},
	    {"a@b (one, two), (none) c@d", "a@b|c@d|"},
	    {"friends: a@b, \"c d\"@e;, f@g", "a@b|c d@e|f@g|"},
	    {"undisclosed-recipients:;", ""},
	    {"a@b,\n\tc@d", "a@b|c@d|"},
	    {"<@r.test,@s.test:u@v>", "u@v|"},
	    {"@r.test,@s.test:u@v, w@x", "u@v|w@x|"},
	    {"<>", "|"},
	    {",,a@b,,", "a@b|"},
	    {"a b@c, d@e", "?|d@e|"},
	    {"u@[IPv6:2001:db8::1], v@w", "u@[IPv6:2001:db8::1]|v@w|"},
	    {"\"unclosed, a@b", "?|"},
	    {"Name <a@b, c@d", "a@b,c@d|"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};

		list_of(cases[i].value, &out);
		assert_string_equal(buf_str(&out), cases[i].result);
	}
}

static void
test_list_place(void **state)
{
	static const char value[] = "X <a@b>, c@d (e)";
	struct mail_addr_list list;
	struct mail_addr_item item;

	(void)state;
	mail_addr_list_start(&list, span_str(value));
	assert_true(mail_addr_list_next(&list, &item));
	assert_ptr_equal(item.addr.ptr, value + 3);
	assert_int_equal(item.addr.len, 3);
	assert_true(item.bracketed);
	assert_true(mail_addr_list_next(&list, &item));
	assert_ptr_equal(item.addr.ptr, value + 9);
	assert_false(item.bracketed);
	assert_false(mail_addr_list_next(&list, &item));
	assert_false(list.broken);
}

/* A value made to be slow costs about as much as a harmless one. */
static void
test_list_linear(void **state)
{
	static const char units[] = ":@<(\"\\,;[";

	(void)state;
	for (const char *c = units; *c != '\0'; c++) {
		struct mail_addr_list list;
		struct mail_addr_item item;
		struct buf value CLEANUP(buf_done) = {0};
		size_t count = 0;

		for (int i = 0; i < 50000; i++) {
			buf_add_char(&value, *c);
			buf_add_str(&value, i % 3 == 0 ? "@" : ",");
		}
		mail_addr_list_start(&list, buf_span(&value));
		while (mail_addr_list_next(&list, &item))
			count++;
		assert_true(count <= 100000);
	}
}

static void
test_compare(void **state)
{
	(void)state;
	assert_true(mail_addr_compare("z@a.test", "a@b.test") < 0);
	assert_true(mail_addr_compare("b@A.test", "a@a.TEST") > 0);
	assert_true(mail_addr_compare("a@b@c", "b@a@c") < 0);
	assert_true(mail_addr_compare("z", "a@b") < 0);
	assert_int_equal(mail_addr_compare("A@b", "a@B"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_split),
	    cmocka_unit_test(test_quote),
	    cmocka_unit_test(test_parse_path),
	    cmocka_unit_test(test_parse_path_strict),
	    cmocka_unit_test(test_strip),
	    cmocka_unit_test(test_fold),
	    cmocka_unit_test(test_compare),
	    cmocka_unit_test(test_extension),
	    cmocka_unit_test(test_host),
	    cmocka_unit_test(test_literal),
	    cmocka_unit_test(test_list),
	    cmocka_unit_test(test_list_place),
	    cmocka_unit_test(test_list_linear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
