/*
 * test_queue_expire.c - rule 7: expiry and delay warnings go by message, whatever the state of its destinations; one
 * notice a message, and what somebody has in his hands is left to him.
 */
#include "queue_fixture.h"

#define HOUR (3600 * CLOCK_SECOND)

static struct test_front front;
static struct test_desk desk;
static struct told {
	size_t expired;
	size_t forced;
	size_t warned;
	size_t removed;
	int64_t last;
} told;

static void
open_all(void)
{
	memset(&told, 0, sizeof(told));
	open_database();
	front = front_at(NULL);
	desk_open(&desk, NULL);
}

static void
close_all(void)
{
	desk_close(&desk);
	front_close(&front);
	close_database();
}

static void
on_expired(void *arg, int64_t msg_id, const char *sender, bool forced)
{
	struct told *t = arg;

	assert_string_equal(sender, "s@o.test");
	t->expired++;
	t->forced += forced;
	t->last = msg_id;
}

static void
on_warned(void *arg, int64_t msg_id, const char *sender)
{
	struct told *t = arg;

	assert_string_equal(sender, "s@o.test");
	t->warned++;
	t->last = msg_id;
}

static void
on_removed(void *arg, int64_t msg_id UNUSED)
{
	struct told *t = arg;

	t->removed++;
}

/* One slice; true when there is more to do. */
static bool
run(void)
{
	const struct queue_expiry how = {.on_expired = on_expired,
	    .on_warned = on_warned,
	    .on_removed = on_removed,
	    .arg = &told};
	struct err err = {0};
	bool more = false;

	if (!queue_expire_run(desk.desk, &how, soon(), &more, &err))
		fail_msg("expire: %s", err.text);
	return more;
}

/* Defers all recipients of a claimed message for an hour; it expires and is late at these times from now. */
static void
defer(const struct queue_claimed *m, int64_t expires_in, int64_t warn_in)
{
	int64_t now = clock_real_us();

	for (size_t i = 0; i < m->envelope.rcpt_count; i++) {
		struct queue_result r = outcome(m, i, QUEUE_DEFERRED);

		r.next_attempt = now + HOUR;
		r.expires_at = now + expires_in;
		r.warn_at = warn_in != 0 ? now + warn_in : 0;
		assert_int_equal(record_one(&desk, r), QUEUE_RECORD_STORED);
	}
}

static int64_t
store_deferred(size_t rcpts, int64_t expires_in, int64_t warn_in)
{
	int64_t id = store(&front, rcpts);
	struct queue_claims c = claim_count(&desk, 1);

	defer(c.items[0], expires_in, warn_in);
	queue_claims_done(&c);
	return id;
}

/* The bounces that are in the queue, as new mail to the sender; they are delivered. */
static size_t
deliver_bounces(void)
{
	int64_t count = ask("SELECT count(*) FROM mailq.batch, unnest(msg_ids)");
	struct queue_claims c = claim_count(&desk, (size_t)count);

	for (size_t i = 0; i < c.count; i++) {
		assert_string_equal(c.items[i]->envelope.sender, "");
		assert_string_equal(c.items[i]->envelope.rcpts[0].addr, "s@o.test");
	}
	record_all(&desk, &c, QUEUE_SENT);
	queue_claims_done(&c);
	return (size_t)count;
}

/* ---- expiry --------------------------------------------------------------------------------------------------------- */

static void
body_expires(void)
{
	int64_t id;

	open_all();
	id = store_deferred(3, -CLOCK_SECOND, 0);
	(void)store_deferred(1, HOUR, 0);
	/* Not due for an hour, and its destination is dead. */
	tell("UPDATE mailq.destination SET dead_until = now() + interval '1 hour'");
	assert_false(run());
	assert_int_equal(told.expired, 1);
	assert_int_equal(told.forced, 0);
	assert_int_equal(told.last, id);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.notices, 3);
	assert_int_equal(desk.last_kind, QUEUE_NOTIFY_FAILURE);
	assert_int_equal(deliver_bounces(), 1);
	assert_int_equal(rows_of("mailq.deferred_message"), 1);
	assert_int_equal(rows_of("mailq.notification"), 0);
	assert_int_equal(ask("SELECT count(*) FROM mailq.history WHERE outcome = 'expired' "
			     "AND transport = 'smtp' AND dsn = '4.4.1'"),
	    3);
	assert_false(run());
	assert_int_equal(told.expired, 1);
	close_all();
}

static void
test_rule_7_expires_by_message_with_one_notice(void **state UNUSED)
{
	run_as_task(body_expires);
}

