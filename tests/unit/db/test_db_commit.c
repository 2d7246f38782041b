/*
 * test_db_commit.c - what a caller is told about its transaction, whatever happens on the way: committed, failed, in
 * doubt, or stored without the standby. What is really stored is looked up over a second connection.
 */
#include "db_fixture.h"

static struct db_pool *pool;
static struct db_pool *direct; /* past the proxy */
static struct db_conn *conn;
static struct db_conn *witness;

static void
open_both(bool through_proxy)
{
	struct db_settings s = test_settings(NULL);

	direct = db_pool_new(&s);
	witness = take(direct);
	script(witness, "DROP TABLE IF EXISTS t; CREATE TABLE t (i int8 PRIMARY KEY, "
			"r int8 REFERENCES t DEFERRABLE INITIALLY DEFERRED)");
	if (through_proxy)
		s = test_settings(proxy_start());
	pool = db_pool_new(&s);
	conn = take(pool);
	assert_int_equal(number(conn, "one", "SELECT 1"), 1);
}

static void
close_both(void)
{
	db_pool_give(pool, &conn);
	db_pool_give(direct, &witness);
	db_pool_free(&pool);
	db_pool_free(&direct);
}

static int64_t
stored(void)
{
	return number(witness, "stored", "SELECT count(*) FROM t");
}

static const struct db_statement insert = {"insert", "INSERT INTO t VALUES ($1::int8) RETURNING i"};
static const struct db_statement refer = {"refer", "INSERT INTO t VALUES (99, $1::int8)"};

static void
add_insert(struct db_batch *b, int64_t i)
{
	char n[DB_INT_SIZE];
	struct db_param p = db_param_int8(n, i);

	db_batch_add(b, &insert, &p, 1);
	/* The batch must not look at it again. */
	memset(n, 0xff, sizeof(n));
}

/* ---- clean cases ----------------------------------------------------------------------------------------------- */

static void
body_committed(void)
{
	struct db_result *results[3];
	struct db_batch b;
	struct err err = {0};

	open_both(false);
	for (int round = 0; round < 3; round++) {
		db_batch_begin(&b, conn);
		for (int i = 0; i < 3; i++)
			add_insert(&b, 10 * round + i);
		assert_int_equal(db_batch_commit(&b, soon(), results, NULL, &err), DB_COMMITTED);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(db_result_int(results[i], 0, 0), 10 * round + i);
			db_result_free(&results[i]);
		}
	}
	assert_int_equal(stored(), 9);
	db_batch_begin(&b, conn);
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMITTED);
	db_batch_begin(&b, conn);
	add_insert(&b, 1000);
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMITTED);
	assert_int_equal(stored(), 10);
	close_both();
}

static void
test_batches_commit(void **state UNUSED)
{
	run_as_task(body_committed);
}

static void
body_failed(void)
{
	struct db_result *results[4];
	struct db_batch b;
	struct err err = {0};
	size_t failed = 77;

	open_both(false);
	/* Twice: with and without the statements being prepared in the same flight. */
	for (int round = 0; round < 2; round++) {
		db_batch_begin(&b, conn);
		add_insert(&b, 1);
		add_insert(&b, 2);
		add_insert(&b, 1);
		add_insert(&b, 3);
		assert_int_equal(
		    db_batch_commit(&b, soon(), results, &failed, &err), DB_COMMIT_FAILED);
		assert_int_equal(failed, 2);
		for (int i = 0; i < 4; i++)
			assert_null(results[i]);
		assert_non_null(strstr(err.text, "duplicate key"));
		assert_string_equal(db_error_sqlstate(conn), "23505");
		assert_int_equal(stored(), 0);
	}
	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMITTED);
	assert_int_equal(stored(), 1);
	close_both();
}

static void
test_failed_statement_in_the_middle(void **state UNUSED)
{
	run_as_task(body_failed);
}

static void
body_failed_at_commit(void)
{
	char n[DB_INT_SIZE];
	struct db_param p = db_param_int8(n, 12345);
	struct db_batch b;
	struct err err = {0};

	open_both(false);
	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	db_batch_add(&b, &refer, &p, 1);
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMIT_FAILED);
	assert_non_null(strstr(err.text, "foreign key"));
	/* A statement by itself: the error comes with the sync. */
	assert_false(db_command(conn, &refer, &p, 1, soon(), NULL, &err));
	assert_string_equal(db_error_sqlstate(conn), "23503");
	assert_int_equal(stored(), 0);
	assert_int_equal(number(conn, "one", "SELECT 1"), 1);
	close_both();
}

static void
test_constraint_that_fails_at_commit(void **state UNUSED)
{
	run_as_task(body_failed_at_commit);
}

