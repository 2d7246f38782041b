/*
 * test_table_nets.c - tables within lists of clients: asked for the name, its parents and the address; what fails is told.
 */
#include "table/table_nets.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>

#include <cmocka.h>

#include "base/mem.h"

static void
check(const char *networks, const char *name, const char *address, enum table_result expected)
{
	char *text CLEANUP(mem_free_str) = mem_printf(
	    "compatibility_level = 3.6\nmyhostname = a.test\nmynetworks = %s\n", networks);
	struct conf *conf = conf_from_text(text);
	struct sockaddr_in sin = {.sin_family = AF_INET};
	struct table_nets *n;
	struct err err;

	if (!table_nets_of(conf, CONF_mynetworks, &n, &err))
		fail_msg("%s", err.text);
	assert_int_equal(
	    table_nets_match_client(n, span_str(name), span_str(address), &err), expected);
	if (name[0] == '\0' && inet_pton(AF_INET, address, &sin.sin_addr) == 1)
		assert_int_equal(
		    table_nets_match(n, (const struct sockaddr *)(const void *)&sin, &err),
		    expected);
	table_nets_free(&n);
	conf_unref(&conf);
}

static void
test_lists(void **state UNUSED)
{
	check("10.0.0.0/8", "", "10.1.2.3", TABLE_FOUND);
	check("inline:{10.0.0.1=x}", "", "10.0.0.1", TABLE_FOUND);
	check("inline:{10.0.0.1=}", "", "10.0.0.1", TABLE_FOUND);
	check("inline:{10.0.0.1=x}", "", "10.0.0.2", TABLE_NOT_FOUND);
	check("!inline:{10.0.0.1=x} 10.0.0.0/8", "", "10.0.0.1", TABLE_NOT_FOUND);
	check("!inline:{10.0.0.1=x} 10.0.0.0/8", "", "10.0.0.2", TABLE_FOUND);
	check("cidr:{ {10.0.0.0/8 x} }", "", "10.0.0.2", TABLE_FOUND);
	check("inline:{h.example=x}", "h.example", "10.0.0.2", TABLE_FOUND);
	check("inline:{example=x}", "h.example", "10.0.0.2", TABLE_FOUND);
	check("inline:{unknown=x}", "unknown", "10.0.0.2", TABLE_NOT_FOUND);
	check("fail:x 10.0.0.0/8", "", "10.0.0.2", TABLE_ERROR);
	check("10.0.0.0/8 fail:x", "", "10.0.0.2", TABLE_FOUND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
