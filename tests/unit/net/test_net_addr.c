/*
 * test_net_addr.c - addresses from text and to text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/un.h>

#include "net/net_addr.h"

static const struct {
	const char *text;
	const char *expect; /* NULL: refused */
	int family;
} parse_cases[] = {
    {"127.0.0.1", "127.0.0.1", AF_INET},
    {"[127.0.0.1]", "127.0.0.1", AF_INET},
    {"::1", "::1", AF_INET6},
    {"[::1]", "::1", AF_INET6},
    {"IPv6:2001:DB8::0:1", "2001:db8::1", AF_INET6},
    {"[ipv6:::1]", "::1", AF_INET6},
    {"::ffff:192.0.2.1", "192.0.2.1", AF_INET6},
    {"fe80::1%lo", "fe80::1%lo", AF_INET6},
    {"fe80::1%1", "fe80::1%lo", AF_INET6},
    {"", NULL, 0},
    {"[]", NULL, 0},
    {"127.1", NULL, 0},
    {"127.0.0.1.", NULL, 0},
    {"127.0.0.256", NULL, 0},
    {"::1%", NULL, 0},
    {"::1%no such interface", NULL, 0},
    {"[::1", NULL, 0},
    {"mail.example.com", NULL, 0},
    {"1:2:3:4:5:6:7:8:9", NULL, 0},
    {"00000000000000000000000000000000000000000000000000000000000000000000000000000001", NULL, 0},
};

static void
parses_addresses(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_LEN(parse_cases); i++) {
		struct net_addr a;
		char text[NET_ADDR_TEXT];
		bool ok = net_addr_parse(parse_cases[i].text, 25, &a);

		if (ok != (parse_cases[i].expect != NULL))
			fail_msg("%s", parse_cases[i].text);
		if (!ok)
			continue;
		net_addr_text(&a, text, sizeof(text));
		assert_string_equal(text, parse_cases[i].expect);
		assert_int_equal(net_addr_port(&a), 25);
		assert_int_equal(net_addr_family(&a), parse_cases[i].family);
	}
}

static struct net_addr
addr(const char *text)
{
	struct net_addr a;

	assert_true(net_addr_parse(text, 1, &a));
	return a;
}

static bool
equal(const char *x, const char *y)
{
	struct net_addr a = addr(x), b = addr(y);

	return net_addr_equal_host(&a, &b);
}

static void
compares_hosts(void **state UNUSED)
{
	struct net_addr a = addr("192.0.2.1"), b;

	assert_true(net_addr_parse("192.0.2.1", 2, &b));
	assert_true(net_addr_equal_host(&a, &b));
	assert_true(equal("::ffff:192.0.2.1", "192.0.2.1"));
	assert_true(equal("2001:db8::1", "[2001:DB8:0::1]"));
	assert_false(equal("192.0.2.1", "192.0.2.2"));
	assert_false(equal("::1", "127.0.0.1"));
	assert_false(equal("fe80::1", "fe80::1%1"));
}

static void
knows_paths(void **state UNUSED)
{
	char path[200], text[NET_ADDR_TEXT];
	struct net_addr a, b, unnamed = {.len = sizeof(sa_family_t)};

	assert_true(net_addr_unix("/run/x", &a));
	assert_true(net_addr_unix("/run/y", &b));
	net_addr_text(&a, text, sizeof(text));
	assert_string_equal(text, "/run/x");
	assert_int_equal(net_addr_port(&a), 0);
	assert_int_equal(net_addr_family(&a), AF_UNIX);
	assert_false(net_addr_equal_host(&a, &b));
	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	assert_false(net_addr_unix(path, &a));
	path[107] = '\0';
	assert_true(net_addr_unix(path, &a));
	/* a peer that did not bind */
	unnamed.sa.ss_family = AF_UNIX;
	net_addr_text(&unnamed, text, sizeof(text));
	assert_string_equal(text, "unix");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parses_addresses),
	    cmocka_unit_test(compares_hosts),
	    cmocka_unit_test(knows_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
