/*
 * test_mail_verp.c - the senders that name a recipient.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/mail_verp.h"

static void
assert_verp(const char *delimiters, const char *sender, const char *rcpt, const char *expected)
{
	struct buf out CLEANUP(buf_done) = {0};
	bool ok = mail_verp_write(&out, span_str(delimiters), span_str(sender), span_str(rcpt));

	assert_int_equal(ok, expected != NULL);
	assert_string_equal(buf_str(&out), expected != NULL ? expected : "");
}

static void
test_verp(void **state UNUSED)
{
	assert_verp("+=", "list@a.test", "user@b.test", "list+user=b.test@a.test");
	assert_verp("--", "list", "user@b.test", "list-user-b.test");
	assert_verp("+=", "list@a.test", "user", "list+user@a.test");
	assert_verp("+=", "", "user@b.test", NULL);
	assert_verp("", "list@a.test", "user@b.test", NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_verp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
