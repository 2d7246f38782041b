/*
 * test_db_exec.c - single statements on a real server: types both ways, errors, deadlines, the pooler mode.
 */
#include "db_fixture.h"

static struct db_pool *pool;
static struct db_conn *conn;

static void
connect_plain(void)
{
	struct db_settings s = test_settings(NULL);

	pool = db_pool_new(&s);
	conn = take(pool);
}

static void
disconnect(void)
{
	db_pool_give(pool, &conn);
	db_pool_free(&pool);
}

/* ---- types ----------------------------------------------------------------------------------------------------- */

static const struct db_statement echo_scalars = {"echo_scalars",
    "SELECT $1::int8, $2::int4, $3::timestamptz, $4::text, $5::bytea, $6::text, $1::int8 > 0, "
    "$3::timestamptz = '2026-11-21 12:00:00+00', (-7)::int2"};

static void
body_scalars(void)
{
	const int64_t when = INT64_C(1795262400) * CLOCK_SECOND; /* 2026-11-21 12:00 UTC */
	char big[DB_INT_SIZE];
	char small[DB_INT_SIZE];
	char time[DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(big, INT64_MIN + 1), db_param_int4(small, -42),
	    db_param_time(time, when), DB_PARAM_TEXT("Gr\xc3\xbc\xc3\x9f"),
	    DB_PARAM_BINARY("a\0b", 3), DB_PARAM_NULL};
	struct db_result *r = NULL;
	struct err err = {0};
	char *text;

	connect_plain();
	assert_true(db_exec(conn, &echo_scalars, params, ARRAY_LEN(params), soon(), &r, &err));
	assert_int_equal(db_result_rows(r), 1);
	assert_true(db_result_int(r, 0, 0) == INT64_MIN + 1);
	assert_int_equal(db_result_int(r, 0, 1), -42);
	assert_true(db_result_time(r, 0, 2) == when);
	text = db_result_dup(r, 0, 3);
	assert_string_equal(text, "Gr\xc3\xbc\xc3\x9f");
	mem_free(text);
	assert_int_equal(db_result_span(r, 0, 4).len, 3);
	assert_memory_equal(db_result_span(r, 0, 4).ptr, "a\0b", 3);
	assert_true(db_result_is_null(r, 0, 5));
	assert_null(db_result_dup(r, 0, 5));
	assert_false(db_result_bool(r, 0, 6));
	assert_true(db_result_bool(r, 0, 7));
	assert_int_equal(db_result_int(r, 0, 8), -7);
	db_result_free(&r);
	assert_null(r);
	disconnect();
}

static void
test_scalars_go_there_and_back(void **state UNUSED)
{
	run_as_task(body_scalars);
}

#define MANY 10000

static const struct db_statement echo_arrays = {"echo_arrays",
    "SELECT array_agg(i ORDER BY n), array_agg(t ORDER BY n), array_agg(b ORDER BY n), count(*), "
    "bool_and(w IS NULL OR w = 'epoch'::timestamptz + n * interval '1 us') "
    "FROM unnest($1::int8[], $2::text[], $3::bytea[], $4::timestamptz[]) "
    "WITH ORDINALITY AS u(i, t, b, w, n)"};

static void
check_echoed_arrays(const struct db_result *r)
{
	struct db_array_reader ints;
	struct db_array_reader texts;
	struct db_array_reader bytes;
	struct span e;
	char want[32];

	assert_true(db_result_array(r, 0, 0, &ints));
	assert_true(db_result_array(r, 0, 1, &texts));
	assert_true(db_result_array(r, 0, 2, &bytes));
	for (int i = 0; i < MANY; i++) {
		assert_true(db_array_next(&ints, &e));
		assert_int_equal(db_span_int(e), i * INT64_C(1000000007));
		assert_true(db_array_next(&texts, &e));
		(void)snprintf(want, sizeof(want), "user%d@example.org", i);
		if (i % 3 == 0)
			assert_null(e.ptr);
		else
			assert_true(span_equal_str(e, want));
		assert_true(db_array_next(&bytes, &e));
		assert_non_null(e.ptr);
		assert_int_equal(e.len, i % 5);
	}
	assert_false(db_array_next(&ints, &e));
	assert_false(db_array_next(&texts, &e));
	assert_int_equal(db_result_int(r, 0, 3), MANY);
	assert_true(db_result_bool(r, 0, 4));
}

