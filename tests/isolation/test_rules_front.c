/*
 * The protocol rules on the way into the queue: identity, uploads, commits in doubt, large lists, foreign text, batches.
 */
#include "rules.h"

#include "mail/mail_queue_id.h"
#include "queue/queue_known.h"

/* ---- 1: identity --------------------------------------------------------------------------------------------------- */

/* A number that is used again mints above everything its former holder may have minted, whatever the clock says. */
RULE(rule_01_identity_reused_number)
{
	int64_t before = mint(&t->f);
	int64_t after;

	front_close(&t->f);
	/* As if the clock had been an hour ahead. */
	tell("UPDATE mailq.process SET reserved = reserved + 3600000000 WHERE program = 'smtpd'");
	t->f = front_at(NULL);
	after = mint(&t->f);
	assert_int_equal(mail_queue_id_process(after), mail_queue_id_process(before));
	assert_true(after > before);
	assert_true(mail_queue_id_time(after) >= clock_real_us() + 3500 * CLOCK_SECOND);
}

/* Two who believe to hold the same number never mint the same id. */
RULE(rule_01_identity_stolen_number)
{
	struct test_front other;
	int64_t last = 0;
	int64_t id = 0;

	tell("UPDATE mailq.process SET renewed = '-infinity' WHERE program = 'smtpd'");
	other = front_at(NULL);
	for (int i = 0; i < 1000; i++) {
		id = mint(&t->f);
		assert_true(id > last);
		last = id;
	}
	id = mint(&other);
	assert_int_equal(mail_queue_id_process(id), mail_queue_id_process(last));
	assert_true(id > last);
	front_close(&other);
}

/* A batch is its list of ids: another batch whose ids lie between them stays out. */
RULE(rule_01_identity_id_lists)
{
	struct aside_store first;
	struct aside_store third;
	struct queue_claims c;
	int64_t second;

	tell("BEGIN; LOCK TABLE mailq.batch_0 IN ACCESS EXCLUSIVE MODE");
	aside_store(&first, &t->f); /* alone: its commit waits for the lock */
	await_lock_waits(1);
	aside_store(&third, &t->f);
	second = mint(&t->f);
	tell("COMMIT");
	aside_store_join(&first);
	aside_store_join(&third);
	assert_true(first.ok && third.ok);
	/* One batch with the first and a later id, another one with an id between them. */
	tell(
	    "UPDATE mailq.batch_0 SET msg_ids = ARRAY[%lld, %lld], recipients = 2 WHERE batch_id = "
	    "(SELECT min(batch_id) FROM mailq.batch_0); "
	    "UPDATE mailq.batch_0 SET msg_ids = ARRAY[%lld] WHERE batch_id = "
	    "(SELECT max(batch_id) FROM mailq.batch_0); "
	    "INSERT INTO mailq.incoming_0 SELECT %lld, part, arrival, size, content_id, recipients, "
	    "sender, attrs, rcpts, orig_addrs, dsn_orcpts, dsn_notifies, content "
	    "FROM mailq.incoming_0 LIMIT 1",
	    (long long)first.message.envelope.msg_id, (long long)second,
	    (long long)third.message.envelope.msg_id, (long long)second);
	c = claim_count(&t->d, 3);
	assert_ptr_not_equal(c.items[0]->lease, c.items[2]->lease);
	for (size_t i = 0; i < 3; i++) {
		int64_t id = c.items[i]->envelope.msg_id;

		if (id == third.message.envelope.msg_id)
			continue;
		for (size_t k = 0; k < 3; k++)
			if (c.items[k]->envelope.msg_id == third.message.envelope.msg_id)
				assert_ptr_not_equal(c.items[i]->lease, c.items[k]->lease);
	}
	record_all(&t->d, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&c);
}

