/*
 * The protocol rules in the schedulers' hands: collection, settling, stragglers, bounces, expiry, claims, operators' orders, history.
 */
#include "rules.h"

#include "queue/queue_destination.h"
#include "queue/queue_int.h"

static int64_t
id_of(const struct queue_claims *c, size_t i)
{
	return c->items[i]->envelope.msg_id;
}

/* One message with `rcpts` recipients, claimed. */
static struct queue_claims
stored_and_claimed(struct rule *t, size_t rcpts)
{
	store(&t->f, rcpts);
	return claim_count(&t->d, 1);
}

/* ---- 2: large contents ----------------------------------------------------------------------------------------------- */

/* Forwards of one flush are one batch: the end of one message leaves the large content of another one alone. */
RULE(rule_02_large_in_a_shared_batch)
{
	struct queue_claims c = stored_and_claimed(t, 1);
	struct queue_result r = outcome(c.items[0], 0, QUEUE_SENT);
	struct buf content CLEANUP(buf_done) = {0};
	struct buf piece CLEANUP(buf_done) = {0};
	struct queue_message forwards[2];
	struct queue_content_ref ref;
	struct arena arena = {0};
	struct err err = {0};
	int64_t id;

	memset(buf_room(&content, 3u << 20), 'x', 3u << 20);
	buf_added(&content, 3u << 20);
	for (size_t i = 0; i < 2; i++) {
		assert_true(queue_desk_mint(t->d.desk, &id, &err));
		forwards[i] = make_message(&arena, id, 1);
		forwards[i].content = buf_span(&content);
		forwards[i].envelope.size = content.len;
	}
	r.forwards = forwards;
	r.forward_count = 2;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED);
	queue_claims_done(&c);
	c = claim_count(&t->d, 2);
	assert_ptr_equal(c.items[0]->lease, c.items[1]->lease);
	record_one(&t->d, outcome(c.items[1], 0, QUEUE_DEFERRED));
	record_one(&t->d, outcome(c.items[0], 0, QUEUE_SENT));
	assert_int_equal(rows_of("mailq.active"), 0);
	queue_claims_done(&c);
	assert_true(queue_keeper_run(t->d.desk, soon(), &err));
	c = claim_deferred(&t->d);
	assert_int_equal(c.count, 1);
	ref = (struct queue_content_ref){
	    .msg_id = id_of(&c, 0), .content_id = c.items[0]->content_id, .set = -1};
	assert_true(ref.content_id != 0);
	if (!queue_content_read(t->d.pool, &ref, 2u << 20, 1u << 20, soon(), &piece, &err))
		fail_msg("%s", err.text);
	assert_int_equal(piece.len, 1u << 20);
	/* With its own end it goes. */
	record_all(&t->d, &c, QUEUE_SENT);
	assert_int_equal(ask("SELECT count(*) FROM mailq.large WHERE state = 'queued' "
			     "AND content_id = %lld",
			     (long long)ref.content_id),
	    0);
	arena_done(&arena);
	queue_claims_done(&c);
}

/* ---- 3: collection --------------------------------------------------------------------------------------------------- */

/*
 * A collects a message whose last deferred recipient went; B defers another recipient of it at the same moment. B's insert
 * waits for the message's row, finds it gone, and is done again as a whole: the content is there.
 */
RULE(rule_03_collection_meets_deferral)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_result deferral;
	struct aside_record b;
	int64_t id = id_of(&c, 0);

	record_one(&t->d, outcome(c.items[0], 0, QUEUE_DEFERRED));
	tell("BEGIN; DELETE FROM mailq.deferred WHERE msg_id = %lld; "
	     "SELECT mailq.collect(ARRAY[%lld])",
	    (long long)id, (long long)id);
	deferral = outcome(c.items[0], 1, QUEUE_DEFERRED);
	aside_record(&b, &t->d, deferral);
	await_lock_waits(1);
	tell("COMMIT");
	aside_join(&b.aside);
	if (b.result.recorded == QUEUE_RECORD_NOT_YET) /* its 200 ms were over before */
		b.result.recorded = record_one(&t->d, deferral);
	assert_int_equal(b.result.recorded, QUEUE_RECORD_STORED);
	assert_int_equal(ask("SELECT count(*) FROM mailq.deferred_message WHERE msg_id = %lld "
			     "AND content IS NOT NULL",
			     (long long)id),
	    1);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	queue_claims_done(&c);
}

/* Two nodes settle the last two recipients at once: exactly one of them collects. */
RULE(rule_03_collection_by_two)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct aside_record b;
	struct queue_claims due;

	record_all(&t->d, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);
	due = claim_deferred(&t->d);
	tell("BEGIN; DELETE FROM mailq.deferred WHERE rcpt_no = 0; "
	     "SELECT mailq.collect(ARRAY[%lld])",
	    (long long)id_of(&due, 0));
	aside_record(&b, &t->d, outcome(due.items[0], 1, QUEUE_SENT));
	await_lock_waits(1);
	tell("COMMIT");
	aside_join(&b.aside);
	if (b.result.recorded == QUEUE_RECORD_NOT_YET)
		record_one(&t->d, outcome(due.items[0], 1, QUEUE_SENT));
	assert_queue_empty();
	queue_claims_done(&due);
}

/* ---- 4: settling ------------------------------------------------------------------------------------------------------- */

/* The former owner's late `sent` removes what the present one deferred; anything else of his is fenced. */
RULE(rule_04_late_sent_after_deferral)
{
	struct queue_claims mine = stored_and_claimed(t, 2);
	struct queue_claims theirs;
	struct test_desk other;

	desk_open(&other, NULL);
	declare_dead(&t->d);
	theirs = take_over(&other);
	assert_int_equal(theirs.count, 1);
	record_all(&other, &theirs, QUEUE_DEFERRED);
	assert_int_equal(rows_of("mailq.deferred"), 2);
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_FENCED);
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 0, QUEUE_BOUNCED)), QUEUE_RECORD_FENCED);
	assert_int_equal(rows_of("mailq.deferred"), 2);
	assert_int_equal(rows_of("mailq.notification"), 0);
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 0, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_true(queue_lease_is_lost(mine.items[0]->lease));
	assert_int_equal(rows_of("mailq.deferred"), 1);
	assert_int_equal(rows_of("mailq.history"), 1);
	/* The last one: the message goes too. */
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_queue_empty();
	queue_claims_done(&mine);
	queue_claims_done(&theirs);
	desk_close(&other);
}

