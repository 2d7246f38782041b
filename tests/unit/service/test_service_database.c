/*
 * test_service_database.c - where the queue databases are: lists of URIs, keyword strings, the embedded one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "service/service_database.h"

static const struct {
	const char *list;
	size_t count;
	const char *items[3];
} lists[] = {
    {"", 0, {0}},
    {"  \n\t , ", 0, {0}},
    {"postgresql:///rowpost", 1, {"postgresql:///rowpost"}},
    {"postgresql://a,b:5433/rowpost?target_session_attrs=read-write", 1,
	{"postgresql://a,b:5433/rowpost?target_session_attrs=read-write"}},
    {"postgresql://a/x, postgresql://b/x\n postgresql://c/x", 3,
	{"postgresql://a/x", "postgresql://b/x", "postgresql://c/x"}},
    {"{ host=/run/pg dbname=x } {host=/run/pg2 dbname=y}", 2,
	{"host=/run/pg dbname=x", "host=/run/pg2 dbname=y"}},
};

static void
lists_are_cut_at_blanks(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct span rest = span_str(lists[i].list), item;
		size_t n = 0;

		while (service_database_next(&rest, &item)) {
			assert_true(n < lists[i].count);
			assert_true(span_equal_str(item, lists[i].items[n]));
			n++;
		}
		assert_int_equal(n, lists[i].count);
	}
}

static void
shards_come_in_order(void **state UNUSED)
{
	struct conf *c = conf_from_text("queue_databases = postgresql://a/x, postgresql://b/x\n");
	struct buf b CLEANUP(buf_done) = {0};

	assert_false(service_database_is_embedded(c));
	assert_int_equal(service_database_count(c), 2);
	service_database_conninfo(c, SERVICE_FRONT_END, 1, &b);
	assert_string_equal(buf_str(&b), "postgresql://b/x");
	conf_unref(&c);
}

static void
embedded_logs_in_by_system_user(void **state UNUSED)
{
	struct conf *c = conf_from_text("data_directory = /var/lib/it's\n"
					"mail_owner = front\nscheduler_owner = sched\n");
	struct buf b CLEANUP(buf_done) = {0};

	assert_true(service_database_is_embedded(c));
	assert_int_equal(service_database_count(c), 1);
	service_database_conninfo(c, SERVICE_SCHEDULER, 0, &b);
	assert_string_equal(buf_str(&b),
	    "host='/var/lib/it\\'s/run' port=5432 dbname=rowpost user='sched'"
	    " requirepeer='rowpostdb'");
	conf_unref(&c);
}

static void
long_socket_directories_move_to_run(void **state UNUSED)
{
	char text[200], dir[120];
	struct conf *c;
	struct buf a CLEANUP(buf_done) = {0};
	struct buf b CLEANUP(buf_done) = {0};

	memset(dir, 'x', sizeof(dir));
	dir[0] = '/';
	dir[sizeof(dir) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "database_socket_directory = %s\n", dir);
	c = conf_from_text(text);
	service_database_socket_dir(c, &a);
	assert_true(span_starts(buf_span(&a), "/run/rowpost-"));
	assert_true(a.len < 40);
	conf_unref(&c);

	/* Another installation gets another one. */
	text[strlen(text) - 2] = 'y';
	c = conf_from_text(text);
	service_database_socket_dir(c, &b);
	assert_false(span_equal(buf_span(&a), buf_span(&b)));
	conf_unref(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists_are_cut_at_blanks),
	    cmocka_unit_test(shards_come_in_order),
	    cmocka_unit_test(embedded_logs_in_by_system_user),
	    cmocka_unit_test(long_socket_directories_move_to_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
