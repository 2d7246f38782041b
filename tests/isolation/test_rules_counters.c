/*
 * Rule 15: counters are summed per process, and each process appends what is new to it.
 */
#include "rules.h"

#include "cluster/cluster_counter.h"

#define KEY    SPAN_LIT("smtp:192.0.2.1")
#define OTHER  SPAN_LIT("smtp:192.0.2.2")
#define WINDOW (60 * CLOCK_SECOND)

/* A process that counts, which exchanges only when told. */
struct counting {
	struct db_pool *pool;
	struct cluster_counter *counter;
};

static void
counting_open(struct counting *p, int64_t window)
{
	p->pool = pool_of(QUEUE_SESSION_FRONT);
	p->counter = cluster_counter_new(&(struct cluster_counter_settings){
	    .pool = p->pool, .window = window, .pause = 3600 * CLOCK_SECOND});
}

static void
counting_close(struct counting *p)
{
	cluster_counter_free(&p->counter);
	db_pool_free(&p->pool);
}

static void
exchange(struct counting *p)
{
	struct err err = {0};

	if (!cluster_counter_exchange(p->counter, soon(), &err))
		fail_msg("exchange: %s", err.text);
}

static void
assert_open(struct counting *p, struct span key, unsigned n)
{
	assert_int_equal(cluster_counter_is_open(p->counter, key), n);
}

static void
assert_events(struct counting *p, unsigned kind, unsigned n)
{
	assert_int_equal(cluster_counter_events(p->counter, KEY, kind), n);
}

RULE(rule_15_all_add_up)
{
	struct counting a, b;

	counting_open(&a, WINDOW);
	counting_open(&b, WINDOW);
	assert_int_equal(cluster_counter_open(a.counter, KEY), 1);
	assert_int_equal(cluster_counter_open(a.counter, KEY), 2);
	assert_int_equal(cluster_counter_open(b.counter, KEY), 1);
	(void)cluster_counter_open(b.counter, OTHER);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(cluster_counter_event(a.counter, KEY, 1), i);
	(void)cluster_counter_event(b.counter, KEY, 1);
	(void)cluster_counter_event(b.counter, KEY, 4);
	/* What was read once is read again, and counts once. */
	for (int i = 0; i < 5; i++) {
		exchange(&a);
		exchange(&b);
	}
	exchange(&a);
	assert_open(&a, KEY, 3);
	assert_open(&b, KEY, 3);
	assert_open(&a, OTHER, 1);
	assert_events(&a, 1, 4);
	assert_events(&b, 1, 4);
	assert_events(&a, 4, 1);
	assert_events(&b, 0, 0);
	assert_int_equal(cluster_counter_event(b.counter, KEY, 1), 5);
	assert_int_equal(cluster_counter_close(a.counter, KEY), 2);
	exchange(&a);
	exchange(&b);
	assert_open(&b, KEY, 2);
	/* An orderly end closes all. */
	(void)cluster_counter_close(b.counter, KEY);
	(void)cluster_counter_close(b.counter, OTHER);
	counting_close(&b);
	exchange(&a);
	assert_open(&a, KEY, 1);
	assert_open(&a, OTHER, 0);
	(void)cluster_counter_close(a.counter, KEY);
	counting_close(&a);
}

/* Who comes later knows what went on before. */
RULE(rule_15_a_new_process_reads_the_past)
{
	struct counting a, b;

	counting_open(&a, WINDOW);
	(void)cluster_counter_open(a.counter, KEY);
	(void)cluster_counter_event(a.counter, KEY, 2);
	exchange(&a);
	counting_open(&b, WINDOW);
	assert_int_equal(cluster_counter_event(b.counter, KEY, 2), 1);
	exchange(&b);
	assert_open(&b, KEY, 1);
	assert_events(&b, 2, 2);
	(void)cluster_counter_close(a.counter, KEY);
	counting_close(&a);
	counting_close(&b);
}

/* The database refuses: each counts alone, and afterwards what is open is told. */
RULE(rule_15_away)
{
	struct counting a, b;
	struct err err;

	counting_open(&a, WINDOW);
	counting_open(&b, WINDOW);
	tell("REVOKE EXECUTE ON FUNCTION mailq.counter_exchange FROM rowpost_front");
	assert_int_equal(cluster_counter_open(a.counter, KEY), 1);
	assert_int_equal(cluster_counter_event(a.counter, KEY, 0), 1);
	assert_false(cluster_counter_exchange(a.counter, soon(), &err));
	assert_int_equal(cluster_counter_open(a.counter, KEY), 2);
	assert_int_equal(cluster_counter_event(a.counter, KEY, 0), 2);
	tell("GRANT EXECUTE ON FUNCTION mailq.counter_exchange TO rowpost_front");
	exchange(&a);
	exchange(&b);
	assert_open(&b, KEY, 2);
	(void)cluster_counter_close(a.counter, KEY);
	(void)cluster_counter_close(a.counter, KEY);
	counting_close(&a);
	counting_close(&b);
}

