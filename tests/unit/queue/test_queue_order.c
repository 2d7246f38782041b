/*
 * test_queue_order.c - rule 13: operators' orders are done at once where mail is free, and by its owner where it is not;
 * they are answered for what they did, kept for the record, and nobody's outcomes wait for them.
 */
#include "queue/queue_destination.h"
#include "queue_fixture.h"

static struct db_pool *operators;
static struct db_conn *orderer;
static struct test_front front;
static struct test_desk desk;

static void
open_all(void)
{
	open_database();
	operators = pool_of(QUEUE_SESSION_OPERATOR);
	orderer = take(operators);
	front = front_at(NULL);
	desk_open(&desk, NULL);
}

static void
close_all(void)
{
	desk_close(&desk);
	front_close(&front);
	db_pool_give(operators, &orderer);
	db_pool_free(&operators);
	close_database();
}

static struct queue_answer
give(enum queue_verb verb, int64_t msg_id)
{
	struct queue_answer answer;
	struct err err = {0};

	if (!queue_order_give(
		orderer, verb, &msg_id, 1, "root", "test", NULL, soon(), &answer, &err))
		fail_msg("%s: %s", queue_verb_name(verb), err.text);
	return answer;
}

static void
assert_answer(struct queue_answer a, uint64_t done, uint64_t pending, uint64_t not_found)
{
	assert_int_equal(a.done, done);
	assert_int_equal(a.pending, pending);
	assert_int_equal(a.not_found, not_found);
}

/* What `d` is told to do; fresh. */
static struct queue_order *
poll_orders(struct test_desk *d, size_t *ret_count, bool *ret_flush)
{
	struct queue_order *orders;
	struct err err = {0};

	if (!queue_order_poll(d->desk, soon(), &orders, ret_count, ret_flush, &err))
		fail_msg("poll: %s", err.text);
	return orders;
}

/* The one order that `d` is told; its number. */
static int64_t
poll_one(struct test_desk *d, enum queue_verb verb, int64_t msg_id)
{
	bool flush;
	size_t count;
	struct queue_order *orders = poll_orders(d, &count, &flush);
	int64_t id;

	assert_int_equal(count, 1);
	assert_int_equal(orders[0].verb, verb);
	assert_int_equal(orders[0].msg_id, msg_id);
	assert_int_equal(orders[0].rcpt_no, -1);
	id = orders[0].order_id;
	mem_free(orders);
	return id;
}

static void
poll_nothing(struct test_desk *d)
{
	bool flush;
	size_t count;
	struct queue_order *orders = poll_orders(d, &count, &flush);

	assert_int_equal(count, 0);
	mem_free(orders);
}

static void
done_one(struct test_desk *d, int64_t order_id)
{
	struct err err = {0};

	if (!queue_order_done(d->desk, &order_id, 1, soon(), &err))
		fail_msg("done: %s", err.text);
}

/* A message that was tried once and is due again in an hour. */
static int64_t
store_deferred(size_t rcpts)
{
	int64_t id = store(&front, rcpts);
	struct queue_claims c = claim_count(&desk, 1);

	for (size_t i = 0; i < rcpts; i++) {
		struct queue_result r = outcome(c.items[0], i, QUEUE_DEFERRED);

		r.next_attempt = clock_real_us() + 3600 * CLOCK_SECOND;
		assert_int_equal(record_one(&desk, r), QUEUE_RECORD_STORED);
	}
	queue_claims_done(&c);
	return id;
}

static int64_t
count_of(const char *table, int64_t msg_id)
{
	return ask("SELECT count(*) FROM mailq.%s WHERE msg_id = %lld", table, (long long)msg_id);
}

/* ---- free mail ------------------------------------------------------------------------------------------------------ */

