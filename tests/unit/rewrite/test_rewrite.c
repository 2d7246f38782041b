/*
 * test_rewrite.c - standard form, address classes and routes as trivial-rewrite(8) documents them, and the lists behind them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rewrite/domain_list.h"
#include "rewrite/rewrite.h"

#define MAIN_CF                                                                                    \
	"compatibility_level = 3.6\n"                                                              \
	"myhostname = mail.here.test\nmydomain = here.test\nmyorigin = here.test\n"                \
	"mydestination = here.test, mail.here.test, localhost\n"                                   \
	"virtual_alias_domains = alias.test\nvirtual_mailbox_domains = box.test\n"                 \
	"relay_domains = relay.test\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"

static struct rewrite *
rewrite_from(const char *main_cf)
{
	struct conf *conf = conf_from_text(main_cf);
	struct rewrite *r = NULL;
	struct err err;

	if (!rewrite_new(conf, &r, &err))
		fail_msg("%s", err.text);
	conf_unref(&conf);
	return r;
}

static void
test_standard_form(void **state UNUSED)
{
	static const char *const cases[][2] = {
	    {"", ""},
	    {"user", "user@here.test"},
	    {"user@example.test", "user@example.test"},
	    {"user@example.test.", "user@example.test"},
	    {"user@host", "user@host"},
	    {"a b@x.test", "a b@x.test"},
	};
	struct rewrite *r = rewrite_from(MAIN_CF);
	struct arena arena CLEANUP(arena_done) = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(rewrite_address(r, &arena, span_str(cases[i][0])), cases[i][1]);
	rewrite_free(&r);
	r = rewrite_from(MAIN_CF "append_dot_mydomain = yes\n");
	assert_string_equal(
	    rewrite_address(r, &arena, SPAN_LIT("user@host")), "user@host.here.test");
	rewrite_free(&r);
}

static void
test_classes(void **state UNUSED)
{
	static const struct {
		const char *domain;
		enum rewrite_class expected;
	} cases[] = {
	    {"here.test", REWRITE_LOCAL},
	    {"HERE.test", REWRITE_LOCAL},
	    {"localhost", REWRITE_LOCAL},
	    {"[127.0.0.1]", REWRITE_LOCAL},
	    {"[192.0.2.1]", REWRITE_DEFAULT},
	    {"", REWRITE_LOCAL},
	    {"alias.test", REWRITE_VIRTUAL_ALIAS},
	    {"box.test", REWRITE_VIRTUAL_MAILBOX},
	    {"relay.test", REWRITE_RELAY},
	    {"sub.relay.test", REWRITE_RELAY},
	    {"sub.here.test", REWRITE_DEFAULT},
	    {"elsewhere.test", REWRITE_DEFAULT},
	};
	struct rewrite *r = rewrite_from(MAIN_CF);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(rewrite_class_of(r, span_str(cases[i].domain)), cases[i].expected);
	rewrite_free(&r);
}

static void
assert_route(const char *main_cf, const char *addr, const char *transport, const char *nexthop)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite *r = rewrite_from(main_cf);
	struct rewrite_route route;

	rewrite_resolve(r, &arena, span_str(addr), &route);
	assert_string_equal(route.transport, transport);
	assert_string_equal(route.nexthop, nexthop);
	rewrite_free(&r);
}

static void
test_routes(void **state UNUSED)
{
	assert_route(MAIN_CF, "u@Elsewhere.Test", "smtp", "elsewhere.test");
	assert_route(MAIN_CF, "u@relay.test", "relay", "relay.test");
	assert_route(MAIN_CF, "u@here.test", "local", "mail.here.test");
	assert_route(MAIN_CF, "u@box.test", "virtual", "box.test");
	assert_route(MAIN_CF, "u@alias.test", "error", "5.1.1 User unknown in virtual alias table");
	assert_route(
	    MAIN_CF "relayhost = [Hub.Test]:2525\n", "u@elsewhere.test", "smtp", "[hub.test]:2525");
	assert_route(MAIN_CF "relayhost = hub.test\n", "u@relay.test", "relay", "hub.test");
	assert_route(MAIN_CF "default_transport = slow:[gate.test]\n", "u@elsewhere.test", "slow",
	    "[gate.test]");
	assert_route(MAIN_CF "default_transport = error:5.7.1 no mail\n", "u@x.test", "error",
	    "5.7.1 no mail");
}

static void
test_domain_lists(void **state UNUSED)
{
	struct domain_list *list;
	struct err err;

	assert_true(domain_list_parse(
	    "!no.example, example .sub.example", "relay_domains", DOMAIN_LIST_EXACT, &list, &err));
	assert_true(domain_list_has(list, SPAN_LIT("EXAMPLE")));
	assert_false(domain_list_has(list, SPAN_LIT("x.example")));
	assert_true(domain_list_has(list, SPAN_LIT("a.sub.example")));
	assert_false(domain_list_has(list, SPAN_LIT("sub.example")));
	assert_false(domain_list_has(list, SPAN_LIT("no.example")));
	domain_list_free(&list);
	assert_true(domain_list_parse(
	    "!no.example example", "relay_domains", DOMAIN_LIST_SUBDOMAINS, &list, &err));
	assert_true(domain_list_has(list, SPAN_LIT("x.y.example")));
	assert_false(domain_list_has(list, SPAN_LIT("z.no.example")));
	assert_false(domain_list_has(list, SPAN_LIT("badexample")));
	domain_list_free(&list);
	assert_false(domain_list_parse("!", "relay_domains", DOMAIN_LIST_EXACT, &list, &err));
	assert_false(
	    domain_list_parse("hash:/etc/x", "relay_domains", DOMAIN_LIST_EXACT, &list, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	assert_false(
	    domain_list_parse("/no/such/file", "relay_domains", DOMAIN_LIST_EXACT, &list, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_standard_form),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_routes),
	    cmocka_unit_test(test_domain_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
