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
	    {"site.test!user", "user@site.test"},
	    {"a.test!b.test!user", "b.test!user@a.test"},
	    {"user%site.test", "user@site.test"},
	    {"user%a.test%b.test", "user%a.test@b.test"},
	    {"site!user@x.test", "site!user@x.test"},
	    {"user@x.test..", "user@x.test.."},
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
assert_in(const char *text, enum domain_list_parents parents, const char *domain,
    enum table_result expected)
{
	struct conf *conf = conf_from_text("");
	struct domain_list *list;
	struct err err;

	if (!domain_list_parse(conf, text, "relay_domains", parents, &list, &err))
		fail_msg("%s", err.text);
	assert_int_equal(domain_list_has(list, span_str(domain), &err), expected);
	domain_list_free(&list);
	conf_unref(&conf);
}

static void
assert_no_list(const char *text)
{
	struct conf *conf = conf_from_text("");
	struct domain_list *list;
	struct err err;

	assert_false(
	    domain_list_parse(conf, text, "relay_domains", DOMAIN_LIST_EXACT, &list, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	conf_unref(&conf);
}

static void
test_domain_lists(void **state UNUSED)
{
	static const char exact[] = "!no.example, example .sub.example";
	static const char below[] = "!no.example example";

	assert_in(exact, DOMAIN_LIST_EXACT, "EXAMPLE", TABLE_FOUND);
	assert_in(exact, DOMAIN_LIST_EXACT, "x.example", TABLE_NOT_FOUND);
	assert_in(exact, DOMAIN_LIST_EXACT, "a.sub.example", TABLE_FOUND);
	assert_in(exact, DOMAIN_LIST_EXACT, "sub.example", TABLE_NOT_FOUND);
	assert_in(exact, DOMAIN_LIST_EXACT, "no.example", TABLE_NOT_FOUND);
	assert_in(below, DOMAIN_LIST_SUBDOMAINS, "x.y.example", TABLE_FOUND);
	assert_in(below, DOMAIN_LIST_SUBDOMAINS, "z.no.example", TABLE_NOT_FOUND);
	assert_in(below, DOMAIN_LIST_SUBDOMAINS, "badexample", TABLE_NOT_FOUND);
	assert_no_list("!");
	assert_no_list("/no/such/file");
}

/* Tables in lists: parents as parent_domain_matches_subdomains has it, patterns see whole names, a failure is told. */
static void
test_domain_tables(void **state UNUSED)
{
	static const char table[] = "!inline:{no.test=x}, inline:{a.test=, .b.test=x}";

	assert_in(table, DOMAIN_LIST_EXACT, "a.test", TABLE_FOUND);
	assert_in(table, DOMAIN_LIST_EXACT, "x.a.test", TABLE_NOT_FOUND);
	assert_in(table, DOMAIN_LIST_SUBDOMAINS, "x.a.test", TABLE_FOUND);
	assert_in(table, DOMAIN_LIST_EXACT, "x.y.b.test", TABLE_FOUND);
	assert_in(table, DOMAIN_LIST_EXACT, "no.test", TABLE_NOT_FOUND);
	assert_in("pcre:{ {/^a/ x} }", DOMAIN_LIST_SUBDOMAINS, "a.test", TABLE_FOUND);
	assert_in("pcre:{ {/^a/ x} }", DOMAIN_LIST_SUBDOMAINS, "x.a.test", TABLE_NOT_FOUND);
	assert_in("a.test fail:x b.test", DOMAIN_LIST_EXACT, "a.test", TABLE_FOUND);
	assert_in("a.test fail:x b.test", DOMAIN_LIST_EXACT, "b.test", TABLE_ERROR);
	assert_in("hash:/no/such/file", DOMAIN_LIST_EXACT, "b.test", TABLE_ERROR);
}

static void
test_sites(void **state UNUSED)
{
	static const char *const cases[][3] = {
	    {"user%remote.test@here.test", "user@remote.test", "smtp"},
	    {"remote.test!user@here.test", "user@remote.test", "smtp"},
	    {"a.test!b.test!user@here.test", "b.test!user@a.test", "smtp"},
	    {"user@remote.test@here.test", "user@remote.test", "smtp"},
	    {"user%here.test%localhost@here.test", "user@here.test", "local"},
	    {"user%x@remote.test", "user%x@remote.test", "smtp"},
	    {"user@here.test", "user@here.test", "local"},
	    {"user", "user@mail.here.test", "local"},
	    {"", "MAILER-DAEMON@mail.here.test", "local"},
	    {"user@[127.0.0.1]", "user@[127.0.0.1]", "local"},
	    {"double-bounce@here.test", "double-bounce@here.test", "discard"},
	    {"user@1.2.3.4", "user@1.2.3.4", "error"},
	    {"user@", "user@", "error"},
	    {"user@bad..name", "user@bad..name", "error"},
	    {"-user@x.test", "-user@x.test", "error"},
	};
	struct rewrite *r = rewrite_from(MAIN_CF);
	struct arena arena CLEANUP(arena_done) = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rewrite_route route;

		rewrite_resolve(r, &arena, span_str(cases[i][0]), &route);
		assert_string_equal(route.recipient, cases[i][1]);
		assert_string_equal(route.transport, cases[i][2]);
	}
	rewrite_free(&r);
}

#define TRANSPORT(entries) MAIN_CF "recipient_delimiter = +\ntransport_maps = " entries "\n"

static void
test_transport_maps(void **state UNUSED)
{
	static const char maps[] = TRANSPORT(
	    "inline:{u+x@d.test=ext:A, u@d.test=user:, d.test=dom:[H]:25, .d.test=sub:, here.test=:}"
	    " inline:{relay.test=:gate, e.test={error:5.7.1 No}, alias.test=smtp:x}");

	assert_route(maps, "u+x@d.test", "ext", "A");
	assert_route(maps, "u+y@D.test", "user", "d.test");
	assert_route(maps, "v@d.test", "dom", "[H]:25");
	assert_route(maps, "v@a.b.d.test", "sub", "a.b.d.test");
	assert_route(maps, "u@here.test", "local", "mail.here.test");
	assert_route(maps, "u@relay.test", "relay", "gate");
	assert_route(maps, "u@other.test", "smtp", "other.test");
	assert_route(maps, "u@alias.test", "error", "5.1.1 User unknown in virtual alias table");
	assert_route(TRANSPORT("inline:{*=all:}"), "u@other.test", "all", "other.test");
	assert_route(TRANSPORT("inline:{x.test=t:n, *=:}"), "u@other.test", "smtp", "other.test");
	assert_route(TRANSPORT("pcre:{ {/^u@other/ p:q} }"), "u@other.test", "p", "q");
	assert_route(
	    TRANSPORT("pcre:{ {/^other.test$$/ p:q} }"), "u@other.test", "smtp", "other.test");
	assert_route(
	    TRANSPORT("fail:x"), "u@other.test", "retry", "4.3.0 address resolver failure");
	assert_route(TRANSPORT("inline:{d.test=t:}") "parent_domain_matches_subdomains = "
						     "transport_maps\n",
	    "u@a.d.test", "t", "a.d.test");
}

static void
assert_sender_route(
    const char *main_cf, const char *sender, const char *transport, const char *nexthop)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite *r = rewrite_from(main_cf);
	struct rewrite_route route;

	rewrite_route(r, &arena, sender, SPAN_LIT("u@else.test"), &route);
	assert_string_equal(route.transport, transport);
	assert_string_equal(route.nexthop, nexthop);
	rewrite_free(&r);
}

