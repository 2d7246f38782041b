/*
 * test_operator_cat.c - postcat's records, and contents that come in pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_cat.h"

static const struct operator_cat_form everything = {.envelope = true, .header = true, .body = true};

static void
test_envelope(void **state)
{
	static const struct queue_attr attrs[] = {
	    {SPAN_LIT("client_name"), SPAN_LIT("localhost")},
	    {SPAN_LIT("rewrite_context"), SPAN_LIT("local")},
	    {SPAN_LIT("envid"), SPAN_LIT("abc")},
	    {SPAN_LIT("ret"), SPAN_LIT("HDRS")},
	    {SPAN_LIT("content_filter"), SPAN_LIT("smtp:127.0.0.1")},
	};
	static const struct queue_rcpt rcpts[] = {
	    {.addr = "a b@short.test", .dsn_orcpt = "rfc822;a b@short.test", .dsn_notify = 10},
	    {.addr = "new@short.test", .orig_addr = "old@short.test"},
	};
	const int64_t arrival = INT64_C(1795258100) * 1000000;
	struct queue_envelope e = {
	    .msg_id = mail_queue_id_make(arrival, 0),
	    .sender = "s@client.test",
	    .arrival = arrival,
	    .size = 3301,
	    .attrs = attrs,
	    .attr_count = 5,
	    .rcpts = rcpts,
	    .rcpt_count = 2,
	};
	struct operator_cat_form numbered = {.envelope = true, .types = true};
	struct operator_cat_form places = {.envelope = true, .offsets = true};
	struct operator_cat_content c = {0};
	char id[MAIL_QUEUE_ID_SIZE];
	struct buf out = {0};
	char *want;

	(void)state;
	mail_queue_id_format(e.msg_id, id);
	operator_cat_envelope(&everything, &c, QUEUE_DEFERRED_PLACE, &e, &out);
	operator_cat_end(&everything, &c, QUEUE_DEFERRED_PLACE, &e, &out);
	want = mem_printf(
	    "*** ENVELOPE RECORDS deferred/%1$s ***\n"
	    "message_size:            3301             370               2               0            3301               0\n"
	    "message_arrival_time: Sat Nov 21 10:48:20 2026\n"
	    "create_time: Sat Nov 21 10:48:20 2026\n"
	    "named_attribute: log_ident=%1$s\n"
	    "named_attribute: rewrite_context=local\n"
	    "named_attribute: envelope_id=abc\n"
	    "named_attribute: ret_flags=2\n"
	    "sender: s@client.test\n"
	    "named_attribute: client_name=localhost\n"
	    "named_attribute: notify_flags=10\n"
	    "named_attribute: dsn_orig_rcpt=rfc822;a b@short.test\n"
	    "original_recipient: a b@short.test\n"
	    "recipient: a b@short.test\n"
	    "original_recipient: old@short.test\n"
	    "recipient: new@short.test\n"
	    "*** MESSAGE CONTENTS deferred/%1$s ***\n"
	    "*** HEADER EXTRACTED deferred/%1$s ***\n"
	    "content_filter: smtp:127.0.0.1\n"
	    "*** MESSAGE FILE END deferred/%1$s ***\n",
	    id);
	assert_string_equal(buf_str(&out), want);
	mem_free(want);

	buf_clear(&out);
	operator_cat_envelope(&numbered, &c, QUEUE_HOLD, &e, &out);
	assert_non_null(strstr(buf_str(&out), "\n 83 sender: s@client.test\n"));
	assert_non_null(strstr(buf_str(&out), "\n 77 *** MESSAGE CONTENTS hold/"));
	/* Offsets as in Postfix's file: type, length, data. */
	buf_clear(&out);
	operator_cat_envelope(&places, &c, QUEUE_HOLD, &e, &out);
	assert_non_null(strstr(buf_str(&out), "\n        0 message_size: "));
	assert_non_null(strstr(buf_str(&out), "\n       97 message_arrival_time: "));
	assert_int_equal(c.offset, 370);
	buf_done(&out);
}

/* The content in pieces of `step` bytes. */
static char *
shown(const struct operator_cat_form *form, struct span content, size_t step)
{
	struct operator_cat_content c = {0};
	struct buf out = {0};

	for (size_t at = 0; at < content.len; at += step)
		operator_cat_content(form, &c, span_head(span_from(content, at), step),
		    at + step >= content.len, &out);
	buf_done(&c.rest);
	return buf_take(&out);
}

static void
check(const struct operator_cat_form *form, const char *content, const char *want)
{
	size_t len = strlen(content);

	for (size_t step = 1; step <= len; step++) {
		char *got = shown(form, span_str(content), step);

		assert_string_equal(got, want);
		mem_free(got);
	}
}

static void
test_parts(void **state)
{
	static const char content[] = "Received: x\n\tby y\nSubject: z\n\nbody\nno: header\n";
	struct operator_cat_form header = {.header = true};
	struct operator_cat_form body = {.body = true};

	(void)state;
	check(&everything, content, content);
	check(&header, content, "Received: x\n\tby y\nSubject: z\n");
	check(&body, content, "\nbody\nno: header\n");
	/* no header at all; a last line without its end */
	check(&header, "just text\n", "");
	check(&body, "just text", "just text\n");
	check(&body, " indented: x\n", " indented: x\n");
}

static void
test_numbers(void **state)
{
	struct operator_cat_form form = {
	    .body = true, .header = true, .types = true, .offsets = true};

	(void)state;
	check(&form, "A: b\n\nxy\n", "        0  78 A: b\n        6  78 \n        8  78 xy\n");
}

static void
test_long_line(void **state)
{
	struct operator_cat_form types = {.body = true, .types = true};
	struct operator_cat_form body = {.body = true};
	struct buf content = {0}, want = {0};
	char *got;

	(void)state;
	buf_add_str(&content, "\n");
	for (size_t i = 0; i < 5000; i++)
		buf_add_char(&content, 'x');
	buf_add_char(&content, '\n');
	got = shown(&body, buf_span(&content), 1000);
	assert_string_equal(got, buf_str(&content));
	mem_free(got);

	buf_add_str(&want, " 78 \n");
	for (size_t i = 0; i < 5000; i++) {
		if (i % 2048 == 0)
			buf_add_str(&want, i == 0 ? " 76 " : i == 2048 ? "\n 76 " : "\n 78 ");
		buf_add_char(&want, 'x');
	}
	buf_add_char(&want, '\n');
	got = shown(&types, buf_span(&content), 1000);
	assert_string_equal(got, buf_str(&want));
	mem_free(got);
	buf_done(&want);
	buf_done(&content);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_envelope),
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_long_line),
	};

	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
