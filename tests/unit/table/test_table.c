/*
 * test_table.c - opening, folding, sharing and change detection of tables, with the types that need no library.
 */
#include "table/table.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "table/table_proxy.h"

static char dir[] = "/tmp/table-XXXXXX";
static struct conf *conf;

static void
write_file(const char *name, const char *text)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static struct table *
open_table(const char *spec, unsigned flags)
{
	return table_open(conf, span_str(spec), flags);
}

/* The value, or "-" when not found, "!" when the table failed. */
static const char *
ask(struct table *t, const char *key, enum table_key kind)
{
	static struct buf value;
	static char text[256];
	struct err err = {0};

	switch (table_lookup(t, span_str(key), kind, &value, &err)) {
	case TABLE_NOT_FOUND:
		return "-";
	case TABLE_ERROR:
		assert_int_equal(err.kind, ERR_TEMP);
		return "!";
	case TABLE_FOUND:
		break;
	}
	(void)snprintf(text, sizeof(text), "%s", buf_str(&value));
	buf_done(&value);
	return text;
}

static void
expect(const char *spec, const char *key, const char *want)
{
	struct table *t = open_table(spec, 0);

	assert_string_equal(ask(t, key, TABLE_KEY_FULL), want);
	table_close(&t);
}

static void
test_inline(void **state UNUSED)
{
	expect("inline:{a=1, {b = two words}, C=3}", "a", "1");
	expect("inline:{a=1, {b = two words}, C=3}", "B", "two words");
	expect("inline:{a=1, {b = two words}, C=3}", "c", "3");
	expect("inline:{a=1}", "z", "-");
	expect("inline:{a=}", "a", "!");
	expect("inline:{a=1, =x}", "a", "1");
	expect("inline:x", "a", "!");
	expect("inline:{}", "a", "!");
	expect("inline:{a}", "a", "!");
}

static void
test_simple_types(void **state UNUSED)
{
	expect("static:val", "any", "val");
	expect("static:{two words}", "any", "two words");
	expect("static:{two", "any", "!");
	expect("static:", "any", "!");
	expect("fail:x", "any", "!");
	expect("nosuchtype:x", "any", "!");
	assert_int_equal(setenv("table_test_name", "here", 1), 0);
	expect("environ:x", "table_test_name", "here");
	expect("environ:x", "table_test_other", "-");
	expect("unix:passwd.byname", "nobody-of-this-name", "-");
	expect("unix:group.byname", "root", "root:x:0:");
	expect("unix:shadow.byname", "root", "!");
	expect("proxy:inline:{a=1}", "a", "1");
	expect("proxy:unix:passwd.byname", "nobody-of-this-name", "-");
}

static void
test_folding(void **state UNUSED)
{
	struct table *exact = open_table("inline:{Key=1}", TABLE_EXACT_CASE);

	assert_string_equal(ask(exact, "Key", TABLE_KEY_FULL), "1");
	assert_string_equal(ask(exact, "key", TABLE_KEY_FULL), "-");
	table_close(&exact);
	expect("inline:{\303\204x=1}", "\303\244X", "1");
	expect("inline:{a=1}", "\377", "-");
}

static void
test_texthash(void **state UNUSED)
{
	char *spec CLEANUP(mem_free_str) = mem_printf("texthash:%s/m", dir);

	write_file("m", "# comment\nkey1 value1\nKey2 value two  \nmulti a\n  b\n\tc\nlast\tx:y\n\n"
			"\"q k\" v\nnovalue\n");
	expect(spec, "key1", "value1");
	expect(spec, "KEY2", "value two");
	expect(spec, "multi", "a  b\tc");
	expect(spec, "last", "x:y");
	expect(spec, "none", "-");
	expect(spec, "\"q k\"", "v");
	expect(spec, "novalue", "-");
	/* Nobody can tell which of them is meant. */
	write_file("m", "key1 value1\nDup one\ndup two\n");
	expect(spec, "key1", "!");
}