/* The late `sent` comes while the new owner still holds the lease: his own outcome for that recipient is dropped. */
RULE(rule_04_late_sent_before_deferral)
{
	struct queue_claims mine = stored_and_claimed(t, 2);
	struct queue_claims theirs;
	struct test_desk other;

	desk_open(&other, NULL);
	declare_dead(&t->d);
	theirs = take_over(&other);
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 0, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_int_equal(
	    record_one(&other, outcome(theirs.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_FENCED);
	assert_int_equal(
	    record_one(&other, outcome(theirs.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_queue_empty();
	queue_claims_done(&mine);
	queue_claims_done(&theirs);
	desk_close(&other);
}

/* Both at the same moment: whoever comes second under the lease's lock sees the other. */
RULE(rule_04_late_sent_meets_deferral)
{
	struct queue_claims mine = stored_and_claimed(t, 2);
	struct aside_record sent;
	struct aside_record deferral;
	struct queue_claims theirs;
	struct test_desk other;

	desk_open(&other, NULL);
	declare_dead(&t->d);
	theirs = take_over(&other);
	tell("BEGIN; SELECT FROM mailq.active FOR UPDATE");
	aside_record(&sent, &t->d, outcome(mine.items[0], 0, QUEUE_SENT));
	aside_record(&deferral, &other, outcome(theirs.items[0], 0, QUEUE_DEFERRED));
	await_lock_waits(2);
	tell("COMMIT");
	aside_join(&sent.aside);
	aside_join(&deferral.aside);
	if (sent.result.recorded == QUEUE_RECORD_NOT_YET)
		record_one(&t->d, outcome(mine.items[0], 0, QUEUE_SENT));
	if (deferral.result.recorded == QUEUE_RECORD_NOT_YET)
		record_one(&other, outcome(theirs.items[0], 0, QUEUE_DEFERRED));
	assert_int_equal(ask("SELECT count(*) FROM mailq.deferred WHERE rcpt_no = 0"), 0);
	assert_int_equal(rows_of("rowpost.queue"), 1);
	queue_claims_done(&mine);
	queue_claims_done(&theirs);
	desk_close(&other);
}

/* A late `sent` unsays a bounce that was not composed yet. */
RULE(rule_04_late_sent_unsays_bounce)
{
	struct queue_claims mine = stored_and_claimed(t, 2);
	struct queue_claims theirs;
	struct test_desk other;

	desk_open(&other, NULL);
	declare_dead(&t->d);
	theirs = take_over(&other);
	record_one(&other, outcome(theirs.items[0], 0, QUEUE_BOUNCED));
	assert_int_equal(rows_of("mailq.notification"), 1);
	record_one(&t->d, outcome(mine.items[0], 0, QUEUE_SENT));
	assert_int_equal(rows_of("mailq.notification"), 0);
	record_one(&other, outcome(theirs.items[0], 1, QUEUE_SENT));
	assert_int_equal(other.composed, 0);
	assert_queue_empty();
	queue_claims_done(&mine);
	queue_claims_done(&theirs);
	desk_close(&other);
}

/* Recipients that have a result are not handed to the next owner. */
RULE(rule_04_takeover_without_settled)
{
	struct queue_claims mine = stored_and_claimed(t, 3);
	struct queue_claims theirs;
	struct test_desk other;

	record_one(&t->d, outcome(mine.items[0], 1, QUEUE_SENT));
	desk_open(&other, NULL);
	declare_dead(&t->d);
	theirs = take_over(&other);
	assert_int_equal(theirs.count, 1);
	assert_int_equal(theirs.items[0]->envelope.rcpt_count, 2);
	assert_int_equal(theirs.items[0]->envelope.rcpts[1].rcpt_no, 2);
	record_all(&other, &theirs, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&mine);
	queue_claims_done(&theirs);
	desk_close(&other);
}

/* A flush whose COMMIT was in doubt is repeated: nothing is stored twice, nothing forgotten. */
static void
record_through_cut(struct rule *t, enum proxy_mode mode)
{
	struct test_desk far;
	struct queue_claims c;
	struct queue_result results[3];
	struct queue_result *list[] = {&results[0], &results[1], &results[2]};
	struct err err = {0};
	int64_t end = soon();

	store(&t->f, 3);
	desk_open(&far, proxy_start());
	c = claim_count(&far, 1);
	results[0] = outcome(c.items[0], 0, QUEUE_SENT);
	results[1] = outcome(c.items[0], 1, QUEUE_DEFERRED);
	results[2] = outcome(c.items[0], 2, QUEUE_BOUNCED);
	proxy.mode = mode;
	while (!queue_record_flush(far.desk, list, 3, soon(), &err)) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(10 * CLOCK_MILLI));
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_not_equal(results[i].recorded, QUEUE_RECORD_NOT_YET);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	assert_int_equal(rows_of("mailq.active"), 0);
	assert_int_equal(rows_of("mailq.notification"), 0);
	assert_int_equal(ask("SELECT count(*) FROM mailq.batch"), 1); /* the bounce */
	assert_int_equal(rows_of("mailq.history"), 2);
	queue_claims_done(&c);
	desk_close(&far);
}

RULE(rule_04_repeated_after_lost_request)
{
	record_through_cut(t, PROXY_CUT_REQUEST);
}

/* The cut comes at each answer in turn, the COMMIT's among them. */
RULE(rule_04_repeated_after_lost_reply)
{
	record_through_cut(t, PROXY_CUT_REPLY);
}

/* ---- 5: stragglers ------------------------------------------------------------------------------------------------------- */

/* What is in flight for long moves to `deferred` with its owner: nobody else claims it, and its set can be emptied. */
RULE(rule_05_stragglers)
{
	struct queue_claims c = stored_and_claimed(t, 3);
	struct queue_claims other_claims;
	struct test_desk other;
	struct err err = {0};

	record_one(&t->d, outcome(c.items[0], 0, QUEUE_SENT));
	rotate_now();
	if (!queue_claim_promote_stragglers(t->d.desk, soon(), &err))
		fail_msg("%s", err.text);
	assert_int_equal(rows_of("mailq.active"), 0);
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.deferred WHERE owner = %lld", (long long)t->d.epoch),
	    2);
	assert_int_equal(
	    ask("SELECT mailq.ring_truncate(%d::int2, '0 s')::int4", c.items[0]->set), 1);
	desk_open(&other, NULL);
	other_claims = claim_deferred(&other);
	assert_int_equal(other_claims.count, 0);
	/* For the holder nothing has changed. */
	assert_false(queue_lease_is_lost(c.items[0]->lease));
	assert_int_equal(
	    record_one(&t->d, outcome(c.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_int_equal(
	    record_one(&t->d, outcome(c.items[0], 2, QUEUE_DEFERRED)), QUEUE_RECORD_STORED);
	/* Now it says how long the message may stay. */
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.deferred_message WHERE expires_at < 'infinity'"), 1);
	other_claims = claim_deferred(&other);
	assert_int_equal(other_claims.count, 1);
	queue_claims_done(&other_claims);
	queue_claims_done(&c);
	desk_close(&other);
}

/* With the epoch goes what was moved to `deferred` under it: who held it starts nothing more of it, and moves nothing. */
RULE(rule_05_stragglers_of_an_old_epoch)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_claims again;
	struct err err = {0};

	rotate_now();
	if (!queue_claim_promote_stragglers(t->d.desk, soon(), &err))
		fail_msg("%s", err.text);
	assert_false(queue_lease_is_lost(c.items[0]->lease));
	/* The same process begins anew, and claims what has become free. */
	declare_dead(&t->d);
	queue_desk_set_epoch(t->d.desk, 0);
	assert_true(queue_lease_is_lost(c.items[0]->lease));
	t->d.epoch = random_epoch();
	tell("INSERT INTO mailq.node (epoch, name, state) VALUES (%lld, 'n1', 'up')",
	    (long long)t->d.epoch);
	queue_desk_set_epoch(t->d.desk, t->d.epoch);
	assert_true(queue_lease_is_lost(c.items[0]->lease));
	again = take_over(&t->d);
	queue_claims_done(&again);
	again = claim_deferred(&t->d);
	assert_int_equal(again.count, 1);
	/* What the old one says of it, but for a fact, is not said of the new claim. */
	assert_int_equal(
	    record_one(&t->d, outcome(c.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_FENCED);
	assert_int_equal(
	    ask("SELECT count(*) FROM mailq.deferred WHERE owner = %lld", (long long)t->d.epoch),
	    2);
	assert_int_equal(
	    record_one(&t->d, outcome(c.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	queue_claims_done(&again);
	queue_claims_done(&c);
}

/* Half of a long list has results: what is compared one by one takes a second, what was all with all took minutes. */
RULE(rule_05_long_straggler)
{
	enum { RCPTS = 50000, DONE = 25000 };
	struct queue_claims c = stored_and_claimed(t, RCPTS);
	int64_t started = clock_mono_us();
	struct err err = {0};

	ask("WITH r AS (INSERT INTO mailq.result (batch_id, part, msg_id, rcpt_no, outcome, at) SELECT a.batch_id, a.part, "
	    "a.msg_ids[1], n, 'sent', now() FROM mailq.active a, generate_series(0, %d) n RETURNING 1) SELECT count(*) FROM r",
	    DONE - 1);
	assert_int_equal(rows_of("rowpost.queue"), RCPTS - DONE);
	rotate_now();
	if (!queue_claim_promote_stragglers(t->d.desk, soon(), &err))
		fail_msg("%s", err.text);
	assert_int_equal(rows_of("mailq.deferred"), RCPTS - DONE);
	assert_true(clock_mono_us() - started < 45 * CLOCK_SECOND);
	queue_claims_done(&c);
}

/* A dead owner's rows of `deferred` become free and due. */
RULE(rule_05_rows_of_the_dead)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_claims mine;
	struct queue_claims theirs;
	struct test_desk other;

	record_all(&t->d, &c, QUEUE_DEFERRED);
	mine = claim_deferred(&t->d);
	assert_int_equal(mine.count, 1);
	desk_open(&other, NULL);
	theirs = claim_deferred(&other);
	assert_int_equal(theirs.count, 0);
	declare_dead(&t->d);
	theirs = take_over(&other);
	assert_int_equal(theirs.count, 0);
	theirs = claim_deferred(&other);
	assert_int_equal(theirs.count, 1);
	/* The dead one's outcomes are fenced, but for a fact. */
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_FENCED);
	assert_int_equal(
	    record_one(&t->d, outcome(mine.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_int_equal(
	    record_one(&other, outcome(theirs.items[0], 1, QUEUE_DEFERRED)), QUEUE_RECORD_FENCED);
	assert_int_equal(
	    record_one(&other, outcome(theirs.items[0], 0, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_queue_empty();
	queue_claims_done(&theirs);
	queue_claims_done(&mine);
	queue_claims_done(&c);
	desk_close(&other);
}

/* Several schedulers may serve one destination: what one has locked the other leaves alone, and mail that becomes due meanwhile is
 * not forgotten. */
RULE(rule_05_destination_shared)
{
	struct queue_claims c;
	struct queue_claims due;
	struct aside_record late;

	for (int i = 0; i < 2; i++)
		store(&t->f, 1);
	c = claim_count(&t->d, 2);
	record_one(&t->d, outcome(c.items[0], 0, QUEUE_DEFERRED));
	/* A claim by somebody: destination locked, its rows taken, next_due being computed. */
	tell("BEGIN; SELECT FROM mailq.destination WHERE nexthop = 'd.test' FOR UPDATE; "
	     "UPDATE mailq.deferred SET owner = 1; "
	     "UPDATE mailq.destination SET next_due = NULL WHERE nexthop = 'd.test'");
	due = claim_deferred(&t->d);
	assert_int_equal(due.count, 0);
	aside_record(&late, &t->d, outcome(c.items[1], 0, QUEUE_DEFERRED));
	await_lock_waits(1);
	tell("COMMIT");
	aside_join(&late.aside);
	if (late.result.recorded == QUEUE_RECORD_NOT_YET)
		record_one(&t->d, outcome(c.items[1], 0, QUEUE_DEFERRED));
	due = claim_deferred(&t->d);
	assert_int_equal(due.count, 1);
	queue_claims_done(&due);
	queue_claims_done(&c);
}

/* ---- 6: bounces ------------------------------------------------------------------------------------------------------------ */

/* One bounce for all failed recipients, composed with the last one that is settled. */
RULE(rule_06_one_bounce)
{
	struct queue_claims c = stored_and_claimed(t, 3);

	record_one(&t->d, outcome(c.items[0], 0, QUEUE_BOUNCED));
	assert_int_equal(t->d.composed, 0);
	assert_int_equal(rows_of("mailq.notification"), 1);
	assert_int_equal(rows_of("mailq.deferred_message"), 1); /* the content is pinned */
	record_one(&t->d, outcome(c.items[0], 1, QUEUE_SENT));
	record_one(&t->d, outcome(c.items[0], 2, QUEUE_BOUNCED));
	assert_int_equal(t->d.composed, 1);
	assert_int_equal(t->d.notices, 2);
	assert_int_equal(rows_of("mailq.notification"), 0);
	assert_int_equal(rows_of("mailq.deferred_message"), 0);
	assert_int_equal(rows_of("mailq.batch"), 1);
	queue_claims_done(&c);
}

/* What a crash left is composed by the janitors, once, however many there are. */
RULE(rule_06_janitor)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_result r = outcome(c.items[0], 1, QUEUE_BOUNCED);
	struct test_desk other;
	struct err err = {0};

	record_one(&t->d, outcome(c.items[0], 0, QUEUE_SENT));
	r.last = false; /* died before the composition */
	record_one(&t->d, r);
	assert_int_equal(t->d.composed, 0);
	tell("UPDATE mailq.notification SET at = now() - interval '2 minutes'");
	desk_open(&other, NULL);
	assert_true(queue_keeper_run(other.desk, soon(), &err));
	assert_true(queue_keeper_run(t->d.desk, soon(), &err));
	assert_int_equal(t->d.composed + other.composed, 1);
	assert_int_equal(rows_of("mailq.notification"), 0);
	assert_int_equal(rows_of("mailq.batch"), 1);
	queue_claims_done(&c);
	desk_close(&other);
}

/* While another scheduler has recipients of the message, the bounce waits for him. */
RULE(rule_06_bounce_waits_for_others)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_claims due;

	record_one(&t->d, outcome(c.items[0], 0, QUEUE_DEFERRED));
	tell("UPDATE mailq.deferred SET owner = 1");
	record_one(&t->d, outcome(c.items[0], 1, QUEUE_BOUNCED));
	assert_int_equal(t->d.composed, 0);
	tell("UPDATE mailq.deferred SET owner = NULL");
	due = claim_deferred(&t->d);
	record_all(&t->d, &due, QUEUE_BOUNCED);
	assert_int_equal(t->d.composed, 1);
	assert_int_equal(t->d.notices, 2);
	queue_claims_done(&due);
	queue_claims_done(&c);
}

/* A forward is queued in the transaction that completes the old recipient, or not at all. */
RULE(rule_06_forward)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct arena arena = {0};
	struct queue_message forward;
	struct queue_result r;
	int64_t id;
	struct err err = {0};

	assert_true(queue_desk_mint(t->d.desk, &id, &err));
	forward = make_message(&arena, id, 2);
	r = outcome(c.items[0], 0, QUEUE_SENT);
	r.forwards = &forward;
	r.forward_count = 1;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED);
	assert_int_equal(
	    ask("SELECT count(*) FROM rowpost.queue WHERE msg_id = %lld", (long long)id), 2);
	/* Fenced: no forward. */
	declare_dead(&t->d);
	tell("UPDATE mailq.active SET owner = 1");
	assert_true(queue_desk_mint(t->d.desk, &id, &err));
	forward.envelope.msg_id = id;
	r = outcome(c.items[0], 1, QUEUE_DISCARDED);
	r.forwards = &forward;
	r.forward_count = 1;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_FENCED);
	assert_int_equal(
	    ask("SELECT count(*) FROM rowpost.queue WHERE msg_id = %lld", (long long)id), 0);
	arena_done(&arena);
	queue_claims_done(&c);
}

/* What goes on in a new message: with the row of `deferred`, and once. */
RULE(rule_06_forward_of_deferred)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_claims mine, theirs;
	struct arena arena = {0};
	struct queue_message forward;
	struct test_desk other;
	struct queue_result r;
	int64_t id;
	struct err err = {0};

	record_all(&t->d, &c, QUEUE_DEFERRED);
	mine = claim_deferred(&t->d);
	desk_open(&other, NULL);
	declare_dead(&t->d);
	theirs = take_over(&other);
	theirs = claim_deferred(&other);
	assert_int_equal(theirs.count, 1);
	/* The former owner did not hear that he is dead: the row is not his, and the present owner does the same. */
	assert_true(queue_desk_mint(t->d.desk, &id, &err));
	forward = make_message(&arena, id, 1);
	r = outcome(mine.items[0], 0, QUEUE_SENT);
	r.forwards = &forward;
	r.forward_count = 1;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_FENCED);
	assert_int_equal(rows_of("mailq.deferred"), 2);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'incoming'"), 0);
	assert_true(queue_desk_mint(other.desk, &id, &err));
	forward.envelope.msg_id = id;
	r = outcome(theirs.items[0], 0, QUEUE_SENT);
	r.forwards = &forward;
	r.forward_count = 1;
	assert_int_equal(record_one(&other, r), QUEUE_RECORD_STORED);
	/* His commit was in doubt, and new mail goes to another set by now. */
	rotate_now();
	assert_int_not_equal(record_one(&other, r), QUEUE_RECORD_NOT_YET);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'incoming'"), 1);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	arena_done(&arena);
	queue_claims_done(&theirs);
	queue_claims_done(&mine);
	queue_claims_done(&c);
	desk_close(&other);
}

/* A report of success whose commit was in doubt is made once, also when the message is gone by then. */
RULE(rule_06_success_repeated)
{
	struct queue_claims c = stored_and_claimed(t, 1);
	struct queue_claims due;
	struct queue_result r;

	record_all(&t->d, &c, QUEUE_DEFERRED);
	due = claim_deferred(&t->d);
	r = outcome(due.items[0], 0, QUEUE_SENT);
	r.notify = QUEUE_NOTIFY_SUCCESS;
	r.action = "relayed";
	r.notified = true;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED);
	assert_int_equal(t->d.composed, 1);
	assert_int_equal(rows_of("mailq.deferred_message"), 0);
	assert_int_not_equal(record_one(&t->d, r), QUEUE_RECORD_NOT_YET);
	assert_int_equal(t->d.composed, 1);
	assert_int_equal(rows_of("mailq.notification"), 0);
	queue_claims_done(&due);
	queue_claims_done(&c);
}

/* ---- 7: expiry -------------------------------------------------------------------------------------------------------------- */

static size_t expired_count;
static size_t warned_count;

static void
note_expired(void *arg UNUSED, int64_t msg_id UNUSED, const char *sender, bool forced UNUSED)
{
	assert_string_equal(sender, "s@o.test");
	expired_count++;
}

static void
note_warned(void *arg UNUSED, int64_t msg_id UNUSED, const char *sender UNUSED)
{
	warned_count++;
}

static void
expire(struct test_desk *d)
{
	struct queue_expiry how = {.on_expired = note_expired, .on_warned = note_warned};
	struct err err = {0};

	expired_count = warned_count = 0;
	if (!queue_expire_run(d->desk, &how, soon(), NULL, &err))
		fail_msg("expire: %s", err.text);
}

/* A message for a destination that nobody visits because it is dead expires all the same: one DSN for it. */
RULE(rule_07_expiry_behind_dead_destination)
{
	struct queue_claims c = stored_and_claimed(t, 3);
	struct queue_claims due;
	struct err err = {0};

	record_all(&t->d, &c, QUEUE_DEFERRED);
	assert_true(queue_destination_tell(t->d.desk, "smtp", "d.test",
	    clock_real_us() + 3600 * CLOCK_SECOND, "no answer", soon(), &err));
	due = claim_deferred(&t->d);
	assert_int_equal(due.count, 0);
	expire(&t->d);
	assert_int_equal(expired_count, 0);
	tell("UPDATE mailq.deferred_message SET expires_at = now()");
	expire(&t->d);
	assert_int_equal(expired_count, 1);
	assert_int_equal(t->d.composed, 1);
	assert_int_equal(t->d.notices, 3);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.history WHERE outcome = 'expired'"), 3);
	assert_int_equal(rows_of("mailq.deferred_message"), 0);
	assert_int_equal(rows_of("mailq.deferred"), 0);
	queue_claims_done(&c);
}

/* After the whole relay was down beyond the end of a message's life: first an attempt, then the end. */
RULE(rule_07_expiry_after_an_outage)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_claims due;

	record_all(&t->d, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);
	tell("UPDATE mailq.deferred SET next_attempt = now() - interval '1 day'; "
	     "UPDATE mailq.destination SET next_due = now() - interval '1 day'; "
	     "UPDATE mailq.deferred_message SET expires_at = now() - interval '1 hour'");
	expire(&t->d);
	assert_int_equal(expired_count, 0);
	due = claim_deferred(&t->d);
	assert_int_equal(due.count, 1);
	record_all(&t->d, &due, QUEUE_DEFERRED);
	queue_claims_done(&due);
	/* It was tried; whoever did so says that it is over, or the timer does. */
	tell("UPDATE mailq.deferred SET next_attempt = now() + interval '1 hour'; "
	     "UPDATE mailq.deferred_message SET expires_at = now()");
	expire(&t->d);
	assert_int_equal(expired_count, 1);
	assert_int_equal(t->d.composed, 1);
}

/* Recipients in somebody's hands are left to him; NOTIFY=NEVER is told nothing. */
RULE(rule_07_expiry_leaves_owned)
{
	struct queue_claims c = stored_and_claimed(t, 2);

	record_all(&t->d, &c, QUEUE_DEFERRED);
	tell("UPDATE mailq.deferred_message SET expires_at = now(); "
	     "UPDATE mailq.deferred SET next_attempt = now() + interval '1 hour'; "
	     "UPDATE mailq.deferred SET owner = 1 WHERE rcpt_no = 0; "
	     "UPDATE mailq.deferred SET dsn_notify = 1 WHERE rcpt_no = 1");
	expire(&t->d);
	assert_int_equal(expired_count, 1);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	assert_int_equal(rows_of("mailq.notification"), 0);
	expire(&t->d);
	assert_int_equal(expired_count, 0);
	queue_claims_done(&c);
}

RULE(rule_07_delay_warning)
{
	struct queue_claims c = stored_and_claimed(t, 2);

	record_all(&t->d, &c, QUEUE_DEFERRED);
	tell("UPDATE mailq.deferred_message SET warn_at = now()");
	expire(&t->d);
	assert_int_equal(warned_count, 1);
	assert_int_equal(t->d.composed, 1);
	assert_int_equal(t->d.last_kind, QUEUE_NOTIFY_DELAY);
	assert_int_equal(rows_of("mailq.deferred"), 2);
	expire(&t->d);
	assert_int_equal(warned_count, 0);
	queue_claims_done(&c);
}

/* ---- 9: claims ---------------------------------------------------------------------------------------------------------------- */

RULE(rule_09_claims_are_synchronous)
{
	struct db_conn *c = take(t->d.pool);

	assert_int_equal(
	    ask_on(c, "SELECT (current_setting('synchronous_commit') = 'on')::int4"), 1);
	assert_int_equal(ask_on(c, "SELECT (current_setting('enable_seqscan') = 'off')::int4"), 1);
	assert_int_equal(ask_on(c, "SELECT (current_user = 'rowpost_scheduler')::int4"), 1);
	db_pool_give(t->d.pool, &c);
}

/* A claim whose COMMIT is in doubt hands nothing out; the next one finds what it took, once. */
static void
claim_through_cut(struct rule *t, enum proxy_mode mode)
{
	struct test_desk far;
	struct queue_claims c = {0};
	struct err err = {0};

	desk_open(&far, proxy_start());
	c = claim(&far); /* connected, prepared */
	assert_int_equal(c.count, 0);
	store(&t->f, 2);
	store(&t->f, 1);
	queue_claim_poke(far.desk);
	proxy.mode = mode;
	while (queue_claim_incoming(far.desk, &wide, soon(), &c, &err)) {
		assert_int_equal(proxy.mode, mode); /* it was not its turn to look */
		assert_int_equal(c.count, 0);
		queue_claim_poke(far.desk);
	}
	c = claim_count(&far, 2);
	record_all(&far, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&c);
	desk_close(&far);
}

RULE(rule_09_claim_in_doubt_lost)
{
	claim_through_cut(t, PROXY_CUT_REQUEST);
}

RULE(rule_09_claim_in_doubt_committed)
{
	claim_through_cut(t, PROXY_CUT_REPLY);
}

/* Claimed, but what was read after that did not come: a lease that nobody has messages of is read again. */
RULE(rule_09_claim_cut_short)
{
	struct queue_budget narrow = wide;
	struct queue_claims c;
	struct err err = {0};

	/* Its recipients are read by a statement of its own. */
	narrow.page = 1;
	store(&t->f, 3);
	tell("REVOKE SELECT ON mailq.result_0 FROM rowpost_scheduler");
	while (rows_of("mailq.active") == 0)
		(void)!queue_claim_incoming(t->d.desk, &narrow, soon(), &c, &err);
	assert_false(queue_claim_incoming(t->d.desk, &narrow, soon(), &c, &err));
	tell("GRANT SELECT ON mailq.result_0 TO rowpost_scheduler");
	c = claim_count(&t->d, 1);
	assert_int_equal(c.items[0]->envelope.rcpt_count, 3);
	record_all(&t->d, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&c);
}

/* A claim that came to the server only after we had asked what had become of it: its mail is found all the same, once. */
RULE(rule_09_claim_that_came_late)
{
	struct queue_claims mine, late;

	store(&t->f, 1);
	mine = claim_count(&t->d, 1);
	store(&t->f, 2);
	tell(
	    "WITH b AS (DELETE FROM mailq.batch RETURNING batch_id, part, msg_ids, recipients, bytes) "
	    "INSERT INTO mailq.active (batch_id, part, msg_ids, recipients, bytes, owner) "
	    "SELECT b.*, %lld FROM b",
	    (long long)t->d.epoch);
	assert_true(t->d.desk->reread_at > clock_mono_us());
	t->d.desk->reread_at = 0;
	late = claim_count(&t->d, 1);
	assert_int_equal(late.items[0]->envelope.rcpt_count, 2);
	record_all(&t->d, &late, QUEUE_SENT);
	record_all(&t->d, &mine, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&late);
	queue_claims_done(&mine);
}

/*
 * The row of a deferred recipient is locked by our own claim whose COMMIT is in doubt, and is seen as it was before: it is not taken for
 * free until that has come to an end.
 */
RULE(rule_09_deferred_claim_still_in_doubt)
{
	struct queue_claims c = stored_and_claimed(t, 1);
	struct queue_doubt_row row = {.msg_id = id_of(&c, 0)};
	struct queue_desk *d = t->d.desk;
	struct err err = {0};
	int64_t end = soon();

	record_all(&t->d, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);
	tell("BEGIN; UPDATE mailq.deferred SET owner = %lld", (long long)t->d.epoch);
	buf_add(&d->doubt_msgs, &row, sizeof(row));
	d->doubt_count = 1;
	d->doubt = true;
	assert_false(queue_claim_deferred(d, &wide, soon(), &c, &err));
	tell("COMMIT");
	while (!queue_claim_deferred(d, &wide, soon(), &c, &err))
		assert_true(clock_mono_us() < end);
	queue_claims_done(&c);
	assert_int_equal(ask("SELECT count(*) FROM mailq.deferred WHERE owner IS NULL"), 1);
}

/* Rows of the dead that an agent of ours may have delivered: a COMMIT in doubt leaves none of them to nobody. */
static void
adopt_through_cut(struct rule *t, enum proxy_mode mode)
{
	struct queue_claims c = stored_and_claimed(t, 1);
	const int64_t msg_id = id_of(&c, 0);
	const int32_t rcpt_no = 0;
	struct queue_claims mine;
	struct test_desk far;
	struct err err = {0};
	int64_t end = soon();

	record_all(&t->d, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);
	mine = claim_deferred(&t->d);
	assert_int_equal(mine.count, 1);
	declare_dead(&t->d);
	desk_open(&far, proxy_start());
	proxy.mode = mode;
	/* As an upkeep does, until the mail is in somebody's hands. */
	while (c.count == 0) {
		struct queue_claims taken;

		assert_true(clock_mono_us() < end);
		if (queue_claim_adopt(far.desk, &msg_id, &rcpt_no, 1, soon(), &c, &err) &&
		    c.count == 0) {
			taken = take_over(&far);
			queue_claims_done(&taken);
		}
		if (c.count == 0)
			(void)!queue_claim_deferred(far.desk, &wide, soon(), &c, &err);
	}
	record_all(&far, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&mine);
	queue_claims_done(&c);
	desk_close(&far);
}

RULE(rule_09_adoption_in_doubt_lost)
{
	adopt_through_cut(t, PROXY_CUT_REQUEST);
}

RULE(rule_09_adoption_in_doubt_committed)
{
	adopt_through_cut(t, PROXY_CUT_REPLY);
}

/* A dead node claims nothing. */
RULE(rule_09_dead_claims_nothing)
{
	struct queue_claims c;

	store(&t->f, 1);
	declare_dead(&t->d);
	c = claim(&t->d);
	assert_int_equal(c.count, 0);
	assert_int_equal(rows_of("mailq.batch"), 1);
	queue_claims_done(&c);
}

/* ---- 13: operators' orders -------------------------------------------------------------------------------------------------- */

/* A flush never waits for an operator's lock: that row is tried again later, the others are stored. */
RULE(rule_13_flush_does_not_wait)
{
	struct queue_claims c;
	struct queue_result results[2];
	struct queue_result *list[] = {&results[0], &results[1]};
	struct queue_claims due;
	struct err err = {0};
	int64_t started;
	size_t locked;

	store(&t->f, 1);
	store(&t->f, 1);
	c = claim_count(&t->d, 2);
	record_all(&t->d, &c, QUEUE_DEFERRED);
	due = claim_deferred(&t->d);
	assert_int_equal(due.count, 2);
	tell("BEGIN; SELECT FROM mailq.deferred_message WHERE msg_id = %lld FOR UPDATE",
	    (long long)id_of(&due, 0));
	results[0] = outcome(due.items[0], 0, QUEUE_SENT);
	results[1] = outcome(due.items[1], 0, QUEUE_SENT);
	started = clock_mono_us();
	assert_true(queue_record_flush(t->d.desk, list, 2, soon(), &err));
	assert_true(clock_mono_us() - started < TEST_PATIENCE);
	locked = 0;
	assert_int_equal(results[locked].recorded, QUEUE_RECORD_NOT_YET);
	assert_int_equal(results[1].recorded, QUEUE_RECORD_STORED);
	tell("COMMIT");
	assert_int_equal(record_one(&t->d, results[0]), QUEUE_RECORD_STORED);
	assert_queue_empty();
	queue_claims_done(&due);
	queue_claims_done(&c);
}

static struct queue_answer
give(struct rule *t UNUSED, enum queue_verb verb, int64_t id)
{
	struct db_pool *p = pool_of(QUEUE_SESSION_OPERATOR);
	struct db_conn *c = take(p);
	struct queue_answer a;
	struct err err = {0};
	bool found;

	if (!queue_order_give(c, verb, &id, 1, "root", "test", &found, soon(), &a, &err))
		fail_msg("order: %s", err.text);
	assert_int_equal(found, a.done + a.pending);
	db_pool_give(p, &c);
	db_pool_free(&p);
	return a;
}

/* New mail that nobody claimed is moved out of its batch; the rest of the batch stays. */
RULE(rule_13_orders_on_new_mail)
{
	int64_t id = store(&t->f, 2);
	struct queue_answer a = give(t, QUEUE_VERB_HOLD, id);
	struct queue_claims c;

	assert_int_equal(a.done, 1);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'hold'"), 2);
	assert_int_equal(rows_of("mailq.batch"), 0);
	c = claim(&t->d);
	assert_int_equal(c.count, 0);
	a = give(t, QUEUE_VERB_DELETE, id);
	assert_int_equal(a.done, 1);
	assert_queue_empty();
	a = give(t, QUEUE_VERB_DELETE, id);
	assert_int_equal(a.not_found, 1);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue_order WHERE who = 'root' "
			     "AND done IS NOT NULL"),
	    2);
	queue_claims_done(&c);
}

/* What a scheduler has in its hands is pending until its outcome; then the order is carried out. */
RULE(rule_13_orders_on_leased_mail)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_answer a = give(t, QUEUE_VERB_DELETE, id_of(&c, 0));
	struct queue_order *orders = NULL;
	struct err err = {0};
	size_t count = 0;
	bool flush;

	assert_int_equal(a.pending, 1);
	if (!queue_order_poll(t->d.desk, soon(), &orders, &count, &flush, &err))
		fail_msg("%s", err.text);
	assert_int_equal(count, 1);
	assert_int_equal(orders[0].msg_id, id_of(&c, 0));
	assert_int_equal(orders[0].verb, QUEUE_VERB_DELETE);
	/* The owner obeys for one recipient; the other one was under way, and is deferred. */
	record_one(&t->d, outcome(c.items[0], 0, QUEUE_DELETED));
	record_one(&t->d, outcome(c.items[0], 1, QUEUE_DEFERRED));
	if (!queue_order_done(t->d.desk, &orders[0].order_id, 1, soon(), &err))
		fail_msg("%s", err.text);
	assert_queue_empty();
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 0);
	mem_free(orders);
	queue_claims_done(&c);
}

/* On hold from the hands of a scheduler, for a destination that nothing waits for: its release finds it. */
RULE(rule_13_hold_and_release_of_leased_mail)
{
	struct queue_claims c = stored_and_claimed(t, 1);
	struct queue_result r = outcome(c.items[0], 0, QUEUE_HELD);
	struct queue_answer a;

	r.nexthop = "never.test";
	r.next_attempt = 0;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED);
	assert_int_equal(rows_of("mailq.held"), 1);
	a = give(t, QUEUE_VERB_RELEASE, id_of(&c, 0));
	assert_int_equal(a.done, 1);
	queue_claims_done(&c);
	tell("UPDATE mailq.deferred SET next_attempt = now(); "
	     "UPDATE mailq.destination SET next_due = now() WHERE next_due IS NOT NULL");
	c = claim_deferred(&t->d);
	assert_int_equal(c.count, 1);
	record_all(&t->d, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&c);
}

