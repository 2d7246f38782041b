/*
 * test_conf_host.c - the host's addresses and the networks that mynetworks_style makes of them.
 */
#include "conf/conf_host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>

static struct conf_address
address(const char *text, unsigned prefix)
{
	struct conf_address a = {.prefix = prefix};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		memcpy(&a.addr, &v4, sizeof(v4));
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
		memcpy(&a.addr, &v6, sizeof(v6));
	}
	return a;
}

static void
networks(void **state UNUSED)
{
	struct conf_address list[] = {address("127.0.0.1", 8), address("192.0.2.77", 28),
	    address("192.0.2.78", 28), address("10.1.2.3", 23), address("172.16.5.5", 20),
	    address("::1", 128), address("2001:db8::f00:1", 64), address("110.0.0.1", 8),
	    address("10.0.0.1", 8)};
	struct conf_addresses own = {list, ARRAY_LEN(list)};
	static const struct {
		const char *style, *want;
	} cases[] = {
	    {"host", "127.0.0.1/32 192.0.2.77/32 192.0.2.78/32 10.1.2.3/32 172.16.5.5/32 [::1]/128 "
		     "[2001:db8::f00:1]/128 110.0.0.1/32 10.0.0.1/32"},
	    {"subnet",
		"127.0.0.0/8 192.0.2.64/28 10.1.2.0/23 172.16.0.0/20 [::1]/128 [2001:db8::]/64 "
		"110.0.0.0/8 10.0.0.0/8"},
	    {"class",
		"127.0.0.0/8 192.0.2.0/24 10.0.0.0/8 172.16.0.0/16 [::1]/128 [2001:db8::]/64 110.0.0.0/8"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out CLEANUP(buf_done) = {0};

		conf_host_networks(&own, cases[i].style, &out);
		assert_string_equal(buf_str(&out), cases[i].want);
	}
}

static bool
has(const struct conf_addresses *a, const char *text)
{
	struct conf_address one = address(text, 0);

	return conf_addresses_has(a, (const struct sockaddr *)&one.addr);
}

static void
loopback(void **state UNUSED)
{
	struct conf_addresses own CLEANUP(conf_addresses_done) = {0};
	struct conf_addresses named CLEANUP(conf_addresses_done) = {0};
	struct err err;

	assert_true(conf_host_own_from("loopback-only", "ipv4", &own, &err));
	assert_true(has(&own, "127.0.0.1"));
	assert_false(has(&own, "192.0.2.1"));
	assert_false(has(&own, "::1"));
	assert_true(conf_host_own_from("[127.0.0.1] 127.0.0.1", "ipv4", &named, &err));
	assert_int_equal(named.count, 1);
	assert_int_equal(named.list[0].prefix, 8);
}

static void
not_ours(void **state UNUSED)
{
	struct conf_addresses own = {0};
	struct err err;

	assert_false(conf_host_own_from("203.0.113.250", "all", &own, &err));
	assert_string_equal(
	    err.text, "parameter inet_interfaces: no local interface found for 203.0.113.250");
	assert_int_equal(own.count, 0);
}

static void
proxies(void **state UNUSED)
{
	struct conf *c CLEANUP(conf_unref) =
	    conf_from_text("proxy_interfaces = 203.0.113.9, [2001:db8::9]\n");
	struct conf_addresses proxy CLEANUP(conf_addresses_done) = {0};
	struct err err;

	assert_true(conf_host_proxy(c, &proxy, &err));
	assert_true(has(&proxy, "203.0.113.9"));
	assert_true(has(&proxy, "2001:db8::9"));
	assert_false(has(&proxy, "203.0.113.8"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(networks),
	    cmocka_unit_test(loopback),
	    cmocka_unit_test(not_ours),
	    cmocka_unit_test(proxies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