/* The printed form in SQL is the programs' one. */
RULE(rule_01_identity_in_sql)
{
	int64_t id = mint(&t->f);
	char text[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(id, text);
	assert_int_equal(
	    ask("SELECT (rowpost.queue_id(%lld) = '%s')::int4", (long long)id, text), 1);
	assert_int_equal(ask("SELECT rowpost.msg_id('%s')", text), id);
}

/* ---- 2: large contents ------------------------------------------------------------------------------------------------- */

static struct queue_upload *
upload(struct rule *t, size_t chunks)
{
	struct queue_upload *u = queue_upload_new(t->f.front);
	struct buf bytes = {0};
	struct err err = {0};

	memset(buf_room(&bytes, 256u << 10), 'x', 256u << 10);
	buf_added(&bytes, 256u << 10);
	for (size_t i = 0; i < chunks; i++)
		assert_true(queue_upload_add(u, buf_span(&bytes), soon(), &err));
	buf_done(&bytes);
	return u;
}

static bool
store_upload(struct rule *t, struct queue_upload *u, struct err *err)
{
	struct arena arena = {0};
	struct queue_message m = make_message(&arena, mint(&t->f), 1);
	bool ok;

	assert_true(queue_upload_finish(u, soon(), err));
	m.content = (struct span){0};
	m.upload = u;
	m.envelope.size = queue_upload_size(u);
	ok = queue_front_store(t->f.front, &m, soon(), err);
	arena_done(&arena);
	return ok;
}

/* Rotations and truncations during the upload touch none of its chunks. */
RULE(rule_02_large_over_rotations)
{
	struct queue_upload *u = upload(t, 2);
	struct queue_claims c;
	struct err err = {0};

	for (int i = 0; i < 3; i++) {
		store(&t->f, 1);
		c = claim_count(&t->d, 1);
		record_all(&t->d, &c, QUEUE_SENT);
		queue_claims_done(&c);
		rotate_now();
		tell("SELECT mailq.ring_truncate(part, '0 s') FROM mailq.ring");
	}
	assert_true(store_upload(t, u, &err));
	queue_upload_free(&u);
	c = claim_count(&t->d, 1);
	assert_int_equal(ask("SELECT sum(octet_length(data)) FROM mailq.large_chunk "
			     "WHERE content_id = %lld",
			     (long long)c.items[0]->content_id),
	    2 * 262144);
	/* Deferred, it keeps its content without copying a chunk. */
	record_all(&t->d, &c, QUEUE_DEFERRED);
	assert_int_equal(rows_of("mailq.large_chunk"), 2);
	queue_claims_done(&c);
	c = claim_deferred(&t->d);
	assert_int_equal(c.count, 1);
	assert_true(c.items[0]->content_id != 0);
	record_all(&t->d, &c, QUEUE_SENT);
	assert_int_equal(ask("SELECT count(*) FROM mailq.large WHERE state = 'dead'"), 1);
	queue_claims_done(&c);
}

/* An upload with a hole is not accepted. */
RULE(rule_02_large_incomplete)
{
	struct queue_upload *u = upload(t, 3);
	struct err err = {0};

	tell("DELETE FROM mailq.large_chunk WHERE start = 262144");
	assert_false(store_upload(t, u, &err));
	/* A front end that was silent for long comes to this: the message is as good as before. */
	assert_int_equal(err.kind, ERR_TEMP);
	assert_int_equal(rows_of("mailq.incoming"), 0);
	queue_upload_free(&u);
}

/* Chunks that are written when the upload was reaped already are not left for ever. */
RULE(rule_02_large_reaped_meanwhile)
{
	struct queue_upload *u = upload(t, 2);
	int64_t end = soon();
	struct err err = {0};

	tell("DELETE FROM mailq.large");
	assert_int_equal(rows_of("mailq.large_chunk"), 2);
	queue_upload_free(&u);
	while (ask("SELECT count(*) FROM mailq.large WHERE state = 'dead'") == 0) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	}
	assert_true(queue_keeper_run(t->d.desk, soon(), &err));
	assert_int_equal(rows_of("mailq.large_chunk"), 0);
	assert_int_equal(rows_of("mailq.large"), 0);
}

/* What a dead front end left is removed, what a living one is uploading is not. */
RULE(rule_02_large_reaper)
{
	struct queue_upload *u = upload(t, 1);
	struct err err = {0};

	tell("UPDATE mailq.large SET started = now() - interval '1 day'");
	assert_true(queue_keeper_run(t->d.desk, soon(), &err));
	assert_int_equal(rows_of("mailq.large_chunk"), 1);
	tell("UPDATE mailq.process SET renewed = now() - interval '1 day' WHERE program = 'smtpd'");
	desk_close(&t->d); /* a new desk looks at once */
	desk_open(&t->d, NULL);
	assert_true(queue_keeper_run(t->d.desk, soon(), &err));
	assert_int_equal(rows_of("mailq.large_chunk"), 0);
	assert_int_equal(rows_of("mailq.large"), 0);
	queue_upload_free(&u);
}

/* ---- 10: commits in doubt --------------------------------------------------------------------------------------------- */

static void
store_through_cut(enum proxy_mode mode)
{
	struct test_front f = front_at(proxy_start());
	struct queue_front_stats stats;
	struct arena arena = {0};
	struct queue_message m;
	struct err err = {0};

	store(&f, 1); /* the connection is there, its statement prepared */
	m = make_message(&arena, mint(&f), 2);
	proxy.mode = mode;
	if (!queue_front_store(f.front, &m, soon(), &err))
		fail_msg("store: %s", err.text);
	queue_front_stats_get(f.front, &stats);
	assert_int_equal(stats.in_doubt, 1);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE msg_id = %lld",
			     (long long)m.envelope.msg_id),
	    2);
	arena_done(&arena);
	front_close(&f);
}

