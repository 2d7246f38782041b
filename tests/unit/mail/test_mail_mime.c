/*
 * test_mail_mime.c - the two MIME headers that tell a part's structure, also from people who mean no good.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/mail_mime.h"

static void
test_type(void **state)
{
	static const struct {
		const char *value;
		enum mail_mime_type type;
		const char *boundary;
	} cases[] = {
	    {"text/plain", MAIL_MIME_LEAF, ""},
	    {"multipart/mixed; boundary=abc", MAIL_MIME_MULTIPART, "abc"},
	    {"Multipart/Digest;Boundary=\"a \\\"b\"", MAIL_MIME_DIGEST, "a \"b"},
	    {"multipart/mixed (a (b) c) ; x=y (z); boundary = abc", MAIL_MIME_MULTIPART, "abc"},
	    {"multipart/mixed junk (x) junk; boundary=abc", MAIL_MIME_MULTIPART, "abc"},
	    {"multipart/mixed; boundary=a; boundary=b", MAIL_MIME_MULTIPART, "a"},
	    {"multipart/mixed; x=\"; boundary=b\"", MAIL_MIME_MULTIPART, ""},
	    {"multipart/mixed (; boundary=b", MAIL_MIME_MULTIPART, ""},
	    {"multipart/mixed; boundary", MAIL_MIME_MULTIPART, ""},
	    {"message/rfc822", MAIL_MIME_MESSAGE, ""},
	    {"message/global", MAIL_MIME_GLOBAL, ""},
	    {"", MAIL_MIME_LEAF, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf boundary CLEANUP(buf_done) = {0};

		assert_int_equal(
		    mail_mime_parse_type(span_str(cases[i].value), &boundary), cases[i].type);
		assert_string_equal(buf_str(&boundary), cases[i].boundary);
	}
}

static void
test_encoding(void **state)
{
	(void)state;
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT(" (x) 8bit (y)")), MAIL_MIME_8BIT);
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT("BINARY")), MAIL_MIME_8BIT);
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT("base64")), MAIL_MIME_7BIT);
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT("")), MAIL_MIME_7BIT);
}

/* A megabyte is read in one pass; at the square of its length this would take twenty minutes. */
static void
test_junk_and_open_comments(void **state)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct buf boundary CLEANUP(buf_done) = {0};

	(void)state;
	buf_add_str(&value, "multipart/mixed; boundary=a ");
	while (value.len < 1000000)
		buf_add_str(&value, "<(");
	assert_int_equal(mail_mime_parse_type(buf_span(&value), &boundary), MAIL_MIME_MULTIPART);
	assert_string_equal(buf_str(&boundary), "a");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_type),
	    cmocka_unit_test(test_encoding),
	    cmocka_unit_test(test_junk_and_open_comments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
