/*
 * test_access_client_rate.c - who is counted together, who is spared, and what is said. The counters have no database: they
 * count alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "access/access_client_rate.h"
#include "task/task.h"

#define BASE                                                                                       \
	"compatibility_level = 3.6\nmyhostname = mail.here.test\nmynetworks = 127.0.0.0/8\n"       \
	"inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"

static struct {
	struct conf *conf;
	struct access_client_rate *limits;
	struct db_pool *pool;
	struct cluster_counter *counter;
	struct access_client_excess excess;
} t;

static void
begin(const char *main_cf)
{
	struct err err;

	t.conf = conf_from_text(main_cf);
	if (!access_client_rate_new(t.conf, &t.limits, &err))
		fail_msg("%s", err.text);
	t.pool =
	    db_pool_new(&(struct db_settings){.conninfo = "host=/nonexistent", .connections = 1});
	t.counter = cluster_counter_new(
	    &(struct cluster_counter_settings){.pool = t.pool, .pause = 3600 * CLOCK_SECOND});
}

static void
end(void)
{
	cluster_counter_free(&t.counter);
	db_pool_free(&t.pool);
	access_client_rate_free(&t.limits);
	conf_unref(&t.conf);
}

static bool
comes(struct access_client *c, bool trusted, const char *name, const char *address)
{
	memset(&t.excess, 0, sizeof(t.excess));
	return access_client_begin(
	    c, t.limits, t.counter, trusted, "smtp", name, address, &t.excess);
}

static bool
does(struct access_client *c, enum access_client_event event)
{
	memset(&t.excess, 0, sizeof(t.excess));
	return access_client_event(c, event, "c.test", "192.0.2.1", &t.excess);
}

static void
assert_excess(int code, const char *dsn, const char *text, const char *warning)
{
	assert_int_equal(t.excess.code, code);
	assert_string_equal(t.excess.dsn, dsn);
	assert_string_equal(t.excess.text, text);
	assert_string_equal(t.excess.warning, warning);
}

static void
body_connections(void)
{
	struct access_client c[3];

	begin(BASE "smtpd_client_connection_count_limit = 2\n");
	assert_true(comes(&c[0], false, "c.test", "192.0.2.1"));
	assert_true(comes(&c[1], false, "c.test", "192.0.2.1"));
	assert_false(comes(&c[2], false, "c.test", "192.0.2.1"));
	assert_excess(421, "4.7.0", "Error: too many connections from 192.0.2.1",
	    "Connection concurrency limit exceeded: 3 from c.test[192.0.2.1] for service smtp");
	access_client_done(&c[2]);
	access_client_done(&c[0]);
	assert_true(comes(&c[0], false, "c.test", "192.0.2.1"));
	/* somebody else */
	assert_true(comes(&c[2], false, "c.test", "192.0.2.2"));
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		access_client_done(&c[i]);
	access_client_done(&c[0]); /* once more is nothing */
	end();
}

static void
body_events(void)
{
	struct access_client c;

	begin(BASE "smtpd_client_connection_rate_limit = 1\nsmtpd_client_message_rate_limit = 1\n"
		   "smtpd_client_recipient_rate_limit = 1\nsmtpd_client_auth_rate_limit = 1\n"
		   "smtpd_client_new_tls_session_rate_limit = 1\n");
	assert_true(comes(&c, false, "c.test", "192.0.2.1"));
	access_client_done(&c);
	assert_false(comes(&c, false, "c.test", "192.0.2.1"));
	assert_excess(421, "4.7.0", "Error: too many connections from 192.0.2.1",
	    "Connection rate limit exceeded: 2 from c.test[192.0.2.1] for service smtp");
	assert_true(does(&c, ACCESS_CLIENT_MESSAGE));
	assert_false(does(&c, ACCESS_CLIENT_MESSAGE));
	assert_excess(450, "4.7.1", "Error: too much mail from 192.0.2.1",
	    "Message delivery request rate limit exceeded: 2 from c.test[192.0.2.1] for service smtp");
	assert_true(does(&c, ACCESS_CLIENT_RECIPIENT));
	assert_false(does(&c, ACCESS_CLIENT_RECIPIENT));
	assert_excess(450, "4.7.1", "Error: too many recipients from 192.0.2.1",
	    "Recipient address rate limit exceeded: 2 from c.test[192.0.2.1] for service smtp");
	assert_true(does(&c, ACCESS_CLIENT_AUTH));
	assert_false(does(&c, ACCESS_CLIENT_AUTH));
	assert_excess(450, "4.7.1", "Error: too many AUTH commands from 192.0.2.1",
	    "AUTH command rate limit exceeded: 2 from c.test[192.0.2.1] for service smtp");
	assert_true(does(&c, ACCESS_CLIENT_TLS));
	assert_false(does(&c, ACCESS_CLIENT_TLS));
	assert_excess(454, "4.7.0", "Error: too many new TLS sessions from 192.0.2.1",
	    "New TLS session rate limit exceeded: 2 from c.test[192.0.2.1] for service smtp");
	access_client_done(&c);
	end();
}