/* The COMMIT arrived, its answer did not: the same insert finds the key, and the message is there once. */
RULE(rule_10_in_doubt_committed)
{
	store_through_cut(PROXY_CUT_REPLY);
}

/* The COMMIT never arrived: the same insert stores it. */
RULE(rule_10_in_doubt_lost)
{
	store_through_cut(PROXY_CUT_REQUEST);
}

/* ---- 10, after a crash: is it in? ------------------------------------------------------------------------------------- */

struct aside_known {
	struct aside aside;
	struct queue_front *front;
	int64_t id;
	bool ok;
	bool known;
	struct err err;
};

static void
aside_known_run(void *arg)
{
	struct aside_known *a = arg;

	a->ok = queue_known_ask(a->front, a->id, soon(), &a->known, &a->err);
}

static bool
is_known(struct rule *t, int64_t id)
{
	struct err err = {0};
	bool known = false;

	if (!queue_known_ask(t->f.front, id, soon(), &known, &err))
		fail_msg("%s", err.text);
	return known;
}

/* As long as it is in the queue, and as history tells; and the question leaves nothing behind. */
RULE(rule_10_known)
{
	struct queue_claims c;
	int64_t id = store(&t->f, 1);

	assert_true(is_known(t, id));
	assert_false(is_known(t, id + 4096));
	c = claim_count(&t->d, 1);
	record_all(&t->d, &c, QUEUE_DEFERRED);
	queue_claims_done(&c);
	tell("DELETE FROM mailq.incoming");
	assert_true(is_known(t, id));
	c = claim_deferred(&t->d);
	record_all(&t->d, &c, QUEUE_SENT);
	queue_claims_done(&c);
	assert_queue_empty();
	assert_true(is_known(t, id));
	tell("DELETE FROM mailq.history");
	assert_false(is_known(t, id));
	assert_int_equal(rows_of("mailq.incoming"), 0);
	assert_queue_empty();
}

/* A commit that outlives who asked for it, and a rotation: the second try would go to another set, and find no key. */
RULE(rule_10_known_while_it_is_stored)
{
	struct db_conn *dead = take(owner_pool);
	struct aside_known a = {.front = t->f.front, .id = mint(&t->f)};
	char sql[512];

	(void)snprintf(sql, sizeof(sql),
	    "BEGIN; INSERT INTO mailq.incoming_0 (msg_id, part, arrival, size, recipients, sender, "
	    "attrs, rcpts) VALUES (%lld, 0, now(), 1, 1, '', '', 'r@d.test')",
	    (long long)a.id);
	script(dead, sql);
	rotate_now();
	aside_start(&a.aside, aside_known_run, &a);
	await_lock_waits(1);
	assert_false(a.aside.done);
	script(dead, "COMMIT");
	aside_join(&a.aside);
	assert_true(a.ok && a.known);
	db_pool_give(owner_pool, &dead);
}

