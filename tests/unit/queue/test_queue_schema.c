/*
 * The schema: created once whatever the crowd, checked at connect, left alone when it is newer; roles that can do no more than
 * their work.
 */
#include "queue_fixture.h"

struct migration {
	const char *database;
	struct db_pool *pool;
	bool ok;
	int from;
	struct err err;
	struct task_cond cond;
	bool done;
};

static void
migrate_task(void *arg)
{
	struct migration *m = arg;
	struct db_conn *c;

	m->pool = pool_at(NULL, m->database, QUEUE_SESSION_OWNER, 1);
	c = take(m->pool);
	m->ok = queue_schema_migrate(c, soon(), &m->from, NULL, &m->err);
	db_pool_give(m->pool, &c);
	db_pool_free(&m->pool);
	m->done = true;
	task_cond_wake_all(&m->cond);
}

/* Several programs at once, in one database and in several of a cluster that has no roles yet. */
static void
together_body(void)
{
	static struct migration all[] = {
	    {.database = "one"}, {.database = "one"}, {.database = "two"}, {.database = "three"}};
	struct db_pool *p = pool_at(NULL, "postgres", QUEUE_SESSION_OWNER, 1);
	struct db_conn *c = take(p);
	size_t fresh = 0;

	script(c, "CREATE DATABASE one");
	script(c, "CREATE DATABASE two");
	script(c, "CREATE DATABASE three");
	db_pool_give(p, &c);
	db_pool_free(&p);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		assert_non_null(task_start("migrate", migrate_task, &all[i]));
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		while (!all[i].done)
			assert_int_equal(task_cond_wait(&all[i].cond, soon()), TASK_READY);
		if (!all[i].ok)
			fail_msg("%s: %s", all[i].database, all[i].err.text);
		fresh += all[i].from == 0;
	}
	assert_int_equal(fresh, 3);
}

static void
test_together(void **state UNUSED)
{
	run_as_task(together_body);
}

/* What a program of `kind` hears when it connects. */
static struct err
refusal(void)
{
	struct db_pool *p = pool_of(QUEUE_SESSION_SCHEDULER);
	struct err err = {0};
	struct db_conn *c = db_pool_take(p, soon(), &err);

	assert_null(c);
	db_pool_free(&p);
	return err;
}

static void
check_body(void)
{
	struct db_pool *p;
	struct db_conn *c;
	struct err err = {0};
	int version = 0;

	open_database();
	assert_true(queue_schema_version(owner, soon(), &version, &err));
	assert_int_equal(version, queue_schema_newest());
	p = pool_of(QUEUE_SESSION_SCHEDULER);
	c = take(p);
	db_pool_give(p, &c);
	db_pool_free(&p);
	tell("INSERT INTO mailq.schema_version (version, oldest_program, name) "
	     "VALUES (9999, %d, 'later')",
	    queue_schema_newest());
	/* Newer, but made for us as well: expand, then contract. */
	p = pool_of(QUEUE_SESSION_SCHEDULER);
	c = take(p);
	db_pool_give(p, &c);
	db_pool_free(&p);
	tell("UPDATE mailq.schema_version SET oldest_program = 9999 WHERE version = 9999");
	assert_non_null(strstr(refusal().text, "newer than this program"));
	assert_false(queue_schema_migrate(owner, soon(), NULL, NULL, &err));
	assert_int_equal(err.kind, ERR_CONFIG);
	tell("DELETE FROM mailq.schema_version WHERE version > 1");
	assert_non_null(strstr(refusal().text, "run \"rowpost schema\""));
	tell("DROP SCHEMA rowpost CASCADE; DROP SCHEMA mailq CASCADE");
	assert_non_null(strstr(refusal().text, "no queue schema"));
	close_database();
}

static void
test_check(void **state UNUSED)
{
	run_as_task(check_body);
}

/* May the role do this? */
static bool
may(enum queue_session kind, const char *sql)
{
	struct db_pool *p = pool_of(kind);
	struct db_conn *c = take(p);
	struct err err = {0};
	bool ok = db_script(c, sql, soon(), &err);

	if (!ok && strcmp(db_error_sqlstate(c), "42501") != 0)
		fail_msg("%s: %s", sql, err.text);
	db_pool_give(p, &c);
	db_pool_free(&p);
	return ok;
}

