/*
 * test_access.c - relay control: which client may send where, in which order lists run, and with which words it is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "access/access.h"

#define MAIN_CF                                                                                    \
	"compatibility_level = 3.6\n"                                                              \
	"myhostname = mail.here.test\nmydomain = here.test\nmyorigin = here.test\n"                \
	"mydestination = here.test\nvirtual_alias_domains = alias.test\n"                          \
	"relay_domains = relay.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"         \
	"mynetworks = 127.0.0.0/8\nlocal_recipient_maps =\n"

/* What the test asks: from an outside client unless `client` says otherwise. */
struct question {
	const char *main_cf;
	const char *client;
	enum access_stage stage;
	const char *recipient;
	const char *helo;
	const char *sender;
};

/* What few questions need; asked once, then forgotten. */
static struct {
	const char *etrn_domain;
	size_t rcpt_count;
	bool improper_pipelining;
} also;

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
	    .client_reverse_name = "unknown",
	    .client_address = client,
	    .connection = (const struct sockaddr *)&sa,
	    .helo = q->helo,
	    .sender = q->sender,
	    .sender_received = q->sender,
	    .sender_as_given = q->sender,
	    .rcpt_count = also.rcpt_count,
	    .etrn_domain = also.etrn_domain,
	    .improper_pipelining = also.improper_pipelining,
	    .recipient = q->recipient,
	    .recipient_received = q->recipient,
	    .recipient_as_given = q->recipient,
	};

	assert_int_equal(inet_pton(AF_INET, client, &sa.sin_addr), 1);
	if (!rewrite_new(conf, &rewrite, &err) || !access_new(conf, rewrite, &access, &err))
		fail_msg("%s", err.text);
	access_check(access, q->stage, &request, &verdict);
	memset(&also, 0, sizeof(also));
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
assert_note(
    const struct question *q, enum access_note_kind kind, const char *text, const char *value)
{
	struct access_verdict v = ask(q);

	assert_true(v.permit);
	assert_int_equal(v.note_count, 1);
	assert_int_equal(v.notes[0].kind, kind);
	assert_string_equal(v.notes[0].text, text);
	assert_string_equal(v.notes[0].value, value);
	access_verdict_done(&v);
}

static void
test_warn_if_reject(void **state UNUSED)
{
	const char *plain =
	    MAIN_CF "smtpd_recipient_restrictions = warn_if_reject reject, permit\n";
	const char *class = MAIN_CF "smtpd_restriction_classes = k\nk = permit_mynetworks, reject\n"
				    "smtpd_recipient_restrictions = warn_if_reject k\n";
	const char *text = "554 5.7.1 <a@relay.test>: Recipient address rejected: Access denied";

	assert_note(&(struct question){plain, NULL, ACCESS_RCPT, "a@relay.test", "h", "s@x.test"},
	    ACCESS_NOTE_REJECT_WARNING, text, "");
	assert_note(&(struct question){class, NULL, ACCESS_RCPT, "a@relay.test", "h", "s@x.test"},
	    ACCESS_NOTE_REJECT_WARNING, text, "");
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
	const char *open =
	    MAIN_CF "smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = "
		    "warn_if_reject reject\n";
	const char *class = MAIN_CF
	    "smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = k\n"
	    "smtpd_restriction_classes = k\nk = reject_unauth_destination\n";

	assert_reject(&(struct question){open, "127.0.0.1", ACCESS_RCPT, "a@here.test", "h", "s"},
	    451, "4.3.5", "Server configuration error");
	assert_reject(&(struct question){class, NULL, ACCESS_RCPT, "a@far.test", "h", "s"}, 554,
	    "5.7.1", "<a@far.test>: Relay access denied");
}

#define TABLE(text)                                                                                \
	MAIN_CF "smtpd_recipient_restrictions = check_recipient_access inline:{" text "}\n"
#define SENDERS(text) MAIN_CF "smtpd_sender_restrictions = check_sender_access inline:{" text "}\n"

