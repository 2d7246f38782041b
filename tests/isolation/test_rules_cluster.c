/*
 * The protocol rules about nodes, the ring, and the plans of the hot statements.
 */
#include "rules.h"

#include "cluster/cluster_node.h"

/* ---- 8: death of a node ------------------------------------------------------------------------------------------------ */

#define LEASE     (2 * CLOCK_SECOND)
#define HEARTBEAT (LEASE / 8)
#define MARGIN    (LEASE / 5)

struct test_node {
	struct db_pool *pool;
	struct cluster_node *node;
	int64_t epoch;  /* of the last begin() */
	size_t fresh;   /* begins with a new epoch */
	size_t resumed; /* begins with the old one */
	size_t lost;
	size_t recovered;
	size_t dead;       /* others that we declared dead */
	bool hold_recover; /* recover() has not done yet */
	size_t order;      /* 1 recover, 2 begin: as they came */
};

static bool
on_recover(void *arg)
{
	struct test_node *n = arg;

	n->recovered++;
	n->order = 1;
	return !n->hold_recover;
}

static bool
on_begin(void *arg, int64_t epoch, bool fresh)
{
	struct test_node *n = arg;

	n->epoch = epoch;
	if (fresh)
		n->fresh++;
	else
		n->resumed++;
	if (!fresh)
		assert_int_equal(n->order, 1); /* facts before leases */
	n->order = 2;
	return true;
}

static void
on_lost(void *arg, int64_t epoch)
{
	struct test_node *n = arg;

	assert_int_equal(epoch, n->epoch);
	n->lost++;
}

static void
on_dead(void *arg, size_t count)
{
	struct test_node *n = arg;

	n->dead += count;
}

static void
await(bool (*is)(const struct test_node *n), const struct test_node *n)
{
	int64_t end = soon();

	while (!is(n)) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(5 * CLOCK_MILLI));
	}
}

static bool
delivers(const struct test_node *n)
{
	return cluster_node_may_deliver(n->node);
}

static bool
does_not_deliver(const struct test_node *n)
{
	return !cluster_node_may_deliver(n->node);
}

static bool
saw_dead(const struct test_node *n)
{
	return n->dead > 0;
}

static bool
resumed(const struct test_node *n)
{
	return n->resumed > 0 && delivers(n);
}

static bool
fenced(const struct test_node *n)
{
	return n->lost > 0 && n->fresh > 1 && delivers(n);
}

static void
node_open(struct test_node *n, const char *name, const char *where)
{
	struct cluster_node_settings s = {
	    .name = name,
	    .heartbeat = HEARTBEAT,
	    .lease = LEASE,
	    .margin = MARGIN,
	    .events =
		{
		    .recover = on_recover,
		    .begin = on_begin,
		    .lost = on_lost,
		    .dead = on_dead,
		    .arg = n,
		},
	};

	memset(n, 0, sizeof(*n));
	n->pool = pool_at(where, test_database, QUEUE_SESSION_SCHEDULER, 3);
	s.pool = n->pool;
	n->node = cluster_node_new(&s);
	await(delivers, n);
}

static void
node_close(struct test_node *n)
{
	cluster_node_free(&n->node);
	db_pool_free(&n->pool);
}

/* The desk of the frame has a row that never beats. */
static void
forget_desk_node(void)
{
	tell("DELETE FROM mailq.node");
}

/* A counter that stands still for the lease is dead, not sooner; one that moves is not. */
RULE(rule_08_death_by_counter)
{
	struct test_node a;
	int64_t started;

	forget_desk_node();
	node_open(&a, "a", NULL);
	tell("INSERT INTO mailq.node (epoch, name, state) VALUES (1, 'b', 'up'); "
	     "SELECT pg_advisory_lock(1)"); /* b's session lives */
	started = clock_mono_us();
	while (clock_mono_us() - started < 2 * LEASE) {
		tell("UPDATE mailq.node SET beat = beat + 1 WHERE epoch = 1");
		(void)task_sleep_until(clock_deadline(HEARTBEAT));
	}
	assert_int_equal(a.dead, 0);
	started = clock_mono_us();
	await(saw_dead, &a);
	assert_true(clock_mono_us() - started >= LEASE - 2 * HEARTBEAT);
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.node WHERE epoch = 1 AND state = 'dead'"), 1);
	node_close(&a);
}

