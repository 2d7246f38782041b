/*
 * Tables of the cluster: changes are whole, answers in memory are given only while they hold, lookups go by the index.
 */
#include "rules.h"

#include "cluster/cluster_table.h"
#include "cluster/cluster_table_edit.h"

static struct db_pool *front_pool;
static struct db_pool *operator_pool;
static struct cluster_table_editor editor = {.who = "tester"};

static void
source_open(int64_t fresh)
{
	front_pool = pool_of(QUEUE_SESSION_FRONT);
	operator_pool = pool_of(QUEUE_SESSION_OPERATOR);
	editor.conn = take(operator_pool);
	cluster_table_start(&(struct cluster_table_settings){.pool = front_pool, .fresh = fresh});
}

static void
source_close(void)
{
	cluster_table_stop();
	db_pool_give(operator_pool, &editor.conn);
	db_pool_free(&operator_pool);
	db_pool_free(&front_pool);
}

/* The answer: the value, "-" for none, "!" for a failure. */
static const char *
look(const char *table, const char *key)
{
	static char text[256];
	struct buf value = {0};
	struct err err = {0};
	enum cluster_table_found f =
	    cluster_table_lookup(table, span_str(key), soon(), &value, &err);

	(void)snprintf(text, sizeof(text), "%s",
	    f == CLUSTER_TABLE_FOUND       ? buf_str(&value)
	    : f == CLUSTER_TABLE_NOT_FOUND ? "-"
					   : "!");
	buf_done(&value);
	return text;
}

static void
await(const char *table, const char *key, const char *want)
{
	int64_t end = soon();

	while (strcmp(look(table, key), want) != 0) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(10 * CLOCK_MILLI));
	}
}

static uint64_t
statements(void)
{
	struct cluster_table_stats stats;

	cluster_table_stats_get(&stats);
	return stats.statements;
}

/* ---- lookups ------------------------------------------------------------------------------------------------------ */

RULE(table_answers)
{
	source_open(0);
	assert_string_equal(look("t", "a"), "!");
	tell("SELECT rowpost.table_set('t', 'A', '1')");
	assert_string_equal(look("t", "a"), "1");
	assert_string_equal(look("t", "b"), "-");
	assert_string_equal(look("t", ""), "-");
	/* Not text: in no table, and no trouble for others. */
	assert_string_equal(look("t", "\xff"), "-");
	assert_string_equal(look("other", "a"), "!");
	tell("SELECT rowpost.table_drop('t')");
	await("t", "a", "!");
	source_close();
}

/* A kept answer holds as long as the version was looked at, and no longer. */
RULE(table_answers_are_kept)
{
	uint64_t before;

	source_open(3600 * CLOCK_SECOND);
	tell("SELECT rowpost.table_set('t', 'a', '1')");
	assert_string_equal(look("t", "a"), "1");
	assert_string_equal(look("t", "b"), "-");
	before = statements();
	for (int i = 0; i < 100; i++) {
		assert_string_equal(look("t", "a"), "1");
		assert_string_equal(look("t", "b"), "-");
	}
	assert_int_equal(statements(), before);
	/* Within the hour: the look at the versions sees the change. */
	tell("INSERT INTO rowpost.cluster_table VALUES ('t', 'b', '2')");
	await("t", "b", "2");
	assert_string_equal(look("t", "a"), "1");
	source_close();
}

/* Whoever cannot ask does not know. */
RULE(table_away)
{
	source_open(1);
	tell("SELECT rowpost.table_set('t', 'a', '1')");
	assert_string_equal(look("t", "a"), "1");
	tell("REVOKE SELECT ON mailq.table_entry FROM rowpost_front");
	assert_string_equal(look("t", "a"), "!");
	tell("GRANT SELECT ON mailq.table_entry TO rowpost_front");
	assert_string_equal(look("t", "a"), "1");
	source_close();
}

#define MANY 2000

