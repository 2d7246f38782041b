/*
 * test_table_query.c - settings of database tables from files and main.cf; templates with every letter; what is left out.
 */
#include "table/table_query.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static char path[] = "/tmp/table-query-XXXXXX";
static struct conf *conf;

static void
write_file(const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static struct table_settings *
settings_of(const char *text)
{
	struct table_settings *s;
	struct err err;

	write_file(text);
	if (!table_query_settings(conf, path, &s, &err))
		fail_msg("%s", err.text);
	return s;
}

/* The query of a file with `text`, with the template `query`. NULL, and the reason in `err`, when it is refused. */
static struct table_query *
query_of(const char *text, const char *query, struct err *err)
{
	struct table_settings *s = settings_of(text);
	struct table_query *q = NULL;

	if (!table_query_open(conf, "mysql:x", s, &q, err) ||
	    !table_query_learn(q, s, "query", query, err))
		table_query_free(&q);
	table_query_settings_free(&s);
	return q;
}

static void
quote(void *arg, struct span text, struct buf *out)
{
	assert_ptr_equal(arg, path);
	buf_printf(out, "<%.*s>", SPAN_ARG(text));
}

/* `want`: "-" when the key is left out. */
static void
expect_query(const char *query, const char *key, const char *want)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct err err;
	struct table_query *q = query_of("", query, &err);

	assert_non_null(q);
	if (!table_query_expand(q, query, span_str(key), quote, path, &out)) {
		assert_int_equal(out.len, 0);
		buf_add_str(&out, "-");
	}
	assert_string_equal(buf_str(&out), want);
	table_query_free(&q);
}

static void
test_queries(void **state UNUSED)
{
	expect_query("a='%s'", "u@d.example", "a='<u@d.example>'");
	expect_query("100%% %u|%d", "u@d.example", "100% <u>|<d.example>");
	expect_query("%S %U %D", "u@d.example", "<u@d.example> <u> <d.example>");
	expect_query("%u", "user", "<user>");
	expect_query("%u", "\"a@b\"@c", "<\"a@b\">");
	expect_query("%u", "@d", "-");
	expect_query("%s", "@d", "<@d>");
	expect_query("%d", "user", "-");
	expect_query("%d", "user@", "-");
	expect_query("%D", "user", "-");
	expect_query("%3.%2.%1", "u@mail.example.com", "<mail>.<example>.<com>");
	expect_query("%3", "u@example.com", "-");
	expect_query("%3", "u@.example.com", "-");
	expect_query("%1", "com", "-");
	expect_query("%s", "", "-");
}

static void
expect_result(const char *text, const char *key, const char *found, const char *want)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct table_query_result r = {.out = &out};
	struct err err;
	struct table_query *q = query_of(text, "%s", &err);
	struct span rest = span_str(found), one;
	bool ok = true;

	assert_non_null(q);
	while (ok && span_word(&rest, " ", &one))
		ok = table_query_add(
		    q, span_str(key), span_equal_str(one, "0") ? (struct span){0} : one, &r, &err);
	assert_string_equal(ok ? buf_str(&out) : "!", want);
	if (!ok)
		assert_int_equal(err.kind, ERR_TEMP);
	table_query_free(&q);
}

static void
test_results(void **state UNUSED)
{
	expect_result("", "k@d", "a@b c", "a@b,c");
	expect_result("", "k@d", "a 0 b", "a,b");
	expect_result("result_format = smtp:[%s]", "k@d", "h", "smtp:[h]");
	expect_result("result_format = %u=%d", "k@d", "a@b c @e f@", "a=b");
	expect_result("result_format = %u", "k@d", "a@b c @e", "a,c");
	expect_result(
	    "result_format = %U at %D of %S: %1 %s", "k@d.x", "v", "k at d.x of k@d.x: x v");
	expect_result("result_format = %d%%", "k", "a@b", "b%");
	expect_result("result_format = %D", "k", "v", "");
	expect_result("result_filter = x%s", "k", "v", "xv");
	expect_result("result_filter = x%s\nresult_format = y%s", "k", "v", "yv");
	expect_result("expansion_limit = 2", "k", "a b", "a,b");
	expect_result("expansion_limit = 2", "k", "a b c", "!");
	expect_result("expansion_limit = 1\nresult_format = %d", "k", "a b@c d", "c");
}

/* What the result needs of the key is known before the query. */
static void
test_key_for_result(void **state UNUSED)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct err err;
	struct table_query *q = query_of("result_format = %D", "%s", &err);

	assert_false(table_query_expand(q, "%s", span_str("user"), NULL, NULL, &out));
	assert_true(table_query_expand(q, "%s", span_str("u@d"), NULL, NULL, &out));
	assert_string_equal(buf_str(&out), "u@d");
	table_query_free(&q);
}

static void
test_bytes(void **state UNUSED)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct err err;
	struct table_query *q = query_of("", "%u", &err);

	assert_true(table_query_expand(q, "%u", SPAN_LIT("a\0b@d"), NULL, NULL, &out));
	assert_int_equal(out.len, 3);
	assert_memory_equal(out.ptr, "a\0b", 3);
	table_query_free(&q);
}