static void
claim_none(void)
{
	struct queue_claims c = claim_deferred(&desk);

	assert_int_equal(c.count, 0);
	queue_claims_done(&c);
}

static void
body_forced(void)
{
	open_all();
	(void)store_deferred(1, HOUR, 0);
	tell("SELECT rowpost.expire(array_agg(msg_id)) FROM mailq.deferred_message");
	/* As Postfix: not before its next attempt, or until somebody flushes it. */
	assert_false(run());
	assert_int_equal(told.expired, 0);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE forced_expire"), 1);
	tell("SELECT mailq.flush_slice(0, 100)");
	claim_none();
	assert_false(run());
	assert_int_equal(told.removed, 1);
	assert_int_equal(told.expired, 1);
	assert_int_equal(told.forced, 1);
	assert_int_equal(deliver_bounces(), 1);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_says_when_it_was_forced(void **state UNUSED)
{
	run_as_task(body_forced);
}

/* What a scheduler's poll does about orders. */
static void
poll_orders(void)
{
	struct queue_order *orders = NULL;
	struct err err = {0};
	size_t count = 0;
	bool flush = false;

	if (!queue_order_poll(desk.desk, soon(), &orders, &count, &flush, &err))
		fail_msg("poll: %s", err.text);
	assert_int_equal(count, 0); /* nothing that its owner would have to do about it */
	mem_free(orders);
}

/* Of two recipients one is deferred and one under way. */
static void
body_forced_under_way(void)
{
	struct queue_claims c;

	open_all();
	(void)store(&front, 2);
	c = claim_count(&desk, 1);
	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_STORED);
	assert_int_equal(
	    ask("SELECT pending FROM mailq.incoming_0 i, rowpost.expire(ARRAY[i.msg_id])"), 1);
	tell("SELECT mailq.flush_slice(0, 100)");
	claim_none();
	assert_false(run());
	assert_int_equal(told.expired, 0);
	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 1, QUEUE_DEFERRED)), QUEUE_RECORD_STORED);
	queue_claims_done(&c);
	poll_orders();
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 0);
	claim_none();
	tell("SELECT mailq.flush_slice(0, 100)");
	assert_false(run());
	assert_int_equal(told.expired, 1);
	assert_int_equal(told.forced, 1);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.notices, 2);
	assert_int_equal(deliver_bounces(), 1);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_forced_waits_for_the_whole_message(void **state UNUSED)
{
	run_as_task(body_forced_under_way);
}

/* It comes to `deferred` only after the order: not even a flush makes it be tried again. */
static void
body_forced_first_deferral(void)
{
	struct queue_claims c;

	open_all();
	(void)store(&front, 1);
	c = claim_count(&desk, 1);
	assert_int_equal(
	    ask("SELECT pending FROM mailq.incoming_0 i, rowpost.expire(ARRAY[i.msg_id])"), 1);
	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_STORED);
	queue_claims_done(&c);
	tell("SELECT mailq.flush_slice(0, 100)");
	claim_none();
	poll_orders();
	assert_false(run());
	assert_int_equal(told.forced, 1);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(deliver_bounces(), 1);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_forced_before_the_first_deferral(void **state UNUSED)
{
	run_as_task(body_forced_first_deferral);
}

/* -e leaves on hold what is on hold; released, it is returned with a reason of its own. */
static void
body_forced_on_hold(void)
{
	open_all();
	(void)store(&front, 1);
	tell("SELECT rowpost.hold(msg_ids) FROM mailq.batch");
	tell("SELECT rowpost.expire(array_agg(msg_id)) FROM mailq.held");
	assert_false(run());
	assert_int_equal(told.expired, 0);
	tell("SELECT rowpost.release(array_agg(msg_id)) FROM mailq.held");
	assert_false(run());
	assert_int_equal(told.expired, 0);
	tell("SELECT mailq.flush_slice(0, 100)");
	claim_none();
	assert_false(run());
	assert_int_equal(told.forced, 1);
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.history WHERE outcome = 'expired' AND dsn = '4.7.0' "
		"AND reason = 'message is administratively expired'"),
	    1);
	assert_int_equal(deliver_bounces(), 1);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_forced_on_hold_waits_for_its_release(void **state UNUSED)
{
	run_as_task(body_forced_on_hold);
}