static void
lookup_aside(void *arg)
{
	char key[16];

	(void)snprintf(key, sizeof(key), "k%d", *(int *)arg % 50);
	assert_string_equal(look("t", key), key + 1);
}

/* Lookups that come up together go together. */
RULE(table_batches)
{
	struct aside *asides = mem_zalloc(MANY * sizeof(struct aside));
	int numbers[MANY];

	source_open(0);
	tell("INSERT INTO rowpost.cluster_table SELECT 't', 'k' || i, i::text FROM "
	     "generate_series(0, 49) i");
	for (int i = 0; i < MANY; i++) {
		numbers[i] = i;
		aside_start(&asides[i], lookup_aside, &numbers[i]);
	}
	for (int i = 0; i < MANY; i++)
		aside_join(&asides[i]);
	assert_true(statements() < MANY / 10);
	mem_free(asides);
	source_close();
}

/* Memory is bounded, and old answers go first. */
RULE(table_memory)
{
	struct cluster_table_stats stats;
	char key[16];

	source_open(3600 * CLOCK_SECOND);
	cluster_table_stop();
	cluster_table_start(&(struct cluster_table_settings){
	    .pool = front_pool, .cache_size = 20000, .fresh = 3600 * CLOCK_SECOND});
	tell("SELECT rowpost.table_set('t', 'a', '1')");
	for (int i = 0; i < 500; i++) {
		(void)snprintf(key, sizeof(key), "none%d", i);
		assert_string_equal(look("t", key), "-");
		assert_string_equal(look("t", "a"), "1");
	}
	cluster_table_stats_get(&stats);
	assert_true(stats.bytes <= 21000);
	assert_true(stats.entries > 10 && stats.entries < 200);
	assert_true(stats.kept >= 499);
	source_close();
}

/* ---- changes -------------------------------------------------------------------------------------------------------- */

static int duplicates;

static void
count_duplicate(void *arg UNUSED, struct span key UNUSED)
{
	duplicates++;
}

static bool
count_entry(void *arg, struct span key UNUSED, struct span value UNUSED, struct err *err UNUSED)
{
	(*(int *)arg)++;
	return true;
}

RULE(table_is_replaced_as_a_whole)
{
	struct cluster_table_load l;
	struct err err = {0};
	char key[16];
	int n = 0;

	source_open(1);
	tell("SELECT rowpost.table_set('t', 'old', '1')");
	assert_true(cluster_table_load_begin(&l, &editor, &err));
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(key, sizeof(key), "k%d", i);
		assert_true(cluster_table_load_add(&l, span_str(key), SPAN_LIT("v"), &err));
	}
	/* Two pieces are there already, and nobody sees them. */
	assert_true(ask("SELECT count(*) FROM mailq.table_entry") >= 4000);
	assert_string_equal(look("t", "k1"), "-");
	assert_string_equal(look("t", "old"), "1");
	if (!cluster_table_load_finish(&l, "t", &err))
		fail_msg("%s", err.text);
	cluster_table_load_done(&l);
	assert_string_equal(look("t", "k1"), "v");
	assert_string_equal(look("t", "k4999"), "v");
	assert_string_equal(look("t", "old"), "-");
	assert_int_equal(ask("SELECT count(*) FROM mailq.table_entry"), 5000);
	assert_int_equal(ask("SELECT count(*) FROM mailq.table_content"), 1);
	assert_true(cluster_table_each(editor.conn, "t", count_entry, &n, &err));
	assert_int_equal(n, 5000);
	source_close();
}

/* A load that nobody finished is removed, one under way is not. */
RULE(table_load_given_up)
{
	struct cluster_table_load l;
	struct err err = {0};

	source_open(1);
	assert_true(cluster_table_load_begin(&l, &editor, &err));
	tell("SELECT mailq.table_load_add(%lld, '{a}', '{b}')", (long long)l.content);
	assert_int_equal(ask("SELECT mailq.table_sweep(10)"), 0);
	tell("UPDATE mailq.table_content SET since = now() - interval '25 h'");
	assert_true(ask("SELECT mailq.table_sweep(10)") > 0);
	assert_int_equal(ask("SELECT count(*) FROM mailq.table_entry"), 0);
	assert_false(cluster_table_load_finish(&l, "t", &err));
	cluster_table_load_done(&l);
	source_close();
}

