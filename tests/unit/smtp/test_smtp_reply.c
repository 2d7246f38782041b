/*
 * test_smtp_reply.c - replies written and read, EHLO lists written and read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp/smtp_ehlo.h"
#include "smtp/smtp_reply.h"

static void
test_write(void **state)
{
	static const struct {
		int code;
		const char *dsn;
		const char *text;
		const char *wire;
	} cases[] = {
	    {250, "2.0.0", "Ok", "250 2.0.0 Ok\r\n"},
	    {354, NULL, "End data", "354 End data\r\n"},
	    {250, "", "host", "250 host\r\n"},
	    {550, "5.7.1", "one\ntwo\nthree",
		"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n"},
	    {550, NULL, "one\n", "550 one\r\n"},
	    {550, NULL, "", "550 \r\n"},
	    {550, NULL, "a\rb\tc\x7f", "550 a?b?c?\r\n"},
	};
	struct buf out CLEANUP(buf_done) = {0};
	char text[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		smtp_reply_write(&out, cases[i].code, cases[i].dsn, span_str(cases[i].text));
		assert_string_equal(buf_str(&out), cases[i].wire);
		buf_clear(&out);
	}
	memset(text, 'x', sizeof(text));
	smtp_reply_write(&out, 550, "5.0.0", span_of(text, sizeof(text)));
	assert_int_equal(out.len, 512);
	assert_string_equal(buf_str(&out) + 510, "\r\n");
}

static void
test_read(void **state)
{
	static const struct {
		const char *lines[5];
		int code;
		const char *dsn;
		const char *text;
	} cases[] = {
	    {{"250 2.1.5 Ok"}, 250, "2.1.5", "250 2.1.5 Ok"},
	    {{"250"}, 250, "2.0.0", "250"},
	    {{"550-5.1.1 no", "550 5.1.2 user"}, 550, "5.1.2", "550-5.1.1 no 550 5.1.2 user"},
	    {{"550-no", "450 x"}, 450, "4.0.0", "550-no 450 x"},
	    {{"2x0 what", "354 go ahead"}, 354, "5.5.0", "2x0 what 354 go ahead"},
	    {{"", "garbage", "250 x\x01y"}, 250, "2.0.0", " garbage 250 x?y"},
	    {{"550  5.1.1 two blanks"}, 550, "5.1.1", "550  5.1.1 two blanks"},
	    {{"450 5.1.1 class"}, 450, "4.0.0", "450 5.1.1 class"},
	    {{"2500 x", "250 y"}, 250, "2.0.0", "2500 x 250 y"},
	};
	struct smtp_reply reply = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf text CLEANUP(buf_done) = {0};
		size_t n = 0;

		smtp_reply_clear(&reply);
		for (; cases[i].lines[n + 1] != NULL; n++)
			assert_int_equal(
			    smtp_reply_line(&reply, span_str(cases[i].lines[n]), false),
			    SMTP_REPLY_MORE);
		assert_int_equal(
		    smtp_reply_line(&reply, span_str(cases[i].lines[n]), false), SMTP_REPLY_DONE);
		assert_int_equal(reply.code, cases[i].code);
		assert_int_equal(smtp_reply_class(&reply), cases[i].code / 100);
		assert_string_equal(reply.dsn, cases[i].dsn);
		smtp_reply_text(&reply, &text);
		assert_string_equal(buf_str(&text), cases[i].text);
	}
	smtp_reply_done(&reply);
	assert_int_equal(smtp_reply_class(&reply), 0);
}

static void
test_read_limits(void **state)
{
	struct smtp_reply reply = {0};
	enum smtp_reply_step step = SMTP_REPLY_MORE;
	int lines = 0;

	(void)state;
	assert_int_equal(smtp_reply_line(&reply, SPAN_LIT("what?"), true), SMTP_REPLY_BAD);
	assert_true(reply.garbage);
	smtp_reply_clear(&reply);
	while (step == SMTP_REPLY_MORE && lines < 100000) {
		step = smtp_reply_line(&reply, SPAN_LIT("250-and so on and so on"), false);
		lines++;
	}
	assert_int_equal(step, SMTP_REPLY_BAD);
	assert_int_equal(lines, SMTP_REPLY_LINES_MAX + 1);
	assert_true(reply.truncated);
	assert_true(reply.text.len < SMTP_REPLY_TEXT_MAX + 100);
	smtp_reply_done(&reply);
}

static void
test_ehlo_parse(void **state)
{
	struct smtp_ehlo ehlo;

	(void)state;
	smtp_ehlo_parse(
	    SPAN_LIT("250-mx.test at your service\n250-PIPELINING\n250-size 10240000\n"
		     "250-AUTH plain LOGIN\n250-AUTH=XOAUTH2\n250-XFORWARD NAME ADDR SOURCE\n"
		     "250-X-OTHER\n250-8BITMIME\n250 DSN"),
	    SMTP_EHLO_DSN, &ehlo);
	assert_string_equal(ehlo.name, "mx.test");
	assert_int_equal(ehlo.features, SMTP_EHLO_PIPELINING | SMTP_EHLO_SIZE | SMTP_EHLO_AUTH |
					    SMTP_EHLO_XFORWARD | SMTP_EHLO_8BITMIME);
	assert_int_equal(ehlo.size, 10240000);
	assert_string_equal(ehlo.auth, "PLAIN LOGIN XOAUTH2");
	assert_int_equal(ehlo.xforward,
	    SMTP_EHLO_XFORWARD_NAME | SMTP_EHLO_XFORWARD_ADDR | SMTP_EHLO_XFORWARD_SOURCE);
	smtp_ehlo_parse(SPAN_LIT("250 PIPELINING"), 0, &ehlo);
	assert_int_equal(ehlo.features, 0);
	assert_string_equal(ehlo.name, "PIPELINING");
	smtp_ehlo_parse(SPAN_LIT("250-x\n250-SIZE\n250 SIZE abc"), 0, &ehlo);
	assert_int_equal(ehlo.features, SMTP_EHLO_SIZE);
	assert_int_equal(ehlo.size, 0);
	smtp_ehlo_parse(SPAN_LIT(""), 0, &ehlo);
	assert_int_equal(ehlo.features, 0);
}

static void
test_ehlo_discard(void **state)
{
	unsigned discard = 7;
	struct err err;

	(void)state;
	assert_true(smtp_ehlo_parse_discard(
	    SPAN_LIT("size, 8BITMIME chunking,silent-discard"), &discard, &err));
	assert_true(discard ==
		    (SMTP_EHLO_SIZE | SMTP_EHLO_8BITMIME | SMTP_EHLO_CHUNKING | SMTP_EHLO_SILENT));
	assert_true(smtp_ehlo_parse_discard(SPAN_LIT(""), &discard, &err));
	assert_int_equal(discard, 0);
	assert_false(smtp_ehlo_parse_discard(SPAN_LIT("size pipelinning"), &discard, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	assert_int_equal(discard, SMTP_EHLO_SIZE);
	assert_non_null(strstr(err.text, "pipelinning"));
}

static void
test_ehlo_write(void **state)
{
	struct smtp_ehlo_offer offer = {
	    .host = "mail.rp.test",
	    .features = SMTP_EHLO_PIPELINING | SMTP_EHLO_SIZE | SMTP_EHLO_VRFY | SMTP_EHLO_ETRN |
			SMTP_EHLO_ENHANCED | SMTP_EHLO_8BITMIME | SMTP_EHLO_DSN |
			SMTP_EHLO_SMTPUTF8 | SMTP_EHLO_CHUNKING,
	    .size_limit = 10240000,
	};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	smtp_ehlo_write(&out, &offer);
	assert_string_equal(buf_str(&out),
	    "250-mail.rp.test\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n"
	    "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n");
	buf_clear(&out);
	offer = (struct smtp_ehlo_offer){.host = "h"};
	smtp_ehlo_write(&out, &offer);
	assert_string_equal(buf_str(&out), "250 h\r\n");
	buf_clear(&out);
	offer = (struct smtp_ehlo_offer){
	    .host = "h",
	    .features = SMTP_EHLO_SIZE | SMTP_EHLO_AUTH | SMTP_EHLO_XFORWARD | SMTP_EHLO_XCLIENT,
	    .auth = "PLAIN LOGIN",
	    .broken_auth = true,
	    .xclient = "NAME ADDR",
	};
	smtp_ehlo_write(&out, &offer);
	assert_string_equal(buf_str(&out),
	    "250-h\r\n250-SIZE\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN LOGIN\r\n250-XCLIENT NAME ADDR\r\n"
	    "250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_write),
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_read_limits),
	    cmocka_unit_test(test_ehlo_parse),
	    cmocka_unit_test(test_ehlo_discard),
	    cmocka_unit_test(test_ehlo_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
