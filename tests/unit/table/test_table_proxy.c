/*
 * test_table_proxy.c - the frames between a process and proxymap: there and back, and bytes that are none; which tables block.
 */
#include "table/table_proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "table/table_type.h"

static void
test_request(void **state UNUSED)
{
	struct table_proxy_request in = {
	    .approved = true,
	    .flags = TABLE_EXACT_CASE | TABLE_BYTES,
	    .spec = SPAN_LIT("hash:/x"),
	    .key = SPAN_LIT("a\0\n'b@c"),
	};
	struct table_proxy_request out;
	struct buf frame = {0};
	struct span body;
	size_t len;

	table_proxy_write_request(&frame, &in);
	assert_true(table_proxy_parse_head((unsigned char *)frame.ptr, &len));
	assert_int_equal(len, frame.len - TABLE_PROXY_HEAD);
	body = span_from(buf_span(&frame), TABLE_PROXY_HEAD);
	assert_true(table_proxy_parse_request(body, &out));
	assert_true(out.approved);
	assert_int_equal(out.flags, in.flags);
	assert_true(span_equal(out.spec, in.spec));
	assert_true(span_equal(out.key, in.key));
	for (size_t n = 0; n < body.len - in.key.len; n++)
		assert_false(table_proxy_parse_request(span_head(body, n), &out));
	/* A specification that is longer than the frame. */
	frame.ptr[TABLE_PROXY_HEAD + 5] = (char)0xff;
	assert_false(table_proxy_parse_request(body, &out));
	buf_done(&frame);
}

static void
test_reply(void **state UNUSED)
{
	enum table_proxy_status status;
	struct buf frame = {0};
	struct span value;

	for (int s = 0; s < TABLE_PROXY_STATUS_COUNT; s++) {
		buf_clear(&frame);
		table_proxy_write_reply(&frame, (enum table_proxy_status)s, SPAN_LIT("v"));
		assert_true(table_proxy_parse_reply(
		    span_from(buf_span(&frame), TABLE_PROXY_HEAD), &status, &value));
		assert_int_equal(status, s);
		assert_true(span_equal_str(value, "v"));
	}
	assert_false(table_proxy_parse_reply((struct span){0}, &status, &value));
	assert_false(table_proxy_parse_reply(SPAN_LIT("\377x"), &status, &value));
	buf_done(&frame);
}

static void
test_head(void **state UNUSED)
{
	size_t len;

	assert_true(table_proxy_parse_head((const unsigned char *)"\0\0\1\2", &len));
	assert_int_equal(len, 258);
	assert_false(table_proxy_parse_head((const unsigned char *)"\1\0\0\0", &len));
}

static void
test_kinds(void **state UNUSED)
{
	static const struct {
		const char *spec;
		bool pattern, mixed;
	} cases[] = {
	    {"proxy:hash:/x", false, false},
	    {"proxy:proxy:pcre:/x", true, false},
	    {"proxy:unionmap:{pcre:/x, cidr:/y}", true, false},
	    {"proxy:unionmap:{pcre:/x, hash:/y}", false, true},
	    {"proxy:pipemap:{proxy:hash:/x, unix:passwd.byname}", false, false},
	};
	struct conf *conf = conf_from_text("compatibility_level = 3.6\nmyhostname = a.test\n");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct table *t = table_open(conf, span_str(cases[i].spec), 0);

		assert_int_equal(t->pattern, cases[i].pattern);
		assert_int_equal(t->mixed, cases[i].mixed);
		table_close(&t);
	}
	assert_true(table_proxy_blocks(SPAN_LIT("unix:passwd.byname")));
	assert_false(table_proxy_blocks(SPAN_LIT("hash:/x")));
	assert_false(table_proxy_blocks(SPAN_LIT("nothing")));
	conf_unref(&conf);
}

/* Without an event loop proxymap cannot be asked; a process that may block asks itself. */
static void
test_directly(void **state UNUSED)
{
	struct conf *conf = conf_from_text("compatibility_level = 3.6\nmyhostname = a.test\n");
	struct table *t = table_open(conf, SPAN_LIT("proxy:inline:{a=b}"), 0);
	struct table *trusted = table_open(conf, SPAN_LIT("proxy:inline:{a=b}"), TABLE_NO_PROXY);
	struct buf value = {0};
	struct err err;

	assert_int_equal(table_lookup(t, SPAN_LIT("a"), TABLE_KEY_FULL, &value, &err), TABLE_ERROR);
	assert_int_equal(
	    table_lookup(trusted, SPAN_LIT("a"), TABLE_KEY_FULL, &value, &err), TABLE_FOUND);
	table_proxy_ask_directly();
	assert_int_equal(table_lookup(t, SPAN_LIT("a"), TABLE_KEY_FULL, &value, &err), TABLE_FOUND);
	assert_string_equal(buf_str(&value), "b");
	table_close(&trusted);
	table_close(&t);
	buf_done(&value);
	conf_unref(&conf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_request),
	    cmocka_unit_test(test_reply),
	    cmocka_unit_test(test_head),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_directly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
