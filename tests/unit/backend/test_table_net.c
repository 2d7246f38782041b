/*
 * test_table_net.c - what goes over the wire of tcp and socketmap tables, names of servers that are none, and cdb files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "backend/table_socketmap.h"
#include "backend/table_tcp.h"
#include "base/mem.h"
#include "table/table_build.h"
#include "table/table_type.h"

static char dir[] = "/tmp/table-net-XXXXXX";
static struct conf *conf;

static void
test_tcp_quote(void **state UNUSED)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
	    {"user@example.com", "user@example.com"},
	    {"100% a\tb\n", "100%25%20a%09b%0A"},
	    {"\xc3\xa9\x7f~!", "%C3%A9%7F~!"},
	    {"", ""},
	};
	struct buf out = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_clear(&out);
		table_tcp_quote(&out, span_str(cases[i].text));
		assert_string_equal(buf_str(&out), cases[i].want);
	}
	buf_clear(&out);
	table_tcp_quote(&out, SPAN_LIT("a\0b"));
	assert_string_equal(buf_str(&out), "a%00b");
	buf_done(&out);
}

static void
test_tcp_answer(void **state UNUSED)
{
	static const struct {
		const char *line;
		enum table_tcp_answer answer;
		const char *text;
	} cases[] = {
	    {"200 value", TABLE_TCP_FOUND, "value"},
	    {"200 a%20b%2c%C3%a9 c", TABLE_TCP_FOUND, "a b,\xc3\xa9 c"},
	    {"200\tvalue", TABLE_TCP_FOUND, "value"},
	    {"200   value ", TABLE_TCP_FOUND, "value "},
	    {"200 ", TABLE_TCP_FOUND, ""},
	    {"500 no such key", TABLE_TCP_NOT_FOUND, "no such key"},
	    {"400 later", TABLE_TCP_ERROR, "later"},
	    {"250 what", TABLE_TCP_BAD_CODE, "what"},
	    {"", TABLE_TCP_MALFORMED, NULL},
	    {"20", TABLE_TCP_MALFORMED, NULL},
	    {"200", TABLE_TCP_MALFORMED, NULL},
	    {"200value", TABLE_TCP_MALFORMED, NULL},
	    {"2000 value", TABLE_TCP_MALFORMED, NULL},
	    {" 200 value", TABLE_TCP_MALFORMED, NULL},
	    {"+20 value", TABLE_TCP_MALFORMED, NULL},
	    {"200 a%", TABLE_TCP_MALFORMED, NULL},
	    {"200 a%4", TABLE_TCP_MALFORMED, NULL},
	    {"200 a%4g", TABLE_TCP_MALFORMED, NULL},
	    {"200 a%00", TABLE_TCP_MALFORMED, NULL},
	};
	struct buf text = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(table_tcp_answer(span_str(cases[i].line), &text), cases[i].answer);
		if (cases[i].text != NULL)
			assert_string_equal(buf_str(&text), cases[i].text);
	}
	buf_done(&text);
}

static void
test_socketmap_answer(void **state UNUSED)
{
	static const struct {
		const char *answer;
		enum table_socketmap_answer want;
		const char *text;
	} cases[] = {
	    {"OK value", TABLE_SOCKETMAP_FOUND, "value"},
	    {"OK a b", TABLE_SOCKETMAP_FOUND, "a b"},
	    {"OK ", TABLE_SOCKETMAP_FOUND, ""},
	    {"OK", TABLE_SOCKETMAP_NOT_FOUND, ""},
	    {"NOTFOUND ", TABLE_SOCKETMAP_NOT_FOUND, ""},
	    {"NOTFOUND", TABLE_SOCKETMAP_NOT_FOUND, ""},
	    {"TEMP busy", TABLE_SOCKETMAP_TEMP, "busy"},
	    {"TIMEOUT ", TABLE_SOCKETMAP_TIMEOUT, ""},
	    {"PERM not for you", TABLE_SOCKETMAP_PERM, "not for you"},
	    {"ok value", TABLE_SOCKETMAP_UNKNOWN, "value"},
	    {"OKAY value", TABLE_SOCKETMAP_UNKNOWN, "value"},
	    {"", TABLE_SOCKETMAP_UNKNOWN, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct span text;

		assert_int_equal(
		    table_socketmap_answer(span_str(cases[i].answer), &text), cases[i].want);
		assert_true(span_equal_str(text, cases[i].text));
	}
}

/* A name that is none is trouble at once; a server is not asked before there is something to ask. */
static void
test_names(void **state UNUSED)
{
	static const struct {
		const char *spec, *trouble;
	} cases[] = {
	    {"tcp:127.0.0.1:25", NULL},
	    {"tcp:[::1]:25", NULL},
	    {"tcp:localhost:smtp", NULL},
	    {"tcp:25", NULL},
	    {"tcp:localhost", "host or service localhost not found"},
	    {"tcp:localhost:0", "host or service"},
	    {"tcp:localhost:65536", "host or service"},
	    {"socketmap:inet:localhost:25:name", NULL},
	    {"socketmap:unix:/run/x:name", NULL},
	    {"socketmap:unix:private/x:name", NULL},
	    {"socketmap:x", "socketmap requires server:socketmap argument"},
	    {"socketmap:inet:localhost:25", "host or service localhost not found"},
	    {"socketmap:unix:name", "need service transport:endpoint instead of \"unix\""},
	    {"socketmap:udp:localhost:25:name",
		"invalid transport name: udp in service: udp:localhost:25"},
	    {"memcache:/nowhere/at/all", "open /nowhere/at/all: No such file or directory"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct table *t = table_open(conf, span_str(cases[i].spec), 0);

		if (cases[i].trouble == NULL)
			assert_null(table_trouble(t));
		else
			assert_non_null(strstr(table_trouble(t), cases[i].trouble));
		table_close(&t);
	}
}

/* Who answers over the network must not choose commands, files or rights. */
static void
test_trust(void **state UNUSED)
{
	static const char *const specs[] = {"tcp:127.0.0.1:25", "socketmap:unix:/run/x:name",
	    "memcache:/etc/x.cf", "unionmap:{tcp:127.0.0.1:25}"};

	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		struct table *t = table_open(conf, span_str(specs[i]), TABLE_NO_PROXY);

		assert_non_null(
		    strstr(table_trouble(t), "map is not allowed for security-sensitive data"));
		table_close(&t);
	}
}

