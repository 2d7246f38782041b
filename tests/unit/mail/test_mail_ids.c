/*
 * test_mail_ids.c - queue ids, status codes, retry times, dates, message ids, Received: headers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mail/mail_date.h"
#include "mail/mail_dsn.h"
#include "mail/mail_msgid.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "mail/mail_retry.h"

#define NOON INT64_C(1795262400) /* Sat, 21 Nov 2026 12:00:00 UTC */

static void
test_queue_id_text(void **state)
{
	static const struct {
		int64_t us;
		unsigned process;
		const char *text;
	} cases[] = {
	    {MAIL_QUEUE_ID_EPOCH * 1000000, 0, "47nWWN0000z1"},
	    {NOON * 1000000, 0, "4jWrNw0000z1"},
	    {NOON * 1000000 + 999999, 4095, "4jWrNw75plz1YJ"},
	    {NOON * 1000000 + 1, 49, "4jWrNw0001zy"},
	    {NOON * 1000000 + 1, 50, "4jWrNw0001z10"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t id = mail_queue_id_make(cases[i].us, cases[i].process);
		char text[MAIL_QUEUE_ID_SIZE];
		int64_t back;

		mail_queue_id_format(id, text);
		assert_string_equal(text, cases[i].text);
		assert_true(mail_queue_id_parse(span_str(text), &back));
		assert_true(back == id);
		assert_true(mail_queue_id_time(id) == cases[i].us);
		assert_int_equal(mail_queue_id_process(id), cases[i].process);
		assert_true(mail_queue_id_looks_valid(span_str(text)));
	}
}

static void
test_queue_id_order(void **state)
{
	char before[MAIL_QUEUE_ID_SIZE];
	char text[MAIL_QUEUE_ID_SIZE];
	int64_t us = NOON * 1000000;

	(void)state;
	mail_queue_id_format(mail_queue_id_make(us, 77), before);
	for (int64_t step = 1; step < INT64_C(40) * 365 * 86400 * 1000000; step *= 3) {
		int64_t back;

		us += step;
		mail_queue_id_format(mail_queue_id_make(us, 77), text);
		assert_true(strcmp(before, text) < 0);
		assert_true(mail_queue_id_parse(span_str(text), &back));
		assert_true(mail_queue_id_time(back) == us);
		memcpy(before, text, sizeof(text));
	}
}

static void
test_queue_id_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "z",
	    "z1",
	    "4jWrNw0000z",
	    "4jWrNw0000z0",
	    "4jWrNw0000z01",
	    "04jWrNw0000z1",
	    "4jWrNw0000zz1",
	    "4jWrNw0000a1",
	    "4jWrNwzzzzz1",
	    "4jWrNw0000z1YK",
	    "47nWWM0000z1",
	    "4jWrNw0000z1 ",
	    " 4jWrNw0000z1",
	    "4jWrNw000z1",
	    "3V5xPZ",
	    "A1BF5A76006",
	    "yyyyyyyyyy0000z1",
	    "4jWrNw0000z1yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
	    "4jWrNwA000zA",
	};
	int64_t id;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (mail_queue_id_parse(span_str(bad[i]), &id))
			fail_msg("\"%s\" parsed", bad[i]);
	assert_false(mail_queue_id_looks_valid(SPAN_LIT("../etc")));
	assert_false(mail_queue_id_looks_valid(SPAN_LIT("")));
	assert_true(mail_queue_id_looks_valid(SPAN_LIT("A_b")));
	assert_true(mail_queue_id_looks_valid(SPAN_LIT("A1BF5A76006")));
}

