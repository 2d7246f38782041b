/*
 * test_conf_net_list.c - network lists: forms of items, order, negation, files, tables, what is refused.
 */
#include "conf/conf_net_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "base/mem.h"

static bool
is_in(const char *text, const char *address)
{
	struct conf_net_list *list CLEANUP(conf_net_list_free) = NULL;
	struct err err;
	bool found;

	if (!conf_net_list_parse(span_str(text), "mynetworks", &list, &err))
		fail_msg("%s", err.text);
	assert_true(conf_net_list_match_text(list, span_str(address), NULL, &found, &err));
	return found;
}

static void
matches(void **state UNUSED)
{
	static const struct {
		const char *list, *address;
		bool found;
	} cases[] = {
	    {"127.0.0.0/8", "127.1.2.3", true},
	    {"127.0.0.0/8", "128.0.0.1", false},
	    {"", "127.0.0.1", false},
	    {"10.0.0.0/9", "10.127.255.255", true},
	    {"10.0.0.0/9", "10.128.0.0", false},
	    {"192.0.2.1", "192.0.2.1", true},
	    {"192.0.2.1", "192.0.2.2", false},
	    {"0.0.0.0/0", "203.0.113.9", true},
	    {"0.0.0.0/0", "2001:db8::1", false},
	    {"[::1]/128", "::1", true},
	    {"[::1]", "[::1]", true},
	    {"::1", "IPv6:::1", true},
	    {"2001:db8::/32", "2001:db8:5::9", true},
	    {"[2001:db8::]/32", "2001:db9::", false},
	    {"[2001:db8:8000::]/33", "2001:db8:8000::1", true},
	    {"[2001:db8:8000::]/33", "2001:db8:7fff::1", false},
	    {"127.0.0.0/8", "::ffff:127.0.0.1", true},
	    {"[::ffff:127.0.0.0]/104 [::1]/128", "::1", true},
	    {"[::ffff:127.0.0.0]/104", "127.0.0.1", false},
	    {"[::ffff:0:0]/96", "::ffff:11.0.0.1", false},
	    {"!10.0.0.1 10.0.0.0/8", "10.0.0.1", false},
	    {"!10.0.0.1 10.0.0.0/8", "10.0.0.2", true},
	    {"10.0.0.0/8, !10.0.0.1", "10.0.0.1", true},
	    {"!!10.0.0.1", "10.0.0.1", true},
	    {"hash:/nowhere/x 10.0.0.1", "10.0.0.1", true},
	    {"hash:/nowhere/x", "10.0.0.1", false},
	    {"host.example 10.0.0.1", "host.example", false},
	    {"127.0.0.0/8", "unknown", false},
	    {"127.0.0.0/8", "", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (is_in(cases[i].list, cases[i].address) != cases[i].found)
			fail_msg(
			    "%s in %s: not %d", cases[i].address, cases[i].list, cases[i].found);
}

static void
refused(void **state UNUSED)
{
	static const char *const texts[] = {"192.0.2.1/24", "10.0.0.0/33", "10.0.0.0/", "10.0.0",
	    "10.0.0.0/8x", "[::1", "[::1]/129", "!", "/nowhere/at/all", "300.1.1.1",
	    "[2001:db8::1]/32", "a/b"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct conf_net_list *list = NULL;
		struct err err;

		if (conf_net_list_parse(span_str(texts[i]), "mynetworks", &list, &err))
			fail_msg("%s was taken", texts[i]);
		assert_null(list);
		assert_int_equal(err.kind, ERR_CONFIG);
		assert_true(span_starts(span_str(err.text), "parameter mynetworks: "));
	}
}

static void
sockets(void **state UNUSED)
{
	struct conf_net_list *list CLEANUP(conf_net_list_free) = NULL;
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000005)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr local = {.sa_family = AF_UNIX};
	struct err err;
	bool found;

	assert_true(conf_net_list_parse(SPAN_LIT("10.0.0.0/8 [::1]"), "mynetworks", &list, &err));
	assert_true(conf_net_list_match(list, (struct sockaddr *)&v4, NULL, &found, &err));
	assert_true(found);
	assert_int_equal(inet_pton(AF_INET6, "::1", &v6.sin6_addr), 1);
	assert_true(conf_net_list_match(list, (struct sockaddr *)&v6, NULL, &found, &err));
	assert_true(found);
	assert_int_equal(inet_pton(AF_INET6, "::ffff:11.0.0.1", &v6.sin6_addr), 1);
	assert_true(conf_net_list_match(list, (struct sockaddr *)&v6, NULL, &found, &err));
	assert_false(found);
	assert_true(conf_net_list_match(list, &local, NULL, &found, &err));
	assert_false(found);
}

static void
names(void **state UNUSED)
{
	static const struct {
		const char *list, *name;
		bool subdomains, found;
	} cases[] = {
	    {"mx.example.com", "MX.example.com", false, true},
	    {"example.com", "mx.example.com", true, true},
	    {"example.com", "mx.example.com", false, false},
	    {".example.com", "mx.example.com", false, true},
	    {".example.com", "example.com", true, false},
	    {"example.com", "badexample.com", true, false},
	    {"!mx.example.com example.com", "mx.example.com", true, false},
	    {"example.com", "", true, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct conf_net_list *list CLEANUP(conf_net_list_free) = NULL;
		struct err err;
		bool found;

		assert_true(conf_net_list_parse(span_str(cases[i].list), "x", &list, &err));
		assert_true(conf_net_list_match_client(list, span_str(cases[i].name),
		    cases[i].subdomains, SPAN_LIT("192.0.2.1"), NULL, &found, &err));
		if (found != cases[i].found)
			fail_msg("%s in %s: not %d", cases[i].name, cases[i].list, cases[i].found);
	}
}

static bool
table(void *arg UNUSED, const struct conf_net_question *q, bool *ret_found, struct err *err)
{
	if (strcmp(q->table, "hash:/bad") == 0)
		return err_set(err, ERR_TEMP, "4.3.0", "no such table");
	*ret_found = strcmp(q->table, "hash:/t") == 0 && strcmp(q->address, "10.0.0.1") == 0;
	return true;
}

static void
tables(void **state UNUSED)
{
	struct conf_net_tables with = {.lookup = table};
	struct conf_net_list *list CLEANUP(conf_net_list_free) = NULL;
	struct err err;
	bool found;

	assert_true(conf_net_list_parse(
	    SPAN_LIT("10.0.0.9 !hash:/t 10.0.0.0/8 hash:/bad"), "x", &list, &err));
	assert_true(conf_net_list_match_text(list, SPAN_LIT("10.0.0.1"), &with, &found, &err));
	assert_false(found);
	assert_true(conf_net_list_match_text(list, SPAN_LIT("10.0.0.2"), &with, &found, &err));
	assert_true(found);
	assert_false(conf_net_list_match_text(list, SPAN_LIT("11.0.0.1"), &with, &found, &err));
	assert_int_equal(err.kind, ERR_TEMP);
}

static void
files(void **state UNUSED)
{
	char file[] = "/tmp/rowpost-net-XXXXXX";
	int fd = mkstemp(file);
	struct conf_net_list *list = NULL;
	struct err err;

	assert_true(fd >= 0);
	FILE *f = fdopen(fd, "w");
	assert_non_null(f);
	(void)fprintf(f, "# ours\n10.0.0.0/8,\n 11.0.0.1\n!192.0.2.1\n");
	assert_int_equal(fclose(f), 0);
	char *plain CLEANUP(mem_free_str) = mem_printf("%s 192.0.2.0/24", file);
	char * not CLEANUP(mem_free_str) = mem_printf("!%s 0.0.0.0/0", file);
	assert_true(is_in(plain, "11.0.0.1"));
	assert_false(is_in(plain, "192.0.2.1"));
	assert_true(is_in(plain, "192.0.2.2"));
	assert_false(is_in(not, "10.1.1.1"));
	assert_true(is_in(not, "192.0.2.1"));
	/* A file that names itself. */
	f = fopen(file, "w");
	assert_non_null(f);
	(void)fprintf(f, "%s\n", file);
	assert_int_equal(fclose(f), 0);
	assert_false(conf_net_list_parse(span_str(file), "mynetworks", &list, &err));
	assert_int_equal(unlink(file), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(matches),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(sockets),
	    cmocka_unit_test(names),
	    cmocka_unit_test(tables),
	    cmocka_unit_test(files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