/* An order on another node's mail is not ours to obey, and stays pending. */
RULE(rule_13_orders_are_the_owners)
{
	struct queue_claims c = stored_and_claimed(t, 1);
	struct queue_order *orders = NULL;
	struct test_desk other;
	struct err err = {0};
	size_t count = 0;
	bool flush;

	give(t, QUEUE_VERB_HOLD, id_of(&c, 0));
	desk_open(&other, NULL);
	if (!queue_order_poll(other.desk, soon(), &orders, &count, &flush, &err))
		fail_msg("%s", err.text);
	assert_int_equal(count, 0);
	mem_free(orders);
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 1);
	/* The owner's deferral frees it; anybody's next look carries the order out. */
	record_all(&t->d, &c, QUEUE_DEFERRED);
	if (!queue_order_poll(other.desk, soon(), &orders, &count, &flush, &err))
		fail_msg("%s", err.text);
	assert_int_equal(count, 0);
	mem_free(orders);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'hold'"), 1);
	assert_int_equal(ask("SELECT count(*) FROM mailq.queue_order WHERE done IS NULL"), 0);
	queue_claims_done(&c);
	desk_close(&other);
}

/* ---- 16: history --------------------------------------------------------------------------------------------------------------- */

/* One row for each end; a repeated report adds none; a day without a partition gets one. */
RULE(rule_16_history)
{
	struct queue_claims c = stored_and_claimed(t, 2);
	struct queue_result r;

	tell("DO $$ DECLARE t text; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relname ~ "
	     "'^history_[0-9]+$' LOOP EXECUTE 'DROP TABLE mailq.' || t; END LOOP; END $$");
	record_one(&t->d, outcome(c.items[0], 0, QUEUE_DEFERRED));
	assert_int_equal(rows_of("mailq.history"), 0);
	r = outcome(c.items[0], 1, QUEUE_SENT);
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED);
	assert_int_equal(rows_of("mailq.history"), 1);
	r.lease = c.items[0]->lease;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED); /* a fact, told again */
	assert_int_equal(rows_of("mailq.history"), 1);
	queue_claims_done(&c);
}