/* A node whose session is gone (its process died) is dead sooner. */
RULE(rule_08_death_by_lost_session)
{
	struct test_node a;
	int64_t started;

	forget_desk_node();
	node_open(&a, "a", NULL);
	tell("INSERT INTO mailq.node (epoch, name, state) VALUES (1, 'b', 'up')");
	started = clock_mono_us();
	await(saw_dead, &a);
	assert_true(clock_mono_us() - started >= LEASE / 2);
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.node WHERE epoch = 1 AND state = 'dead'"), 1);
	node_close(&a);
}

/* After a restart of the database nobody is dead: all go on with their epochs, facts recorded first. */
RULE(rule_08_database_restart)
{
	struct test_node a;
	struct test_node b;
	int64_t epoch_a;
	int64_t epoch_b;

	forget_desk_node();
	node_open(&a, "a", NULL);
	node_open(&b, "b", NULL);
	epoch_a = a.epoch;
	epoch_b = b.epoch;
	cluster_stop(SIGINT);
	await(does_not_deliver, &a);
	await(does_not_deliver, &b);
	/* Longer than a lease away. */
	(void)task_sleep_until(clock_deadline(LEASE + HEARTBEAT));
	cluster_start();
	await(resumed, &a);
	await(resumed, &b);
	(void)task_sleep_until(clock_deadline(LEASE + HEARTBEAT));
	assert_int_equal(a.epoch, epoch_a);
	assert_int_equal(b.epoch, epoch_b);
	assert_int_equal(a.dead + b.dead, 0);
	assert_int_equal(a.lost + b.lost, 0);
	assert_true(a.recovered > 0 && b.recovered > 0);
	node_close(&a);
	node_close(&b);
	db_pool_give(owner_pool, &owner);
	owner = take(owner_pool);
}

/* Cut off, a node stops by its own clock before anybody takes over; back again, it is fenced and begins anew. */
RULE(rule_08_cut_off)
{
	struct test_node a;
	struct test_node b;
	int64_t stopped;

	forget_desk_node();
	node_open(&b, "b", proxy_start());
	node_open(&a, "a", NULL);
	proxy.mode = PROXY_SILENCE;
	await(does_not_deliver, &b);
	stopped = clock_mono_us();
	assert_int_equal(a.dead, 0);
	await(saw_dead, &a);
	assert_true(clock_mono_us() > stopped);
	assert_false(cluster_node_may_deliver(b.node));
	proxy.mode = PROXY_FORWARD;
	await(fenced, &b);
	assert_int_equal(b.resumed, 0);
	node_close(&a);
	node_close(&b);
}

/* After an outage the facts that wait come first; while they are not recorded nothing is delivered. */
RULE(rule_08_facts_first)
{
	struct test_node a;
	size_t recovered;

	forget_desk_node();
	node_open(&a, "a", NULL);
	a.hold_recover = true;
	tell("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
	     "current_database() AND pid <> pg_backend_pid()");
	await(does_not_deliver, &a);
	recovered = a.recovered;
	while (a.recovered < recovered + 3)
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	assert_int_equal(a.resumed, 0);
	assert_false(cluster_node_may_deliver(a.node));
	a.hold_recover = false;
	await(resumed, &a);
	assert_int_equal(a.lost, 0);
	node_close(&a);
}

static bool
drains(const struct test_node *n)
{
	return cluster_node_state(n->node) == CLUSTER_NODE_DRAINING;
}

/* Draining, by order of the operator: delivers what it has, claims nothing. Leaving: others need not wait. */
RULE(rule_08_drain_and_leave)
{
	struct test_node a;
	struct err err = {0};

	forget_desk_node();
	node_open(&a, "a", NULL);
	assert_true(cluster_node_may_claim(a.node));
	assert_int_equal(ask("SELECT rowpost.drain('a')"), 1);
	await(drains, &a);
	assert_true(cluster_node_may_deliver(a.node));
	assert_false(cluster_node_may_claim(a.node));
	assert_true(cluster_node_leave(a.node, soon(), &err));
	assert_false(cluster_node_may_deliver(a.node));
	assert_int_equal(ask("SELECT count(*) FROM mailq.node WHERE state = 'dead'"), 1);
	node_close(&a);
}

/* ---- 14: rotation --------------------------------------------------------------------------------------------------------- */

static void
keep(struct rule *t)
{
	struct err err = {0};

	if (!queue_keeper_run(t->d.desk, soon(), &err))
		fail_msg("keeper: %s", err.text);
}

