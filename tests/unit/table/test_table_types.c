/*
 * test_table_types.c - patterns, networks, indexed files and tables made of others: rules left out because they are wrong,
 * if/endif, substitution, building under a reader.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "table/table_build.h"
#include "table/table_type.h"

static char dir[] = "/tmp/table-types-XXXXXX";
static struct conf *conf;

static const char *
ask(struct table *t, const char *key)
{
	static struct buf value;
	static char text[4096];
	struct err err = {0};
	enum table_result r = table_lookup(t, span_str(key), TABLE_KEY_FULL, &value, &err);

	(void)snprintf(text, sizeof(text), "%s",
	    r == TABLE_FOUND       ? buf_str(&value)
	    : r == TABLE_NOT_FOUND ? "-"
				   : "!");
	buf_done(&value);
	return text;
}

static void
expect_flags(const char *spec, unsigned flags, const char *key, const char *want)
{
	struct table *t = table_open(conf, span_str(spec), flags);

	assert_string_equal(ask(t, key), want);
	table_close(&t);
}

static void
expect(const char *spec, const char *key, const char *want)
{
	expect_flags(spec, 0, key, want);
}

/* What both kinds of regular expressions have in common. */
static void
check_patterns(const char *type)
{
	static const struct {
		const char *rules;
		const char *key;
		const char *want;
	} cases[] = {
	    {"{ {/^(.*)@(.*)$/ u=$1 d=${2} $(1) $$} }", "a@b", "u=a d=b a $"},
	    {"{ {!/@/ none}, {/UP/ up} }", "x", "none"},
	    {"{ {!/@/ none}, {/UP/ up} }", "up@x", "up"},
	    {"{ {/UP/i up} }", "up@x", "-"},
	    {"{ {/UP/ii up} }", "up@x", "up"},
	    {"{ {if /x/}, {/xy/ in}, {endif}, {/z/ out} }", "z", "out"},
	    {"{ {if /x/}, {/xy/ in}, {endif}, {/z/ out} }", "xyz", "in"},
	    {"{ {if !/x/}, {/y/ in}, {endif} }", "xy", "-"},
	    {"{ {if /a/}, {if /b/}, {/c/ deep}, {endif}, {/d/ one}, {endif} }", "ad", "one"},
	    {"{ {if /a/}, {if /b/}, {/c/ deep}, {endif}, {/d/ one}, {endif} }", "abc", "deep"},
	    {"{ {if /a/}, {/b/ open} }", "b", "-"},
	    {"{ {endif}, {/b/ on} }", "b", "on"},
	    {"{ {/x(a)?(b)?/ [$1][$2]} }", "xb", "[][b]"},
	    {"{ {/x/ $1}, {/x/ second} }", "x", "second"},
	    {"{ {!/y/ $1}, {/x/ second} }", "x", "second"},
	    {"{ {/x/ $}, {/x/ ${foo}}, {/x/q no}, {/(/ no}, {/x}, {word y}, {/x/ third} }", "x",
		"third"},
	    {"{ {/x/} }", "x", "!"},
	    {"{ {|a\\|b| bar} }", "a|b", "bar"},
	    {"{ {/a b/ space} }", "a b", "space"},
	    {"x}", "x", "!"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *spec CLEANUP(mem_free_str) = mem_printf("%s:%s", type, cases[i].rules);

		expect(spec, cases[i].key, cases[i].want);
	}
}

static void
test_regexp(void **state UNUSED)
{
	check_patterns("regexp");
	expect("regexp:{ {/a\\(b/x basic} }", "a(b", "-");
}

static void
test_pcre(void **state UNUSED)
{
	check_patterns("pcre");
	expect("pcre:{ {/(?<!x)y/ behind} }", "xy", "-");
	expect("pcre:{ {/b/A anchored} }", "ab", "-");
	expect("pcre:{ {/^\\x{e4}$/ umlaut} }", "\303\204", "umlaut");
	expect_flags("pcre:{ {/\xff/ byte} }", TABLE_BYTES, "\xff", "byte");
	expect("pcre:{ {/./ byte} }", "\xff", "-");
}

/* A pattern that would take for ever is cut off and counts as no match. */
static void
test_pcre_limits(void **state UNUSED)
{
	int64_t before = clock_mono_us();

	expect("pcre:{ {/^(a|aa)+$/ exponential}, {/b/ next} }",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "next");
	assert_true(clock_mono_us() - before < 60 * CLOCK_SECOND);
}

static void
test_no_substitution(void **state UNUSED)
{
	expect_flags("regexp:{ {/(x)/ $1}, {/x/ plain} }", TABLE_NO_SUBSTITUTION, "x", "plain");
}

static void
test_cidr(void **state UNUSED)
{
	static const char *const mixed =
	    "cidr:{ {192.0.2.1/24 bits}, {300.1.1.1 x}, {192.0.2.0/99 y}, {192.0.2.0/x z}, "
	    "{192.0.2.1}, {192.0.2.0/24 net}, {[2001:db8::]/32 bracket}, {::1 one} }";

	expect(mixed, "192.0.2.1", "net");
	expect(mixed, "192.0.3.1", "-");
	expect(mixed, "2001:0DB8::5", "bracket");
	expect(mixed, "2001:db8:1::5", "bracket");
	expect(mixed, "2001:db9::", "-");
	expect(mixed, "0:0::1", "one");
	expect(mixed, "host.example", "-");
	expect("cidr:{ {!10.0.0.0/8 other}, {10.1.0.0/16 sub} }", "10.1.2.3", "sub");
	expect("cidr:{ {!10.0.0.0/8 other}, {::/0 six} }", "::5", "six");
	expect("cidr:{ {!10.0.0.0/8 other} }", "11.1.2.3", "other");
	expect("cidr:{ {if 10.0.0.0/8}, {10.1.0.0/16 sub}, {endif}, {0.0.0.0/0 all} }", "10.2.2.3",
	    "all");
	expect("cidr:{ {if !10.0.0.0/8}, {11.0.0.0/8 in}, {endif} }", "11.2.2.3", "in");
	expect("cidr:{ {if 10.0.0.0/8}, {11.0.0.0/8 in} }", "11.2.2.3", "-");
	expect("cidr:{ {10.0.0.0/15 fifteen} }", "10.1.255.255", "fifteen");
	expect("cidr:{ {10.0.0.0/15 fifteen} }", "10.2.0.0", "-");
}

static void
test_of_tables(void **state UNUSED)
{
	struct table *t;

	expect("unionmap:{inline:{a=1}, inline:{a=2, b=3}}", "a", "1,2");
	expect("unionmap:{inline:{a=1}, inline:{a=2, b=3}}", "b", "3");
	expect("unionmap:{inline:{a=1}}", "z", "-");
	expect("unionmap:{inline:{a=1}, fail:x}", "a", "!");
	expect("unionmap:{}", "a", "!");
	expect("unionmap:{foo}", "a", "!");
	expect("pipemap:{inline:{a=b}, inline:{b=c}}", "a", "c");
	expect("pipemap:{inline:{a=b}, inline:{b=c}}", "x", "-");
	expect("pipemap:{inline:{a=b}, fail:x}", "a", "!");
	expect("randmap:{one}", "a", "one");
	expect("randmap:{}", "a", "!");
	t = table_open(conf, span_str("unionmap:{inline:{a=1}, pcre:{ {/b/ 2} }}"), 0);
	assert_false(table_is_pattern(t));
	assert_true(t->mixed);
	table_close(&t);
	t = table_open(conf, span_str("pipemap:{cidr:{ {::1 1} }, pcre:{ {/b/ 2} }}"), 0);
	assert_true(table_is_pattern(t));
	table_close(&t);
}

static void
build(const char *path, const char *key, const char *value, bool nul)
{
	struct table_build_options options = {.path = path, .mode = 0640, .nul = nul};
	struct table_build *b = table_build_new();
	struct stat st;
	struct err err;

	assert_true(table_build_add(b, span_str("first"), span_str("1"), false));
	assert_true(table_build_add(b, span_str(key), span_str(value), false));
	assert_false(table_build_add(b, span_str(key), span_str("again"), false));
	assert_true(table_build_write(b, &options, &err));
	table_build_free(&b);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
}

/* A reader keeps the file it has open until it looks again, and then sees the new one. */
static void
test_indexed(void **state UNUSED)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/m.lmdb", dir);
	char *spec CLEANUP(mem_free_str) = mem_printf("hash:%s/m", dir);
	char *same CLEANUP(mem_free_str) = mem_printf("btree:%s/m", dir);
	int64_t now = clock_mono_us(), real = clock_real_us();
	struct table *t;

	expect(spec, "k", "!");
	for (int nul = 0; nul < 2; nul++) {
		clock_fake(now, real);
		build(path, "k", "one", nul != 0);
		t = table_open(conf, span_str(spec), 0);
		assert_string_equal(ask(t, "K"), "one");
		assert_string_equal(ask(t, "first"), "1");
		assert_string_equal(ask(t, "firs"), "-");
		assert_string_equal(ask(t, ""), "-");
		build(path, "k", "two", nul != 0);
		assert_string_equal(ask(t, "k"), "one");
		clock_fake(now + CLOCK_SECOND, real);
		assert_string_equal(ask(t, "k"), "two");
		table_close(&t);
		expect(same, "k", "two");
	}
	clock_fake(-1, -1);
}