/* A killed process has nothing open. */
RULE(rule_15_death)
{
	struct counting a, b;

	counting_open(&a, WINDOW);
	counting_open(&b, WINDOW);
	(void)cluster_counter_open(a.counter, KEY);
	exchange(&a);
	tell("UPDATE mailq.counter SET at = at - interval '30 s'");
	(void)cluster_counter_open(b.counter, OTHER);
	exchange(&b);
	assert_open(&b, KEY, 0);
	/* It only slept. */
	(void)cluster_counter_open(a.counter, KEY);
	exchange(&a);
	exchange(&b);
	assert_open(&b, KEY, 2);
	(void)cluster_counter_close(a.counter, KEY);
	(void)cluster_counter_close(a.counter, KEY);
	(void)cluster_counter_close(b.counter, OTHER);
	counting_close(&a);
	counting_close(&b);
}

/* A lower id may become visible after a higher one. */
RULE(rule_15_late_commit)
{
	struct counting a, b;

	counting_open(&a, WINDOW);
	counting_open(&b, WINDOW);
	tell("BEGIN; INSERT INTO mailq.counter (part, process, flush, key, opened, events) "
	     "VALUES (0, 42, 1, 'smtp:192.0.2.1', 7, '{0,0,1,0,0}')");
	(void)cluster_counter_open(a.counter, OTHER);
	exchange(&a);
	exchange(&b);
	assert_open(&b, OTHER, 1);
	assert_open(&b, KEY, 0);
	tell("COMMIT");
	exchange(&b);
	assert_open(&b, KEY, 7);
	assert_events(&b, 2, 1);
	(void)cluster_counter_close(a.counter, OTHER);
	counting_close(&a);
	counting_close(&b);
}

/* Events are counted for a window. */
RULE(rule_15_window)
{
	struct counting a;
	int64_t end = soon();

	counting_open(&a, 100 * CLOCK_MILLI);
	(void)cluster_counter_event(a.counter, KEY, 0);
	while (cluster_counter_events(a.counter, KEY, 0) != 0) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	}
	assert_int_equal(cluster_counter_event(a.counter, KEY, 0), 1);
	counting_close(&a);
}

/* Rows go by TRUNCATE, set after set; a reader delays it, and keeps nobody waiting. */
RULE(rule_15_rotation)
{
	struct counting a;
	int64_t quickest = TEST_PATIENCE;

	counting_open(&a, WINDOW);
	(void)cluster_counter_open(a.counter, KEY);
	exchange(&a);
	assert_int_equal(rows_of("mailq.counter_0"), 1);
	for (int i = 1; i <= 3; i++) {
		tell("UPDATE mailq.counter_set SET since = now() - interval '2 minutes'");
		(void)cluster_counter_event(a.counter, KEY, 0);
		exchange(&a);
		assert_int_equal(ask("SELECT part FROM mailq.counter_set"), i % 3);
	}
	assert_int_equal(rows_of("mailq.counter_0"), 1);
	assert_int_equal(rows_of("mailq.counter"), 3);
	tell("UPDATE mailq.counter_set SET since = now() - interval '2 minutes'; "
	     "BEGIN; SELECT count(*) FROM mailq.counter_1");
	/* The quickest of some: the machine may do other things. */
	for (int i = 0; i < 5; i++) {
		int64_t begin = clock_mono_us();

		(void)cluster_counter_event(a.counter, KEY, 0);
		exchange(&a);
		quickest = MIN(quickest, clock_mono_us() - begin);
	}
	assert_true(quickest < CLOCK_SECOND);
	assert_int_equal(ask("SELECT part FROM mailq.counter_set"), 0);
	tell("COMMIT");
	(void)cluster_counter_close(a.counter, KEY);
	counting_close(&a);
	assert_int_equal(ask("SELECT part FROM mailq.counter_set"), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rule_15_all_add_up),
	    cmocka_unit_test(rule_15_a_new_process_reads_the_past),
	    cmocka_unit_test(rule_15_away),
	    cmocka_unit_test(rule_15_death),
	    cmocka_unit_test(rule_15_late_commit),
	    cmocka_unit_test(rule_15_window),
	    cmocka_unit_test(rule_15_rotation),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
