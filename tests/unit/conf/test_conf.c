/*
 * test_conf.c - a loaded configuration: getters, overrides, service parameters, defaults that depend on others.
 */
#include "conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "conf/conf_param.h"

#define CONF(name, text) struct conf *name CLEANUP(conf_unref) = conf_from_text(text)

static void
getters(void **state UNUSED)
{
	CONF(c, "myhostname = mail.example.com\n"
		"smtpd_recipient_limit = 7\n"
		"message_size_limit = 50000000000\n"
		"queue_run_delay = 2m\n"
		"soft_bounce = yes\n"
		"notify_classes = Bounce, policy\n"
		"smtpd_tls_security_level = MAY\n"
		"mailbox_command = /bin/x $USER\n"
		"my_class = permit_mynetworks\n");

	assert_string_equal(conf_str(c, CONF_myhostname), "mail.example.com");
	assert_string_equal(conf_str(c, CONF_mydomain), "example.com");
	assert_string_equal(conf_str(c, CONF_myorigin), "mail.example.com");
	assert_int_equal(conf_int(c, CONF_smtpd_recipient_limit), 7);
	assert_int_equal(conf_size(c, CONF_message_size_limit), 50000000000);
	assert_int_equal(conf_time(c, CONF_queue_run_delay), 120 * CLOCK_SECOND);
	assert_int_equal(conf_time(c, CONF_smtpd_timeout), 300 * CLOCK_SECOND);
	assert_true(conf_bool(c, CONF_soft_bounce));
	assert_false(conf_bool(c, CONF_smtpd_helo_required));
	assert_true(conf_is(c, CONF_smtpd_tls_security_level, "may"));
	assert_true(conf_has(c, CONF_notify_classes, "bounce"));
	assert_false(conf_has(c, CONF_notify_classes, "resource"));
	assert_string_equal(conf_str(c, CONF_mailbox_command), "/bin/x $USER");
	assert_string_equal(conf_written(c, CONF_myorigin), "$myhostname");
	assert_true(conf_is_set(c, CONF_soft_bounce));
	assert_false(conf_is_set(c, CONF_myorigin));
	assert_string_equal(conf_dir(c), "/nowhere");
}