static void
test_incremental(void **state UNUSED)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/i.lmdb", dir);
	char *spec CLEANUP(mem_free_str) = mem_printf("lmdb:%s/i", dir);
	struct table_build_options options = {.path = path, .mode = 0600};
	struct table_build *b = table_build_new();
	struct err err;

	assert_false(table_build_load(b, path, false, &err));
	table_build_free(&b);
	build(path, "k", "one", false);
	b = table_build_new();
	assert_true(table_build_load(b, path, false, &err));
	assert_false(table_build_add(b, span_str("k"), span_str("two"), false));
	assert_true(table_build_add(b, span_str("k"), span_str("three"), true));
	assert_true(table_build_remove(b, span_str("first")));
	assert_false(table_build_remove(b, span_str("absent")));
	assert_true(table_build_write(b, &options, &err));
	table_build_free(&b);
	expect(spec, "k", "three");
	expect(spec, "first", "-");
}

static void
test_large(void **state UNUSED)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/l.lmdb", dir);
	char *spec CLEANUP(mem_free_str) = mem_printf("lmdb:%s/l", dir);
	char *longest CLEANUP(mem_free_str) = mem_alloc(600);
	struct table_build_options options = {.path = path, .mode = 0600};
	struct table_build *b = table_build_new();
	struct buf value CLEANUP(buf_done) = {0};
	struct err err;

	for (size_t i = 0; i < 100000; i++)
		buf_add_char(&value, 'v');
	for (int i = 0; i < 20000; i++) {
		char key[32];
		int n = snprintf(key, sizeof(key), "key%d@example.com", i);

		assert_true(table_build_add(b, span_of(key, (size_t)n), span_str(key), false));
	}
	for (int i = 0; i < 20; i++) {
		char key[32];
		int n = snprintf(key, sizeof(key), "large%d", i);

		assert_true(table_build_add(b, span_of(key, (size_t)n), buf_span(&value), false));
	}
	assert_true(table_build_write(b, &options, &err));
	expect(spec, "key19999@example.com", "key19999@example.com");
	memset(longest, 'k', 600);
	assert_true(table_build_add(b, span_of(longest, 600), span_str("x"), false));
	assert_false(table_build_write(b, &options, &err));
	assert_int_equal(err.kind, ERR_PERM);
	table_build_free(&b);
	expect(spec, "key0@example.com", "key0@example.com");
}