static void
test_domains(void **state UNUSED)
{
	static const struct {
		const char *domains, *key;
		enum table_result want;
	} cases[] = {
	    {"", "user", TABLE_FOUND},
	    {"", "", TABLE_NOT_FOUND},
	    {"a.example, B.example", "u@b.EXAMPLE", TABLE_FOUND},
	    {"a.example", "u@x.a.example", TABLE_NOT_FOUND},
	    {"a.example", "user", TABLE_NOT_FOUND},
	    {"a.example", "a.example", TABLE_NOT_FOUND},
	    {"a.example", "@a.example", TABLE_NOT_FOUND},
	    {"!a.example static:x", "u@a.example", TABLE_NOT_FOUND},
	    {"!a.example static:x", "u@b.example", TABLE_FOUND},
	    {"inline:{a.example=}", "u@a.example", TABLE_FOUND},
	    {"a.example fail:x", "u@a.example", TABLE_FOUND},
	    {"fail:x a.example", "u@a.example", TABLE_ERROR},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *text CLEANUP(mem_free_str) = mem_printf("domain = %s\n", cases[i].domains);
		struct err err;
		struct table_query *q = query_of(text, "%s", &err);

		assert_non_null(q);
		assert_int_equal(table_query_wants(q, span_str(cases[i].key), &err), cases[i].want);
		table_query_free(&q);
	}
}

static void
test_settings(void **state UNUSED)
{
	struct table_settings *s = settings_of(
	    "# comment\nhosts = a\n  b\nuser=$myhostname\nport = -3\nempty =\nyes = YES\nno = No\n");
	struct err err;
	int64_t number;
	bool flag;

	assert_string_equal(table_query_str(s, "hosts", "x"), "a  b");
	assert_string_equal(table_query_str(s, "user", NULL), "$myhostname");
	assert_string_equal(table_query_str(s, "empty", "x"), "");
	assert_null(table_query_str(s, "absent", NULL));
	assert_true(table_query_number(s, "port", 1, -5, 5, &number, &err));
	assert_int_equal(number, -3);
	assert_true(table_query_number(s, "absent", 7, 0, 1, &number, &err));
	assert_int_equal(number, 7);
	assert_true(table_query_bool(s, "yes", false, &flag, &err) && flag);
	assert_true(table_query_bool(s, "no", true, &flag, &err) && !flag);
	assert_true(table_query_bool(s, "absent", true, &flag, &err) && flag);
	table_query_settings_free(&s);
}

/* Settings of "NAME" are the parameters NAME_... of main.cf, with $ expanded. */
static void
test_main_cf(void **state UNUSED)
{
	struct table_settings *s;
	struct err err;
	int64_t number;

	assert_true(table_query_settings(conf, "src", &s, &err));
	assert_string_equal(table_query_str(s, "hosts", "x"), "db.a.test");
	assert_string_equal(table_query_str(s, "absent", "x"), "x");
	assert_false(table_query_number(s, "limit", 0, 0, 1, &number, &err));
	assert_string_equal(err.text, "src_limit: bad numerical value \"many\"");
	table_query_settings_free(&s);
}

static void
expect_refused(const char *text, const char *query, const char *line, const char *reason)
{
	char *want CLEANUP(mem_free_str) = mem_printf("%s%s: %s", path, line, reason);
	struct err err = {0};

	assert_null(query_of(text, query, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	assert_string_equal(err.text, want);
}

static void
test_mistakes(void **state UNUSED)
{
	struct table_settings *s;
	struct err err;

	expect_refused("\nquery = %x\n", "%x", ", line 2", "query: invalid query template: %x");
	expect_refused("", "a%", "", "query: invalid query template: a%");
	expect_refused(
	    "result_format = %0\n", "", ", line 1", "result_format: invalid result template: %0");
	expect_refused("expansion_limit = 1x\n", "", ", line 1",
	    "expansion_limit: bad numerical value \"1x\"");
	expect_refused("expansion_limit = -1\n", "", ", line 1",
	    "expansion_limit: value -1 is not between 0 and 2147483647");
	expect_refused("domain = /nonexistent/x\n", "", ", line 1",
	    "domain: open /nonexistent/x: No such file or directory");
	expect_refused("domain = !\n", "", ", line 1", "domain: no domain after \"!\"");
	assert_false(table_query_settings(conf, "/nonexistent/x", &s, &err));
	assert_string_equal(err.text, "open /nonexistent/x: No such file or directory");
	write_file("hosts\n");
	assert_false(table_query_settings(conf, path, &s, &err));
	assert_non_null(strstr(err.text, ", line 1: missing '=' after attribute name"));
}

static void
test_sql(void **state UNUSED)
{
	struct table_settings *s = settings_of("query = SELECT 1\ntable = t\n");
	struct buf sql CLEANUP(buf_done) = {0};
	struct err err;

	assert_true(table_query_sql(s, &sql, &err));
	assert_string_equal(buf_str(&sql), "SELECT 1");
	table_query_settings_free(&s);
	buf_clear(&sql);
	s = settings_of(
	    "table = t\nselect_field = f\nwhere_field = w\nadditional_conditions = and 1");
	assert_true(table_query_sql(s, &sql, &err));
	assert_string_equal(buf_str(&sql), "SELECT f FROM t WHERE w = '%s' and 1");
	table_query_settings_free(&s);
	s = settings_of("table = t\nselect_field = f\n");
	assert_false(table_query_sql(s, &sql, &err));
	assert_non_null(strstr(err.text, "neither 'query' nor 'where_field' parameter defined"));
	table_query_settings_free(&s);
}

static int
set_up(void **state UNUSED)
{
	int fd = mkstemp(path);

	conf = conf_from_text("compatibility_level = 3.6\nmyhostname = a.test\n"
			      "src_hosts = db.$myhostname\nsrc_limit = many\n");
	return close(fd);
}

static int
tear_down(void **state UNUSED)
{
	conf_unref(&conf);
	return unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_queries),
	    cmocka_unit_test(test_results),
	    cmocka_unit_test(test_key_for_result),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_domains),
	    cmocka_unit_test(test_settings),
	    cmocka_unit_test(test_main_cf),
	    cmocka_unit_test(test_mistakes),
	    cmocka_unit_test(test_sql),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