static void
body_arrays(void)
{
	struct buf ints = {0};
	struct buf texts = {0};
	struct buf bytes = {0};
	struct buf times = {0};
	struct db_result *r = NULL;
	struct err err = {0};

	connect_plain();
	db_array_begin(&ints, DB_INT8);
	db_array_begin(&texts, DB_TEXT);
	db_array_begin(&bytes, DB_BYTEA);
	db_array_begin(&times, DB_TIMESTAMPTZ);
	for (int i = 0; i < MANY; i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "user%d@example.org", i);
		db_array_add_int(&ints, DB_INT8, i * INT64_C(1000000007));
		if (i % 3 == 0)
			db_array_add_null(&texts);
		else
			db_array_add_bytes(&texts, span_str(text));
		db_array_add_bytes(&bytes, span_of("\0\1\2\3\4", (size_t)i % 5));
		db_array_add_time(&times, i + 1);
	}
	db_array_end(&ints);
	db_array_end(&texts);
	db_array_end(&bytes);
	db_array_end(&times);
	struct db_param params[] = {
	    DB_PARAM_BUF(&ints), DB_PARAM_BUF(&texts), DB_PARAM_BUF(&bytes), DB_PARAM_BUF(&times)};
	if (!db_exec(conn, &echo_arrays, params, ARRAY_LEN(params), soon(), &r, &err))
		fail_msg("%s", err.text);
	check_echoed_arrays(r);
	db_result_free(&r);
	buf_done(&ints);
	buf_done(&texts);
	buf_done(&bytes);
	buf_done(&times);
	disconnect();
}

static void
test_arrays_of_10000_elements(void **state UNUSED)
{
	run_as_task(body_arrays);
}

static const struct db_statement empty_arrays = {
    "empty_arrays", "SELECT $1::int8[], NULL::int8[], '{{1,2},{3,4}}'::int8[]"};

static void
body_odd_arrays(void)
{
	struct buf none = {0};
	struct db_array_reader a;
	struct db_result *r = NULL;
	struct err err = {0};
	struct span e;

	connect_plain();
	db_array_begin(&none, DB_INT8);
	db_array_end(&none);
	assert_true(db_exec(conn, &empty_arrays, &DB_PARAM_BUF(&none), 1, soon(), &r, &err));
	assert_true(db_result_array(r, 0, 0, &a));
	assert_false(db_array_next(&a, &e));
	assert_false(db_result_array(r, 0, 1, &a));
	assert_false(db_result_array(r, 0, 2, &a));
	db_result_free(&r);
	buf_done(&none);
	disconnect();
}

static void
test_empty_null_and_nested_arrays(void **state UNUSED)
{
	run_as_task(body_odd_arrays);
}

/* A result and a parameter far larger than any socket buffer. */
static const struct db_statement echo_large = {
    "echo_large", "SELECT $1::bytea, repeat('x', 20000000), length($1::bytea)"};

static void
body_large(void)
{
	const size_t size = 20000000;
	char *bytes = mem_alloc(size);
	struct db_result *r = NULL;
	struct err err = {0};

	connect_plain();
	memset(bytes, 0xc3, size);
	if (!db_exec(conn, &echo_large, &DB_PARAM_BINARY(bytes, size), 1, soon(), &r, &err))
		fail_msg("%s", err.text);
	assert_int_equal(db_result_int(r, 0, 2), size);
	assert_int_equal(db_result_span(r, 0, 0).len, size);
	assert_memory_equal(db_result_span(r, 0, 0).ptr, bytes, size);
	assert_int_equal(db_result_span(r, 0, 1).len, size);
	db_result_free(&r);
	mem_free(bytes);
	disconnect();
}

static void
test_20_megabytes_both_ways(void **state UNUSED)
{
	run_as_task(body_large);
}

/* ---- errors and rows ------------------------------------------------------------------------------------------- */

static const struct db_statement insert_one = {"insert_one", "INSERT INTO t VALUES ($1::int8)"};
static const struct db_statement delete_all = {"delete_all", "DELETE FROM t"};
static const struct db_statement nonsense = {"nonsense", "SELEKT 1"};