static void
test_base64(void **state UNUSED)
{
	static const char *const cases[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
	    {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe", "//4="}};
	static const char *const bad[] = {"Z", "Zg=", "Zg=x", "Z===", "Zm9*", "=Zg="};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf text CLEANUP(buf_done) = {0};
		struct buf back CLEANUP(buf_done) = {0};

		table_base64_encode(&text, span_str(cases[i][0]));
		assert_string_equal(buf_str(&text), cases[i][1]);
		assert_true(table_base64_decode(&back, buf_span(&text)));
		assert_string_equal(buf_str(&back), cases[i][0]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct buf back CLEANUP(buf_done) = {0};

		assert_false(table_base64_decode(&back, span_str(bad[i])));
	}
}

static int
setup(void **state UNUSED)
{
	conf = conf_from_text("smtputf8_enable = yes\n");
	return mkdtemp(dir) == NULL;
}

static int
teardown(void **state UNUSED)
{
	char *command CLEANUP(mem_free_str) = mem_printf("rm -r %s", dir);

	conf_unref(&conf);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_regexp),
	    cmocka_unit_test(test_pcre),
	    cmocka_unit_test(test_pcre_limits),
	    cmocka_unit_test(test_no_substitution),
	    cmocka_unit_test(test_cidr),
	    cmocka_unit_test(test_of_tables),
	    cmocka_unit_test(test_indexed),
	    cmocka_unit_test(test_incremental),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