/* Old days get their further indexes when they close, and go when their time is over. */
RULE(rule_16_history_days)
{
	tell("SELECT mailq.history_grow((now() - interval '5 days')::date), "
	     "mailq.history_grow((now() - interval '50 days')::date)");
	for (int i = 0; i < 5; i++)
		tell("SELECT mailq.history_keep('30 days')");
	assert_int_equal(ask("SELECT count(*) FROM pg_inherits WHERE inhparent = "
			     "'mailq.history'::regclass"),
	    6); /* yesterday, today, three days to come, and one of last week */
	assert_int_equal(ask("SELECT count(*) FROM pg_indexes WHERE schemaname = 'mailq' "
			     "AND indexname ~ '^history_.*_(recipient|sender|at)$'"),
	    3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rule_02_large_in_a_shared_batch),
	    cmocka_unit_test(rule_03_collection_meets_deferral),
	    cmocka_unit_test(rule_03_collection_by_two),
	    cmocka_unit_test(rule_04_late_sent_after_deferral),
	    cmocka_unit_test(rule_04_late_sent_before_deferral),
	    cmocka_unit_test(rule_04_late_sent_meets_deferral),
	    cmocka_unit_test(rule_04_late_sent_unsays_bounce),
	    cmocka_unit_test(rule_04_takeover_without_settled),
	    cmocka_unit_test(rule_04_repeated_after_lost_request),
	    cmocka_unit_test(rule_04_repeated_after_lost_reply),
	    cmocka_unit_test(rule_05_stragglers),
	    cmocka_unit_test(rule_05_stragglers_of_an_old_epoch),
	    cmocka_unit_test(rule_05_long_straggler),
	    cmocka_unit_test(rule_05_rows_of_the_dead),
	    cmocka_unit_test(rule_05_destination_shared),
	    cmocka_unit_test(rule_06_one_bounce),
	    cmocka_unit_test(rule_06_janitor),
	    cmocka_unit_test(rule_06_bounce_waits_for_others),
	    cmocka_unit_test(rule_06_forward),
	    cmocka_unit_test(rule_06_forward_of_deferred),
	    cmocka_unit_test(rule_06_success_repeated),
	    cmocka_unit_test(rule_07_expiry_behind_dead_destination),
	    cmocka_unit_test(rule_07_expiry_after_an_outage),
	    cmocka_unit_test(rule_07_expiry_leaves_owned),
	    cmocka_unit_test(rule_07_delay_warning),
	    cmocka_unit_test(rule_09_claims_are_synchronous),
	    cmocka_unit_test(rule_09_claim_in_doubt_lost),
	    cmocka_unit_test(rule_09_claim_in_doubt_committed),
	    cmocka_unit_test(rule_09_claim_cut_short),
	    cmocka_unit_test(rule_09_claim_that_came_late),
	    cmocka_unit_test(rule_09_deferred_claim_still_in_doubt),
	    cmocka_unit_test(rule_09_adoption_in_doubt_lost),
	    cmocka_unit_test(rule_09_adoption_in_doubt_committed),
	    cmocka_unit_test(rule_09_dead_claims_nothing),
	    cmocka_unit_test(rule_13_flush_does_not_wait),
	    cmocka_unit_test(rule_13_orders_on_new_mail),
	    cmocka_unit_test(rule_13_orders_on_leased_mail),
	    cmocka_unit_test(rule_13_hold_and_release_of_leased_mail),
	    cmocka_unit_test(rule_13_orders_are_the_owners),
	    cmocka_unit_test(rule_16_history),
	    cmocka_unit_test(rule_16_history_days),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
