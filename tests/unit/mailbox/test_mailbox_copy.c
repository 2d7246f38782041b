/*
 * test_mailbox_copy.c - what a mailbox or a command gets of a message: prepended lines, quoting, line ends, in pieces of any size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mailbox/mailbox_copy.h"

/* The content `in` through the filter, cut into pieces of `size` bytes. */
static void
filtered(unsigned flags, const char *eol, const char *in, size_t size, struct buf *out)
{
	const struct mailbox_copy copy = {.flags = flags, .eol = eol};
	struct mailbox_filter f = {.copy = &copy};
	struct span rest = span_str(in);

	buf_clear(out);
	while (rest.len > 0) {
		mailbox_filter_add(&f, span_head(rest, size), out);
		rest = span_from(rest, size);
	}
	mailbox_filter_end(&f, out);
}

static void
check(unsigned flags, const char *eol, const char *in, const char *expected)
{
	struct buf out = {0};

	for (size_t size = 1; size <= strlen(in) + 1; size++) {
		filtered(flags, eol, in, size, &out);
		assert_string_equal(buf_str(&out), expected);
	}
	buf_done(&out);
}

static void
test_unchanged(void **state)
{
	(void)state;
	check(0, "\n", "a\n\nFrom b\n.c\n", "a\n\nFrom b\n.c\n");
	check(0, "\n", "", "");
}

static void
test_last_line_ends(void **state)
{
	(void)state;
	check(0, "\n", "a\nb", "a\nb\n");
	check(MAILBOX_COPY_QUOTE_FROM, "\n", "a\nFro", "a\nFro\n");
	check(MAILBOX_COPY_BLANK, "\n", "a\n", "a\n\n");
}

static void
test_quotes_from(void **state)
{
	(void)state;
	check(MAILBOX_COPY_QUOTE_FROM, "\n", "From a\n From b\n>From c\nFrom\nFromage\nFFrom d\n",
	    ">From a\n From b\n>From c\nFrom\nFromage\nFFrom d\n");
	check(MAILBOX_COPY_QUOTE_FROM, "\n", "From From \nFrom ", ">From From \n>From \n");
}

static void
test_doubles_dots(void **state)
{
	(void)state;
	check(MAILBOX_COPY_DOT, "\n", ".\n..a\nb.c\n", "..\n...a\nb.c\n");
	check(MAILBOX_COPY_DOT | MAILBOX_COPY_QUOTE_FROM, "\n", ".From \nFrom .\n",
	    "..From \n>From .\n");
}

static void
test_line_ends(void **state)
{
	(void)state;
	check(MAILBOX_COPY_BLANK, "\r\n", "a\n\nb", "a\r\n\r\nb\r\n\r\n");
}

static void
test_head(void **state)
{
	struct mailbox_copy copy = {
	    .flags = MAILBOX_COPY_MBOX,
	    .sender = "a b@c.example",
	    .null_from = "MAILER-DAEMON",
	    .orig_rcpt = "o@x.example",
	    .delivered = "d@x.example",
	    .eol = "\n",
	};
	struct buf out = {0};

	(void)state;
	(void)setenv("TZ", "UTC", 1);
	mailbox_copy_head(&copy, 1668000000, &out);
	assert_string_equal(buf_str(&out),
	    "From \"a b\"@c.example  Wed Nov  9 13:20:00 2022\n"
	    "Return-Path: <\"a b\"@c.example>\n"
	    "X-Original-To: o@x.example\nDelivered-To: d@x.example\n");
	buf_clear(&out);
	copy.sender = "";
	copy.orig_rcpt = "";
	mailbox_copy_head(&copy, 1668000000, &out);
	assert_string_equal(buf_str(&out), "From MAILER-DAEMON  Wed Nov  9 13:20:00 2022\n"
					   "Return-Path: <>\nDelivered-To: d@x.example\n");
	buf_done(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unchanged),
	    cmocka_unit_test(test_last_line_ends),
	    cmocka_unit_test(test_quotes_from),
	    cmocka_unit_test(test_doubles_dots),
	    cmocka_unit_test(test_line_ends),
	    cmocka_unit_test(test_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