static void
test_dsn_length(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} cases[] = {
	    {"5.1.1", 5},
	    {"5.1.1 no such user", 5},
	    {"4.123.999\tx", 9},
	    {"2.0.0", 5},
	    {"3.0.0", 0},
	    {"5.1", 0},
	    {"5.1.", 0},
	    {"5.1.1.1", 0},
	    {"5.1.1x", 0},
	    {"5.1234.1", 0},
	    {"5..11", 0},
	    {"51.1.1", 0},
	    {"", 0},
	    {"5", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(mail_dsn_length(span_str(cases[i].text)), cases[i].len);
	assert_true(mail_dsn_is_valid(SPAN_LIT("5.1.1")));
	assert_false(mail_dsn_is_valid(SPAN_LIT("5.1.1 x")));
	assert_false(mail_dsn_is_valid(SPAN_LIT("")));
}

static void
test_dsn_of_reply(void **state)
{
	static const struct {
		int code;
		const char *text;
		const char *dsn;
	} cases[] = {
	    {550, "5.1.1 no such user", "5.1.1"},
	    {550, "no such user", "5.0.0"},
	    {450, "5.1.1 odd", "4.0.0"},
	    {250, "2.1.5 Ok", "2.1.5"},
	    {250, "Ok", "2.0.0"},
	    {354, "go ahead", "5.5.0"},
	    {0, "", "5.5.0"},
	    {554, "", "5.0.0"},
	};
	char dsn[MAIL_DSN_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		mail_dsn_of_reply(cases[i].code, span_str(cases[i].text), dsn);
		assert_string_equal(dsn, cases[i].dsn);
	}
}

static void
test_dsn_parts(void **state)
{
	char dsn[MAIL_DSN_SIZE];
	struct span rest = mail_dsn_split(SPAN_LIT("5.7.1  go away"), "5.0.0", dsn);

	(void)state;
	assert_string_equal(dsn, "5.7.1");
	assert_true(span_equal_str(rest, "go away"));
	rest = mail_dsn_split(SPAN_LIT("go away"), "4.7.0", dsn);
	assert_string_equal(dsn, "4.7.0");
	assert_true(span_equal_str(rest, "go away"));
	assert_int_equal(mail_dsn_class("4.7.0"), 4);
	assert_int_equal(mail_dsn_class(""), 0);
	mail_dsn_fit(dsn, 554);
	assert_string_equal(dsn, "5.7.0");
	mail_dsn_fit(dsn, 354);
	assert_string_equal(dsn, "5.7.0");
	assert_string_equal(mail_dsn_default(450), "4.7.1");
	assert_string_equal(mail_dsn_default(599), "5.0.0");
	assert_string_equal(mail_dsn_default(250), "2.0.0");
}

static void
test_retry(void **state)
{
	static const struct {
		int64_t age;
		int64_t delay;
	} cases[] = {{0, 300}, {299, 300}, {301, 301}, {4000, 4000}, {90000, 4000}, {-5, 300}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(
		    mail_retry_delay(NOON + cases[i].age, NOON, 300, 4000), cases[i].delay);
	assert_int_equal(mail_retry_delay(NOON + 50, NOON, 300, 100), 100);
	assert_false(mail_retry_is_expired(NOON + 99, NOON, 100));
	assert_true(mail_retry_is_expired(NOON + 100, NOON, 100));
	assert_true(mail_retry_is_expired(NOON - 5, NOON, 0));
	assert_false(mail_retry_is_expired(NOON - 5, NOON, 1));
}

static void
test_date(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_date_write(&out, NOON);
	assert_string_equal(buf_str(&out), "Sat, 21 Nov 2026 12:00:00 +0000 (UTC)");
	buf_clear(&out);
	mail_date_write(&out, NOON - 20 * 86400);
	assert_string_equal(buf_str(&out), "Sun,  1 Nov 2026 12:00:00 +0000 (UTC)");
}

static void
test_msgid(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};

	(void)state;
	mail_msgid_write(&out, true, NOON, "4jWrNw0000z1", "mail.rp.test");
	assert_string_equal(buf_str(&out), "<20261121120000.4jWrNw0000z1@mail.rp.test>");
	buf_clear(&out);
	mail_msgid_write(&out, false, NOON, "4jWrNw0000z1", "mail.rp.test");
	assert_string_equal(buf_str(&out), "<4jWrNw0000z1@mail.rp.test>");
}

static struct mail_received
received(void)
{
	return (struct mail_received){
	    .helo = "client.test",
	    .client_name = "localhost",
	    .client_addr = "127.0.0.1",
	    .host = "mail.rp.test",
	    .mail_name = "Postfix",
	    .protocol = "ESMTP",
	    .queue_id = "QID",
	    .second = NOON,
	};
}

static void
test_received(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct mail_received r = received();

	(void)state;
	mail_received_write(&out, &r);
	assert_string_equal(buf_str(&out), "Received: from client.test (localhost [127.0.0.1])\n"
					   "\tby mail.rp.test (Postfix) with ESMTP id QID;\n"
					   "\tSat, 21 Nov 2026 12:00:00 +0000 (UTC)\n");
	buf_clear(&out);
	r.rcpt = "a b@dest.test";
	r.client_addr = "2001:db8::1";
	r.helo = NULL;
	r.auth_user = "joe";
	mail_received_write(&out, &r);
	assert_string_equal(buf_str(&out),
	    "Received: from localhost (localhost [IPv6:2001:db8::1])\n"
	    "\t(Authenticated sender: joe)\n"
	    "\tby mail.rp.test (Postfix) with ESMTP id QID\n"
	    "\tfor <\"a b\"@dest.test>; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\n");
	buf_clear(&out);
	mail_received_write_local(&out, "mail.rp.test", "Postfix", 1000, "QID", NOON);
	mail_received_write_internal(&out, "mail.rp.test", "Postfix", "QID", NOON);
	assert_string_equal(buf_str(&out), "Received: by mail.rp.test (Postfix, from userid 1000)\n"
					   "\tid QID; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\n"
					   "Received: by mail.rp.test (Postfix)\n"
					   "\tid QID; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\n");
}

static void
test_received_tls(void **state)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct mail_received r = received();
	struct mail_received_tls tls = {
	    .protocol = "TLSv1.3",
	    .cipher = "TLS_AES_256_GCM_SHA384",
	    .cipher_bits = 256,
	    .cipher_all_bits = 256,
	    .kex = "X25519",
	    .server_signature = "RSA-PSS",
	    .server_bits = 2048,
	    .server_digest = "SHA256",
	};

	(void)state;
	r.tls = &tls;
	r.protocol = mail_received_protocol(true, true, true, false);
	mail_received_write(&out, &r);
	assert_string_equal(buf_str(&out),
	    "Received: from client.test (localhost [127.0.0.1])\n"
	    "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n"
	    "\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\n"
	    "\t(No client certificate requested)\n"
	    "\tby mail.rp.test (Postfix) with ESMTPSA id QID;\n"
	    "\tSat, 21 Nov 2026 12:00:00 +0000 (UTC)\n");
	buf_clear(&out);
	tls = (struct mail_received_tls){
	    .protocol = "TLSv1.2",
	    .cipher = "AES128-SHA",
	    .cipher_bits = 128,
	    .cipher_all_bits = 128,
	    .client_present = true,
	    .client_cn = "c.test",
	    .issuer_cn = "CA",
	};
	mail_received_write(&out, &r);
	assert_non_null(strstr(buf_str(&out),
	    "(128/128 bits))\n\t(Client CN \"c.test\", Issuer \"CA\" (not verified))\n\tby "));
}

static void
test_protocol(void **state)
{
	(void)state;
	assert_string_equal(mail_received_protocol(false, false, false, false), "SMTP");
	assert_string_equal(mail_received_protocol(true, false, false, false), "ESMTP");
	assert_string_equal(mail_received_protocol(true, true, false, false), "ESMTPS");
	assert_string_equal(mail_received_protocol(true, false, true, false), "ESMTPA");
	assert_string_equal(mail_received_protocol(true, false, false, true), "UTF8SMTP");
	assert_string_equal(mail_received_protocol(true, true, true, true), "UTF8SMTPSA");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_queue_id_text),
	    cmocka_unit_test(test_queue_id_order),
	    cmocka_unit_test(test_queue_id_refused),
	    cmocka_unit_test(test_dsn_length),
	    cmocka_unit_test(test_dsn_of_reply),
	    cmocka_unit_test(test_dsn_parts),
	    cmocka_unit_test(test_retry),
	    cmocka_unit_test(test_date),
	    cmocka_unit_test(test_msgid),
	    cmocka_unit_test(test_received),
	    cmocka_unit_test(test_received_tls),
	    cmocka_unit_test(test_protocol),
	};

	(void)setenv("TZ", "UTC0", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