static void
body_errors(void)
{
	char one[DB_INT_SIZE];
	struct db_param p = db_param_int8(one, 1);
	struct db_result *r = NULL;
	struct err err = {0};
	uint64_t rows = 0;

	connect_plain();
	script(conn, "DROP TABLE IF EXISTS t; CREATE TABLE t (i int8 PRIMARY KEY)");
	assert_true(db_command(conn, &insert_one, &p, 1, soon(), &rows, &err));
	assert_int_equal(rows, 1);
	assert_false(db_command(conn, &insert_one, &p, 1, soon(), &rows, &err));
	assert_string_equal(db_error_sqlstate(conn), "23505");
	assert_int_equal(err.kind, ERR_TEMP);
	assert_string_equal(err.dsn, "4.3.0");
	assert_non_null(strstr(err.text, "insert_one: duplicate key"));
	/* A statement that cannot be prepared fails each time, and leaves the connection usable. */
	for (int i = 0; i < 2; i++) {
		assert_false(db_exec(conn, &nonsense, NULL, 0, soon(), &r, &err));
		assert_string_equal(db_error_sqlstate(conn), "42601");
		assert_null(r);
	}
	assert_true(db_command(conn, &delete_all, NULL, 0, soon(), &rows, &err));
	assert_int_equal(rows, 1);
	assert_string_equal(db_error_sqlstate(conn), "");
	assert_false(db_script(conn, "SELECT 1; SELECT 1/0; SELECT 2", soon(), &err));
	assert_string_equal(db_error_sqlstate(conn), "22012");
	assert_int_equal(number(conn, "after", "SELECT 5"), 5);
	disconnect();
}

static void
test_errors_carry_sqlstate_and_leave_the_connection_usable(void **state UNUSED)
{
	run_as_task(body_errors);
}

/* ---- SQL of somebody else ------------------------------------------------------------------------------------------ */

static void
expect_query(const char *sql, size_t rows, size_t columns, const char *first)
{
	struct db_result *r = NULL;
	struct err err = {0};

	if (!db_query(conn, sql, soon(), &r, &err))
		fail_msg("%s: %s", sql, err.text);
	assert_int_equal(db_result_rows(r), rows);
	assert_int_equal(db_result_columns(r), columns);
	if (first != NULL)
		assert_true(span_equal_str(db_result_span(r, 0, 0), first));
	db_result_free(&r);
}

static void
body_query(void)
{
	struct db_result *r = NULL;
	struct err err = {0};

	connect_plain();
	expect_query("SELECT 1, 'x', NULL UNION ALL SELECT 2, 'y', NULL ORDER BY 1", 2, 3, "1");
	expect_query(
	    "SELECT 1; SET work_mem = '1MB'; SELECT current_setting('work_mem')", 1, 1, "1MB");
	expect_query("SELECT 1 WHERE false", 0, 1, NULL);
	expect_query("SELECT 1; SET work_mem = '2MB'", 0, 0, NULL);
	expect_query("", 0, 0, NULL);
	assert_false(db_query(conn, "SELECT 1; SELECT 1/0; SELECT 2", soon(), &r, &err));
	assert_string_equal(db_error_sqlstate(conn), "22012");
	assert_null(r);
	/* The connection still takes prepared statements. */
	assert_int_equal(number(conn, "after_query", "SELECT 5"), 5);
	/* A copy cannot be drained: the connection goes. */
	assert_false(db_query(conn, "COPY pg_class TO STDOUT", soon(), &r, &err));
	db_pool_give(pool, &conn);
	conn = take(pool);
	assert_false(
	    db_query(conn, "SELECT pg_sleep(30)", clock_deadline(100 * CLOCK_MILLI), &r, &err));
	db_pool_give(pool, &conn);
	conn = take(pool);
	expect_query("SELECT 7", 1, 1, "7");
	disconnect();
}

static void
test_queries_of_others(void **state UNUSED)
{
	run_as_task(body_query);
}

static void
expect_quoted(struct span text)
{
	struct buf sql = {0};
	struct buf bytes = {0};

	buf_add_str(&sql, "SELECT '");
	assert_true(db_quote(conn, text, &sql));
	buf_add_char(&sql, '\'');
	buf_add_span(&bytes, text);
	expect_query(buf_str(&sql), 1, 1, buf_str(&bytes));
	buf_done(&sql);
	buf_done(&bytes);
}

static void
body_quote(void)
{
	struct buf sql = {0};

	connect_plain();
	expect_quoted(SPAN_LIT("plain"));
	expect_quoted(SPAN_LIT("O'Brien"));
	expect_quoted(SPAN_LIT("'; DROP TABLE x; --"));
	expect_quoted(SPAN_LIT("\\' OR 1=1"));
	expect_quoted(SPAN_LIT("\\\\''\\"));
	expect_quoted(SPAN_LIT("Gr\xc3\xbc\xc3\x9f"));
	script(conn, "SET standard_conforming_strings = off; SET backslash_quote = on");
	expect_quoted(SPAN_LIT("\\' OR 1=1"));
	assert_false(db_quote(conn, SPAN_LIT("a\0b"), &sql));
	assert_false(db_quote(conn, SPAN_LIT("\xc3("), &sql));
	assert_false(db_quote(conn, SPAN_LIT("\xc3"), &sql));
	assert_int_equal(sql.len, 0);
	buf_done(&sql);
	disconnect();
}

