/*
 * test_mail_header.c - the header section: where it ends, what is in it, folding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/mail_header.h"

static void
test_name_length(void **state)
{
	static const struct {
		const char *line;
		size_t len;
	} cases[] = {
	    {"Subject: x", 7},
	    {"Subject:x", 7},
	    {"Subject :x", 7},
	    {"Subject \t: x", 7},
	    {"Subject x", 0},
	    {": x", 0},
	    {" Subject: x", 0},
	    {"Sub\xc3\xa4: x", 0},
	    {"X-A@b: y", 5},
	    {"From a@b Sat Nov 21 12:00:00 2026", 0},
	    {"", 0},
	    {"Subject", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(mail_header_name_length(span_str(cases[i].line)), cases[i].len);
}

/* "name=value|" of all headers, then the body's offset and whether an empty line stands before it. */
static void
headers_of(const char *content, struct buf *out)
{
	struct mail_header_iter iter;
	struct mail_header header;

	mail_header_start(&iter, span_str(content));
	while (mail_header_next(&iter, &header)) {
		buf_add_span(out, header.name);
		buf_add_char(out, '=');
		buf_add_span(out, header.value);
		buf_add_char(out, '|');
	}
	buf_printf(out, "%zu%s", iter.body, iter.blank ? "b" : "");
}

static void
test_iterate(void **state)
{
	static const struct {
		const char *content;
		const char *result;
	} cases[] = {
	    {"", "0"},
	    {"\nbody\n", "1b"},
	    {"body\n", "0"},
	    {"A: 1\nB:2\n\nbody\n", "A=1|B=2|10b"},
	    {"A: 1\n two\n\tthree\nB: 2\n\n", "A=1\n two\n\tthree|B=2|23b"},
	    {"A: 1\nnot a header\n", "A=1|5"},
	    {"A: 1\n", "A=1|5"},
	    {"A: 1", "A=1|4"},
	    {"A:\n\nx", "A=|4b"},
	    {"A: 1\r\nB: 2\r\n\r\nx", "A=1|B=2|14b"},
	    {" leading\nA: 1\n\n", "0"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};

		headers_of(cases[i].content, &out);
		assert_string_equal(buf_str(&out), cases[i].result);
	}
}

static void
test_find(void **state)
{
	struct span content = SPAN_LIT("To: a\nSUBJECT: hello\n you\nSubject: two\n\nX: body\n");
	struct mail_header header;

	(void)state;
	assert_true(mail_header_find(content, "Subject", &header));
	assert_true(span_equal_str(header.value, "hello\n you"));
	assert_true(span_equal_str(header.raw, "SUBJECT: hello\n you\n"));
	assert_int_equal(header.id, MAIL_HEADER_SUBJECT);
	assert_false(mail_header_find(content, "X", &header));
}

static void
test_scan(void **state)
{
	struct span content =
	    SPAN_LIT("Received: one\n\tmore\nreceived: two\nDate: now\n"
		     "Message-ID: <a@b>\nMessage-Id: <c@d>\nResent-To: x\n\nbody\n");
	struct mail_header_scan scan;

	(void)state;
	mail_header_scan(content, &scan);
	assert_int_equal(scan.received, 2);
	assert_true(mail_header_has(&scan, MAIL_HEADER_DATE));
	assert_true(mail_header_has(&scan, MAIL_HEADER_RESENT_TO));
	assert_false(mail_header_has(&scan, MAIL_HEADER_FROM));
	assert_true(span_equal_str(scan.message_id, "<a@b>"));
	assert_int_equal(scan.resent_message_id.len, 0);
	assert_true(scan.resent);
	assert_true(scan.blank);
	assert_int_equal(scan.headers, content.len - 6);
	assert_int_equal(scan.body, content.len - 5);
	mail_header_scan(SPAN_LIT("no header"), &scan);
	assert_int_equal(scan.headers, 0);
	assert_int_equal(scan.body, 0);
	assert_false(scan.blank);
	assert_true(scan.present == 0);
}

static void
test_ids(void **state)
{
	(void)state;
	for (int id = MAIL_HEADER_OTHER + 1; id < MAIL_HEADER_ID_COUNT; id++)
		assert_int_equal(
		    mail_header_id(span_str(mail_header_name((enum mail_header_id)id))), id);
	assert_int_equal(mail_header_id(SPAN_LIT("X-Other")), MAIL_HEADER_OTHER);
	assert_int_equal(mail_header_id(SPAN_LIT("rEply-tO")), MAIL_HEADER_REPLY_TO);
	assert_true(mail_header_flags(MAIL_HEADER_BCC) & MAIL_HEADER_DROP);
	assert_true(mail_header_flags(MAIL_HEADER_TO) & MAIL_HEADER_EXTRACT);
	assert_false(mail_header_flags(MAIL_HEADER_FROM) & MAIL_HEADER_RECIPIENTS);
}

static void
test_fold(void **state)
{
	static const struct {
		const char *value;
		const char *header;
	} cases[] = {
	    {"short", "X: short\n"},
	    {"", "X: \n"},
	    {"1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 12",
		"X: 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890\n"
		" 1234567890 12\n"},
	    {"12345678901234567890123456789012345678901234567890123456789012345678901234567890 x",
		"X: 12345678901234567890123456789012345678901234567890123456789012345678901234567890\n"
		" x\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};
		struct mail_header header;

		mail_header_write(&out, "X", span_str(cases[i].value));
		assert_string_equal(buf_str(&out), cases[i].header);
		assert_true(mail_header_find(buf_span(&out), "X", &header));
		buf_clear(&out);
		mail_header_unfold(&out, span_str(cases[i].value));
		assert_string_equal(buf_str(&out), cases[i].value);
	}
}

static void
test_unfold(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_header_unfold(&out, SPAN_LIT("a\n b\r\n\tc\n"));
	assert_string_equal(buf_str(&out), "a b\tc");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_name_length),
	    cmocka_unit_test(test_iterate),
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_scan),
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_fold),
	    cmocka_unit_test(test_unfold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