static void
test_senders(void **state UNUSED)
{
	static const char maps[] =
	    MAIN_CF "relayhost = hub\n"
		    "sender_dependent_relayhost_maps = inline:{a@s.test=gate-a, @s.test=gate-s, "
		    "<>=gate-null, no@t.test=dunno}\n"
		    "sender_dependent_default_transport_maps = inline:{b@s.test=slow:, "
		    "c@s.test=slow:[own], e@t.test=DUNNO}\n";

	assert_sender_route(maps, "a@s.test", "smtp", "gate-a");
	assert_sender_route(maps, "x@s.test", "smtp", "gate-s");
	assert_sender_route(maps, "", "smtp", "gate-null");
	assert_sender_route(maps, "no@t.test", "smtp", "hub");
	assert_sender_route(maps, "b@s.test", "slow", "gate-s");
	assert_sender_route(maps, "c@s.test", "slow", "[own]");
	assert_sender_route(maps, "e@t.test", "smtp", "hub");
	assert_sender_route(maps, NULL, "smtp", "hub");
	assert_sender_route(MAIN_CF "sender_dependent_relayhost_maps = fail:x\n", "a@s.test",
	    "retry", "4.3.0 address resolver failure");
}

static void
test_relocated(void **state UNUSED)
{
	static const char maps[] =
	    MAIN_CF "recipient_delimiter = +\nrelocated_maps = inline:{old@here.test=new@x.test, "
		    "left=away, {@gone.test = the moon}}\n";

	assert_route(maps, "old+ext@here.test", "error", "5.1.6 User has moved to new@x.test");
	assert_route(maps, "left@here.test", "error", "5.1.6 User has moved to away");
	assert_route(maps, "any@gone.test", "error", "5.1.6 User has moved to the moon");
	assert_route(maps, "left@else.test", "smtp", "else.test");
	assert_route(MAIN_CF "relocated_maps = inline:{a@here.test={4.1.6 x}}\n"
			     "relocated_prefix_enable = no\n",
	    "a@here.test", "error", "{4.1.6 x}");
}

/* A class that cannot be told is no class. */
static void
test_class_trouble(void **state UNUSED)
{
	struct rewrite *r = rewrite_from(MAIN_CF "relay_domains = fail:x\n");
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;
	enum rewrite_class c;
	struct err err;

	assert_false(rewrite_class_find(r, SPAN_LIT("x.test"), &c, &err));
	assert_int_equal(err.kind, ERR_TEMP);
	assert_true(rewrite_class_find(r, SPAN_LIT("here.test"), &c, &err));
	assert_int_equal(c, REWRITE_LOCAL);
	rewrite_resolve(r, &arena, SPAN_LIT("u@x.test"), &route);
	assert_true(route.trouble);
	assert_string_equal(route.transport, "retry");
	rewrite_free(&r);
}

/* A domain of each length, where one without brackets may be an address too. */
static void
test_long_domains(void **state UNUSED)
{
	struct rewrite *r = rewrite_from(MAIN_CF "resolve_numeric_domain = yes\n");
	char domain[300];

	memset(domain, '1', sizeof(domain));
	for (size_t n = 1; n < sizeof(domain); n++)
		assert_int_equal(rewrite_class_of(r, span_of(domain, n)), REWRITE_DEFAULT);
	assert_int_equal(rewrite_class_of(r, SPAN_LIT("127.0.0.1")), REWRITE_LOCAL);
	rewrite_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_standard_form),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_routes),
	    cmocka_unit_test(test_domain_lists),
	    cmocka_unit_test(test_domain_tables),
	    cmocka_unit_test(test_sites),
	    cmocka_unit_test(test_transport_maps),
	    cmocka_unit_test(test_senders),
	    cmocka_unit_test(test_relocated),
	    cmocka_unit_test(test_class_trouble),
	    cmocka_unit_test(test_long_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