static void
body_explicit(void)
{
	char n[DB_INT_SIZE];
	struct db_param p = db_param_int8(n, 5);
	struct err err = {0};

	open_both(false);
	assert_true(db_begin(conn, soon(), &err));
	assert_true(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	assert_int_equal(stored(), 0);
	assert_int_equal(db_commit(conn, soon(), &err), DB_COMMITTED);
	assert_int_equal(stored(), 1);

	assert_true(db_begin(conn, soon(), &err));
	assert_false(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	assert_int_equal(db_commit(conn, soon(), &err), DB_COMMIT_FAILED);

	assert_true(db_begin(conn, soon(), &err));
	p = db_param_int8(n, 6);
	assert_true(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	db_rollback(conn);
	assert_int_equal(stored(), 1);

	/* Scripts too can be part of one, as migrations are. */
	assert_true(db_begin(conn, soon(), &err));
	script(conn, "INSERT INTO t VALUES (7); INSERT INTO t VALUES (8)");
	assert_int_equal(stored(), 1);
	db_rollback(conn);
	assert_int_equal(stored(), 1);

	/* Left in a transaction: closed when given back. */
	assert_true(db_begin(conn, soon(), &err));
	assert_true(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	db_pool_give(pool, &conn);
	conn = take(pool);
	assert_true(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	assert_int_equal(stored(), 2);
	close_both();
}

static void
test_explicit_transactions(void **state UNUSED)
{
	run_as_task(body_explicit);
}

/* ---- lost on the way --------------------------------------------------------------------------------------------- */

static enum db_commit
commit_two_with(enum proxy_mode mode)
{
	struct db_batch b;
	struct err err = {0};
	enum db_commit result;

	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	add_insert(&b, 2);
	proxy.mode = mode;
	result = db_batch_commit(&b, soon(), NULL, NULL, &err);
	assert_int_equal(err.kind, ERR_TEMP);
	assert_non_null(strstr(err.text, "in doubt"));
	assert_string_equal(db_error_sqlstate(conn), "");
	return result;
}

static void
body_cut_request(void)
{
	open_both(true);
	assert_int_equal(commit_two_with(PROXY_CUT_REQUEST), DB_COMMIT_IN_DOUBT);
	assert_int_equal(stored(), 0);
	close_both();
}

static void
body_cut_reply(void)
{
	open_both(true);
	assert_int_equal(commit_two_with(PROXY_CUT_REPLY), DB_COMMIT_IN_DOUBT);
	assert_int_equal(stored(), 2);
	/* The pool gets over it. */
	db_pool_give(pool, &conn);
	assert_false(db_pool_is_up(pool));
	conn = take(pool);
	assert_int_equal(number(conn, "one", "SELECT 1"), 1);
	assert_true(db_pool_is_up(pool));
	close_both();
}

static void
test_connection_cut_before_the_server_saw_the_commit(void **state UNUSED)
{
	run_as_task(body_cut_request);
}

static void
test_connection_cut_before_the_answer_to_the_commit(void **state UNUSED)
{
	run_as_task(body_cut_reply);
}

static void
body_broken_before(void)
{
	struct db_batch b;
	struct db_result *r = NULL;
	struct err err = {0};
	static const struct db_statement die = {
	    "die", "SELECT pg_terminate_backend(pg_backend_pid())"};

	open_both(true);
	assert_false(db_exec(conn, &die, NULL, 0, soon(), &r, &err));
	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMIT_FAILED);
	assert_int_equal(stored(), 0);
	close_both();
}

static void
test_connection_known_to_be_broken_is_no_doubt(void **state UNUSED)
{
	run_as_task(body_broken_before);
}

static void
body_explicit_cut(void)
{
	char n[DB_INT_SIZE];
	struct db_param p = db_param_int8(n, 5);
	struct err err = {0};

	open_both(true);
	assert_true(db_begin(conn, soon(), &err));
	assert_true(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	proxy.mode = PROXY_CUT_REPLY;
	assert_int_equal(db_commit(conn, soon(), &err), DB_COMMIT_IN_DOUBT);
	assert_int_equal(stored(), 1);
	close_both();
}

static void
test_explicit_commit_cut(void **state UNUSED)
{
	run_as_task(body_explicit_cut);
}

static void
body_deadline(void)
{
	struct db_batch b;
	struct err err = {0};
	int64_t start = clock_mono_us();

	open_both(false);
	script(witness, "BEGIN; LOCK TABLE t");
	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	assert_int_equal(db_batch_commit(&b, clock_deadline(100 * CLOCK_MILLI), NULL, NULL, &err),
	    DB_COMMIT_IN_DOUBT);
	assert_true(clock_mono_us() - start < 25 * CLOCK_SECOND);
	script(witness, "COMMIT");
	db_pool_give(pool, &conn);
	conn = take(pool);
	close_both();
}

static void
test_deadline_during_commit_is_doubt(void **state UNUSED)
{
	run_as_task(body_deadline);
}

/* ---- the synchronous standby ------------------------------------------------------------------------------------- */

#define WAITERS "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid <> pg_backend_pid()"

/* Cancels (or terminates) whoever waits for the standby, as an impatient operator would. */
static void
operator_task(void *arg)
{
	const char *verb = arg;
	struct db_conn *c = take(direct);
	int64_t deadline = soon();
	char sql[256];

	(void)snprintf(sql, sizeof(sql), "SELECT count(pg_%s_backend(pid)) " WAITERS, verb);
	while (number(c, verb, sql) == 0)
		assert_true(clock_mono_us() < deadline);
	db_pool_give(direct, &c);
}

/*
 * The setting works once the checkpointer has read it, which is to be seen from outside only by a commit that hangs: try
 * until one does, and has to be cancelled.
 */
static void
set_standby(const char *name)
{
	static const struct db_statement probe = {"probe", "INSERT INTO probe VALUES (1)"};
	char sql[128];
	int64_t deadline = soon();
	struct err err = {0};

	(void)snprintf(sql, sizeof(sql), "ALTER SYSTEM SET synchronous_standby_names = '%s'", name);
	script(witness, "SET synchronous_commit = local");
	script(witness, "DROP TABLE IF EXISTS probe; CREATE TABLE probe (i int8)");
	script(witness, sql);
	script(witness, "SELECT pg_reload_conf()");
	while (*name != '\0' &&
	       db_command(conn, &probe, NULL, 0, clock_deadline(50 * CLOCK_MILLI), NULL, &err))
		assert_true(clock_mono_us() < deadline);
	if (*name != '\0')
		assert_string_equal(db_error_sqlstate(conn), "01000");
}

static void
body_unsafe(void)
{
	char n[DB_INT_SIZE];
	struct db_param p = db_param_int8(n, 3);
	char cancel[] = "cancel";
	struct db_result *results[2];
	struct db_batch b;
	struct err err = {0};

	open_both(false);
	set_standby("nobody");
	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	add_insert(&b, 2);
	assert_non_null(task_start("operator", operator_task, cancel));
	assert_int_equal(db_batch_commit(&b, soon(), results, NULL, &err), DB_COMMIT_UNSAFE);
	assert_non_null(strstr(err.text, "standby"));
	assert_int_equal(db_result_int(results[1], 0, 0), 2);
	db_result_free(&results[0]);
	db_result_free(&results[1]);

	/* Also where a statement commits by itself, and in an explicit transaction. */
	assert_non_null(task_start("operator", operator_task, cancel));
	assert_false(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	p = db_param_int8(n, 4);
	assert_true(db_begin(conn, soon(), &err));
	assert_true(db_command(conn, &insert, &p, 1, soon(), NULL, &err));
	assert_non_null(task_start("operator", operator_task, cancel));
	assert_int_equal(db_commit(conn, soon(), &err), DB_COMMIT_UNSAFE);
	assert_int_equal(stored(), 4);
	set_standby("");
	/* The connection is as good as before. */
	db_batch_begin(&b, conn);
	add_insert(&b, 5);
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMITTED);
	close_both();
}

static void
test_cancelled_wait_for_the_standby_is_unsafe(void **state UNUSED)
{
	run_as_task(body_unsafe);
}

static void
body_terminated(void)
{
	char terminate[] = "terminate";
	struct db_batch b;
	struct err err = {0};

	open_both(false);
	set_standby("nobody");
	db_batch_begin(&b, conn);
	add_insert(&b, 1);
	assert_non_null(task_start("operator", operator_task, terminate));
	assert_int_equal(db_batch_commit(&b, soon(), NULL, NULL, &err), DB_COMMIT_IN_DOUBT);
	db_pool_give(pool, &conn);
	conn = take(pool);
	set_standby("");
	close_both();
}

static void
test_terminated_wait_for_the_standby_is_doubt(void **state UNUSED)
{
	run_as_task(body_terminated);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_batches_commit),
	    cmocka_unit_test(test_failed_statement_in_the_middle),
	    cmocka_unit_test(test_constraint_that_fails_at_commit),
	    cmocka_unit_test(test_explicit_transactions),
	    cmocka_unit_test(test_connection_cut_before_the_server_saw_the_commit),
	    cmocka_unit_test(test_connection_cut_before_the_answer_to_the_commit),
	    cmocka_unit_test(test_connection_known_to_be_broken_is_no_doubt),
	    cmocka_unit_test(test_explicit_commit_cut),
	    cmocka_unit_test(test_deadline_during_commit_is_doubt),
	    cmocka_unit_test(test_cancelled_wait_for_the_standby_is_unsafe),
	    cmocka_unit_test(test_terminated_wait_for_the_standby_is_doubt),
	};

	return cmocka_run_group_tests(tests, cluster_setup, cluster_teardown);
}
