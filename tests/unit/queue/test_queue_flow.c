/*
 * The plain ways of mail through the queue: stored, claimed, sent; deferred and tried again; bounced; held.
 */
#include "queue_fixture.h"

static void
sent_body(void)
{
	struct test_front f;
	struct test_desk d;
	struct queue_claims c;

	open_database();
	f = front_at(NULL);
	desk_open(&d, NULL);
	store(&f, 1);
	store(&f, 3);
	assert_int_equal(rows_of("rowpost.queue"), 4);
	c = claim_count(&d, 2);
	assert_int_equal(rows_of("mailq.batch"), 0);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'active'"), 4);
	for (size_t i = 0; i < c.count; i++) {
		const struct queue_claimed *m = c.items[i];

		assert_true(m->content_here);
		assert_true(span_equal_str(m->content, TEST_CONTENT));
		assert_string_equal(m->envelope.sender, "s@o.test");
		assert_string_equal(m->envelope.rcpts[0].addr, "r0@d.test");
		assert_null(m->envelope.rcpts[0].orig_addr);
		assert_true(
		    span_equal_str(queue_envelope_attr(&m->envelope, "client_name"), "c.test"));
	}
	record_all(&d, &c, QUEUE_SENT);
	assert_queue_empty();
	assert_int_equal(ask("SELECT count(*) FROM rowpost.history WHERE outcome = 'sent'"), 4);
	queue_claims_done(&c);
	desk_close(&d);
	front_close(&f);
	close_database();
}

static void
test_sent(void **state UNUSED)
{
	run_as_task(sent_body);
}