static void
test_values_quoted(void **state UNUSED)
{
	run_as_task(body_quote);
}

/* ---- deadlines ------------------------------------------------------------------------------------------------- */

static const struct db_statement sleep_long = {"sleep_long", "SELECT pg_sleep(30)"};

static void
body_deadline(void)
{
	int64_t start = clock_mono_us();
	struct db_conn *same;
	struct db_result *r = NULL;
	struct err err = {0};
	int64_t pid;

	connect_plain();
	pid = number(conn, "pid", "SELECT pg_backend_pid()::int8");
	assert_false(
	    db_exec(conn, &sleep_long, NULL, 0, clock_deadline(100 * CLOCK_MILLI), &r, &err));
	assert_string_equal(db_error_sqlstate(conn), "57014");
	assert_true(clock_mono_us() - start < 25 * CLOCK_SECOND);
	/* Cancelled, not closed: the next user gets the same server process. */
	db_pool_give(pool, &conn);
	same = take(pool);
	assert_int_equal(number(same, "pid", "SELECT pg_backend_pid()::int8"), pid);
	conn = same;
	disconnect();
}

static void
test_deadline_cancels_the_statement(void **state UNUSED)
{
	run_as_task(body_deadline);
}

static void
body_silent_server(void)
{
	struct db_settings s = test_settings(proxy_start());
	int64_t start;
	struct db_result *r = NULL;
	struct err err = {0};

	pool = db_pool_new(&s);
	conn = take(pool);
	proxy.mode = PROXY_SILENCE;
	start = clock_mono_us();
	assert_false(
	    db_exec(conn, &sleep_long, NULL, 0, clock_deadline(100 * CLOCK_MILLI), &r, &err));
	assert_true(clock_mono_us() - start < TEST_PATIENCE);
	assert_int_equal(err.kind, ERR_TEMP);
	/* Nobody may get this connection again. */
	db_pool_give(pool, &conn);
	proxy.mode = PROXY_FORWARD;
	conn = take(pool);
	assert_int_equal(number(conn, "one", "SELECT 1"), 1);
	disconnect();
}

static void
test_server_that_never_answers(void **state UNUSED)
{
	run_as_task(body_silent_server);
}

static bool sleeper_done;
static struct err sleeper_err;

static void
sleeper_task(void *arg UNUSED)
{
	struct db_conn *c = take(pool);
	struct db_result *r = NULL;

	assert_false(db_exec(c, &sleep_long, NULL, 0, soon(), &r, &sleeper_err));
	db_pool_give(pool, &c);
	sleeper_done = true;
}

static void
body_cancelled_task(void)
{
	int64_t deadline = soon();
	struct task *sleeper;
	const char *count = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND "
			    "state = 'active' AND pid <> pg_backend_pid()";

	connect_plain();
	sleeper_done = false;
	sleeper = task_start("sleeper", sleeper_task, NULL);
	while (number(conn, "count", count) == 0)
		assert_true(clock_mono_us() < deadline);
	task_cancel(sleeper);
	while (!sleeper_done)
		(void)task_yield();
	assert_int_equal(sleeper_err.kind, ERR_GONE);
	/* The server was told too. */
	while (number(conn, "count", count) != 0)
		assert_true(clock_mono_us() < deadline);
	disconnect();
}

static void
test_cancelled_task_stops_its_statement(void **state UNUSED)
{
	run_as_task(body_cancelled_task);
}

/* ---- start-up settings, pooler ---------------------------------------------------------------------------------- */

static const struct db_statement who = {"who",
    "SELECT current_user::text, current_setting('application_name'), "
    "current_setting('work_mem')"};

static void
body_role(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_result *r = NULL;
	struct err err = {0};

	connect_plain();
	script(conn, "DROP ROLE IF EXISTS \"odd role\"; CREATE ROLE \"odd role\"");
	disconnect();
	s.role = "odd role";
	s.options = "-c work_mem=1234kB";
	pool = db_pool_new(&s);
	conn = take(pool);
	assert_true(db_exec(conn, &who, NULL, 0, soon(), &r, &err));
	assert_true(span_equal_str(db_result_span(r, 0, 0), "odd role"));
	assert_true(span_equal_str(db_result_span(r, 0, 1), "rowpost/test"));
	assert_true(span_equal_str(db_result_span(r, 0, 2), "1234kB"));
	db_result_free(&r);
	disconnect();
}