static void
body_deferred(void)
{
	struct queue_claims c;
	int64_t id;

	open_all();
	id = store_deferred(2);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 0);

	assert_answer(give(QUEUE_VERB_HOLD, id), 1, 0, 0);
	assert_int_equal(count_of("held", id), 2);
	assert_int_equal(count_of("deferred", id), 0);
	assert_answer(give(QUEUE_VERB_FLUSH, id), 1, 0, 0);
	assert_int_equal(count_of("held", id), 2);

	assert_answer(give(QUEUE_VERB_RELEASE, id), 1, 0, 0);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 0); /* as with Postfix: in a moment, or when it is flushed */
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.deferred d JOIN mailq.destination t ON t.destination_id = d.destination "
		"WHERE d.next_attempt < now() + interval '6 s' AND t.next_due <= d.next_attempt"),
	    2);
	assert_answer(give(QUEUE_VERB_FLUSH, id), 1, 0, 0);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.items[0]->envelope.rcpt_count, 2);
	assert_int_equal(c.items[0]->envelope.rcpts[1].attempts, 1);
	record_all(&desk, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);

	assert_answer(give(QUEUE_VERB_DELETE, id), 1, 0, 0);
	assert_queue_empty();
	assert_int_equal(ask("SELECT count(*) FROM mailq.history WHERE outcome = 'deleted' "
			     "AND reason = 'root: test'"),
	    2);
	assert_answer(give(QUEUE_VERB_DELETE, id), 0, 0, 1);
	poll_nothing(&desk);
	/* Each is on record, except that for which there was no message. */
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NOT NULL "
			     "AND who = 'root' AND why = 'test'"),
	    5);
	assert_int_equal(rows_of("mailq.queue_order"), 5);
	close_all();
}

static void
test_rule_13_free_mail_obeys_at_once(void **state UNUSED)
{
	run_as_task(body_deferred);
}

static void
body_requeue(void)
{
	struct queue_claims c;
	int64_t id;

	open_all();
	id = store_deferred(1);
	assert_answer(give(QUEUE_VERB_REQUEUE, id), 1, 0, 0);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.items[0]->envelope.rcpts[0].attempts, 0);
	record_all(&desk, &c, QUEUE_SENT);
	queue_claims_done(&c);
	assert_queue_empty();
	close_all();
}

static void
test_rule_13_requeued_mail_is_due_and_fresh(void **state UNUSED)
{
	run_as_task(body_requeue);
}

static void
body_expire(void)
{
	struct queue_expiry how = {0};
	struct err err = {0};
	int64_t id;

	open_all();
	id = store_deferred(1);
	assert_answer(give(QUEUE_VERB_EXPIRE, id), 1, 0, 0);
	assert_int_equal(ask("SELECT forced_expire::int4 FROM mailq.deferred_message"), 1);
	assert_answer(give(QUEUE_VERB_FLUSH, id), 1, 0, 0);
	if (!queue_expire_run(desk.desk, &how, soon(), NULL, &err))
		fail_msg("expire: %s", err.text);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(count_of("deferred_message", id), 0);
	close_all();
}

static void
test_rule_13_expired_mail_is_returned(void **state UNUSED)
{
	run_as_task(body_expire);
}

static void
body_incoming(void)
{
	struct queue_claims c;
	int64_t ids[3];

	open_all();
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = store(&front, 2);
	assert_answer(give(QUEUE_VERB_HOLD, ids[1]), 1, 0, 0);
	assert_answer(give(QUEUE_VERB_DELETE, ids[2]), 1, 0, 0);
	assert_int_equal(count_of("held", ids[1]), 2);
	assert_int_equal(count_of("deferred_message", ids[2]), 0);

	/* The batch goes on without them, and its counts are right: the lease ends with the last recipient. */
	c = claim_count(&desk, 1);
	assert_int_equal(c.items[0]->envelope.msg_id, ids[0]);
	record_all(&desk, &c, QUEUE_SENT);
	queue_claims_done(&c);
	assert_int_equal(rows_of("mailq.active"), 0);

	assert_answer(give(QUEUE_VERB_RELEASE, ids[1]), 1, 0, 0);
	assert_answer(give(QUEUE_VERB_FLUSH, ids[1]), 1, 0, 0);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.items[0]->envelope.msg_id, ids[1]);
	assert_true(span_equal_str(c.items[0]->content, TEST_CONTENT));
	record_all(&desk, &c, QUEUE_SENT);
	queue_claims_done(&c);
	assert_queue_empty();
	close_all();
}

static void
test_rule_13_new_mail_is_moved_out_of_its_batch(void **state UNUSED)
{
	run_as_task(body_incoming);
}

static void
body_found(void)
{
	struct queue_answer answer;
	struct err err = {0};
	int64_t ids[3];
	bool found[3];

	open_all();
	ids[0] = store_deferred(1);
	ids[1] = ids[0] + 4096;
	ids[2] = store(&front, 1);
	assert_true(queue_order_give(
	    orderer, QUEUE_VERB_HOLD, ids, 3, "root", "", found, soon(), &answer, &err));
	assert_answer(answer, 2, 0, 1);
	assert_true(found[0]);
	assert_false(found[1]);
	assert_true(found[2]);
	close_all();
}