static void
by_name(void **state UNUSED)
{
	CONF(c, "myhostname = h.ex\nmine = x-$myhostname\nbad = $bad\n");
	struct buf out CLEANUP(buf_done) = {0};
	struct err err;

	assert_true(conf_lookup(c, SPAN_LIT("mine"), &out, &err));
	assert_string_equal(buf_str(&out), "x-h.ex");
	assert_string_equal(conf_lookup_written(c, SPAN_LIT("mine")), "x-$myhostname");
	assert_null(conf_lookup_written(c, SPAN_LIT("nothing")));
	err_clear(&err);
	assert_false(conf_lookup(c, SPAN_LIT("nothing"), &out, &err));
	assert_int_equal(err.kind, ERR_NONE);
	assert_false(conf_lookup(c, SPAN_LIT("bad"), &out, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
}

static void
overrides(void **state UNUSED)
{
	static const struct conf_override own[] = {{"syslog_name", "postfix/$service_name"},
	    {"smtpd_recipient_limit", "3"}, {"smtpd_recipient_limit", "4"}, {"mine", "2"}};
	struct conf_source source = {.dir = "/etc/x/",
	    .main_text = "smtpd_recipient_limit = 7\nmine = 1\nmyorigin = $mine$process_name\n",
	    .program = "smtpd",
	    .service = "submission",
	    .overrides = own,
	    .override_count = ARRAY_LEN(own)};
	struct conf *c CLEANUP(conf_unref) = NULL;
	struct err err;

	assert_true(conf_load(&source, &c, &err));
	assert_string_equal(conf_str(c, CONF_syslog_name), "postfix/submission");
	assert_int_equal(conf_int(c, CONF_smtpd_recipient_limit), 4);
	assert_string_equal(conf_str(c, CONF_myorigin), "2smtpd");
	assert_string_equal(conf_str(c, CONF_config_directory), "/etc/x");
}

static void
refused(const char *text, const char *problem)
{
	struct conf_source source = {.dir = "/d", .main_text = text};
	struct conf *c = NULL;
	struct err err;

	assert_false(conf_load(&source, &c, &err));
	assert_null(c);
	assert_int_equal(err.kind, ERR_CONFIG);
	assert_string_equal(err.text, problem);
}

static void
mistakes(void **state UNUSED)
{
	refused("a = b\n\nmessage_size_limit = 12abc\n",
	    "bad numerical configuration: message_size_limit = 12abc");
	refused(
	    "not valid\n", "/d/main.cf, line 1: missing '=' after attribute name: \"not valid\"");
	refused("relayhost = $relayhost\n", "unreasonable macro call nesting: \"$relayhost\"");
	refused("relayhost = ${a\n", "/d/main.cf, line 1: truncated macro reference: \"${a\"");
	/* A value of the table that goes wrong through one that is set. */
	refused("compatibility_level = x\n",
	    "/d/main.cf, line 1: malformed compatibility level syntax: \"x\"");
	refused("stress = yes\nsmtpd_hard_error_limit = ${stress?{-1}:{2}}\n",
	    "invalid smtpd_hard_error_limit parameter value -1 < 1");

	struct conf_override bad = {"soft_bounce", "maybe"};
	struct conf_source source = {
	    .dir = "/d", .main_text = "", .overrides = &bad, .override_count = 1};
	struct conf *c = NULL;
	struct err err;
	assert_false(conf_load(&source, &c, &err));
	assert_string_equal(
	    err.text, "parameter soft_bounce: bad boolean configuration: soft_bounce = maybe");
}

static void
service_parameters(void **state UNUSED)
{
	CONF(c, "default_destination_concurrency_limit = 11\n"
		"relay_destination_concurrency_limit = 3\n"
		"slow_destination_rate_delay = 1m\n"
		"bad_initial_destination_concurrency = x\n"
		"uucp_time_limit = 2h\n"
		"command_time_limit = 9\n");
	struct err err;
	struct buf text CLEANUP(buf_done) = {0};
	int64_t us;
	int n;

	assert_true(
	    conf_service_int(c, "smtp", CONF_transport_destination_concurrency_limit, &n, &err));
	assert_int_equal(n, 11);
	assert_true(
	    conf_service_int(c, "relay", CONF_transport_destination_concurrency_limit, &n, &err));
	assert_int_equal(n, 3);
	/* A default of its own. */
	assert_true(
	    conf_service_int(c, "local", CONF_transport_destination_concurrency_limit, &n, &err));
	assert_int_equal(n, 2);
	assert_true(
	    conf_service_int(c, "local", CONF_transport_destination_recipient_limit, &n, &err));
	assert_int_equal(n, 1);
	assert_true(conf_service_time(c, "slow", CONF_transport_destination_rate_delay, &us, &err));
	assert_int_equal(us, 60 * CLOCK_SECOND);
	assert_true(conf_service_time(c, "smtp", CONF_transport_destination_rate_delay, &us, &err));
	assert_int_equal(us, 0);
	assert_true(conf_service_time(c, "uucp", CONF_transport_time_limit, &us, &err));
	assert_int_equal(us, 7200 * CLOCK_SECOND);
	assert_true(conf_service_time(c, "pipe", CONF_transport_time_limit, &us, &err));
	assert_int_equal(us, 9 * CLOCK_SECOND);
	assert_true(conf_service_str(
	    c, "smtp", CONF_transport_destination_concurrency_positive_feedback, &text, &err));
	assert_string_equal(buf_str(&text), "1");
	assert_false(
	    conf_service_int(c, "bad", CONF_transport_initial_destination_concurrency, &n, &err));
	assert_string_equal(
	    err.text, "bad numerical configuration: bad_initial_destination_concurrency = x");
}

/* The eleven defaults that follow compatibility_level; smtp_tls_security_level stays what it is in 3.7. */
static void
compatibility_levels(void **state UNUSED)
{
	static const struct {
		enum conf_param p;
		const char *from; /* the level that changes it */
		const char *before, *after;
	} rows[] = {
	    {CONF_append_dot_mydomain, "1", "yes", "no"},
	    {CONF_smtputf8_enable, "1", "no", "yes"},
	    {CONF_smtpd_relay_restrictions, "1", "",
		"permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"},
	    {CONF_mynetworks_style, "2", "subnet", "host"},
	    {CONF_relay_domains, "2", "a.example", ""},
	    {CONF_smtpd_tls_fingerprint_digest, "3.6", "md5", "sha256"},
	    {CONF_smtp_tls_fingerprint_digest, "3.6", "md5", "sha256"},
	    {CONF_lmtp_tls_fingerprint_digest, "3.6", "md5", "sha256"},
	    {CONF_smtpd_relay_before_recipient_restrictions, "3.6", "no", "yes"},
	    {CONF_respectful_logging, "3.6", "no", "yes"},
	};
	static const char *const levels[] = {"0", "1", "2", "3.6", "3.11"};

	for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
		char *text CLEANUP(mem_free_str) = mem_printf(
		    "mydestination = a.example\nmynetworks = 127.0.0.1\ncompatibility_level = %s\n",
		    levels[l]);
		CONF(c, text);

		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			struct buf value CLEANUP(buf_done) = {0};
			struct err err;
			size_t changes = 0;

			while (strcmp(levels[changes], rows[i].from) != 0)
				changes++;
			assert_true(conf_lookup(
			    c, span_str(conf_param_info(rows[i].p)->name), &value, &err));
			assert_string_equal(
			    buf_str(&value), l < changes ? rows[i].before : rows[i].after);
		}
	}
}

