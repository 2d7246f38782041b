/*
 * test_access.c - relay control: which client may send where, in which order lists run, and with which words it is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "access/access.h"

#define MAIN_CF                                                                                    \
	"compatibility_level = 3.6\n"                                                              \
	"myhostname = mail.here.test\nmydomain = here.test\nmyorigin = here.test\n"                \
	"mydestination = here.test\nvirtual_alias_domains = alias.test\n"                          \
	"relay_domains = relay.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"         \
	"mynetworks = 127.0.0.0/8\n"

/* What the test asks: from an outside client unless `client` says otherwise. */
struct question {
	const char *main_cf;
	const char *client;
	enum access_stage stage;
	const char *recipient;
	const char *helo;
	const char *sender;
};

static struct access_verdict
ask(const struct question *q)
{
	struct conf *conf = conf_from_text(q->main_cf);
	struct sockaddr_in sa = {.sin_family = AF_INET};
	struct access_verdict verdict = {0};
	struct rewrite *rewrite;
	struct access *access;
	struct err err;
	const char *client = q->client != NULL ? q->client : "192.0.2.7";
	const struct access_request request = {
	    .client_name = "unknown",
	    .client_address = client,
	    .client_sa = (const struct sockaddr *)&sa,
	    .helo = q->helo,
	    .sender = q->sender,
	    .sender_as_given = q->sender,
	    .recipient = q->recipient,
	    .recipient_as_given = q->recipient,
	};

	assert_int_equal(inet_pton(AF_INET, client, &sa.sin_addr), 1);
	if (!rewrite_new(conf, &rewrite, &err) || !access_new(conf, rewrite, &access, &err))
		fail_msg("%s", err.text);
	access_check(access, q->stage, &request, &verdict);
	access_free(&access);
	rewrite_free(&rewrite);
	conf_unref(&conf);
	return verdict;
}

static void
assert_permit(const struct question *q)
{
	struct access_verdict v = ask(q);

	assert_true(v.permit);
	access_verdict_done(&v);
}

static void
assert_reject(const struct question *q, int code, const char *dsn, const char *text)
{
	struct access_verdict v = ask(q);

	assert_false(v.permit);
	assert_int_equal(v.code, code);
	assert_string_equal(v.dsn, dsn);
	assert_string_equal(buf_str(&v.text), text);
	access_verdict_done(&v);
}

static void
test_default_relay_control(void **state UNUSED)
{
	assert_permit(
	    &(struct question){MAIN_CF, "127.0.0.1", ACCESS_RCPT, "a@else.test", "h", "s@x.test"});
	assert_permit(
	    &(struct question){MAIN_CF, NULL, ACCESS_RCPT, "a@relay.test", "h", "s@x.test"});
	assert_permit(
	    &(struct question){MAIN_CF, NULL, ACCESS_RCPT, "a@here.test", "h", "s@x.test"});
	assert_reject(
	    &(struct question){MAIN_CF, NULL, ACCESS_RCPT, "a@else.test", "h", "s@x.test"}, 454,
	    "4.7.1", "<a@else.test>: Relay access denied");
	/* Routing tricks in the local part are relaying too. */
	assert_reject(
	    &(struct question){MAIN_CF, NULL, ACCESS_RCPT, "a%else.test@relay.test", "h", "s"}, 454,
	    "4.7.1", "<a%else.test@relay.test>: Relay access denied");
}

static void
test_reject_unauth_destination(void **state UNUSED)
{
	const char *main_cf =
	    MAIN_CF "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n";

	assert_reject(
	    &(struct question){main_cf, NULL, ACCESS_RCPT, "a@else.test", "h", "s@x.test"}, 554,
	    "5.7.1", "<a@else.test>: Relay access denied");
	assert_reject(
	    &(struct question){MAIN_CF "soft_bounce = yes\nsmtpd_relay_restrictions = reject\n",
		NULL, ACCESS_RCPT, "a@relay.test", "h", "s"},
	    454, "4.7.1", "<a@relay.test>: Recipient address rejected: Access denied");
}