static void
test_rule_13_the_answer_says_which_were_found(void **state UNUSED)
{
	run_as_task(body_found);
}

/* ---- mail in somebody's hands ----------------------------------------------------------------------------------------- */

static void
body_leased(void)
{
	struct test_desk other;
	struct queue_claims c;
	int64_t id, order;

	open_all();
	desk_open(&other, NULL);
	id = store(&front, 2);
	c = claim_count(&desk, 1);
	assert_answer(give(QUEUE_VERB_HOLD, id), 0, 1, 0);
	assert_int_equal(count_of("held", id), 0);
	poll_nothing(&other);
	order = poll_one(&desk, QUEUE_VERB_HOLD, id);

	/* One recipient was under way and is delivered, the other one obeys. */
	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 0, QUEUE_SENT)), QUEUE_RECORD_STORED);
	done_one(&desk, order);
	assert_int_equal(poll_one(&desk, QUEUE_VERB_HOLD, id), order);
	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 1, QUEUE_HELD)), QUEUE_RECORD_STORED);
	queue_claims_done(&c);
	done_one(&desk, order);
	poll_nothing(&desk);
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 0);
	assert_int_equal(count_of("held", id), 1);
	assert_int_equal(rows_of("mailq.active"), 0);
	desk_close(&other);
	close_all();
}

static void
test_rule_13_leased_mail_is_pending_until_its_owner_obeys(void **state UNUSED)
{
	run_as_task(body_leased);
}

static void
body_let_go(void)
{
	struct test_desk other;
	struct queue_claims c;
	int64_t id;

	open_all();
	desk_open(&other, NULL);
	id = store_deferred(1);
	assert_answer(give(QUEUE_VERB_FLUSH, id), 1, 0, 0);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	assert_answer(give(QUEUE_VERB_DELETE, id), 0, 1, 0);
	(void)poll_one(&desk, QUEUE_VERB_DELETE, id);

	/* The owner has not heard of it and defers; whoever looks next does the order, wherever the mail was. */
	record_all(&desk, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);
	assert_int_equal(count_of("deferred", id), 1);
	poll_nothing(&other);
	assert_queue_empty();
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 0);
	desk_close(&other);
	close_all();
}

static void
test_rule_13_what_its_owner_lets_go_obeys_at_the_next_look(void **state UNUSED)
{
	run_as_task(body_let_go);
}

static void
body_shared(void)
{
	struct test_desk other;
	struct queue_claims c[2];
	int64_t id, order;

	open_all();
	desk_open(&other, NULL);
	id = store_deferred(2);
	tell("UPDATE mailq.deferred SET next_attempt = now() WHERE rcpt_no = 0;"
	     "UPDATE mailq.destination SET next_due = now()");
	c[0] = claim_deferred(&desk);
	tell("UPDATE mailq.deferred SET next_attempt = now() WHERE rcpt_no = 1;"
	     "UPDATE mailq.destination SET next_due = now()");
	c[1] = claim_deferred(&other);
	assert_int_equal(c[0].count, 1);
	assert_int_equal(c[1].count, 1);
	assert_answer(give(QUEUE_VERB_HOLD, id), 0, 1, 0);

	/* For the first owner it is moot when its recipient is delivered; for the second it is not. */
	order = poll_one(&desk, QUEUE_VERB_HOLD, id);
	record_all(&desk, &c[0], QUEUE_SENT);
	done_one(&desk, order);
	poll_nothing(&desk);
	assert_int_equal(poll_one(&other, QUEUE_VERB_HOLD, id), order);
	record_all(&other, &c[1], QUEUE_HELD);
	done_one(&other, order);
	poll_nothing(&other);
	assert_int_equal(count_of("held", id), 1);
	queue_claims_done(&c[0]);
	queue_claims_done(&c[1]);
	desk_close(&other);
	close_all();
}

static void
test_rule_13_an_order_stays_until_every_owner_obeyed(void **state UNUSED)
{
	run_as_task(body_shared);
}

