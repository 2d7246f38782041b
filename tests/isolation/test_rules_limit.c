/*
 * Limits over all nodes: never more than the limit, whoever is dead or cut off; nobody starves.
 */
#include "rules.h"

#include "cluster/cluster_limit.h"

#define NAME  "smtp:d.test"
#define GRACE (10 * CLOCK_SECOND)

/* A node with mail for the destination: what it runs, and what it may run. */
struct runner {
	struct db_pool *pool;
	int64_t epoch;
	int32_t used;
	int32_t slots;
	int32_t waiting;
};

static void
runner_open(struct runner *r)
{
	*r = (struct runner){.pool = pool_of(QUEUE_SESSION_SCHEDULER), .epoch = random_epoch()};
	tell("INSERT INTO mailq.node (epoch, name, state) VALUES (%lld, 'n', 'up')",
	    (long long)r->epoch);
}

static void
runner_close(struct runner *r)
{
	db_pool_free(&r->pool);
}

/* As the scheduler does: nothing is started between the question and the answer. */
static bool
lease(struct runner *r, int32_t limit)
{
	struct err err = {0};
	struct db_conn *c = take(r->pool);
	struct cluster_limit l = {
	    .name = NAME, .limit = limit, .used = r->used, .want = r->used + r->waiting};
	bool ok;

	r->slots = r->used;
	ok = cluster_limit_lease(c, r->epoch, GRACE, &l, 1, soon(), &err);
	db_pool_give(r->pool, &c);
	if (ok)
		r->slots = l.slots;
	return ok;
}

static void
start_all(struct runner *r)
{
	while (r->waiting > 0 && r->used < r->slots) {
		r->waiting--;
		r->used++;
	}
}

RULE(limit_is_shared)
{
	struct runner n[3];

	for (size_t i = 0; i < ARRAY_LEN(n); i++) {
		runner_open(&n[i]);
		n[i].waiting = 100;
	}
	assert_true(lease(&n[0], 10));
	assert_int_equal(n[0].slots, 10); /* alone */
	start_all(&n[0]);
	assert_true(lease(&n[1], 10));
	assert_int_equal(n[1].slots, 0); /* all in use */
	assert_true(lease(&n[0], 10));
	assert_int_equal(n[0].slots, 10);
	n[0].used = 4;
	assert_true(lease(&n[0], 10));
	assert_int_equal(n[0].slots, 5); /* half of it, now that there are two */
	assert_true(lease(&n[1], 10));
	assert_int_equal(n[1].slots, 5);
	/* Who wants little gets that, the others share the rest. */
	n[2].waiting = 2;
	assert_true(lease(&n[2], 10));
	n[0].used = n[1].used = 0;
	assert_true(lease(&n[0], 10));
	assert_true(lease(&n[1], 10));
	assert_true(lease(&n[2], 10));
	assert_true(lease(&n[0], 10));
	assert_int_equal(n[0].slots, 4);
	assert_int_equal(n[1].slots, 4);
	assert_int_equal(n[2].slots, 2);
	/* Done: the slots are free again. */
	n[1].waiting = n[2].waiting = 0;
	assert_true(lease(&n[1], 10));
	assert_true(lease(&n[2], 10));
	assert_true(lease(&n[0], 10));
	assert_int_equal(n[0].slots, 10);
	n[0].waiting = 0;
	assert_true(lease(&n[0], 10));
	assert_int_equal(rows_of("mailq.cluster_limit"), 0);
	for (size_t i = 0; i < ARRAY_LEN(n); i++)
		runner_close(&n[i]);
}

/* More nodes than slots: the slot goes round. */
RULE(limit_goes_round)
{
	struct runner n[3];
	int served[3] = {0};

	for (size_t i = 0; i < ARRAY_LEN(n); i++) {
		runner_open(&n[i]);
		n[i].waiting = i == 0 ? 1000 : 5;
	}
	for (int turn = 0; turn < 30; turn++)
		for (size_t i = 0; i < ARRAY_LEN(n); i++) {
			n[i].used = 0;
			assert_true(lease(&n[i], 1));
			assert_true(ask("SELECT sum(slots) FROM mailq.cluster_limit_block") <= 1);
			served[i] += n[i].slots;
		}
	for (size_t i = 0; i < ARRAY_LEN(n); i++) {
		assert_true(served[i] >= 5);
		runner_close(&n[i]);
	}
}

