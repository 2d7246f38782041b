/*
 * test_service_log.c - which files maillog_file may name, and facilities.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/mem.h"
#include "service/service_log.h"

static char dir[] = "/tmp/rowpost-log-XXXXXX";

static int
make_dir(void **state UNUSED)
{
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **state UNUSED)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s/log", dir);

	(void)unlink(file);
	return rmdir(dir);
}

/* Tries to open `file` under these prefixes. */
static bool
try_open(const char *file, const char *prefixes, int *fd, struct err *err)
{
	char *text CLEANUP(mem_free_str) =
	    mem_printf("maillog_file = %s\nmaillog_file_prefixes = %s\n", file, prefixes);
	struct conf *c = conf_from_text(text);
	bool good = service_log_open(c, fd, err);

	conf_unref(&c);
	return good;
}

static void
prefixes_end_at_a_slash(void **state UNUSED)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s/log", dir);
	char *with_slash CLEANUP(mem_free_str) = mem_printf("/nowhere, %s/", dir);
	char *part CLEANUP(mem_free_str) = mem_printf("%.*s", (int)strlen(dir) - 1, dir);
	const char *const good[] = {file, dir, with_slash, "/tmp"};
	const char *const bad[] = {part, "/var /dev/stdout", "/tmp/rowpost-log", ""};
	struct err err;
	int fd;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(try_open(file, good[i], &fd, &err));
		assert_true(fd >= 0);
		(void)close(fd);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(try_open(file, bad[i], &fd, &err));
		assert_int_equal(err.kind, ERR_CONFIG);
	}
}

static void
a_fresh_file_is_private_and_appended_to(void **state UNUSED)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s/log", dir);
	struct err err;
	struct stat st;
	int fd;

	(void)unlink(file);
	for (int i = 0; i < 2; i++) {
		assert_true(try_open(file, dir, &fd, &err));
		assert_int_equal(write(fd, "line\n", 5), 5);
		(void)close(fd);
	}
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
empty_means_syslog(void **state UNUSED)
{
	struct err err;
	int fd = 99;

	assert_true(try_open("", "/var", &fd, &err));
	assert_int_equal(fd, -1);
}

static void
facilities_by_name(void **state UNUSED)
{
	int facility = -1;

	assert_true(service_log_facility("mail", &facility));
	assert_int_equal(facility, LOG_MAIL);
	assert_true(service_log_facility("local7", &facility));
	assert_int_equal(facility, LOG_LOCAL7);
	assert_false(service_log_facility("nothing", &facility));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(prefixes_end_at_a_slash),
	    cmocka_unit_test(a_fresh_file_is_private_and_appended_to),
	    cmocka_unit_test(empty_means_syslog),
	    cmocka_unit_test(facilities_by_name),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