/* An idle set does not rotate, an old one with mail does. */
RULE(rule_14_idle_does_not_rotate)
{
	tell("UPDATE mailq.ring SET since = now() - interval '1 hour' WHERE state = 'open'");
	keep(t);
	assert_int_equal(ask("SELECT part FROM mailq.ring WHERE state = 'open'"), 0);
	store(&t->f, 1);
	keep(t);
	assert_int_not_equal(ask("SELECT part FROM mailq.ring WHERE state = 'open'"), 0);
	assert_int_equal(ask("SELECT count(*) FROM mailq.ring WHERE state = 'draining'"), 1);
}

/* A reader's lock only delays truncation, and nobody waits behind it. */
RULE(rule_14_reader_delays_truncation)
{
	struct db_conn *reader = take(owner_pool);
	struct queue_claims c;
	int64_t started;

	store(&t->f, 1);
	c = claim_count(&t->d, 1);
	script(reader, "BEGIN; SELECT FROM mailq.incoming_0");
	rotate_now();
	record_all(&t->d, &c, QUEUE_SENT);
	queue_claims_done(&c);
	started = clock_mono_us();
	keep(t);
	assert_true(clock_mono_us() - started < CLOCK_SECOND);
	assert_int_equal(ask("SELECT count(*) FROM mailq.ring WHERE state = 'draining'"), 1);
	store(&t->f, 1); /* life goes on in the next set */
	c = claim_count(&t->d, 1);
	record_all(&t->d, &c, QUEUE_SENT);
	queue_claims_done(&c);
	script(reader, "COMMIT");
	db_pool_give(owner_pool, &reader);
	for (int64_t end = soon(); ask("SELECT pg_relation_size('mailq.incoming_0')") > 0;) {
		assert_true(clock_mono_us() < end);
		keep(t);
		(void)task_sleep_until(clock_deadline(50 * CLOCK_MILLI));
	}
}

/* With a lease or a batch in it, or a writer that is just inserting, a set is not emptied. */
RULE(rule_14_no_truncation_under_mail)
{
	struct queue_claims c;
	struct db_conn *writer = take(owner_pool);

	store(&t->f, 2);
	c = claim_count(&t->d, 1);
	rotate_now();
	assert_int_equal(ask("SELECT mailq.ring_truncate(0::int2, '0 s')::int4"), 0);
	record_all(&t->d, &c, QUEUE_SENT);
	queue_claims_done(&c);
	script(writer,
	    "BEGIN; INSERT INTO mailq.batch_0 (batch_id, part, msg_ids, recipients, bytes) "
	    "VALUES (nextval('mailq.batch_seq'), 0, '{1}', 1, 1)");
	assert_int_equal(ask("SELECT mailq.ring_truncate(0::int2, '0 s')::int4"), 0);
	script(writer, "COMMIT");
	assert_int_equal(ask("SELECT mailq.ring_truncate(0::int2, '0 s')::int4"), 0);
	tell("DELETE FROM mailq.batch_0");
	assert_int_equal(ask("SELECT mailq.ring_truncate(0::int2, '0 s')::int4"), 1);
	db_pool_give(owner_pool, &writer);
}

/* A front end that still knows the old set does nothing wrong: all sets are looked into, whatever their state. */
RULE(rule_14_late_insert)
{
	struct queue_claims c;

	store(&t->f, 1);
	c = claim_count(&t->d, 1);
	record_all(&t->d, &c, QUEUE_SENT);
	queue_claims_done(&c);
	tell("SELECT mailq.ring_rotate('0 s', 0, 64); SELECT mailq.ring_truncate(0::int2, '0 s')");
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.ring WHERE part = 0 AND state = 'empty'"), 1);
	store(&t->f, 1); /* its knowledge of the open set is less than a second old */
	assert_int_equal(rows_of("mailq.batch_0"), 1);
	c = claim_count(&t->d, 1);
	assert_int_equal(c.items[0]->set, 0);
	record_all(&t->d, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&c);
}

/* The ring grows while sets cannot be emptied, up to its cap; then the open set simply goes on. */
RULE(rule_14_growth)
{
	for (int i = 0; i < 12; i++) {
		tell(
		    "INSERT INTO mailq.incoming SELECT %d, part, now(), 1, NULL, 1, 's', '', 'r', NULL, "
		    "NULL, NULL, NULL FROM mailq.ring WHERE state = 'open'",
		    i + 1);
		tell("SELECT mailq.ring_rotate('0 s', 0, 10)");
	}
	assert_int_equal(rows_of("mailq.ring"), 10);
	assert_int_equal(ask("SELECT count(*) FROM mailq.ring WHERE state = 'open'"), 1);
}