/* Whoever died may have agents at work: his block is kept until they have ended for sure. */
RULE(limit_and_the_dead)
{
	struct runner dead, other;

	runner_open(&dead);
	runner_open(&other);
	dead.waiting = other.waiting = 10;
	assert_true(lease(&dead, 10));
	assert_int_equal(dead.slots, 10);
	start_all(&dead);
	tell("UPDATE mailq.node SET state = 'dead', changed = clock_timestamp() WHERE epoch = %lld",
	    (long long)dead.epoch);
	assert_true(lease(&other, 10));
	assert_int_equal(other.slots, 0);
	/* Cut off: it learns of it, and keeps to what it runs. */
	assert_false(lease(&dead, 10));
	assert_int_equal(dead.slots, 10);
	dead.used = 3;
	assert_false(lease(&dead, 10));
	assert_int_equal(dead.slots, 3);
	tell(
	    "UPDATE mailq.node SET changed = clock_timestamp() - interval '9 s' WHERE state = 'dead'");
	assert_true(lease(&other, 10));
	assert_int_equal(other.slots, 0);
	tell(
	    "UPDATE mailq.node SET changed = clock_timestamp() - interval '11 s' WHERE state = 'dead'");
	assert_true(lease(&other, 10));
	assert_int_equal(other.slots, 10);
	/* A node of which nothing is known any more has nothing. */
	tell("DELETE FROM mailq.node WHERE epoch = %lld", (long long)other.epoch);
	runner_close(&dead);
	runner_open(&dead);
	dead.waiting = 10;
	assert_true(lease(&dead, 10));
	assert_int_equal(dead.slots, 10);
	runner_close(&dead);
	runner_close(&other);
}

/* A lower limit is reached as deliveries end. */
RULE(limit_is_lowered)
{
	struct runner a, b;

	runner_open(&a);
	runner_open(&b);
	a.waiting = b.waiting = 10;
	assert_true(lease(&a, 10));
	start_all(&a);
	a.waiting = 10;
	assert_true(lease(&a, 4));
	assert_int_equal(a.slots, 10);
	assert_true(lease(&b, 4));
	assert_int_equal(b.slots, 0);
	a.used = 2;
	assert_true(lease(&a, 4));
	assert_int_equal(a.slots, 2);
	assert_true(lease(&b, 4));
	assert_int_equal(b.slots, 2);
	runner_close(&a);
	runner_close(&b);
}

/* ---- many at once ---- */

#define LIMIT 7

struct crowd {
	struct runner n[5];
	struct aside asides[5];
	size_t next;
	int running; /* of all: what the other end sees */
	int most;
};
static struct crowd crowd;

static void
start_one(struct runner *r)
{
	if (r->waiting == 0 || r->used >= r->slots)
		return;
	r->waiting--;
	r->used++;
	crowd.running++;
	crowd.most = MAX(crowd.most, crowd.running);
}

/* Deliveries begin and end at random between and during the questions. */
static void
live(void *arg)
{
	struct runner *r = arg;

	for (int i = 0; i < 60; i++) {
		r->waiting = (int32_t)random_below(6);
		(void)lease(r, LIMIT);
		for (uint32_t k = random_below(8); k > 0; k--)
			start_one(r);
		(void)task_yield();
		while (r->used > 0 && random_below(3) != 0) {
			r->used--;
			crowd.running--;
		}
	}
	r->waiting = 0;
}

RULE(limit_holds_in_a_crowd)
{
	memset(&crowd, 0, sizeof(crowd));
	for (size_t i = 0; i < ARRAY_LEN(crowd.n); i++)
		runner_open(&crowd.n[i]);
	for (size_t i = 0; i < ARRAY_LEN(crowd.n); i++)
		aside_start(&crowd.asides[i], live, &crowd.n[i]);
	for (size_t i = 0; i < ARRAY_LEN(crowd.n); i++)
		aside_join(&crowd.asides[i]);
	assert_true(crowd.most <= LIMIT);
	assert_true(crowd.most > 1);
	assert_true(ask("SELECT sum(slots) FROM mailq.cluster_limit_block") <= LIMIT);
	for (size_t i = 0; i < ARRAY_LEN(crowd.n); i++)
		runner_close(&crowd.n[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(limit_is_shared),
	    cmocka_unit_test(limit_goes_round),
	    cmocka_unit_test(limit_and_the_dead),
	    cmocka_unit_test(limit_is_lowered),
	    cmocka_unit_test(limit_holds_in_a_crowd),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