static void
body_notify(void)
{
	open_all();
	(void)store_deferred(3, -CLOCK_SECOND, 0);
	tell("UPDATE mailq.deferred SET dsn_notify = %u WHERE rcpt_no = 0;"
	     "UPDATE mailq.deferred SET dsn_notify = %u WHERE rcpt_no = 1;"
	     "UPDATE mailq.deferred SET dsn_notify = %u WHERE rcpt_no = 2",
	    QUEUE_NOTIFY_NEVER, QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_DELAY,
	    QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_FAILURE);
	assert_false(run());
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.notices, 1);
	assert_int_equal(ask("SELECT count(*) FROM mailq.history WHERE outcome = 'expired'"), 3);
	assert_int_equal(deliver_bounces(), 1);
	assert_queue_empty();

	(void)store_deferred(1, -CLOCK_SECOND, 0);
	tell("UPDATE mailq.deferred SET dsn_notify = %u", QUEUE_NOTIFY_NEVER);
	assert_false(run());
	assert_int_equal(told.expired, 2);
	assert_int_equal(desk.composed, 1);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_nobody_is_told_who_did_not_want_it(void **state UNUSED)
{
	run_as_task(body_notify);
}

static void
body_owned(void)
{
	struct queue_claims c;

	open_all();
	(void)store_deferred(2, HOUR, 0);
	tell("UPDATE mailq.deferred SET next_attempt = now() WHERE rcpt_no = 1;"
	     "UPDATE mailq.destination SET next_due = now()");
	c = claim_deferred(&desk);
	assert_int_equal(c.count, 1);
	tell("UPDATE mailq.deferred_message SET expires_at = now()");

	/* The free recipient is over; its notice waits until nobody has the message in his hands. */
	assert_false(run());
	assert_int_equal(told.expired, 1);
	assert_int_equal(desk.composed, 0);
	assert_int_equal(rows_of("mailq.notification"), 1);
	assert_int_equal(ask("SELECT rcpt_no FROM mailq.deferred"), 1);
	assert_false(run());
	assert_int_equal(told.expired, 1);

	assert_int_equal(
	    record_one(&desk, outcome(c.items[0], 0, QUEUE_EXPIRED)), QUEUE_RECORD_STORED);
	queue_claims_done(&c);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.notices, 2);
	assert_int_equal(deliver_bounces(), 1);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_recipients_in_somebodys_hands_are_left_to_him(void **state UNUSED)
{
	run_as_task(body_owned);
}

static void
body_held(void)
{
	open_all();
	(void)store_deferred(1, -CLOCK_SECOND, -CLOCK_SECOND);
	tell("SELECT rowpost.hold(array_agg(msg_id)) FROM mailq.deferred_message");
	assert_false(run());
	assert_int_equal(told.expired, 0);
	assert_int_equal(told.warned, 0);
	assert_int_equal(rows_of("mailq.held"), 1);
	close_all();
}

static void
test_rule_7_on_hold_nothing_ages(void **state UNUSED)
{
	run_as_task(body_held);
}

static void
body_slices(void)
{
	size_t runs = 1;

	open_all();
	(void)store_deferred(1, -CLOCK_SECOND, 0);
	tell(
	    "INSERT INTO mailq.deferred_message SELECT msg_id + n * 4096, arrival, size, content_id, "
	    "recipients, expires_at, warn_at, forced_expire, sender, attrs, content "
	    "FROM mailq.deferred_message, generate_series(1, 119) n;"
	    "INSERT INTO mailq.deferred SELECT msg_id + n * 4096, destination, next_attempt, owner, "
	    "rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt, dsn, reason "
	    "FROM mailq.deferred, generate_series(1, 119) n");
	while (run())
		runs++;
	assert_true(runs > 1);
	assert_int_equal(told.expired, 120);
	assert_int_equal(desk.composed, 120);
	assert_int_equal(rows_of("mailq.deferred_message"), 0);
	assert_int_equal(deliver_bounces(), 120);
	close_all();
}

static void
test_rule_7_expires_in_slices(void **state UNUSED)
{
	run_as_task(body_slices);
}