static void
test_role_name_and_settings_at_start(void **state UNUSED)
{
	run_as_task(body_role);
}

static void
body_pooler(void)
{
	struct db_settings s = test_settings(NULL);
	struct db_result *r = NULL;
	struct err err = {0};
	char one[DB_INT_SIZE];
	struct db_param p = db_param_int8(one, 77);

	s.pooler = true;
	s.role = "nobody_has_this_role";
	pool = db_pool_new(&s);
	conn = take(pool);
	script(conn, "DROP TABLE IF EXISTS t; CREATE TABLE t (i int8)");
	for (int i = 0; i < 3; i++)
		assert_true(db_command(conn, &insert_one, &p, 1, soon(), NULL, &err));
	assert_int_equal(number(conn, "sum", "SELECT sum(i)::int8 FROM t"), 3 * 77);
	assert_int_equal(number(conn, "left", "SELECT count(*) FROM pg_prepared_statements"), 0);
	assert_true(db_exec(conn, &who, NULL, 0, soon(), &r, &err));
	assert_true(span_equal_str(db_result_span(r, 0, 0), "postgres"));
	db_result_free(&r);
	disconnect();
}

static void
test_pooler_mode_leaves_no_session_state(void **state UNUSED)
{
	run_as_task(body_pooler);
}

static void
body_prepared_once(void)
{
	struct err err = {0};
	char one[DB_INT_SIZE];
	struct db_param p = db_param_int8(one, 1);
	const char *count = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'insert_one'";

	connect_plain();
	script(conn, "DROP TABLE IF EXISTS t; CREATE TABLE t (i int8)");
	for (int i = 0; i < 3; i++)
		assert_true(db_command(conn, &insert_one, &p, 1, soon(), NULL, &err));
	assert_int_equal(number(conn, "count", count), 1);
	/* A result type that changed under a prepared statement heals with the next connection. */
	script(conn, "CREATE OR REPLACE VIEW v AS SELECT 1::int4 AS a");
	assert_int_equal(number(conn, "v", "SELECT * FROM v"), 1);
	script(conn, "DROP VIEW v; CREATE VIEW v AS SELECT 2::int8 AS a");
	static const struct db_statement v = {"v", "SELECT * FROM v"};
	struct db_result *r = NULL;
	assert_false(db_exec(conn, &v, NULL, 0, soon(), &r, &err));
	assert_string_equal(db_error_sqlstate(conn), "0A000");
	db_pool_give(pool, &conn);
	conn = take(pool);
	assert_int_equal(number(conn, "v", "SELECT * FROM v"), 2);
	disconnect();
}

static void
test_statements_are_prepared_once_a_connection(void **state UNUSED)
{
	run_as_task(body_prepared_once);
}

static void
body_read_only(void)
{
	struct err err = {0};
	char one[DB_INT_SIZE];
	struct db_param p = db_param_int8(one, 1);

	connect_plain();
	script(conn, "DROP TABLE IF EXISTS t; CREATE TABLE t (i int8)");
	script(conn, "SET default_transaction_read_only = on");
	assert_false(db_command(conn, &insert_one, &p, 1, soon(), NULL, &err));
	assert_string_equal(db_error_sqlstate(conn), "25006");
	db_pool_give(pool, &conn);
	conn = take(pool);
	assert_true(db_command(conn, &insert_one, &p, 1, soon(), NULL, &err));
	disconnect();
}

static void
test_server_that_became_read_only_is_left(void **state UNUSED)
{
	run_as_task(body_read_only);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scalars_go_there_and_back),
	    cmocka_unit_test(test_arrays_of_10000_elements),
	    cmocka_unit_test(test_empty_null_and_nested_arrays),
	    cmocka_unit_test(test_20_megabytes_both_ways),
	    cmocka_unit_test(test_errors_carry_sqlstate_and_leave_the_connection_usable),
	    cmocka_unit_test(test_queries_of_others),
	    cmocka_unit_test(test_values_quoted),
	    cmocka_unit_test(test_deadline_cancels_the_statement),
	    cmocka_unit_test(test_server_that_never_answers),
	    cmocka_unit_test(test_cancelled_task_stops_its_statement),
	    cmocka_unit_test(test_role_name_and_settings_at_start),
	    cmocka_unit_test(test_pooler_mode_leaves_no_session_state),
	    cmocka_unit_test(test_statements_are_prepared_once_a_connection),
	    cmocka_unit_test(test_server_that_became_read_only_is_left),
	};

	return cmocka_run_group_tests(tests, cluster_setup, cluster_teardown);
}