/* access(5): replies, and enhanced codes that fit what they are about. */
static void
test_table_replies(void **state UNUSED)
{
	static const struct {
		const char *main_cf;
		int code;
		const char *dsn;
		const char *text;
	} cases[] = {
	    {TABLE("{a@relay.test=REJECT}"), 554, "5.7.1",
		"<a@relay.test>: Recipient address rejected: Access denied"},
	    {TABLE("{relay.test=REJECT 5.1.7 no}"), 554, "5.1.3",
		"<a@relay.test>: Recipient address rejected: no"},
	    {TABLE("{a@=451 4.3.0 later}"), 451, "4.3.0",
		"<a@relay.test>: Recipient address rejected: later"},
	    {TABLE("{test=550 4.2.2 x}"), 550, "5.2.2",
		"<a@relay.test>: Recipient address rejected: x"},
	    {TABLE("{a@relay.test=DEFER}"), 450, "4.7.1",
		"<a@relay.test>: Recipient address rejected: Access denied"},
	    {TABLE("{a@relay.test=DEFER_IF_PERMIT wait}"), 450, "4.7.1",
		"<a@relay.test>: Recipient address rejected: wait"},
	    {TABLE("{a@relay.test=hash:/x}"), 451, "4.3.5", "Server configuration error"},
	    {TABLE("{a@relay.test=warn_if_reject reject, defer}"), 450, "4.3.2",
		"<a@relay.test>: Recipient address rejected: Try again later"},
	    {SENDERS("{s@x.test=REJECT 5.1.1 t}"), 554, "5.1.7",
		"<s@x.test>: Sender address rejected: t"},
	    {SENDERS("{x.test=521 5.3.2 off}"), 521, "5.3.2",
		"<s@x.test>: Sender address rejected: off"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_reject(&(struct question){cases[i].main_cf, NULL, ACCESS_RCPT,
				  "a@relay.test", "h", "s@x.test"},
		    cases[i].code, cases[i].dsn, cases[i].text);
}

static void
test_table_actions(void **state UNUSED)
{
	static const struct {
		const char *main_cf;
		enum access_note_kind kind;
		const char *text;
		const char *value;
	} cases[] = {
	    {TABLE("{a@relay.test=HOLD}"), ACCESS_NOTE_HOLD,
		"<a@relay.test>: Recipient address triggers HOLD action", ""},
	    {TABLE("{a@relay.test=DISCARD quietly}"), ACCESS_NOTE_DISCARD,
		"<a@relay.test>: Recipient address quietly", ""},
	    {TABLE("{a@relay.test=FILTER smtp:[h]}"), ACCESS_NOTE_FILTER,
		"<a@relay.test>: Recipient address triggers FILTER smtp:[h]", "smtp:[h]"},
	    {TABLE("{a@relay.test=REDIRECT b@c.test}"), ACCESS_NOTE_REDIRECT,
		"<a@relay.test>: Recipient address triggers REDIRECT b@c.test", "b@c.test"},
	    {TABLE("{a@relay.test=BCC b@c.test}"), ACCESS_NOTE_BCC,
		"<a@relay.test>: Recipient address triggers BCC b@c.test", "b@c.test"},
	    {TABLE("{a@relay.test=PREPEND X-A: b}"), ACCESS_NOTE_PREPEND, "X-A: b", "X-A: b"},
	    {TABLE("{a@relay.test=INFO seen}"), ACCESS_NOTE_INFO, "seen", ""},
	    {TABLE("{a@relay.test=WARN look}"), ACCESS_NOTE_WARN, "look", ""},
	    {MAIN_CF
		"smtpd_log_access_permit_actions = !permit, permit_auth_destination\n"
		"smtpd_client_restrictions = permit\nsmtpd_recipient_restrictions = permit_auth_destination\n",
		ACCESS_NOTE_PERMIT,
		"action=permit_auth_destination for Recipient address=a@relay.test ", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_note(&(struct question){cases[i].main_cf, NULL, ACCESS_RCPT, "a@relay.test",
				"h", "s@x.test"},
		    cases[i].kind, cases[i].text, cases[i].value);
	/* What cannot be done is not done. */
	assert_permit(&(struct question){
	    TABLE("{a@relay.test=PREPEND nocolon}"), NULL, ACCESS_RCPT, "a@relay.test", "h", "s"});
	assert_permit(&(struct question){
	    TABLE("{a@relay.test=FILTER nowhere}"), NULL, ACCESS_RCPT, "a@relay.test", "h", "s"});
}

static void
test_table_keys(void **state UNUSED)
{
	const char *network = MAIN_CF "smtpd_client_restrictions = inline:{{192.0=REJECT}}\n";
	const char *helo = MAIN_CF "smtpd_helo_restrictions = inline:{{bad.test=REJECT}}\n";
	const char *null = SENDERS("{<>=REJECT}");
	const char *other = SENDERS("{<>=REJECT}") "smtpd_null_access_lookup_key = nobody\n";
	const char *no_ok = MAIN_CF
	    "smtpd_client_restrictions = check_reverse_client_hostname_access inline:{{unknown=OK}}\n";

	assert_reject(&(struct question){network, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 554,
	    "5.7.1", "<unknown[192.0.2.7]>: Client host rejected: Access denied");
	assert_reject(
	    &(struct question){helo, NULL, ACCESS_RCPT, "a@relay.test", "x.bad.test", "s"}, 554,
	    "5.7.1", "<x.bad.test>: Helo command rejected: Access denied");
	assert_reject(&(struct question){null, NULL, ACCESS_RCPT, "a@relay.test", "h", ""}, 554,
	    "5.7.1", "<>: Sender address rejected: Access denied");
	assert_permit(&(struct question){other, NULL, ACCESS_RCPT, "a@relay.test", "h", ""});
	/* A name that its owner chose may not open the door. */
	assert_reject(&(struct question){no_ok, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 451,
	    "4.3.5", "Server configuration error");
}

static void
test_unlisted(void **state UNUSED)
{
	const char *local = MAIN_CF "local_recipient_maps = inline:{ joe=x }\nalias_maps =\n";
	const char *relay = MAIN_CF "relay_recipient_maps = inline:{ joe@relay.test=x }\n"
				    "show_user_unknown_table_name = no\n";
	const char *sender = MAIN_CF "smtpd_reject_unlisted_sender = yes\n"
				     "local_recipient_maps = inline:{ joe=x }\n";
	const char *canonical = MAIN_CF "local_recipient_maps = inline:{ joe=x }\n"
					"canonical_maps = inline:{ ann=b@far.test }\n";

	assert_permit(&(struct question){local, NULL, ACCESS_RCPT, "joe@here.test", "h", "s"});
	assert_permit(
	    &(struct question){local, NULL, ACCESS_RCPT, "MAILER-DAEMON@here.test", "h", "s"});
	assert_reject(&(struct question){local, NULL, ACCESS_RCPT, "ann@here.test", "h", "s"}, 550,
	    "5.1.1",
	    "<ann@here.test>: Recipient address rejected: User unknown in local recipient table");
	assert_reject(&(struct question){relay, NULL, ACCESS_RCPT, "ann@relay.test", "h", "s"}, 550,
	    "5.1.1", "<ann@relay.test>: Recipient address rejected: User unknown");
	assert_reject(
	    &(struct question){sender, NULL, ACCESS_RCPT, "a@relay.test", "h", "ann@here.test"},
	    550, "5.1.0",
	    "<ann@here.test>: Sender address rejected: User unknown in local recipient table");
	assert_permit(&(struct question){canonical, NULL, ACCESS_RCPT, "ann@here.test", "h", "s"});
}

/* Without smtpd_delay_reject what a list asked for at connect is remembered until RCPT. */
static void
test_memory(void **state UNUSED)
{
	struct conf *conf = conf_from_text(
	    MAIN_CF "smtpd_delay_reject = no\nsmtpd_client_restrictions = defer_if_permit\n");
	struct access_memory memory = {0};
	struct access_request request = {
	    .client_name = "unknown", .client_address = "192.0.2.7", .memory = &memory};
	struct access_verdict v = {0};
	struct rewrite *rewrite;
	struct access *access;
	struct err err;

	assert_true(rewrite_new(conf, &rewrite, &err));
	assert_true(access_new(conf, rewrite, &access, &err));
	access_check(access, ACCESS_CONNECT, &request, &v);
	assert_true(v.permit);
	request.helo = "h";
	request.sender = request.sender_received = request.sender_as_given = "s";
	request.recipient = request.recipient_received = request.recipient_as_given =
	    "a@relay.test";
	access_check(access, ACCESS_RCPT, &request, &v);
	assert_false(v.permit);
	assert_int_equal(v.code, 450);
	access_verdict_done(&v);
	access_memory_done(&memory);
	access_free(&access);
	rewrite_free(&rewrite);
	conf_unref(&conf);
}

static void
test_pending_deferrals(void **state UNUSED)
{
	const char *permit = MAIN_CF "smtpd_recipient_restrictions = defer_if_permit, permit\n";
	const char *reject = MAIN_CF "smtpd_recipient_restrictions = defer_if_permit, reject\n";
	const char *both = MAIN_CF "smtpd_recipient_restrictions = defer_if_reject, reject\n";
	const char *early = MAIN_CF "smtpd_client_restrictions = defer_if_permit\n";

	assert_reject(&(struct question){permit, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 450,
	    "4.7.0", "<a@relay.test>: Recipient address rejected: defer_if_permit requested");
	assert_reject(&(struct question){reject, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 554,
	    "5.7.1", "<a@relay.test>: Recipient address rejected: Access denied");
	assert_reject(&(struct question){both, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 450,
	    "4.7.0", "<a@relay.test>: Recipient address rejected: defer_if_reject requested");
	/* It carries over from list to list. */
	assert_reject(&(struct question){early, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 450,
	    "4.7.0", "<unknown[192.0.2.7]>: Client host rejected: defer_if_permit requested");
}

static void
test_classes(void **state UNUSED)
{
	const char *nested = MAIN_CF "smtpd_restriction_classes = strict, inner\n"
				     "strict = permit_mynetworks, inner\ninner = reject\n"
				     "smtpd_recipient_restrictions = strict\n";
	const char *endless = MAIN_CF "smtpd_restriction_classes = again\nagain = again\n"
				      "smtpd_recipient_restrictions = again\n";

	assert_permit(
	    &(struct question){nested, "127.0.0.1", ACCESS_RCPT, "a@relay.test", "h", "s"});
	assert_reject(&(struct question){nested, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 554,
	    "5.7.1", "<a@relay.test>: Recipient address rejected: Access denied");
	assert_reject(&(struct question){endless, NULL, ACCESS_RCPT, "a@relay.test", "h", "s"}, 451,
	    "4.3.5", "Server configuration error");
}

static void
test_postmaster_is_always_reached(void **state UNUSED)
{
	const char *main_cf = MAIN_CF "smtpd_client_restrictions = reject\n";

	assert_permit(&(struct question){main_cf, NULL, ACCESS_RCPT, "PostMaster", "h", "s"});
	assert_reject(
	    &(struct question){main_cf, NULL, ACCESS_RCPT, "postmaster@here.test", "h", "s"}, 554,
	    "5.7.1", "<unknown[192.0.2.7]>: Client host rejected: Access denied");
}

static void
test_helo_syntax(void **state UNUSED)
{
	const char *main_cf = MAIN_CF "smtpd_helo_restrictions = reject_invalid_helo_hostname\n"
				      "smtpd_delay_reject = no\n";
	static const char *const good[] = {
	    "a_b.test", "[127.0.0.1]", "1.2.3.4", "ok.test", "[IPv6:::1]"};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_permit(&(struct question){main_cf, NULL, ACCESS_HELO, NULL, good[i], NULL});
	assert_reject(&(struct question){main_cf, NULL, ACCESS_HELO, NULL, "a..b", NULL}, 501,
	    "5.5.2", "<a..b>: Helo command rejected: Invalid name");
	assert_reject(&(struct question){main_cf, NULL, ACCESS_HELO, NULL, "[1.2.3]", NULL}, 501,
	    "5.5.2", "<[1.2.3]>: Helo command rejected: invalid ip address");
}

static void
test_data_stage(void **state UNUSED)
{
	const char *pipelining = MAIN_CF "smtpd_data_restrictions = reject_unauth_pipelining\n";
	const char *bounce = MAIN_CF "smtpd_data_restrictions = reject_multi_recipient_bounce\n";

	assert_permit(&(struct question){pipelining, NULL, ACCESS_DATA, NULL, "h", ""});
	also.improper_pipelining = true;
	assert_reject(&(struct question){pipelining, NULL, ACCESS_DATA, NULL, "h", ""}, 503,
	    "5.5.0", "<DATA>: Data command rejected: Improper use of SMTP command pipelining");
	also.rcpt_count = 1;
	assert_permit(&(struct question){bounce, NULL, ACCESS_DATA, NULL, "h", ""});
	also.rcpt_count = 2;
	assert_reject(&(struct question){bounce, NULL, ACCESS_DATA, NULL, "h", ""}, 550, "5.5.3",
	    "<DATA>: Data command rejected: Multi-recipient bounce");
}

static void
test_etrn(void **state UNUSED)
{
	const char *refuse = MAIN_CF "smtpd_etrn_restrictions = permit_mynetworks, reject\n";
	const char *client = MAIN_CF "smtpd_client_restrictions = reject\n";

	also.etrn_domain = "relay.test";
	assert_reject(&(struct question){refuse, NULL, ACCESS_ETRN, NULL, "h", NULL}, 554, "5.7.1",
	    "<relay.test>: Etrn command rejected: Access denied");
	also.etrn_domain = "relay.test";
	assert_permit(&(struct question){refuse, "127.0.0.1", ACCESS_ETRN, NULL, "h", NULL});
	also.etrn_domain = "relay.test";
	assert_reject(&(struct question){client, NULL, ACCESS_ETRN, NULL, "h", NULL}, 554, "5.7.1",
	    "<unknown[192.0.2.7]>: Client host rejected: Access denied");
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
	    cmocka_unit_test(test_table_replies),
	    cmocka_unit_test(test_table_actions),
	    cmocka_unit_test(test_table_keys),
	    cmocka_unit_test(test_unlisted),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_pending_deferrals),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_postmaster_is_always_reached),
	    cmocka_unit_test(test_helo_syntax),
	    cmocka_unit_test(test_data_stage),
	    cmocka_unit_test(test_etrn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
