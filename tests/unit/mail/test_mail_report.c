/*
 * test_mail_report.c - notifications, against tests/golden/mail/report_*.ref, whose shape was taken from the
 * notifications of a Postfix 3.7. GOLDEN_UPDATE=1 in the environment writes them anew, for a person to read and commit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "mail/mail_report.h"

static const char content[] = "Received: from client.test (localhost [127.0.0.1])\n"
			      "\tby mail.rp.test (Postfix) with ESMTP id OLDID\n"
			      "\tfor <bad@dest.test>; Sat, 21 Nov 2026 11:59:00 +0000 (UTC)\n"
			      "From: Sender <sender@client.test>\n"
			      "Message-Id: <m1@client.test>\n"
			      "Subject: test message\n"
			      "\n"
			      "hello world\n"
			      "second line\n";

static const struct mail_report_rcpt failed = {
    .final = SPAN_LIT("bad@dest.test"),
    .original = SPAN_LIT("rfc822;bad@dest.test"),
    .action = "failed",
    .dsn = "5.1.1",
    .text = SPAN_LIT(
	"host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)"),
    .remote_mta = SPAN_LIT("dns; 127.0.0.1"),
    .diagnostic = SPAN_LIT("smtp; 550 5.1.1 no such user"),
};

static struct mail_report
report(enum mail_report_kind kind, const struct mail_report_rcpt *rcpts, size_t count)
{
	return (struct mail_report){
	    .kind = kind,
	    .settings =
		{
		    .host = "mail.rp.test",
		    .origin = "rp.test",
		    .mail_name = "Postfix",
		    .delay_warning = 4 * 3600,
		    .max_lifetime = 5 * 86400,
		    .msgid_stamp = true,
		},
	    .queue_id = "OLDID",
	    .new_id = "NEWID",
	    .now = INT64_C(1795262400),
	    .to = SPAN_LIT("sender@client.test"),
	    .sender = SPAN_LIT("sender@client.test"),
	    .arrival = INT64_C(1795262340),
	    .content = SPAN_LIT(content),
	    .rcpts = rcpts,
	    .rcpt_count = count,
	};
}

static void
check(const char *name, const struct mail_report *r)
{
	char *file CLEANUP(mem_free_str) = mem_printf("tests/golden/mail/report_%s.ref", name);
	struct buf out CLEANUP(buf_done) = {0};
	char ref[8192];
	size_t n;
	FILE *f;

	mail_report_write(&out, r);
	if (getenv("GOLDEN_UPDATE") != NULL) {
		f = fopen(file, "w");
		assert_non_null(f);
		(void)fputs(buf_str(&out), f);
		(void)fclose(f);
	}
	f = fopen(file, "r");
	if (f == NULL)
		fail_msg("%s: cannot be read", file);
	n = fread(ref, 1, sizeof(ref) - 1, f);
	ref[n] = '\0';
	(void)fclose(f);
	assert_string_equal(buf_str(&out), ref);
}

static void
test_failure(void **state)
{
	struct mail_report_rcpt rcpts[2] = {failed, failed};
	struct mail_report r = report(MAIL_REPORT_FAILURE, rcpts, 1);

	(void)state;
	check("failure", &r);
	/* sent to an alias here; no remote server; threaded; longer queue ids */
	rcpts[1] = (struct mail_report_rcpt){
	    .final = SPAN_LIT("q u@dest.test"),
	    .orig_addr = SPAN_LIT("alias@rp.test"),
	    .action = "failed",
	    .dsn = "5.4.6",
	    .text = SPAN_LIT("mail for dest.test loops back to\x01myself"),
	};
	r.rcpt_count = 2;
	r.envid = SPAN_LIT("a b");
	r.settings.threaded = true;
	r.settings.msgid_stamp = false;
	r.headers_only = true;
	check("failure_two", &r);
}

static void
test_delay(void **state)
{
	struct mail_report_rcpt rcpt = failed;
	struct mail_report r = report(MAIL_REPORT_DELAY, &rcpt, 1);

	(void)state;
	rcpt.action = "delayed";
	rcpt.dsn = "4.2.0";
	rcpt.text = SPAN_LIT("host mx said: 450 4.2.0 busy (in reply to RCPT TO command)");
	rcpt.diagnostic = SPAN_LIT("smtp; 450 4.2.0 busy");
	rcpt.remote_mta = SPAN_LIT("mx");
	rcpt.retry_until = INT64_C(1795262340) + 5 * 86400;
	r.headers_only = true;
	check("delay", &r);
}

static void
test_success(void **state)
{
	const struct mail_report_rcpt rcpt = {
	    .final = SPAN_LIT("rp_alice@rp.test"),
	    .original = SPAN_LIT("rfc822;rp_alice@rp.test"),
	    .action = "delivered",
	    .dsn = "2.0.0",
	    .text = SPAN_LIT("delivery via local: delivered to maildir"),
	};
	struct mail_report r = report(MAIL_REPORT_SUCCESS, &rcpt, 1);

	(void)state;
	r.headers_only = true;
	check("success", &r);
	r.kind = MAIL_REPORT_VERIFY;
	check("verify", &r);
}

static void
test_postmaster(void **state)
{
	struct mail_report r = report(MAIL_REPORT_FAILURE, &failed, 1);

	(void)state;
	r.for_postmaster = true;
	r.sender = SPAN_LIT("");
	r.to = SPAN_LIT("pm2@dest.test");
	check("postmaster", &r);
}

static void
test_utf8(void **state)
{
	struct mail_report_rcpt rcpt = failed;
	struct mail_report r = report(MAIL_REPORT_FAILURE, &rcpt, 1);

	(void)state;
	rcpt.final = SPAN_LIT("b\xc3\xa4"
			      "d@dest.test");
	rcpt.original = SPAN_LIT("rfc822;b\xc3\xa4"
				 "d@dest.test");
	r.smtputf8 = true;
	check("utf8", &r);
}

static void
test_template(void **state)
{
	const struct mail_report_template own = {
	    .charset = "us-ascii",
	    .from = "MAILER-DAEMON@rp.test (Own Daemon)",
	    .subject = "Own subject: failed",
	    .postmaster_subject = "For the postmaster",
	    .text = "Own text from mail.rp.test for rp.test.\nSecond line $ 0.\n",
	};
	struct mail_report r = report(MAIL_REPORT_FAILURE, &failed, 1);

	(void)state;
	r.settings.template = &own;
	check("template", &r);
	r.for_postmaster = true;
	assert_string_equal(mail_report_subject(&r), "For the postmaster");
}

static void
test_wrap(void **state)
{
	static const struct {
		const char *text;
		const char *lines;
	} cases[] = {
	    {"", "\n"},
	    {"short", "short\n"},
	    {"one two three", "one two\n    three\n"},
	    {"one   two  three   four", "one\n    two\n    three\n    four\n"},
	    {"averyveryverylongword x y", "averyveryverylongword\n    x y\n"},
	    {"tail   ", "tail\n"},
	    {"a\001b", "a?b\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};

		mail_report_wrap(&out, span_str(cases[i].text), i == 3 ? 7 : 9);
		assert_string_equal(buf_str(&out), cases[i].lines);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_failure),
	    cmocka_unit_test(test_delay),
	    cmocka_unit_test(test_success),
	    cmocka_unit_test(test_postmaster),
	    cmocka_unit_test(test_utf8),
	    cmocka_unit_test(test_template),
	    cmocka_unit_test(test_wrap),
	};

	(void)setenv("TZ", "UTC0", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