static void
partly_body(void)
{
	struct test_front f;
	struct test_desk d;
	struct queue_claims c;

	open_database();
	f = front_at(NULL);
	desk_open(&d, NULL);
	store(&f, 3);
	c = claim_count(&d, 1);
	assert_int_equal(record_one(&d, outcome(c.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_int_equal(rows_of("mailq.active"), 1);
	assert_int_equal(rows_of("mailq.result"), 1);
	assert_int_equal(rows_of("rowpost.queue"), 2);
	/* The same again is no second one. */
	assert_int_equal(record_one(&d, outcome(c.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_FENCED);
	queue_claims_done(&c);
	desk_close(&d);
	front_close(&f);
	close_database();
}

static void
test_partly(void **state UNUSED)
{
	run_as_task(partly_body);
}

static void
deferred_body(void)
{
	struct test_front f;
	struct test_desk d;
	struct queue_claims c;
	struct queue_claims again;
	struct buf content = {0};
	struct err err = {0};
	int64_t id;

	open_database();
	f = front_at(NULL);
	desk_open(&d, NULL);
	id = store(&f, 2);
	c = claim_count(&d, 1);
	record_all(&d, &c, QUEUE_DEFERRED);
	assert_int_equal(rows_of("mailq.active"), 0);
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'deferred' "
			     "AND transport = 'smtp' AND nexthop = 'd.test' AND attempts = 1"),
	    2);
	again = claim_deferred(&d);
	assert_int_equal(again.count, 1);
	assert_true(again.items[0]->from_deferred);
	assert_int_equal(again.items[0]->envelope.rcpt_count, 2);
	assert_int_equal(again.items[0]->envelope.rcpts[1].attempts, 1);
	assert_true(span_equal_str(again.items[0]->content, TEST_CONTENT));
	assert_true(queue_content_read(d.pool, &(struct queue_content_ref){.msg_id = id, .set = -1},
	    9, 4, soon(), &content, &err));
	assert_string_equal(buf_str(&content), "test");
	buf_done(&content);
	/* One is deferred again, the other sent. */
	assert_int_equal(
	    record_one(&d, outcome(again.items[0], 0, QUEUE_DEFERRED)), QUEUE_RECORD_STORED);
	assert_int_equal(
	    record_one(&d, outcome(again.items[0], 1, QUEUE_SENT)), QUEUE_RECORD_STORED);
	assert_int_equal(rows_of("mailq.deferred"), 1);
	queue_claims_done(&again);
	again = claim_deferred(&d);
	assert_int_equal(again.count, 1);
	assert_int_equal(again.items[0]->envelope.rcpts[0].attempts, 2);
	record_all(&d, &again, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&again);
	queue_claims_done(&c);
	desk_close(&d);
	front_close(&f);
	close_database();
}

static void
test_deferred(void **state UNUSED)
{
	run_as_task(deferred_body);
}

static void
bounced_body(void)
{
	struct test_front f;
	struct test_desk d;
	struct queue_claims c;
	struct queue_claims bounce;

	open_database();
	f = front_at(NULL);
	desk_open(&d, NULL);
	store(&f, 2);
	c = claim_count(&d, 1);
	record_all(&d, &c, QUEUE_BOUNCED);
	assert_int_equal(d.composed, 1);
	assert_int_equal(d.notices, 2);
	assert_int_equal(rows_of("mailq.deferred_message"), 0);
	assert_int_equal(rows_of("mailq.notification"), 0);
	bounce = claim_count(&d, 1);
	assert_string_equal(bounce.items[0]->envelope.sender, "");
	assert_string_equal(bounce.items[0]->envelope.rcpts[0].addr, "s@o.test");
	record_all(&d, &bounce, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&bounce);
	queue_claims_done(&c);
	desk_close(&d);
	front_close(&f);
	close_database();
}

static void
test_bounced(void **state UNUSED)
{
	run_as_task(bounced_body);
}

static void
held_body(void)
{
	struct test_front f;
	struct test_desk d;
	struct arena arena = {0};
	struct queue_message m;
	struct queue_claims c;
	struct err err = {0};

	open_database();
	f = front_at(NULL);
	desk_open(&d, NULL);
	m = make_message(&arena, mint(&f), 2);
	m.hold = "suspicious";
	assert_true(queue_front_store(f.front, &m, soon(), &err));
	assert_int_equal(ask("SELECT count(*) FROM rowpost.queue WHERE queue = 'hold' "
			     "AND reason = 'suspicious'"),
	    2);
	c = claim(&d);
	assert_int_equal(c.count, 0);
	assert_int_equal(
	    ask("SELECT done FROM rowpost.release(ARRAY[%lld])", (long long)m.envelope.msg_id), 1);
	queue_claims_done(&c);
	tell("SELECT mailq.flush_slice(0, 100)");
	c = claim_deferred(&d);
	assert_int_equal(c.count, 1);
	record_all(&d, &c, QUEUE_SENT);
	assert_queue_empty();
	queue_claims_done(&c);
	arena_done(&arena);
	desk_close(&d);
	front_close(&f);
	close_database();
}

static void
test_held(void **state UNUSED)
{
	run_as_task(held_body);
}

static void
large_body(void)
{
	struct test_front f;
	struct test_desk d;
	struct arena arena = {0};
	struct queue_message m;
	struct queue_claims c;
	struct queue_upload *u;
	struct buf chunk = {0};
	struct buf back = {0};
	struct err err = {0};

	open_database();
	f = front_at(NULL);
	desk_open(&d, NULL);
	u = queue_upload_new(f.front);
	for (size_t i = 0; i < 100000; i++)
		buf_printf(&chunk, "%09zu\n", i);
	assert_true(queue_upload_add(u, buf_span(&chunk), soon(), &err));
	assert_true(queue_upload_add(u, SPAN_LIT("tail\n"), soon(), &err));
	assert_true(queue_upload_finish(u, soon(), &err));
	m = make_message(&arena, mint(&f), 1);
	m.content = (struct span){0};
	m.upload = u;
	m.envelope.size = queue_upload_size(u);
	if (!queue_front_store(f.front, &m, soon(), &err))
		fail_msg("%s", err.text);
	queue_upload_free(&u);
	c = claim_count(&d, 1);
	assert_false(c.items[0]->content_here);
	for (;;) {
		struct queue_content_ref ref = {.msg_id = m.envelope.msg_id,
		    .content_id = c.items[0]->content_id,
		    .set = c.items[0]->set};
		size_t before = back.len;

		if (!queue_content_read(d.pool, &ref, back.len, 70001, soon(), &back, &err))
			fail_msg("%s", err.text);
		if (back.len == before)
			break;
	}
	buf_add_str(&chunk, "tail\n");
	assert_int_equal(back.len, chunk.len);
	assert_memory_equal(back.ptr, chunk.ptr, chunk.len);
	record_all(&d, &c, QUEUE_SENT);
	assert_queue_empty();
	assert_int_equal(ask("SELECT count(*) FROM mailq.large WHERE state = 'dead'"), 1);
	assert_true(queue_keeper_run(d.desk, soon(), &err));
	assert_int_equal(rows_of("mailq.large"), 0);
	assert_int_equal(rows_of("mailq.large_chunk"), 0);
	queue_claims_done(&c);
	buf_done(&chunk);
	buf_done(&back);
	arena_done(&arena);
	desk_close(&d);
	front_close(&f);
	close_database();
}

static void
test_large(void **state UNUSED)
{
	run_as_task(large_body);
}

/* A database larger than allowed: refused before the message, taken again when there is room. */
static void
size_limit_body(void)
{
	struct queue_front_settings s = {.node = "n1", .program = "smtpd", .size_limit = 1};
	struct queue_front *front;
	struct err err = {0};
	int64_t end = soon();

	open_database();
	s.pool = pool_of(QUEUE_SESSION_FRONT);
	front = queue_front_new(&s);
	while (queue_front_is_ready(front, &err) || strcmp(err.dsn, "4.3.1") != 0) {
		assert_true(clock_mono_us() < end);
		(void)task_sleep_until(clock_deadline(CLOCK_MILLI));
	}
	assert_int_equal(err.smtp_code, 452);
	queue_front_free(&front);
	s.size_limit = INT64_MAX;
	front = queue_front_new(&s);
	assert_true(queue_front_wait_ready(front, soon(), &err));
	assert_true(queue_front_is_ready(front, &err));
	queue_front_free(&front);
	db_pool_free(&s.pool);
	close_database();
}

static void
test_size_limit(void **state UNUSED)
{
	run_as_task(size_limit_body);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sent),
	    cmocka_unit_test(test_partly),
	    cmocka_unit_test(test_deferred),
	    cmocka_unit_test(test_bounced),
	    cmocka_unit_test(test_held),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_size_limit),
	};

	return cmocka_run_group_tests(tests, queue_setup, cluster_teardown);
}