RULE(table_entries_are_put_and_removed)
{
	struct span keys[] = {SPAN_LIT("a"), SPAN_LIT("b")};
	struct span values[] = {SPAN_LIT("1"), SPAN_LIT("2")};
	struct span others[] = {SPAN_LIT("x"), SPAN_LIT("y")};
	struct err err = {0};
	int64_t n = 0;

	source_open(1);
	assert_true(
	    cluster_table_put(&editor, "t", keys, values, 1, false, count_duplicate, NULL, &err));
	assert_int_equal(duplicates, 0);
	assert_true(
	    cluster_table_put(&editor, "t", keys, others, 2, false, count_duplicate, NULL, &err));
	assert_int_equal(duplicates, 1);
	assert_string_equal(look("t", "a"), "1");
	assert_string_equal(look("t", "b"), "y");
	assert_true(cluster_table_put(&editor, "t", keys, others, 2, true, NULL, NULL, &err));
	assert_string_equal(look("t", "a"), "x");
	assert_true(cluster_table_remove(&editor, "t", keys, 2, &n, &err));
	assert_int_equal(n, 2);
	assert_true(cluster_table_remove(&editor, "t", keys, 2, &n, &err));
	assert_int_equal(n, 0);
	assert_string_equal(look("t", "a"), "-");
	/* Who did what, and what it was before. */
	assert_int_equal(ask("SELECT count(*) FROM rowpost.table_change WHERE who = 'tester'"), 6);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.table_change WHERE verb = 'set' AND "
			     "key = 'a' AND was = '1'"),
	    1);
	source_close();
}

static void
set_aside(void *arg UNUSED)
{
	struct span key = SPAN_LIT("b");
	struct span value = SPAN_LIT("aside");
	struct err err = {0};

	assert_true(cluster_table_put(&editor, "t", &key, &value, 1, true, NULL, NULL, &err));
}

