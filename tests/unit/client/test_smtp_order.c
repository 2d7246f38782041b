/*
 * test_smtp_order.c - the order in which addresses are tried.
 */
#include "client/smtp_order.h"

#include <setjmp.h> /* cmocka wants it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/span.h"

/* "4:10 6:10": family and preference of each host, in order. The name keeps the place it came from. */
static struct smtp_hosts
hosts_of(const char *text)
{
	struct smtp_hosts hosts = {0};
	struct span rest = span_str(text);
	struct span word;

	while (span_word(&rest, " ", &word)) {
		struct smtp_host h = {0};
		uint64_t preference = 0;

		assert_true(span_number(span_from(word, 2), 65535, &preference));
		h.preference = (uint16_t)preference;
		assert_true(net_addr_parse(word.ptr[0] == '4' ? "192.0.2.1" : "::1", 25, &h.addr));
		h.name[0] = (char)('a' + hosts.count);
		hosts.list = mem_resize(hosts.list, hosts.count + 1, sizeof(h));
		hosts.list[hosts.count++] = h;
	}
	return hosts;
}

static void
check(const char *text, struct smtp_order_rules rules, const char *expected)
{
	struct smtp_hosts hosts = hosts_of(text);
	char names[64] = "";

	smtp_order(&hosts, &rules);
	for (size_t i = 0; i < hosts.count; i++)
		names[i] = hosts.list[i].name[0];
	assert_string_equal(names, expected);
	mem_free(hosts.list);
}

static void
preference_comes_first(void **state UNUSED)
{
	check("4:30 4:10 4:20", (struct smtp_order_rules){0}, "bca");
	check("4:10 4:10 4:5", (struct smtp_order_rules){0}, "cab");
	check("", (struct smtp_order_rules){0}, "");
}

static void
protocol_decides_within_a_preference(void **state UNUSED)
{
	check("4:10 6:10 4:20 6:20", (struct smtp_order_rules){.first_family = AF_INET6}, "badc");
	check("6:10 4:10 6:5", (struct smtp_order_rules){.first_family = AF_INET}, "cba");
	check("4:10 6:10", (struct smtp_order_rules){.first_family = AF_UNSPEC}, "ab");
}

static void
the_limit_cuts(void **state UNUSED)
{
	check("4:1 4:2 4:3", (struct smtp_order_rules){.address_limit = 2}, "ab");
	check("4:1 4:2 4:3", (struct smtp_order_rules){.address_limit = 0}, "abc");
}

static void
no_protocol_crowds_out_the_other(void **state UNUSED)
{
	const struct smtp_order_rules rules = {.balance = true, .address_limit = 4};

	check("6:1 6:2 6:3 6:4 6:5 4:6", rules, "abcf");
	check("4:1 4:2 4:3 4:4 6:5 6:6", rules, "abef");
	check("6:1 6:2 6:3 4:4 4:5 4:6", rules, "abde");
	check("6:1 6:2 6:3 6:4 6:5", rules, "abcd");
	check("6:1 4:2", rules, "ab");
	/* the odd one goes to the protocol that comes first */
	check("4:1 4:2 4:3 6:4 6:5 6:6",
	    (struct smtp_order_rules){.balance = true, .address_limit = 5}, "abcde");
}

static void
chance_keeps_all_and_the_preference(void **state UNUSED)
{
	for (int round = 0; round < 50; round++) {
		struct smtp_hosts hosts = hosts_of("4:10 4:10 4:10 4:5");
		unsigned seen = 0;

		smtp_order(&hosts, &(struct smtp_order_rules){.shuffle = true});
		assert_int_equal(hosts.count, 4);
		assert_int_equal(hosts.list[0].name[0], 'd');
		for (size_t i = 0; i < hosts.count; i++)
			seen |= 1u << (hosts.list[i].name[0] - 'a');
		assert_int_equal(seen, 15);
		mem_free(hosts.list);
	}
}

static void
cut_keeps_better_hosts(void **state UNUSED)
{
	struct smtp_hosts hosts = hosts_of("4:10 4:20 4:20 4:30");

	smtp_order_cut(&hosts, 20);
	assert_int_equal(hosts.count, 1);
	smtp_order_cut(&hosts, 10);
	assert_int_equal(hosts.count, 0);
	mem_free(hosts.list);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(preference_comes_first),
	    cmocka_unit_test(protocol_decides_within_a_preference),
	    cmocka_unit_test(the_limit_cuts),
	    cmocka_unit_test(no_protocol_crowds_out_the_other),
	    cmocka_unit_test(chance_keeps_all_and_the_preference),
	    cmocka_unit_test(cut_keeps_better_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
