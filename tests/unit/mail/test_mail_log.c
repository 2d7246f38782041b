/*
 * test_mail_log.c - every log line, against the text that Postfix 3.7 writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mail/mail_log.h"

static const struct mail_log_client localhost = {.name = "localhost", .addr = "127.0.0.1"};

static void
check(struct buf *out, const char *line)
{
	assert_string_equal(buf_str(out), line);
	buf_clear(out);
}

static void
test_session(void **state)
{
	static const struct mail_log_command commands[] = {{"HELO", 0, 0}, {"EHLO", 1, 1},
	    {"MAIL", 1, 1}, {"RCPT", 0, 1}, {"QUIT", 1, 1}, {"unknown", 0, 1}};
	const struct mail_log_client with_port = {"unknown", "2001:db8::1", "4711"};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_log_connect(&out, &localhost);
	check(&out, "connect from localhost[127.0.0.1]");
	mail_log_connect(&out, &with_port);
	check(&out, "connect from unknown[2001:db8::1]:4711");
	mail_log_disconnect(&out, &localhost, commands, ARRAY_LEN(commands));
	check(&out,
	    "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=0/1 quit=1 unknown=0/1 "
	    "commands=3/5");
	mail_log_disconnect(&out, &localhost, commands, 3);
	check(&out, "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 commands=2");
	mail_log_disconnect(&out, &localhost, commands, 1);
	check(&out, "disconnect from localhost[127.0.0.1] commands=0/0");
	mail_log_lost(&out, "lost connection", "MAIL", -1, &localhost);
	check(&out, "lost connection after MAIL from localhost[127.0.0.1]");
	mail_log_lost(&out, "timeout", "DATA", 1234, &localhost);
	check(&out, "timeout after DATA (1234 bytes) from localhost[127.0.0.1]");
	mail_log_pipelining(&out, "CONNECT", &localhost, SPAN_LIT("EHLO x\r\n\\\x01"));
	check(&out, "improper command pipelining after CONNECT from localhost[127.0.0.1]: "
		    "EHLO x\\r\\n\\\\\\001");
	mail_log_non_smtp(&out, &localhost, SPAN_LIT("GET / HTTP/1.1"));
	check(&out, "non-SMTP command from localhost[127.0.0.1]: GET / HTTP/1.1");
}

static void
test_accept(void **state)
{
	struct mail_log_accept accept = {.queue_id = "4jWrNw0000z1", .client = localhost};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_log_accept(&out, &accept);
	check(&out, "4jWrNw0000z1: client=localhost[127.0.0.1]");
	accept.sasl_method = "PLAIN";
	accept.sasl_username = "joe";
	accept.orig_queue_id = "id77";
	accept.orig_client = (struct mail_log_client){"orig.test", "192.0.2.77", "99"};
	mail_log_accept(&out, &accept);
	check(&out,
	    "4jWrNw0000z1: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=joe, "
	    "orig_queue_id=id77, orig_client=orig.test[192.0.2.77]:99");
	accept = (struct mail_log_accept){.client = localhost, .sasl_sender = "s@t"};
	mail_log_accept(&out, &accept);
	check(&out, "NOQUEUE: client=localhost[127.0.0.1], sasl_sender=s@t");
}

static void
test_reject(void **state)
{
	struct mail_log_reject reject = {
	    .action = "reject",
	    .stage = "RCPT",
	    .client = localhost,
	    .text =
		SPAN_LIT("550 5.1.1 <nouser@rp.test>: Recipient address rejected: User unknown in "
			 "local recipient table"),
	    .sender = "sender@client.test",
	    .recipient = "nouser@rp.test",
	    .proto = "ESMTP",
	    .helo = "client.test",
	};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_log_reject(&out, &reject);
	check(&out, "NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <nouser@rp.test>: "
		    "Recipient address rejected: User unknown in local recipient table; "
		    "from=<sender@client.test> to=<nouser@rp.test> proto=ESMTP helo=<client.test>");
	reject = (struct mail_log_reject){
	    .queue_id = "4jWrNw0000z1",
	    .action = "milter-reject",
	    .stage = "END-OF-MESSAGE",
	    .client = localhost,
	    .text = SPAN_LIT("550 5.7.1 no"),
	    .sender = "",
	    .recipient = "a b@x.test",
	    .proto = "SMTP",
	};
	mail_log_reject(&out, &reject);
	check(&out,
	    "4jWrNw0000z1: milter-reject: END-OF-MESSAGE from localhost[127.0.0.1]: 550 5.7.1 "
	    "no; from=<> to=<\"a b\"@x.test> proto=SMTP");
	reject = (struct mail_log_reject){.action = "reject",
	    .stage = "CONNECT",
	    .client = localhost,
	    .text = SPAN_LIT("554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: x")};
	mail_log_reject(&out, &reject);
	check(&out, "NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: 554 5.7.1 "
		    "<localhost[127.0.0.1]>: Client host rejected: x");
}

static void
test_cleanup(void **state)
{
	const struct mail_log_content content = {
	    .queue_id = "4jWrNw0000z1",
	    .action = "reject",
	    .what = "header",
	    .content = SPAN_LIT("Subject: test message"),
	    .origin = "localhost[127.0.0.1]",
	    .sender = "sender@client.test",
	    .recipient = "x@dest.test",
	    .proto = "ESMTP",
	    .helo = "client.test",
	    .text = SPAN_LIT("5.7.1 bad subject"),
	};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_log_content(&out, &content);
	check(&out,
	    "4jWrNw0000z1: reject: header Subject: test message from localhost[127.0.0.1]; "
	    "from=<sender@client.test> to=<x@dest.test> proto=ESMTP helo=<client.test>: 5.7.1 "
	    "bad subject");
	mail_log_pickup(&out, "4jWrNw0000z1", 0, "s@client.test", NULL);
	check(&out, "4jWrNw0000z1: uid=0 from=<s@client.test>");
	mail_log_pickup(&out, "4jWrNw0000z1", 1000, "", "A1BF5A76006");
	check(&out, "4jWrNw0000z1: uid=1000 from=<> orig_id=A1BF5A76006");
}

static void
test_qmgr(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_log_active(&out, "4jWrNw0000z1", "sender@client.test", 347, 1);
	check(&out, "4jWrNw0000z1: from=<sender@client.test>, size=347, nrcpt=1 (queue active)");
	mail_log_active(&out, "4jWrNw0000z1", "", 2225, 50000);
	check(&out, "4jWrNw0000z1: from=<>, size=2225, nrcpt=50000 (queue active)");
	mail_log_removed(&out, "4jWrNw0000z1");
	check(&out, "4jWrNw0000z1: removed");
	mail_log_expired(&out, "4jWrNw0000z1", "sender@client.test", false);
	check(&out, "4jWrNw0000z1: from=<sender@client.test>, status=expired, returned to sender");
	mail_log_expired(&out, "4jWrNw0000z1", "", true);
	check(&out, "4jWrNw0000z1: from=<>, status=force-expired, returned to sender");
	mail_log_notice(&out, "4jWrNw0000z1", MAIL_LOG_SENDER_FAILURE, "4jWrNw0001z1");
	check(&out, "4jWrNw0000z1: sender non-delivery notification: 4jWrNw0001z1");
	mail_log_notice(&out, "4jWrNw0000z1", MAIL_LOG_SENDER_DELAY, "4jWrNw0001z1");
	check(&out, "4jWrNw0000z1: sender delay notification: 4jWrNw0001z1");
	mail_log_notice(&out, "4jWrNw0000z1", MAIL_LOG_SENDER_SUCCESS, "4jWrNw0001z1");
	check(&out, "4jWrNw0000z1: sender delivery status notification: 4jWrNw0001z1");
	mail_log_notice(&out, "4jWrNw0000z1", MAIL_LOG_POSTMASTER_FAILURE, "4jWrNw0001z1");
	check(&out, "4jWrNw0000z1: postmaster non-delivery notification: 4jWrNw0001z1");
	mail_log_notice(&out, "4jWrNw0000z1", MAIL_LOG_POSTMASTER_DELAY, "4jWrNw0001z1");
	check(&out, "4jWrNw0000z1: postmaster delay notification: 4jWrNw0001z1");
}

static void
test_delivery(void **state)
{
	const int64_t t0 = INT64_C(1795262400000000);
	struct mail_log_delivery d = {
	    .queue_id = "4jWrNw0000z1",
	    .recipient = "x@dest.test",
	    .orig_recipient = "X@dest.test",
	    .relay = "mx.dest.test[192.0.2.11]:25",
	    .conn_use = 1,
	    .times = {t0, t0 + 10000, t0 + 15000, t0 + 300000, t0 + 1250000},
	    .dsn = "2.0.0",
	    .status = "sent",
	    .text = SPAN_LIT("250 2.0.0 Ok: queued as X"),
	};
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_log_delivery(&out, &d);
	check(&out,
	    "4jWrNw0000z1: to=<x@dest.test>, relay=mx.dest.test[192.0.2.11]:25, delay=1.3, "
	    "delays=0.01/0.01/0.29/0.95, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)");
	d.orig_recipient = "alias@here.test";
	d.conn_use = 2;
	d.relay = NULL;
	d.times = (struct mail_log_times){.arrival = t0, .done = t0 + 61 * CLOCK_SECOND};
	d.dsn = "4.4.1";
	d.status = "deferred";
	d.text = SPAN_LIT("connect to mx.dest.test[192.0.2.11]:25: Connection refused");
	mail_log_delivery(&out, &d);
	check(&out,
	    "4jWrNw0000z1: to=<x@dest.test>, orig_to=<alias@here.test>, relay=none, conn_use=2, "
	    "delay=61, delays=0/61/0/0, dsn=4.4.1, status=deferred (connect to "
	    "mx.dest.test[192.0.2.11]:25: Connection refused)");
	d.times = (struct mail_log_times){
	    .arrival = t0, .active = t0 + 5000000, .handed = t0 + 5000000, .done = t0 + 5120000};
	d.conn_use = 0;
	d.orig_recipient = NULL;
	mail_log_delivery(&out, &d);
	check(&out,
	    "4jWrNw0000z1: to=<x@dest.test>, relay=none, delay=5.1, delays=5/0/0/0.12, "
	    "dsn=4.4.1, status=deferred (connect to mx.dest.test[192.0.2.11]:25: Connection "
	    "refused)");
}

static void
test_seconds(void **state)
{
	static const struct {
		int64_t us;
		int decimals;
		const char *text;
	} cases[] = {
	    {0, 2, "0"},
	    {-5, 2, "0"},
	    {4999, 2, "0"},
	    {5000, 2, "0.01"},
	    {50000, 2, "0.05"},
	    {123456, 2, "0.12"},
	    {300000, 2, "0.3"},
	    {994999, 2, "0.99"},
	    {995000, 2, "1"},
	    {1000000, 2, "1"},
	    {1249999, 2, "1.2"},
	    {1250000, 2, "1.3"},
	    {9949999, 2, "9.9"},
	    {9950000, 2, "10"},
	    {57400000, 2, "57"},
	    {59500000, 2, "60"},
	    {4012300000, 2, "4012"},
	    {123456, 0, "0"},
	    {1234567, 0, "1"},
	    {123456, 1, "0.1"},
	    {123, 6, "0.00012"},
	    {9, 6, "0.000009"},
	    {123456, 6, "0.12"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};

		mail_log_seconds(&out, cases[i].us, cases[i].decimals);
		if (strcmp(buf_str(&out), cases[i].text) != 0)
			fail_msg("%lld us, %d decimals: %s, not %s", (long long)cases[i].us,
			    cases[i].decimals, buf_str(&out), cases[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_session),
	    cmocka_unit_test(test_accept),
	    cmocka_unit_test(test_reject),
	    cmocka_unit_test(test_cleanup),
	    cmocka_unit_test(test_qmgr),
	    cmocka_unit_test(test_delivery),
	    cmocka_unit_test(test_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
