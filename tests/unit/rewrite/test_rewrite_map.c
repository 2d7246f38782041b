/*
 * test_rewrite_map.c - canonical tables, masquerading, virtual aliases and copies as cleanup(8) documents them.
 */
#include "rewrite/rewrite_map.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "rewrite/rewrite.h"

struct fixture {
	struct conf *conf;
	struct rewrite *rewrite;
	struct rewrite_map *map;
	struct arena arena;
	struct err err;
};

static struct fixture
set_up(const char *settings)
{
	char *text CLEANUP(mem_free_str) = mem_printf(
	    "compatibility_level = 3.6\nmyhostname = mail.here.test\nmydomain = here.test\n"
	    "myorigin = here.test\nmydestination = here.test\ninet_interfaces = 127.0.0.1\n"
	    "inet_protocols = ipv4\nrecipient_delimiter = +\n%s\n",
	    settings);
	struct fixture f = {.conf = conf_from_text(text)};

	if (!rewrite_new(f.conf, &f.rewrite, &f.err))
		fail_msg("%s", f.err.text);
	f.map = rewrite_map_new(f.conf, f.rewrite);
	return f;
}

static void
tear_down(struct fixture *f)
{
	rewrite_map_free(&f->map);
	rewrite_free(&f->rewrite);
	conf_unref(&f->conf);
	arena_done(&f->arena);
}

static void
check_address(
    const char *settings, enum rewrite_place place, const char *addr, const char *expected)
{
	struct fixture f = set_up(settings);
	const char *mapped;

	if (!rewrite_map_address(f.map, &f.arena, "Q", place, addr, &mapped, &f.err))
		mapped = f.err.smtp_code == 451 ? "!" : "?";
	assert_string_equal(mapped, expected);
	tear_down(&f);
}

static void
test_canonical(void **state UNUSED)
{
	static const char maps[] =
	    "canonical_maps = inline:{u@old.test=new@new.test, @dom.test=@other.test, al=Al.Ias, "
	    "a@r.test=b@r.test, b@r.test=c@r.test, x@l.test=y@l.test, y@l.test=x@l.test}";

	check_address(maps, REWRITE_ENVELOPE_SENDER, "u@old.test", "new@new.test");
	check_address(maps, REWRITE_ENVELOPE_SENDER, "u+e@old.test", "new+e@new.test");
	check_address(maps, REWRITE_HEADER_RECIPIENT, "who@dom.test", "who@other.test");
	check_address(maps, REWRITE_HEADER_RECIPIENT, "who+e@dom.test", "who+e@other.test");
	check_address(maps, REWRITE_HEADER_SENDER, "al@here.test", "Al.Ias@here.test");
	check_address(maps, REWRITE_HEADER_SENDER, "al@there.test", "al@there.test");
	check_address(maps, REWRITE_HEADER_SENDER, "a@r.test", "c@r.test");
	check_address(maps, REWRITE_HEADER_SENDER, "x@l.test", "x@l.test");
	check_address("canonical_maps = fail:x", REWRITE_HEADER_SENDER, "x@l.test", "!");
	check_address("propagate_unmatched_extensions = virtual\n"
		      "canonical_maps = inline:{u@old.test=new@new.test}",
	    REWRITE_ENVELOPE_SENDER, "u+e@old.test", "new@new.test");
}

static void
test_classes(void **state UNUSED)
{
	static const char maps[] =
	    "sender_canonical_maps = static:s@x.test\nsender_canonical_classes = header_sender\n"
	    "recipient_canonical_maps = static:r@x.test";

	check_address(maps, REWRITE_HEADER_SENDER, "a@a.test", "s@x.test");
	check_address(maps, REWRITE_ENVELOPE_SENDER, "a@a.test", "a@a.test");
	check_address(maps, REWRITE_ENVELOPE_RECIPIENT, "a@a.test", "r@x.test");
	check_address(maps, REWRITE_HEADER_RECIPIENT, "a@a.test", "r@x.test");
}