static void
body_no_waiting(void)
{
	struct queue_claims c;
	int64_t ids[2];
	int64_t begin;
	struct queue_result r[2];
	struct queue_result *list[] = {&r[0], &r[1]};
	struct err err = {0};

	open_all();
	ids[0] = store_deferred(1);
	ids[1] = store_deferred(1);
	assert_answer(give(QUEUE_VERB_FLUSH, ids[0]), 1, 0, 0);
	assert_answer(give(QUEUE_VERB_FLUSH, ids[1]), 1, 0, 0);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 2);
	r[0] = outcome(c.items[0], 0, QUEUE_SENT);
	r[1] = outcome(c.items[1], 0, QUEUE_SENT);

	/* An operator takes his time over a transaction. */
	tell("BEGIN; SELECT rowpost.expire(ARRAY[%lld])", (long long)c.items[0]->envelope.msg_id);
	begin = clock_mono_us();
	assert_true(queue_record_flush(desk.desk, list, 2, soon(), &err));
	assert_true(clock_mono_us() - begin < TEST_PATIENCE);
	assert_int_equal(r[0].recorded, QUEUE_RECORD_NOT_YET);
	assert_int_equal(r[1].recorded, QUEUE_RECORD_STORED);
	tell("ROLLBACK");
	assert_int_equal(record_one(&desk, r[0]), QUEUE_RECORD_STORED);
	queue_claims_done(&c);
	assert_queue_empty();
	close_all();
}

static void
test_rule_13_outcomes_do_not_wait_for_an_operator(void **state UNUSED)
{
	run_as_task(body_no_waiting);
}

static void
body_locked(void)
{
	struct queue_claims c[2];
	struct test_desk other;
	int64_t ids[2];

	open_all();
	desk_open(&other, NULL);
	ids[0] = store_deferred(1);
	assert_answer(give(QUEUE_VERB_FLUSH, ids[0]), 1, 0, 0);
	c[0] = claim_deferred(&other);
	assert_int_equal(c[0].count, 1);
	assert_answer(give(QUEUE_VERB_HOLD, ids[0]), 0, 1, 0);
	record_all(&other, &c[0], QUEUE_DEFERRED);
	ids[1] = store(&front, 1);
	c[1] = claim_count(&desk, 1);
	assert_answer(give(QUEUE_VERB_HOLD, ids[1]), 0, 1, 0);

	/* What could be held now is locked; the owner of the other one is told all the same. */
	tell("BEGIN; SELECT FROM mailq.deferred_message WHERE msg_id = %lld FOR UPDATE",
	    (long long)ids[0]);
	(void)poll_one(&desk, QUEUE_VERB_HOLD, ids[1]);
	tell("ROLLBACK");
	(void)poll_one(&desk, QUEUE_VERB_HOLD, ids[1]);
	assert_int_equal(count_of("held", ids[0]), 1);
	queue_claims_done(&c[0]);
	queue_claims_done(&c[1]);
	desk_close(&other);
	close_all();
}

static void
test_rule_13_a_lock_keeps_no_other_order_waiting(void **state UNUSED)
{
	run_as_task(body_locked);
}

static void
body_reroute(void)
{
	struct queue_claims c;

	open_all();
	(void)store_deferred(1);
	tell("UPDATE mailq.deferred SET next_attempt = now();"
	     "UPDATE mailq.destination SET next_due = now()");
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	tell("SELECT rowpost.reroute(array_agg(msg_id), 'smtp', '[x.test]:26') "
	     "FROM mailq.deferred_message");
	poll_nothing(&desk);
	poll_nothing(&desk);
	record_all(&desk, &c, QUEUE_DEFERRED);
	poll_nothing(&desk);
	assert_int_equal(ask("SELECT count(*) FROM mailq.deferred_message, "
			     "regexp_matches(attrs, 'content_filter', 'g')"),
	    1);
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 0);
	queue_claims_done(&c);
	close_all();
}

static void
test_rule_13_reroute_waits_and_is_done_once(void **state UNUSED)
{
	run_as_task(body_reroute);
}

/* ---- all ---------------------------------------------------------------------------------------------------------------- */

static void
on_message(void *arg, int64_t msg_id)
{
	struct hmap *seen = arg;

	assert_null(hmap_put(seen, HMAP_KEY(msg_id), seen));
}

static struct queue_answer
give_all(enum queue_verb verb, const enum queue_place *place, struct hmap *seen)
{
	struct queue_answer answer;
	struct err err = {0};

	if (!queue_order_give_all(
		orderer, verb, place, "root", "", on_message, seen, soon(), &answer, &err))
		fail_msg("%s: %s", queue_verb_name(verb), err.text);
	return answer;
}