static void
test_unlisted_recipient(void **state UNUSED)
{
	assert_reject(&(struct question){MAIN_CF, "127.0.0.1", ACCESS_RCPT, "nobody@alias.test",
			  "h", "s@x.test"},
	    550, "5.1.1",
	    "<nobody@alias.test>: Recipient address rejected: User unknown in virtual alias table");
	assert_permit(&(struct question){MAIN_CF "smtpd_reject_unlisted_recipient = no\n",
	    "127.0.0.1", ACCESS_RCPT, "nobody@alias.test", "h", "s@x.test"});
}

static void
test_delay_reject(void **state UNUSED)
{
	const char *late = MAIN_CF "smtpd_client_restrictions = reject\n";
	const char *early = MAIN_CF "smtpd_client_restrictions = reject\nsmtpd_delay_reject = no\n";

	assert_permit(&(struct question){late, NULL, ACCESS_CONNECT, NULL, NULL, NULL});
	assert_reject(&(struct question){late, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 554,
	    "5.7.1", "<unknown[192.0.2.7]>: Client host rejected: Access denied");
	assert_reject(&(struct question){early, NULL, ACCESS_CONNECT, NULL, NULL, NULL}, 554,
	    "5.7.1", "<unknown[192.0.2.7]>: Client host rejected: Access denied");
}

static void
test_names(void **state UNUSED)
{
	const char *helo = MAIN_CF "smtpd_helo_restrictions = reject_non_fqdn_helo_hostname\n";
	const char *sender = MAIN_CF "smtpd_sender_restrictions = reject_non_fqdn_sender\n";

	assert_reject(
	    &(struct question){helo, NULL, ACCESS_RCPT, "a@relay.test", "host", "s@x.test"}, 504,
	    "5.5.2", "<host>: Helo command rejected: need fully-qualified hostname");
	assert_permit(
	    &(struct question){helo, NULL, ACCESS_RCPT, "a@relay.test", "[192.0.2.7]", "s@x.test"});
	assert_reject(&(struct question){sender, NULL, ACCESS_RCPT, "a@relay.test", "h", "s@host"},
	    504, "5.5.2", "<s@host>: Sender address rejected: need fully-qualified address");
	assert_permit(&(struct question){sender, NULL, ACCESS_RCPT, "a@relay.test", "h", ""});
}

static void
test_warn_if_reject(void **state UNUSED)
{
	struct access_verdict v = ask(&(struct question){MAIN_CF
	    "smtpd_recipient_restrictions = warn_if_reject reject, permit\n",
	    NULL, ACCESS_RCPT, "a@relay.test", "h", "s@x.test"});

	assert_true(v.permit);
	assert_string_equal(buf_str(&v.warning),
	    "554 5.7.1 <a@relay.test>: Recipient address rejected: Access denied\n");
	access_verdict_done(&v);
}

static void
test_unknown_restriction_is_temporary(void **state UNUSED)
{
	assert_reject(&(struct question){MAIN_CF "smtpd_recipient_restrictions = no_such_thing\n",
			  NULL, ACCESS_RCPT, "a@relay.test", "h", "s@x.test"},
	    451, "4.3.5", "Server configuration error");
}

static void
test_open_relay_is_refused(void **state UNUSED)
{
	struct conf *conf = conf_from_text(MAIN_CF
	    "smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions =\n");
	struct rewrite *rewrite;
	struct access *access = NULL;
	struct err err;

	assert_true(rewrite_new(conf, &rewrite, &err));
	assert_false(access_new(conf, rewrite, &access, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	rewrite_free(&rewrite);
	conf_unref(&conf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_default_relay_control),
	    cmocka_unit_test(test_reject_unauth_destination),
	    cmocka_unit_test(test_unlisted_recipient),
	    cmocka_unit_test(test_delay_reject),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_warn_if_reject),
	    cmocka_unit_test(test_unknown_restriction_is_temporary),
	    cmocka_unit_test(test_open_relay_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
