/*
 * test_table_check.c - tables that cannot be used are found wherever main.cf names them; what is no table is left alone.
 */
#include "table/table_check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "table/table_build.h"
#include "table/table_proxy.h"

static void
note(void *arg, const char *parameter, const char *table, const char *why)
{
	buf_printf(arg, "%s %s: %s\n", parameter, table, why);
}

static void
test_check(void **state UNUSED)
{
	struct conf *conf = conf_from_text(
	    "compatibility_level = 3.6\nmyhostname = a.test\nalias_maps =\n"
	    "virtual_alias_maps = hash:/none/v, inline:{a=b}, static:x\n"
	    "canonical_maps = /etc/postfix/canonical, hahs:/none/c\n"
	    "proxy_read_maps = $canonical_maps\n"
	    "smtpd_recipient_restrictions = check_client_access cidr:/none/c, reject\n"
	    "mydestination = a.test, !proxy:pcre:/none/p\n"
	    "smtpd_milters = unix:/none/socket, inet:127.0.0.1:1\n"
	    "default_transport = smtp:[127.0.0.1]:25\n");
	struct buf found CLEANUP(buf_done) = {0};

	table_check(conf, note, &found);
	assert_string_equal(buf_str(&found),
	    "canonical_maps /etc/postfix/canonical: expecting \"type:name\" form\n"
	    "canonical_maps hahs:/none/c: unsupported dictionary type\n"
	    "mydestination proxy:pcre:/none/p: open /none/p: No such file or directory\n"
	    "smtpd_recipient_restrictions cidr:/none/c: open /none/c: No such file or directory\n"
	    "virtual_alias_maps hash:/none/v: open database /none/v.lmdb: No such file or "
	    "directory\n");
	conf_unref(&conf);
}

static void
touch(const char *path, time_t at)
{
	const struct timespec times[2] = {{.tv_sec = at}, {.tv_sec = at}};
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	assert_int_equal(futimens(fd, times), 0);
	(void)close(fd);
}

/* Not made, or made before the source was changed. */
static void
test_source(void **state UNUSED)
{
	char dir[] = "/tmp/rowpost-table-check-XXXXXX";
	struct buf found CLEANUP(buf_done) = {0};
	struct table_build *b = table_build_new();
	char *want CLEANUP(mem_free_str) = NULL;
	struct conf *conf;
	struct err err;

	assert_non_null(mkdtemp(dir));
	char *source CLEANUP(mem_free_str) = mem_printf("%s/t", dir);
	char *made CLEANUP(mem_free_str) = mem_printf("%s/t.lmdb", dir);
	char *text CLEANUP(mem_free_str) = mem_printf("alias_maps = hash:%s\n", source);
	conf = conf_from_text(text);
	touch(source, 1000);
	table_check(conf, note, &found);
	want =
	    mem_printf("alias_maps hash:%s: open database %s: No such file or directory: postalias "
		       "hash:%s makes it\n",
		source, made, source);
	assert_string_equal(buf_str(&found), want);
	buf_clear(&found);
	assert_true(
	    table_build_write(b, &(struct table_build_options){.path = made, .mode = 0600}, &err));
	table_build_free(&b);
	touch(made, 999);
	table_check(conf, note, &found);
	mem_free(want);
	want = mem_printf("alias_maps hash:%s: it is older than its source\n", source);
	assert_string_equal(buf_str(&found), want);
	buf_clear(&found);
	touch(made, 1000);
	table_check(conf, note, &found);
	assert_string_equal(buf_str(&found), "");
	conf_unref(&conf);
	(void)unlink(source);
	(void)unlink(made);
	(void)rmdir(dir);
}

static void
note_proxied(void *arg, const char *parameter, const char *table)
{
	buf_printf(arg, "%s %s\n", parameter, table);
}

static void
expect_proxied(const char *text, const char *want)
{
	struct buf all CLEANUP(buf_done) = {0};
	struct buf found CLEANUP(buf_done) = {0};
	struct conf *conf;

	buf_printf(&all, "compatibility_level = 3.6\nmyhostname = a.test\nalias_maps =\n%s", text);
	conf = conf_from_text(buf_str(&all));
	table_check_proxied(conf, note_proxied, &found);
	assert_string_equal(buf_str(&found), want);
	conf_unref(&conf);
}

static void
test_proxied(void **state UNUSED)
{
	expect_proxied("mydestination =\nsmtpd_milters = unix:/x\ntransport_maps = hash:/x\n", "");
	expect_proxied("mydestination = a\n", "local_recipient_maps proxy:unix:passwd.byname\n");
	expect_proxied("mydestination =\nrelay_domains = a, unix:group.byname, proxy:hash:/x\n",
	    "relay_domains unix:group.byname\nrelay_domains proxy:hash:/x\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_source),
	    cmocka_unit_test(test_proxied),
	};

	table_proxy_ask_directly();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