/* A transaction is seen when it commits, all of it; versions come in the order of commits. */
RULE(table_changes_come_one_after_the_other)
{
	struct aside a;
	int64_t version;

	source_open(1);
	tell("SELECT rowpost.table_set('t', 'a', '0')");
	version = ask("SELECT version FROM rowpost.tables");
	tell("BEGIN; SELECT rowpost.table_set('t', 'a', '1'); "
	     "SELECT rowpost.table_set('t', 'b', '1')");
	aside_start(&a, set_aside, NULL);
	{
		struct db_conn *c = take(owner_pool);
		int64_t end = soon();

		while (ask_on(c, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
				 "current_database() AND wait_event_type = 'Lock'") < 1) {
			assert_true(clock_mono_us() < end);
			(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
		}
		db_pool_give(owner_pool, &c);
	}
	assert_string_equal(look("t", "a"), "0");
	assert_string_equal(look("t", "b"), "-");
	tell("COMMIT");
	aside_join(&a);
	assert_string_equal(look("t", "a"), "1");
	assert_string_equal(look("t", "b"), "aside");
	/* One number for each transaction, and the last one counts. */
	assert_int_equal(ask("SELECT count(DISTINCT version) FROM rowpost.table_change"), 3);
	assert_int_equal(ask("SELECT (SELECT version FROM rowpost.tables) - max(version) FROM "
			     "rowpost.table_change WHERE who = 'tester'"),
	    0);
	assert_true(ask("SELECT version FROM rowpost.tables") > version);
	source_close();
}

/* A number that comes again (a fail-over lost transactions) does not bring old answers back. */
RULE(table_versions_that_go_back)
{
	int64_t version;

	source_open(3600 * CLOCK_SECOND);
	tell("SELECT rowpost.table_set('t', 'a', 'old'); SELECT rowpost.table_set('t', 'b', 'x')");
	assert_string_equal(look("t", "a"), "old");
	version = ask("SELECT version FROM rowpost.tables");
	tell("UPDATE mailq.table_head SET version = 1; UPDATE mailq.table_entry SET value = 'new'");
	assert_string_equal(look("t", "c"), "-");
	tell("UPDATE mailq.table_head SET version = %lld", (long long)version);
	assert_string_equal(look("t", "d"), "-");
	assert_string_equal(look("t", "a"), "new");
	source_close();
}

/* ---- rights and plans ------------------------------------------------------------------------------------------------ */

RULE(table_rights)
{
	struct db_pool *p = pool_of(QUEUE_SESSION_FRONT);
	struct db_conn *c = take(p);
	struct err err = {0};

	tell("SELECT rowpost.table_set('t', 'a', '1')");
	assert_false(db_script(c, "UPDATE mailq.table_entry SET value = 'x'", soon(), &err));
	assert_string_equal(db_error_sqlstate(c), "42501");
	assert_false(db_script(c, "SELECT rowpost.table_set('t', 'a', '2')", soon(), &err));
	assert_false(
	    db_script(c, "SELECT mailq.table_put('t', '{a}', '{2}', true, 'x', '')", soon(), &err));
	assert_false(db_script(c, "SELECT * FROM mailq.table_change", soon(), &err));
	db_pool_give(p, &c);
	db_pool_free(&p);
	assert_int_equal(ask("SELECT value::int8 FROM rowpost.cluster_table"), 1);
}

/* By the index, in a large table and in one that the planner takes for empty. */
static void
assert_plan(struct db_conn *c)
{
	struct db_result *r = NULL;
	struct buf plan = {0};
	struct err err = {0};

	if (!db_query(c, "EXPLAIN EXECUTE look('{t,t}', '{a,b}')", soon(), &r, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < db_result_rows(r); i++) {
		buf_add_span(&plan, db_result_span(r, i, 0));
		buf_add_char(&plan, '\n');
	}
	if (strstr(buf_str(&plan), "Seq Scan") != NULL ||
	    strstr(buf_str(&plan), "using table_entry_pkey") == NULL ||
	    strstr(buf_str(&plan), "Index Cond: ((content_id = ") == NULL)
		fail_msg("%s", buf_str(&plan));
	buf_done(&plan);
	db_result_free(&r);
}

RULE(table_plan)
{
	struct db_pool *p = pool_of(QUEUE_SESSION_FRONT);
	struct db_conn *c = take(p);
	struct buf sql = {0};

	buf_printf(&sql, "PREPARE look AS %s", cluster_table_sql_lookup.sql);
	script(c, buf_str(&sql));
	assert_plan(c);
	tell("SELECT rowpost.table_replace('t', (SELECT array_agg('k' || i) FROM "
	     "generate_series(1, 20000) i), (SELECT array_agg('v'::text) FROM "
	     "generate_series(1, 20000) i)); ANALYZE mailq.table_entry; ANALYZE mailq.table_head");
	assert_plan(c);
	buf_done(&sql);
	db_pool_give(p, &c);
	db_pool_free(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table_answers),
	    cmocka_unit_test(table_answers_are_kept),
	    cmocka_unit_test(table_away),
	    cmocka_unit_test(table_batches),
	    cmocka_unit_test(table_memory),
	    cmocka_unit_test(table_is_replaced_as_a_whole),
	    cmocka_unit_test(table_load_given_up),
	    cmocka_unit_test(table_entries_are_put_and_removed),
	    cmocka_unit_test(table_changes_come_one_after_the_other),
	    cmocka_unit_test(table_versions_that_go_back),
	    cmocka_unit_test(table_rights),
	    cmocka_unit_test(table_plan),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
