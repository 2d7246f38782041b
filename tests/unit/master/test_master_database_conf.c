/*
 * test_master_database_conf.c - the settings of the embedded PostgreSQL: scaled, safe, quoted; who may log in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "master/master_database_conf.h"

#define GB (UINT64_C(1) << 30)

static const char *
settings(const char *main_cf, uint64_t memory, uint64_t disk, struct buf *out)
{
	struct conf *c = conf_from_text(main_cf);
	struct master_database_machine machine = {memory, disk};

	buf_clear(out);
	master_database_conf_settings(c, &machine, out);
	conf_unref(&c);
	return buf_str(out);
}

static void
sizes_follow_the_machine(void **state UNUSED)
{
	static const struct {
		uint64_t memory, disk;
		const char *line;
	} cases[] = {
	    {2 * GB, 100 * GB, "\nshared_buffers = 512MB\n"},
	    {64 * GB, 100 * GB, "\nshared_buffers = 1024MB\n"},
	    {GB / 64, 100 * GB, "\nshared_buffers = 16MB\n"},
	    {2 * GB, 1000 * GB, "\nmax_wal_size = 8192MB\n"},
	    {2 * GB, 8 * GB, "\nmax_wal_size = 1024MB\n"},
	    {2 * GB, 0, "\nmax_wal_size = 256MB\n"},
	    {2 * GB, 8 * GB, "\nfsync = on\n"},
	    {2 * GB, 8 * GB, "\nsynchronous_commit = on\n"},
	    {2 * GB, 8 * GB, "listen_addresses = ''\n"},
	};
	struct buf out CLEANUP(buf_done) = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (strstr(settings("", cases[i].memory, cases[i].disk, &out), cases[i].line) ==
		    NULL)
			fail_msg("no \"%s\" in:\n%s", cases[i].line, buf_str(&out));
}

static void
own_settings_come_last(void **state UNUSED)
{
	struct buf out CLEANUP(buf_done) = {0};
	const char *text = settings(
	    "database_settings = shared_buffers = 64MB; work_mem = 8MB\n", 2 * GB, 8 * GB, &out);
	const char *ours = strstr(text, "shared_buffers = 512MB\n");
	const char *theirs = strstr(text, "shared_buffers = 64MB\nwork_mem = 8MB\n");

	assert_non_null(ours);
	assert_non_null(theirs);
	assert_true(theirs > ours);
}

static void
paths_and_names_are_quoted(void **state UNUSED)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct conf *c;

	assert_non_null(strstr(settings("data_directory = /var/it's\n", GB, GB, &out),
	    "unix_socket_directories = '/var/it''s/run'\n"));
	c = conf_from_text("mail_owner = all\nagent_owner = agent\n");
	buf_clear(&out);
	master_database_conf_access(c, &out);
	assert_non_null(strstr(buf_str(&out), "local \"rowpost\" \"all\" peer\n"));
	assert_null(strstr(buf_str(&out), "\"agent\""));
	assert_true(span_ends(buf_span(&out), "local all all reject\n"));
	conf_unref(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_follow_the_machine),
	    cmocka_unit_test(own_settings_come_last),
	    cmocka_unit_test(paths_and_names_are_quoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