static void
grants_body(void)
{
	static const struct {
		enum queue_session kind;
		bool may;
		const char *sql;
	} cases[] = {
	    {QUEUE_SESSION_FRONT, false, "SELECT content FROM mailq.incoming_0"},
	    {QUEUE_SESSION_FRONT, false, "DELETE FROM mailq.incoming_0"},
	    {QUEUE_SESSION_FRONT, false, "SELECT FROM mailq.deferred_message"},
	    {QUEUE_SESSION_FRONT, false, "SELECT data FROM mailq.large_chunk"},
	    {QUEUE_SESSION_FRONT, false, "SELECT FROM rowpost.queue"},
	    {QUEUE_SESSION_FRONT, false, "UPDATE mailq.node SET state = 'dead'"},
	    {QUEUE_SESSION_FRONT, false, "SELECT rowpost.delete('{1}')"},
	    {QUEUE_SESSION_FRONT, false, "SELECT mailq.ring_truncate(0::int2, '0 s')"},
	    {QUEUE_SESSION_SCHEDULER, false, "UPDATE mailq.incoming_0 SET sender = ''"},
	    {QUEUE_SESSION_SCHEDULER, false, "DELETE FROM mailq.history"},
	    {QUEUE_SESSION_SCHEDULER, false, "TRUNCATE mailq.incoming_0"},
	    {QUEUE_SESSION_SCHEDULER, true, "SELECT mailq.ring_truncate(0::int2, '0 s')"},
	    {QUEUE_SESSION_OPERATOR, true, "SELECT count(*) FROM rowpost.queue"},
	    {QUEUE_SESSION_OPERATOR, true, "SELECT * FROM rowpost.delete('{1}', 'test')"},
	    {QUEUE_SESSION_OPERATOR, false, "DELETE FROM mailq.deferred"},
	    {QUEUE_SESSION_OPERATOR, false, "UPDATE mailq.node SET state = 'dead'"},
	};

	open_database();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (may(cases[i].kind, cases[i].sql) != cases[i].may)
			fail_msg("%s: %s", queue_session_role(cases[i].kind), cases[i].sql);
	/* Who only watches sees the views and changes nothing. */
	tell("SET ROLE rowpost_monitor; SELECT count(*) FROM rowpost.queue; "
	     "SELECT count(*) FROM rowpost.destination; RESET ROLE");
	assert_int_equal(ask("SELECT has_function_privilege('rowpost_monitor', "
			     "'rowpost.delete(int8[], text)', 'EXECUTE')::int4"),
	    0);
	close_database();
}

static void
test_grants(void **state UNUSED)
{
	run_as_task(grants_body);
}

/* A line end in an address would shift the addresses behind it; in other texts it becomes something else. */
static void
lines_body(void)
{
	struct test_front f;
	struct arena arena = {0};
	struct queue_message m;
	struct queue_rcpt *r;
	struct err err = {0};

	open_database();
	f = front_at(NULL);
	m = make_message(&arena, mint(&f), 3);
	r = (struct queue_rcpt *)(uintptr_t)m.envelope.rcpts;
	r[0].addr = "a\nb@d.test";
	assert_false(queue_front_store(f.front, &m, soon(), &err));
	assert_int_equal(err.kind, ERR_PERM);
	r[0].addr = "a@d.test";
	r[0].dsn_orcpt = "rfc822;a\nb";
	r[1].orig_addr = "x\ny@d.test";
	r[2].dsn_notify = QUEUE_NOTIFY_NEVER;
	assert_true(queue_front_store(f.front, &m, soon(), &err));
	assert_int_equal(ask("SELECT count(*) FROM mailq.incoming i, mailq.rcpts(i.rcpts, "
			     "i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) r WHERE (rcpt_no, addr, "
			     "coalesce(orig_addr, ''), coalesce(dsn_orcpt, ''), dsn_notify) IN ("
			     "(0, 'a@d.test', '', 'rfc822;a?b', 0), "
			     "(1, 'r1@d.test', 'x?y@d.test', '', 0), (2, 'r2@d.test', '', '', 1))"),
	    3);
	arena_done(&arena);
	front_close(&f);
	close_database();
}

static void
test_lines(void **state UNUSED)
{
	run_as_task(lines_body);
}

/* No roles yet: test_together() has to make them; the template comes after it. */
static int
setup(void **state)
{
	return cluster_setup(state);
}

static int
setup_template(void **state UNUSED)
{
	static bool made;

	if (!made)
		run_as_task(make_template);
	made = true;
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_together),
	    cmocka_unit_test_setup(test_check, setup_template),
	    cmocka_unit_test_setup(test_grants, setup_template),
	    cmocka_unit_test_setup(test_lines, setup_template),
	};

	return cmocka_run_group_tests(tests, setup, cluster_teardown);
}