/* A file that is read whole is looked at each four seconds, and a table that breaks defers until it is whole again. */
static void
test_change(void **state UNUSED)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/c", dir);
	char *spec CLEANUP(mem_free_str) = mem_printf("texthash:%s", path);
	int64_t now = clock_mono_us(), real = clock_real_us();
	struct table *t;

	clock_fake(now, real);
	write_file("c", "k one\n");
	t = open_table(spec, 0);
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "one");
	write_file("c", "k three\n");
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "one");
	clock_fake(now + 4 * CLOCK_SECOND, real);
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "three");
	/* Same length within the same second: the time of change may not tell. */
	write_file("c", "k seven\n");
	clock_fake(now + 8 * CLOCK_SECOND, real);
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "seven");
	assert_int_equal(unlink(path), 0);
	clock_fake(now + 12 * CLOCK_SECOND, real);
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "!");
	assert_non_null(table_trouble(t));
	write_file("c", "k back\n");
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "!");
	clock_fake(now + 16 * CLOCK_SECOND, real);
	assert_string_equal(ask(t, "k", TABLE_KEY_FULL), "back");
	assert_null(table_trouble(t));
	table_close(&t);
	clock_fake(-1, -1);
}

static void
test_sharing(void **state UNUSED)
{
	struct table *a = open_table("inline:{a=1}", 0);
	struct table *b = open_table("inline:{a=1}", 0);
	struct table *c = open_table("inline:{a=1}", TABLE_EXACT_CASE);

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	table_close(&a);
	assert_null(a);
	assert_string_equal(ask(b, "A", TABLE_KEY_FULL), "1");
	table_close(&b);
	table_close(&c);
}

static void
test_list(void **state UNUSED)
{
	struct table_list *l = table_list_open(
	    conf, "inline:{a=1, {b = two}}, inline:{a=2, c=3},fail:x", "test_maps", 0);
	struct table_list *none = table_list_open(conf, "", "test_maps", 0);
	struct buf value CLEANUP(buf_done) = {0};
	struct err err;

	assert_int_equal(
	    table_list_lookup(l, span_str("a"), TABLE_KEY_FULL, &value, &err), TABLE_FOUND);
	assert_string_equal(buf_str(&value), "1");
	assert_int_equal(
	    table_list_lookup(l, span_str("C"), TABLE_KEY_PARTIAL, &value, &err), TABLE_FOUND);
	assert_string_equal(buf_str(&value), "3");
	assert_int_equal(
	    table_list_lookup(l, span_str("d"), TABLE_KEY_FULL, &value, &err), TABLE_ERROR);
	assert_string_equal(buf_str(&value), "");
	assert_false(table_list_is_empty(l));
	assert_true(table_list_is_empty(none));
	assert_true(table_list_is_empty(NULL));
	assert_int_equal(
	    table_list_lookup(NULL, span_str("d"), TABLE_KEY_FULL, &value, &err), TABLE_NOT_FOUND);
	table_list_close(&l);
	table_list_close(&none);
}

static void
test_names(void **state UNUSED)
{
	assert_true(table_is_spec(span_str("hash:/etc/x")));
	assert_false(table_is_spec(span_str("example.com")));
	assert_false(table_is_spec(span_str("[::1]")));
	assert_false(table_is_spec(span_str("/etc/x:y")));
	for (size_t i = 1; table_type_name(i) != NULL; i++)
		assert_true(strcmp(table_type_name(i - 1), table_type_name(i)) < 0);
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
	    cmocka_unit_test(test_inline),
	    cmocka_unit_test(test_simple_types),
	    cmocka_unit_test(test_folding),
	    cmocka_unit_test(test_texthash),
	    cmocka_unit_test(test_change),
	    cmocka_unit_test(test_sharing),
	    cmocka_unit_test(test_list),
	    cmocka_unit_test(test_names),
	};

	table_proxy_ask_directly();
	return cmocka_run_group_tests(tests, setup, teardown);
}
