/*
 * test_conf_value.c - values from text: numbers, times, words, lists, levels.
 */
#include "conf/conf_value.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "conf/conf_level.h"

static void
times(void **state UNUSED)
{
	static const struct {
		const char *text;
		char unit;
		int64_t us; /* -1: no time */
	} cases[] = {
	    {"0", 's', 0},
	    {"5", 's', 5 * CLOCK_SECOND},
	    {"5", 'd', 5 * 86400 * CLOCK_SECOND},
	    {"300s", 'd', 300 * CLOCK_SECOND},
	    {"2M", 's', 120 * CLOCK_SECOND},
	    {"1h", 's', 3600 * CLOCK_SECOND},
	    {"1w", 's', 7 * 86400 * CLOCK_SECOND},
	    {"20ms", 's', 20 * CLOCK_MILLI},
	    {"2147483647", 's', INT32_MAX * CLOCK_SECOND},
	    {"2147483648", 's', -1},
	    {"2147483647w", 's', -1},
	    {"1h30m", 's', -1},
	    {"", 's', -1},
	    {"s", 's', -1},
	    {"-1", 's', -1},
	    {"5 s", 's', -1},
	    {"5x", 's', -1},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t us = -1;
		bool ok = conf_value_time(span_str(cases[i].text), cases[i].unit, &us);

		assert_int_equal(us, cases[i].us);
		assert_int_equal(ok, cases[i].us >= 0);
	}
}

static void
check_value(enum conf_param p, const char *text, int64_t want, const char *problem)
{
	int64_t number = -1;
	struct err err;
	const struct conf_param_info *info = conf_param_info(p);

	if (conf_value_parse(info, info->name, text, &number, &err)) {
		assert_null(problem);
		assert_int_equal(number, want);
		return;
	}
	assert_non_null(problem);
	assert_string_equal(err.text, problem);
}

static void
values(void **state UNUSED)
{
	check_value(CONF_smtpd_recipient_limit, "1000", 1000, NULL);
	check_value(CONF_smtpd_recipient_limit, "+7", 7, NULL);
	check_value(CONF_smtpd_recipient_limit, "0", 0,
	    "invalid smtpd_recipient_limit parameter value 0 < 1");
	check_value(CONF_message_size_limit, "12abc", 0,
	    "bad numerical configuration: message_size_limit = 12abc");
	check_value(
	    CONF_message_size_limit, "", 0, "bad numerical configuration: message_size_limit = ");
	check_value(CONF_message_size_limit, "99999999999", 99999999999, NULL);
	/* Postfix does not look at a minimum of 0: what is below means what 0 means. */
	check_value(CONF_message_size_limit, "-5", 0, NULL);
	check_value(CONF_smtpd_recipient_limit, "3000000000", 0,
	    "invalid smtpd_recipient_limit parameter value 3000000000 > 2147483647");
	check_value(CONF_soft_bounce, "YES", 1, NULL);
	check_value(CONF_soft_bounce, "no", 0, NULL);
	check_value(CONF_soft_bounce, "on", 0, "bad boolean configuration: soft_bounce = on");
	check_value(CONF_maximal_queue_lifetime, "3", 3 * 86400 * CLOCK_SECOND, NULL);
	check_value(CONF_smtp_connect_timeout, "1x", 0,
	    "parameter smtp_connect_timeout: bad time value or unit: 1x");
	check_value(CONF_queue_batch_gather_time, "2s", 0,
	    "invalid queue_batch_gather_time parameter value 2 > 1");
	check_value(CONF_smtpd_tls_security_level, "", 0, NULL);
	check_value(CONF_smtpd_tls_security_level, "May", 0, NULL);
	check_value(CONF_smtpd_tls_security_level, "mayb", 0,
	    "unknown value \"mayb\" of parameter smtpd_tls_security_level: specify none|may|encrypt");
	check_value(CONF_notify_classes, "bounce, 2bounce", 0, NULL);
	check_value(CONF_inet_protocols, "ipv5", 0,
	    "unknown value \"ipv5\" of parameter inet_protocols: specify all|ipv4|ipv6");
}

static void
items(void **state UNUSED)
{
	struct span rest = SPAN_LIT("  a, {b c, d},e{f g}h ,, i{ j"), item;
	static const char *const want[] = {"a", "{b c, d}", "e{f g}h", "i{ j"};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_true(conf_value_item(&rest, &item));
		assert_true(span_equal_str(item, want[i]));
	}
	assert_false(conf_value_item(&rest, &item));
}

static void
levels(void **state UNUSED)
{
	static const char *const rising[] = {
	    "0", "1", "2", "3.6", "3.6.1", "3.9", "3.10", "3.11", "4", "1000"};
	int64_t last = -1, level;

	for (size_t i = 0; i < ARRAY_LEN(rising); i++) {
		assert_true(conf_level_parse(span_str(rising[i]), &level));
		assert_true(level > last);
		last = level;
	}
	assert_false(conf_level_parse(SPAN_LIT(""), &level));
	assert_false(conf_level_parse(SPAN_LIT("3."), &level));
	assert_false(conf_level_parse(SPAN_LIT(".3"), &level));
	assert_false(conf_level_parse(SPAN_LIT("3.6.1.2"), &level));
	assert_false(conf_level_parse(SPAN_LIT("3.x"), &level));
	assert_false(conf_level_parse(SPAN_LIT("99999999999"), &level));
}

static void
default_units(void **state UNUSED)
{
	assert_int_equal(conf_param_unit(conf_param_info(CONF_maximal_queue_lifetime)), 'd');
	assert_int_equal(conf_param_unit(conf_param_info(CONF_delay_warning_time)), 'h');
	assert_int_equal(conf_param_unit(conf_param_info(CONF_smtpd_timeout)), 's');
	assert_int_equal(
	    conf_param_unit(conf_param_info(CONF_transport_destination_rate_delay)), 's');
}

static void
spelling(void **state UNUSED)
{
	assert_string_equal(conf_param_nearest(SPAN_LIT("mynetwroks")), "mynetworks");
	assert_string_equal(conf_param_nearest(SPAN_LIT("relay_host")), "relayhost");
	assert_string_equal(
	    conf_param_nearest(SPAN_LIT("smtpd_reciepient_limit")), "smtpd_recipient_limit");
	assert_null(conf_param_nearest(SPAN_LIT("something_else_altogether")));
	assert_null(conf_param_nearest(SPAN_LIT("")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(times),
	    cmocka_unit_test(values),
	    cmocka_unit_test(items),
	    cmocka_unit_test(levels),
	    cmocka_unit_test(default_units),
	    cmocka_unit_test(spelling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