static void
body_places(void)
{
	const enum queue_place hold = QUEUE_HOLD, deferred = QUEUE_DEFERRED_PLACE;
	const enum queue_place incoming = QUEUE_INCOMING;
	struct hmap seen = {0};
	int64_t ids[4];

	open_all();
	ids[0] = store_deferred(1);
	assert_answer(give(QUEUE_VERB_HOLD, ids[0]), 1, 0, 0);
	ids[1] = store_deferred(3);
	ids[2] = store_deferred(1);
	ids[3] = store(&front, 1);

	assert_answer(give_all(QUEUE_VERB_DELETE, &deferred, &seen), 2, 0, 0);
	assert_int_equal(seen.count, 2);
	assert_non_null(hmap_get(&seen, HMAP_KEY(ids[1])));
	assert_non_null(hmap_get(&seen, HMAP_KEY(ids[2])));
	hmap_done(&seen);
	assert_answer(give_all(QUEUE_VERB_RELEASE, &hold, &seen), 1, 0, 0);
	hmap_done(&seen);
	assert_int_equal(count_of("held", ids[0]), 0);
	assert_answer(give_all(QUEUE_VERB_HOLD, &incoming, &seen), 1, 0, 0);
	hmap_done(&seen);
	assert_int_equal(count_of("held", ids[3]), 1);
	assert_answer(give_all(QUEUE_VERB_DELETE, NULL, &seen), 2, 0, 0);
	hmap_done(&seen);
	assert_queue_empty();
	close_all();
}

static void
test_rule_13_all_in_one_place(void **state UNUSED)
{
	run_as_task(body_places);
}

static void
body_slices(void)
{
	const enum queue_place deferred = QUEUE_DEFERRED_PLACE;
	struct hmap seen = {0};

	open_all();
	(void)store_deferred(1);
	tell(
	    "INSERT INTO mailq.deferred_message SELECT msg_id + n * 4096, arrival, size, content_id, "
	    "recipients, expires_at, warn_at, forced_expire, sender, attrs, content "
	    "FROM mailq.deferred_message, generate_series(1, 2499) n;"
	    "INSERT INTO mailq.deferred SELECT msg_id + n * 4096, destination, next_attempt, owner, "
	    "rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt, dsn, reason "
	    "FROM mailq.deferred, generate_series(1, 2499) n");
	assert_answer(give_all(QUEUE_VERB_HOLD, &deferred, &seen), 2500, 0, 0);
	assert_int_equal(seen.count, 2500);
	assert_int_equal(rows_of("mailq.held"), 2500);
	hmap_done(&seen);
	close_all();
}

static void
test_rule_13_all_goes_slice_by_slice(void **state UNUSED)
{
	run_as_task(body_slices);
}

static void
body_all_once(void)
{
	struct hmap seen = {0};
	struct queue_claims c;

	open_all();
	(void)store_deferred(2);
	(void)store(&front, 1);
	c = claim_count(&desk, 1);
	(void)store(&front, 1);
	/* New mail becomes deferred mail by it, and is not met a second time there. */
	assert_answer(give_all(QUEUE_VERB_EXPIRE, NULL, &seen), 2, 1, 0);
	assert_int_equal(seen.count, 3);
	assert_int_equal(rows_of("mailq.queue_order"), 3);
	hmap_done(&seen);
	queue_claims_done(&c);
	close_all();
}

static void
test_rule_13_all_everywhere_meets_each_message_once(void **state UNUSED)
{
	run_as_task(body_all_once);
}

static void
body_all_active(void)
{
	const enum queue_place active = QUEUE_ACTIVE;
	struct hmap seen = {0};
	struct queue_claims c;

	open_all();
	(void)store(&front, 1);
	(void)store(&front, 1);
	/* Two messages under one lease, of which one is deferred. */
	tell("WITH g AS (DELETE FROM mailq.batch WHERE batch_id > (SELECT min(batch_id) "
	     "FROM mailq.batch) RETURNING *) UPDATE mailq.batch x SET "
	     "msg_ids = x.msg_ids || g.msg_ids, recipients = 2 FROM g");
	c = claim_count(&desk, 2);
	assert_int_equal(rows_of("mailq.active"), 1);
	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_STORED);
	assert_answer(give_all(QUEUE_VERB_DELETE, &active, &seen), 0, 1, 0);
	assert_non_null(hmap_get(&seen, HMAP_KEY(c.items[1]->envelope.msg_id)));
	assert_int_equal(count_of("deferred", c.items[0]->envelope.msg_id), 1);
	hmap_done(&seen);
	queue_claims_done(&c);
	close_all();
}