static void
names_of_the_host(void **state UNUSED)
{
	CONF(plain, "mydomain = example.net\n");
	CONF(both, "myhostname = mx.$mydomain\nmydomain = example.org\n");
	CONF(short_name, "myhostname = mx\n");
	CONF(neither, "myhostname = mx.$mydomain\n");

	assert_true(strchr(conf_str(plain, CONF_myhostname), '.') != NULL);
	assert_string_equal(conf_str(both, CONF_myhostname), "mx.example.org");
	assert_string_equal(conf_str(short_name, CONF_mydomain), "localdomain");
	assert_string_equal(conf_str(neither, CONF_myhostname), "mx.localdomain");
}

static const char *
occasion(void *arg UNUSED, struct span name)
{
	if (span_equal_str(name, "recipient"))
		return "x; $myhostname $(rm)";
	return NULL;
}

static void
expansion_with_names_of_the_occasion(void **state UNUSED)
{
	CONF(c, "myhostname = h.ex\nfoo = $recipient!\n");
	struct macro_source extra = {
	    .lookup = occasion, .filter = "abcdefghijklmnopqrstuvwxyz()$ "};
	struct buf out CLEANUP(buf_done) = {0};
	struct err err;

	assert_true(conf_expand(c, SPAN_LIT("[$recipient] $myhostname $foo"), &extra, &out, &err));
	assert_string_equal(buf_str(&out), "[x_ $myhostname $(rm)] h.ex x_ $myhostname $(rm)!");
}

static void
references(void **state UNUSED)
{
	struct conf *c = conf_from_text("");
	struct conf *d = conf_ref(c);

	conf_unref(&c);
	assert_null(c);
	assert_string_equal(conf_str(d, CONF_relayhost), "");
	conf_unref(&d);
	conf_unref(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(getters),
	    cmocka_unit_test(by_name),
	    cmocka_unit_test(overrides),
	    cmocka_unit_test(mistakes),
	    cmocka_unit_test(service_parameters),
	    cmocka_unit_test(compatibility_levels),
	    cmocka_unit_test(names_of_the_host),
	    cmocka_unit_test(expansion_with_names_of_the_occasion),
	    cmocka_unit_test(references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