/* Two in a row: the second is refused if they count as one client. */
static bool
are_one(const char *a, const char *b)
{
	struct access_client c[2];
	bool one;

	assert_true(comes(&c[0], false, "c.test", a));
	one = !comes(&c[1], false, "c.test", b);
	access_client_done(&c[0]);
	access_client_done(&c[1]);
	return one;
}

static void
body_prefixes(void)
{
	begin(BASE "smtpd_client_connection_count_limit = 1\n");
	assert_true(are_one("192.0.2.1", "192.0.2.1"));
	assert_false(are_one("192.0.2.1", "192.0.2.2"));
	/* 84 bits */
	assert_true(are_one("2001:db8::1", "2001:db8::fff:ffff:ffff"));
	assert_false(are_one("2001:db8::1", "2001:db8::1000:0:0"));
	assert_true(are_one("unknown", "unknown"));
	end();
	begin(BASE "smtpd_client_connection_count_limit = 1\nsmtpd_client_ipv4_prefix_length = 22\n"
		   "smtpd_client_ipv6_prefix_length = 0\n");
	assert_true(are_one("192.0.0.1", "192.0.3.255"));
	assert_false(are_one("192.0.0.1", "192.0.4.1"));
	assert_true(are_one("2001:db8::1", "fe80::1"));
	end();
}

static bool
is_spared(const char *name, const char *address)
{
	struct access_client c[2];
	bool spared;

	assert_true(comes(&c[0], false, name, address));
	spared = comes(&c[1], false, name, address);
	access_client_done(&c[0]);
	access_client_done(&c[1]);
	return spared;
}

static void
body_spared(void)
{
	struct access_client c;

	begin(BASE "smtpd_client_connection_count_limit = 1\n");
	assert_true(is_spared("localhost", "127.0.0.1")); /* mynetworks */
	assert_false(is_spared("c.test", "192.0.2.1"));
	assert_true(comes(&c, true, "c.test", "192.0.2.1"));
	assert_null(c.limits);
	end();
	begin(BASE
	    "smtpd_client_connection_count_limit = 1\n"
	    "smtpd_client_event_limit_exceptions = !192.0.2.9, 192.0.2.0/24, friend.test, .kin.test\n");
	assert_false(is_spared("localhost", "127.0.0.1"));
	assert_true(is_spared("c.test", "192.0.2.1"));
	assert_false(is_spared("c.test", "192.0.2.9"));
	assert_true(is_spared("friend.test", "198.51.100.1"));
	assert_true(is_spared("a.kin.test", "198.51.100.1"));
	assert_false(is_spared("other.test", "198.51.100.1"));
	end();
	begin(BASE "smtpd_client_connection_count_limit = 0\n");
	assert_false(access_client_rate_is_used(t.limits));
	assert_true(is_spared("c.test", "192.0.2.1"));
	end();
}

struct body {
	void (*fn)(void);
	bool done;
};

static void
run_body(void *arg)
{
	struct body *b = arg;

	b->fn();
	b->done = true;
	task_stop(CLOCK_SECOND);
}

static void
run(void (*fn)(void))
{
	struct body b = {.fn = fn};

	task_init(NULL);
	assert_non_null(task_start("test", run_body, &b));
	task_run();
	task_done();
	assert_true(b.done);
}

static void
test_connections(void **state UNUSED)
{
	run(body_connections);
}

static void
test_events(void **state UNUSED)
{
	run(body_events);
}

static void
test_prefixes(void **state UNUSED)
{
	run(body_prefixes);
}

static void
test_spared(void **state UNUSED)
{
	run(body_spared);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_connections),
	    cmocka_unit_test(test_events),
	    cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_spared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