static void
test_masquerade(void **state UNUSED)
{
	static const char masq[] = "masquerade_domains = !keep.old.test old.test\n"
				   "masquerade_exceptions = root";

	check_address(masq, REWRITE_ENVELOPE_SENDER, "u@a.b.old.test", "u@old.test");
	check_address(masq, REWRITE_ENVELOPE_SENDER, "u@x.keep.old.test", "u@x.keep.old.test");
	check_address(masq, REWRITE_ENVELOPE_SENDER, "Root@a.old.test", "Root@a.old.test");
	check_address(masq, REWRITE_ENVELOPE_SENDER, "u@bold.test", "u@bold.test");
	check_address(masq, REWRITE_ENVELOPE_SENDER, "u@old.test", "u@old.test");
	check_address(masq, REWRITE_ENVELOPE_RECIPIENT, "u@a.old.test", "u@a.old.test");
	check_address(masq, REWRITE_HEADER_RECIPIENT, "u@a.old.test", "u@old.test");
}

static void
check_aliases(const char *settings, const char *addr, const char *expected)
{
	struct fixture f = set_up(settings);
	struct rewrite_addresses found;
	struct buf text CLEANUP(buf_done) = {0};

	if (!rewrite_map_aliases(f.map, &f.arena, "Q", addr, &found, &f.err))
		buf_printf(&text, "%d %s", f.err.smtp_code, f.err.dsn);
	else
		for (size_t i = 0; i < found.count; i++)
			buf_printf(&text, "%s%s", i == 0 ? "" : " ", found.list[i]);
	assert_string_equal(buf_str(&text), expected);
	tear_down(&f);
}

static void
test_aliases(void **state UNUSED)
{
	static const char maps[] =
	    "virtual_alias_maps = inline:{{a@v.test=x@d.test, local y@d.test}, "
	    "b@v.test=c@v.test, c@v.test=d@v.test, {me@v.test=me@v.test, copy@v.test}, "
	    "l1@v.test=l2@v.test, l2@v.test=l1@v.test, {q@v.test=\"with space\"@d.test}, "
	    "@all.test=@else.test}";

	check_aliases(maps, "a@v.test", "x@d.test local@here.test y@d.test");
	check_aliases(maps, "b@v.test", "d@v.test");
	check_aliases(maps, "b+x@v.test", "d+x@v.test");
	check_aliases(maps, "me@v.test", "me@v.test copy@v.test");
	check_aliases(maps, "q@v.test", "with space@d.test");
	check_aliases(maps, "any@all.test", "any@else.test");
	check_aliases(maps, "other@v.test", "other@v.test");
	check_aliases(maps, "l1@v.test", "451 4.6.0");
	check_aliases("virtual_alias_maps = fail:x", "u@v.test", "451 4.3.0");
	check_aliases("virtual_alias_maps = inline:{{a@v.test = b@v.test, c@v.test}}\n"
		      "virtual_alias_expansion_limit = 1",
	    "a@v.test", "451 4.6.0");
	check_aliases("virtual_alias_maps = inline:{a@v.test=much.too.long@v.test}\n"
		      "virtual_alias_address_length_limit = 10",
	    "a@v.test", "451 4.6.0");
}

static void
check_bcc(const char *settings, enum rewrite_bcc why, const char *addr, const char *expected)
{
	struct fixture f = set_up(settings);
	const char *bcc;

	if (!rewrite_map_bcc(f.map, &f.arena, "Q", why, addr, &bcc, &f.err))
		bcc = "!";
	assert_string_equal(bcc != NULL ? bcc : "-", expected);
	tear_down(&f);
}

static void
test_bcc(void **state UNUSED)
{
	static const char maps[] = "sender_bcc_maps = inline:{@c.test=sb, s@c.test=sx}\n"
				   "recipient_bcc_maps = fail:x";

	check_bcc(maps, REWRITE_BCC_SENDER, "s+e@c.test", "sx");
	check_bcc(maps, REWRITE_BCC_SENDER, "t@c.test", "sb");
	check_bcc(maps, REWRITE_BCC_SENDER, "t@d.test", "-");
	check_bcc(maps, REWRITE_BCC_SENDER, "", "-");
	check_bcc(maps, REWRITE_BCC_RECIPIENT, "t@d.test", "!");
	check_bcc(maps, REWRITE_BCC_ALWAYS, "", "-");
	check_bcc("always_bcc = all", REWRITE_BCC_ALWAYS, "", "all");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_canonical),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_masquerade),
	    cmocka_unit_test(test_aliases),
	    cmocka_unit_test(test_bcc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