static void
test_rule_13_all_active_leaves_what_was_deferred(void **state UNUSED)
{
	run_as_task(body_all_active);
}

/* ---- flushing ------------------------------------------------------------------------------------------------------------ */

static void
body_flush_all(void)
{
	struct err err = {0};
	struct queue_claims c;
	uint64_t rows = 0;
	size_t count;
	bool flush;

	open_all();
	(void)store_deferred(2);
	(void)store_deferred(1);
	assert_true(queue_destination_tell(desk.desk, "smtp", "d.test",
	    clock_real_us() + 3600 * CLOCK_SECOND, "dead", soon(), &err));
	mem_free(poll_orders(&desk, &count, &flush));
	mem_free(poll_orders(&desk, &count, &flush));
	assert_false(flush);

	assert_true(queue_order_flush_all(orderer, soon(), &rows, &err));
	assert_int_equal(rows, 3);
	mem_free(poll_orders(&desk, &count, &flush));
	assert_true(flush);
	mem_free(poll_orders(&desk, &count, &flush));
	assert_false(flush);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 2);
	record_all(&desk, &c, QUEUE_SENT);
	queue_claims_done(&c);
	assert_queue_empty();
	close_all();
}

static void
test_rule_13_flush_makes_all_due_and_none_dead(void **state UNUSED)
{
	run_as_task(body_flush_all);
}

static uint64_t
flush_site(const char *domain)
{
	struct err err = {0};
	uint64_t rows;

	if (!queue_order_flush_site(orderer, domain, soon(), &rows, &err))
		fail_msg("%s: %s", domain, err.text);
	return rows;
}

static void
body_flush_site(void)
{
	struct queue_claims c;

	open_all();
	(void)store_deferred(2);
	tell("UPDATE mailq.deferred SET addr = 'r@Other.Test' WHERE rcpt_no = 1;"
	     "UPDATE mailq.destination SET nexthop = '[relay.test]' WHERE nexthop = 'd.test'");
	assert_int_equal(flush_site("none.test"), 0);
	assert_int_equal(flush_site("D.test"), 1);
	assert_int_equal(ask("SELECT rcpt_no FROM mailq.deferred WHERE next_attempt <= now()"), 0);
	assert_int_equal(flush_site("other.test"), 1);
	assert_int_equal(flush_site("relay.test"), 2);
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.items[0]->envelope.rcpt_count, 2);
	record_all(&desk, &c, QUEUE_SENT);
	queue_claims_done(&c);
	close_all();
}

static void
test_rule_13_flush_of_a_site(void **state UNUSED)
{
	run_as_task(body_flush_site);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rule_13_free_mail_obeys_at_once),
	    cmocka_unit_test(test_rule_13_requeued_mail_is_due_and_fresh),
	    cmocka_unit_test(test_rule_13_expired_mail_is_returned),
	    cmocka_unit_test(test_rule_13_new_mail_is_moved_out_of_its_batch),
	    cmocka_unit_test(test_rule_13_the_answer_says_which_were_found),
	    cmocka_unit_test(test_rule_13_leased_mail_is_pending_until_its_owner_obeys),
	    cmocka_unit_test(test_rule_13_what_its_owner_lets_go_obeys_at_the_next_look),
	    cmocka_unit_test(test_rule_13_an_order_stays_until_every_owner_obeyed),
	    cmocka_unit_test(test_rule_13_outcomes_do_not_wait_for_an_operator),
	    cmocka_unit_test(test_rule_13_a_lock_keeps_no_other_order_waiting),
	    cmocka_unit_test(test_rule_13_reroute_waits_and_is_done_once),
	    cmocka_unit_test(test_rule_13_all_in_one_place),
	    cmocka_unit_test(test_rule_13_all_everywhere_meets_each_message_once),
	    cmocka_unit_test(test_rule_13_all_active_leaves_what_was_deferred),
	    cmocka_unit_test(test_rule_13_all_goes_slice_by_slice),
	    cmocka_unit_test(test_rule_13_flush_makes_all_due_and_none_dead),
	    cmocka_unit_test(test_rule_13_flush_of_a_site),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