/* ---- plans: no hot statement reads a table from end to end ----------------------------------------------------------------- */

/* seq_scan or idx_scan */
static int64_t
scans(const char *kind)
{
	return ask("SELECT coalesce(sum(%s), 0)::int8 FROM pg_stat_user_tables WHERE "
		   "schemaname = 'mailq' AND relname ~ "
		   "'^(batch|active|incoming|result)_[0-9]+$|^deferred|^destination|^notification|"
		   "^large|^held'",
	    kind);
}

/* Taking over, moving stragglers, looking for orders: they too meet a queue of any size. */
static void
seldom_statements(struct rule *t)
{
	const int32_t rcpt_no = 0;
	struct queue_order *orders;
	struct queue_claims c;
	struct queue_claims none;
	struct test_desk mine;
	struct test_desk other;
	struct err err = {0};
	size_t count;
	int64_t id;
	bool flush;

	desk_open(&mine, NULL);
	id = store(&t->f, 1);
	store(&t->f, 1);
	c = claim_count(&mine, 2);
	rotate_now();
	assert_true(queue_claim_promote_stragglers(mine.desk, soon(), &err));
	/* Of a node of which there is no other scheduler. */
	tell("UPDATE mailq.node SET name = 'n2', state = 'dead' WHERE epoch = %lld",
	    (long long)mine.epoch);
	desk_open(&other, NULL);
	assert_true(queue_claim_adopt(other.desk, &id, &rcpt_no, 1, soon(), &none, &err));
	assert_int_equal(none.count, 1);
	record_all(&other, &none, QUEUE_SENT);
	queue_claims_done(&none);
	none = take_over(&other);
	queue_claims_done(&none);
	assert_true(queue_order_poll(other.desk, soon(), &orders, &count, &flush, &err));
	mem_free(orders);
	none = claim_deferred(&other);
	assert_int_equal(none.count, 1);
	record_all(&other, &none, QUEUE_SENT);
	queue_claims_done(&none);
	queue_claims_done(&c);
	desk_close(&other);
	desk_close(&mine);
}

RULE(plans_without_sequential_scans)
{
	struct queue_claims c;
	struct queue_claims due;
	struct err err = {0};
	int64_t before;
	int64_t by_index;

	/* The trap: statistics of empty tables. */
	tell("ANALYZE");
	before = scans("seq_scan");
	by_index = scans("idx_scan");
	seldom_statements(t);
	for (int i = 0; i < 20; i++)
		store(&t->f, 2);
	c = claim_count(&t->d, 20);
	for (size_t i = 0; i < c.count; i++) {
		static const enum queue_outcome ways[] = {
		    QUEUE_SENT, QUEUE_DEFERRED, QUEUE_BOUNCED, QUEUE_HELD};

		record_one(&t->d, outcome(c.items[i], 0, ways[i % 4]));
		record_one(&t->d, outcome(c.items[i], 1, ways[i % 3]));
	}
	queue_claims_done(&c);
	due = claim_deferred(&t->d);
	record_all(&t->d, &due, QUEUE_DEFERRED);
	queue_claims_done(&due);
	due = claim_deferred(&t->d);
	record_all(&t->d, &due, QUEUE_SENT);
	queue_claims_done(&due);
	assert_true(queue_expire_run(t->d.desk, &(struct queue_expiry){0}, soon(), NULL, &err));
	/* Ended sessions have told their counters. */
	desk_close(&t->d);
	front_close(&t->f);
	while (ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") > 1)
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	assert_true(scans("idx_scan") > by_index + 100);
	assert_int_equal(scans("seq_scan"), before);
	t->f = front_at(NULL);
	desk_open(&t->d, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rule_08_death_by_counter),
	    cmocka_unit_test(rule_08_death_by_lost_session),
	    cmocka_unit_test(rule_08_database_restart),
	    cmocka_unit_test(rule_08_cut_off),
	    cmocka_unit_test(rule_08_facts_first),
	    cmocka_unit_test(rule_08_drain_and_leave),
	    cmocka_unit_test(rule_14_idle_does_not_rotate),
	    cmocka_unit_test(rule_14_reader_delays_truncation),
	    cmocka_unit_test(rule_14_no_truncation_under_mail),
	    cmocka_unit_test(rule_14_late_insert),
	    cmocka_unit_test(rule_14_growth),
	    cmocka_unit_test(plans_without_sequential_scans),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