static const char *
look(struct table *t, const char *key)
{
	static char text[200];
	struct buf value = {0};
	struct err err = {0};
	enum table_result r = table_lookup(t, span_str(key), TABLE_KEY_FULL, &value, &err);

	(void)snprintf(text, sizeof(text), "%s",
	    r == TABLE_FOUND       ? buf_str(&value)
	    : r == TABLE_NOT_FOUND ? "-"
				   : "!");
	buf_done(&value);
	return text;
}

#ifdef HAVE_CDB
static void
write_cdb(const char *path, const char *value, bool nul)
{
	struct table_build *b = table_build_new();
	struct err err = {0};

	assert_true(table_build_add(b, SPAN_LIT("key"), span_str(value), false));
	assert_true(table_build_add(b, SPAN_LIT(""), SPAN_LIT("of nothing"), false));
	assert_true(table_cdb_type.write(
	    b, &(struct table_build_options){.path = path, .mode = 0600, .nul = nul}, &err));
	table_build_free(&b);
}

/* A reader keeps what it has opened while another file takes its place. */
static void
test_cdb(void **state UNUSED)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/t.cdb", dir);
	char *spec CLEANUP(mem_free_str) = mem_printf("cdb:%s/t", dir);
	struct conf *other = conf_from_text("");

	for (int nul = 0; nul <= 1; nul++) {
		struct table *before, *after;

		write_cdb(path, "one", nul);
		before = table_open(conf, span_str(spec), 0);
		assert_string_equal(look(before, "KEY"), "one");
		assert_string_equal(look(before, "keys"), "-");
		assert_string_equal(look(before, ""), "of nothing");
		write_cdb(path, "two", nul);
		after = table_open(other, span_str(spec), 0);
		assert_string_equal(look(before, "key"), "one");
		assert_string_equal(look(after, "key"), "two");
		table_close(&before);
		table_close(&after);
	}
	conf_unref(&other);
	(void)unlink(path);
}

static void
test_cdb_broken(void **state UNUSED)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/b.cdb", dir);
	char *spec CLEANUP(mem_free_str) = mem_printf("cdb:%s/b", dir);
	FILE *f = fopen(path, "w");
	struct table *t;

	assert_non_null(f);
	assert_true(fputs("rubbish", f) >= 0);
	assert_int_equal(fclose(f), 0);
	t = table_open(conf, span_str(spec), 0);
	assert_non_null(strstr(table_trouble(t), "not a cdb"));
	assert_string_equal(look(t, "key"), "!");
	table_close(&t);
	(void)unlink(path);
}
#endif

/* Where nothing can wait there is no answer either, but no harm. */
static void
test_without_a_task(void **state UNUSED)
{
	struct table *t = table_open(conf, SPAN_LIT("tcp:127.0.0.1:25"), 0);

	assert_string_equal(look(t, "key"), "!");
	table_close(&t);
}

static int
set_up(void **state UNUSED)
{
	conf = conf_from_text("");
	return mkdtemp(dir) == NULL;
}

static int
tear_down(void **state UNUSED)
{
	conf_unref(&conf);
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tcp_quote),
	    cmocka_unit_test(test_tcp_answer),
	    cmocka_unit_test(test_socketmap_answer),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_trust),
#ifdef HAVE_CDB
	    cmocka_unit_test(test_cdb),
	    cmocka_unit_test(test_cdb_broken),
#endif
	    cmocka_unit_test(test_without_a_task),
	};

	backend_link();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