/* It is there, but no standby has it yet: who asks keeps his own copy. */
RULE(rule_10_known_is_durable)
{
	int64_t id = store(&t->f, 1);
	int64_t end = soon();
	struct err err = {0};
	bool known;

	tell("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
	tell("SELECT pg_reload_conf()");
	/* It works once the checkpointer has read it. */
	while (queue_known_ask(t->f.front, id, clock_deadline(200 * CLOCK_MILLI), &known, &err))
		assert_true(clock_mono_us() < end);
	assert_int_equal(err.kind, ERR_TEMP);
	tell("ALTER SYSTEM RESET synchronous_standby_names");
	tell("SELECT pg_reload_conf()");
	while (!queue_known_ask(t->f.front, id, soon(), &known, &err))
		assert_true(clock_mono_us() < end);
	assert_true(known);
}

/* ---- 11: large recipient lists ----------------------------------------------------------------------------------------- */

RULE(rule_11_fifty_thousand_recipients)
{
	int64_t started = clock_mono_us();
	struct queue_claims c;
	struct queue_claimed *page;
	struct err err = {0};
	size_t seen = 0;

	store(&t->f, 50000);
	store(&t->f, 1);
	c = claim_count(&t->d, 2);
	/* Claimed apart from the other one; a page at a time. */
	assert_ptr_not_equal(c.items[0]->lease, c.items[1]->lease);
	page = c.items[0];
	assert_int_equal(page->envelope.rcpt_count, 5000);
	for (;;) {
		struct queue_claims one = {.items = &page, .count = 1};
		struct queue_claimed *next = NULL;
		int32_t more = page->next_rcpt;

		assert_int_equal(page->envelope.rcpts[0].rcpt_no, seen);
		seen += page->envelope.rcpt_count;
		record_all(&t->d, &one, seen % 10000 == 0 ? QUEUE_SENT : QUEUE_DEFERRED);
		if (more < 0 ||
		    (assert_true(queue_claim_page(t->d.desk, page, 5000, soon(), &next, &err)),
			next == NULL))
			break;
		if (page != c.items[0])
			queue_claimed_free(&page);
		page = next;
	}
	if (page != c.items[0])
		queue_claimed_free(&page);
	assert_int_equal(seen, 50000);
	assert_int_equal(rows_of("mailq.deferred"), 25000);
	assert_int_equal(rows_of("mailq.active"), 1);
	queue_claims_done(&c);
	/* What is linear takes a second or two; what was quadratic took 49. */
	assert_true(clock_mono_us() - started < 45 * CLOCK_SECOND);
}

/* ---- 12: foreign text -------------------------------------------------------------------------------------------------- */

RULE(rule_12_peer_text)
{
	struct queue_claims c;
	struct queue_result r;
	char *text = mem_zalloc(5001);

	memset(text, 0xe9, 5000); /* Latin-1, no valid UTF-8 */
	store(&t->f, 1);
	c = claim_count(&t->d, 1);
	r = outcome(c.items[0], 0, QUEUE_DEFERRED);
	r.text = text;
	assert_int_equal(record_one(&t->d, r), QUEUE_RECORD_STORED);
	assert_int_equal(ask("SELECT length(reason) FROM mailq.deferred"), QUEUE_TEXT_MAX);
	queue_claims_done(&c);
	mem_free(text);
}

/* A row that the database refuses hurts only itself. */
RULE(rule_12_poisoned_batch)
{
	struct aside_store first;
	struct aside_store good;
	struct aside_store bad;
	struct queue_rcpt rcpt = {.addr = "\xff\xfe@d.test"};
	struct queue_front_stats stats;

	assert_false(queue_address_is_storable(span_str(rcpt.addr)));
	tell("BEGIN; LOCK TABLE mailq.batch_0 IN ACCESS EXCLUSIVE MODE");
	aside_store(&first, &t->f);
	await_lock_waits(1);
	aside_store(&good, &t->f);
	aside_store(&bad, &t->f);
	bad.message.envelope.rcpts = &rcpt;
	tell("COMMIT");
	aside_store_join(&first);
	aside_store_join(&good);
	aside_store_join(&bad);
	assert_true(first.ok && good.ok);
	assert_false(bad.ok);
	assert_int_equal(bad.err.kind, ERR_PERM);
	queue_front_stats_get(t->f.front, &stats);
	assert_int_equal(stats.splits, 1);
	assert_int_equal(rows_of("mailq.incoming"), 2);
}

/* ---- 17: batches --------------------------------------------------------------------------------------------------------- */

/* While one commit is in flight the next batch gathers; no batch is larger than its limit. */
RULE(rule_17_batching)
{
	enum { COUNT = 451 };
	struct aside_store *all = mem_zalloc(COUNT * sizeof(*all));
	struct queue_front_stats stats;

	tell("BEGIN; LOCK TABLE mailq.batch_0 IN ACCESS EXCLUSIVE MODE");
	aside_store(&all[0], &t->f);
	await_lock_waits(1);
	for (size_t i = 1; i < COUNT; i++)
		aside_store(&all[i], &t->f);
	(void)task_yield();
	tell("COMMIT");
	for (size_t i = 0; i < COUNT; i++) {
		aside_store_join(&all[i]);
		assert_true(all[i].ok);
	}
	queue_front_stats_get(t->f.front, &stats);
	assert_int_equal(stats.messages, COUNT);
	assert_int_equal(stats.batches, 4); /* 1, 200, 200, 50 */
	assert_int_equal(ask("SELECT max(cardinality(msg_ids)) FROM mailq.batch"), 200);
	mem_free(all);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rule_01_identity_reused_number),
	    cmocka_unit_test(rule_01_identity_stolen_number),
	    cmocka_unit_test(rule_01_identity_id_lists),
	    cmocka_unit_test(rule_01_identity_in_sql),
	    cmocka_unit_test(rule_02_large_over_rotations),
	    cmocka_unit_test(rule_02_large_incomplete),
	    cmocka_unit_test(rule_02_large_reaper),
	    cmocka_unit_test(rule_02_large_reaped_meanwhile),
	    cmocka_unit_test(rule_10_in_doubt_committed),
	    cmocka_unit_test(rule_10_in_doubt_lost),
	    cmocka_unit_test(rule_10_known),
	    cmocka_unit_test(rule_10_known_while_it_is_stored),
	    cmocka_unit_test(rule_10_known_is_durable),
	    cmocka_unit_test(rule_11_fifty_thousand_recipients),
	    cmocka_unit_test(rule_12_peer_text),
	    cmocka_unit_test(rule_12_poisoned_batch),
	    cmocka_unit_test(rule_17_batching),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
