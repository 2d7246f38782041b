/*
 * test_mail_transcript.c - the notice about a session: its words, wrapped lines, and the bound of what is kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mail/mail_transcript.h"

static const struct mail_transcript_notice notice = {
    .host = "mail.x.test",
    .mail_name = "Mail",
    .to = "postmaster@x.test",
    .side = "SMTP server",
    .peer = "c.test[192.0.2.1]",
    .reason = "lost connection",
    .now = 1700000000,
};

static void
test_words(void **state UNUSED)
{
	struct mail_transcript t = {0};
	struct buf out CLEANUP(buf_done) = {0};
	const char *body;

	mail_transcript_add(&t, false, SPAN_LIT("250-a\r\n250 b\r\n"));
	mail_transcript_add(&t, true, SPAN_LIT("FOO\001bar"));
	mail_transcript_add(&t, false,
	    SPAN_LIT("550 5.1.1 <nobody@v.test>: Recipient address rejected: User unknown in "
		     "virtual alias table"));
	assert_int_equal(t.lines, 4);
	mail_transcript_write(&out, &t, &notice);
	body = strstr(buf_str(&out), "\nFrom: ");
	assert_non_null(body);
	assert_string_equal(body,
	    "\nFrom: Mail Delivery System <MAILER-DAEMON@mail.x.test>\n"
	    "To: Postmaster <postmaster@x.test>\n"
	    "Subject: Mail SMTP server: errors from c.test[192.0.2.1]\n\n"
	    "Transcript of session follows.\n\n"
	    " Out: 250-a\n Out: 250 b\n In:  FOO?bar\n"
	    " Out: 550 5.1.1 <nobody@v.test>: Recipient address rejected: User unknown in\n"
	    "     virtual alias table\n\n"
	    "Session aborted, reason: lost connection\n\n"
	    "For other details, see the local mail logfile\n");
	mail_transcript_done(&t);
}

/* A client's notice begins with what is the matter, and has no line for the reason of the end. */
static void
test_client(void **state UNUSED)
{
	struct mail_transcript_notice client = notice;
	struct mail_transcript t = {0};
	struct buf out CLEANUP(buf_done) = {0};

	client.side = "LMTP client";
	client.intro = "Unexpected response from c.test[192.0.2.1]:24.";
	client.reason = NULL;
	mail_transcript_add(&t, true, SPAN_LIT("500 x"));
	mail_transcript_write(&out, &t, &client);
	assert_string_equal(strstr(buf_str(&out), "\nSubject: "),
	    "\nSubject: Mail LMTP client: errors from c.test[192.0.2.1]\n\n"
	    "Unexpected response from c.test[192.0.2.1]:24.\n\n"
	    "Transcript of session follows.\n\n"
	    " In:  500 x\n\n"
	    "For other details, see the local mail logfile\n");
	mail_transcript_done(&t);
}

static void
test_command(void **state UNUSED)
{
	static const char *const cases[][2] = {
	    {"AUTH PLAIN AHVzZXIAc2VjcmV0", "AUTH PLAIN"},
	    {"auth  login dXNlcg==", "auth  login"},
	    {"AUTH LOGIN", "AUTH LOGIN"},
	    {"MAIL FROM:<a@b> AUTH=<>", "MAIL FROM:<a@b> AUTH=<>"},
	    {"", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_true(
		    span_equal_str(mail_transcript_command(span_str(cases[i][0])), cases[i][1]));
}

static void
test_bound(void **state UNUSED)
{
	static char line[2 * MAIL_TRANSCRIPT_LINE_MAX];
	struct mail_transcript t = {0};
	struct buf out CLEANUP(buf_done) = {0};

	memset(line, 'x', sizeof(line));
	mail_transcript_add(&t, true, span_of(line, sizeof(line)));
	assert_true(t.text.len <= MAIL_TRANSCRIPT_LINE_MAX + 10);
	for (size_t i = 0; i < 100; i++)
		mail_transcript_add(&t, true, span_of(line, sizeof(line)));
	assert_true(t.text.len <= MAIL_TRANSCRIPT_MAX + 10);
	mail_transcript_write(&out, &t, &notice);
	assert_non_null(strstr(buf_str(&out), "the rest of the session is not kept"));
	mail_transcript_clear(&t);
	assert_int_equal(t.lines, 0);
	assert_false(t.cut);
	mail_transcript_done(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_client),
	    cmocka_unit_test(test_command),
	    cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