static void
body_locked(void)
{
	int64_t begin;
	int64_t id[2];

	open_all();
	id[0] = store_deferred(1, -CLOCK_SECOND, 0);
	id[1] = store_deferred(1, -CLOCK_SECOND, 0);
	tell("BEGIN; SELECT FROM mailq.deferred_message WHERE msg_id = %lld FOR UPDATE",
	    (long long)id[0]);
	begin = clock_mono_us();
	assert_false(run());
	assert_true(clock_mono_us() - begin < TEST_PATIENCE);
	assert_int_equal(told.expired, 1);
	assert_int_equal(told.last, id[1]);
	tell("ROLLBACK");
	assert_false(run());
	assert_int_equal(told.expired, 2);
	assert_int_equal(deliver_bounces(), 2);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_a_locked_message_keeps_no_other_waiting(void **state UNUSED)
{
	run_as_task(body_locked);
}

static void
body_fenced(void)
{
	const struct queue_expiry how = {.on_expired = on_expired, .arg = &told};
	struct err err = {0};

	open_all();
	(void)store_deferred(1, -CLOCK_SECOND, 0);
	queue_desk_set_epoch(desk.desk, 0);
	assert_false(queue_expire_run(desk.desk, &how, soon(), NULL, &err));
	assert_int_equal(err.kind, ERR_GONE);
	assert_int_equal(told.expired, 0);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	queue_desk_set_epoch(desk.desk, desk.epoch);
	assert_false(run());
	assert_int_equal(told.expired, 1);
	close_all();
}

static void
test_rule_7_not_without_an_epoch(void **state UNUSED)
{
	run_as_task(body_fenced);
}

/* ---- warnings ------------------------------------------------------------------------------------------------------------ */

static void
body_warns(void)
{
	int64_t id;

	open_all();
	id = store_deferred(2, HOUR, -CLOCK_SECOND);
	(void)store_deferred(1, HOUR, HOUR);
	tell("UPDATE mailq.destination SET dead_until = now() + interval '1 hour'");
	assert_false(run());
	assert_int_equal(told.warned, 1);
	assert_int_equal(told.expired, 0);
	assert_int_equal(told.last, id);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.notices, 2);
	assert_int_equal(desk.last_kind, QUEUE_NOTIFY_DELAY);
	assert_int_equal(deliver_bounces(), 1);

	/* Once a message; and it goes on. */
	assert_false(run());
	assert_int_equal(told.warned, 1);
	assert_int_equal(rows_of("mailq.deferred"), 3);
	assert_int_equal(rows_of("mailq.notification"), 0);
	close_all();
}

static void
test_rule_7_warns_once_a_message(void **state UNUSED)
{
	run_as_task(body_warns);
}

static void
body_warn_notify(void)
{
	open_all();
	(void)store_deferred(3, HOUR, -CLOCK_SECOND);
	tell("UPDATE mailq.deferred SET dsn_notify = %u WHERE rcpt_no = 0;"
	     "UPDATE mailq.deferred SET dsn_notify = %u WHERE rcpt_no = 1;"
	     "UPDATE mailq.deferred SET dsn_notify = %u WHERE rcpt_no = 2",
	    QUEUE_NOTIFY_NEVER, QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_FAILURE, QUEUE_NOTIFY_DELAY);
	assert_false(run());
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.notices, 1);
	assert_int_equal(rows_of("mailq.deferred"), 3);
	close_all();
}

static void
test_rule_7_warnings_go_to_who_wanted_them(void **state UNUSED)
{
	run_as_task(body_warn_notify);
}

static void
body_expired_and_late(void)
{
	open_all();
	(void)store_deferred(1, -CLOCK_SECOND, -CLOCK_SECOND);
	assert_false(run());
	assert_int_equal(told.expired, 1);
	assert_int_equal(desk.composed, 1);
	assert_int_equal(desk.last_kind, QUEUE_NOTIFY_FAILURE);
	assert_int_equal(deliver_bounces(), 1);
	assert_false(run());
	assert_int_equal(told.warned, 0);
	assert_queue_empty();
	close_all();
}

static void
test_rule_7_what_expires_is_not_warned_of(void **state UNUSED)
{
	run_as_task(body_expired_and_late);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rule_7_expires_by_message_with_one_notice),
	    cmocka_unit_test(test_rule_7_says_when_it_was_forced),
	    cmocka_unit_test(test_rule_7_forced_waits_for_the_whole_message),
	    cmocka_unit_test(test_rule_7_forced_before_the_first_deferral),
	    cmocka_unit_test(test_rule_7_forced_on_hold_waits_for_its_release),
	    cmocka_unit_test(test_rule_7_nobody_is_told_who_did_not_want_it),
	    cmocka_unit_test(test_rule_7_recipients_in_somebodys_hands_are_left_to_him),
	    cmocka_unit_test(test_rule_7_on_hold_nothing_ages),
	    cmocka_unit_test(test_rule_7_expires_in_slices),
	    cmocka_unit_test(test_rule_7_a_locked_message_keeps_no_other_waiting),
	    cmocka_unit_test(test_rule_7_not_without_an_epoch),
	    cmocka_unit_test(test_rule_7_warns_once_a_message),
	    cmocka_unit_test(test_rule_7_warnings_go_to_who_wanted_them),
	    cmocka_unit_test(test_rule_7_what_expires_is_not_warned_of),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
