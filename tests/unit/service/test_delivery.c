/*
 * test_delivery.c - the delivery format: what is written is read back, and no byte string can harm the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/delivery.h"

#define SPAN_IS(span, lit) assert_true(span_equal_str((span), (lit)))

static struct delivery_attr attrs[] = {
    {SPAN_LIT("client_name"), SPAN_LIT("mail.example.org")},
    {SPAN_LIT("sasl_username"), SPAN_LIT("")},
};

static struct delivery_rcpt rcpts[] = {
    {.rcpt_no = 0, .addr = SPAN_LIT("a@example.com")},
    {.rcpt_no = 4000000000u,
	.addr = SPAN_LIT("b c@example.com"),
	.orig_addr = SPAN_LIT("B@example.com"),
	.dsn_orcpt = SPAN_LIT("rfc822;b@example.com"),
	.dsn_notify = DELIVERY_NOTIFY_FAILURE | DELIVERY_NOTIFY_DELAY,
	.user = SPAN_LIT("b")},
};

static struct delivery_outcome outcomes[] = {
    {.rcpt_no = 7,
	.status = DELIVERY_SENT,
	.dsn = SPAN_LIT("2.0.0"),
	.text = SPAN_LIT("250 2.0.0 Ok"),
	.relay = SPAN_LIT("mx[192.0.2.1]:25")},
    {.rcpt_no = 8,
	.status = DELIVERY_BOUNCED,
	.dsn = SPAN_LIT("5.1.1"),
	.text = SPAN_LIT("no such user"),
	.relay = SPAN_LIT("none"),
	.remote_mta = SPAN_LIT("dns; mx"),
	.diagnostic = SPAN_LIT("smtp; 550 5.1.1"),
	.reply_status = SPAN_LIT("5.1.1"),
	.forwards = SPAN_LIT("x@example.com\ny@example.com")},
};

static struct delivery_request
sample_request(void)
{
	return (struct delivery_request){
	    .msg_id = INT64_C(0x0123456789abcdef),
	    .epoch = INT64_MAX,
	    .queue_id = SPAN_LIT("4XyZ12"),
	    .transport = SPAN_LIT("smtp"),
	    .nexthop = SPAN_LIT("example.com"),
	    .sender = SPAN_LIT(""),
	    .arrival = INT64_C(1764000000000000),
	    .activated = INT64_C(1764000000000001),
	    .size = 5,
	    .content_inline = true,
	    .content = SPAN_LIT("a\0b\n\xff"),
	    .verify_only = true,
	    .partly = true,
	    .attrs = attrs,
	    .attr_count = ARRAY_LEN(attrs),
	    .rcpts = rcpts,
	    .rcpt_count = ARRAY_LEN(rcpts),
	};
}

static struct delivery_result
sample_result(void)
{
	return (struct delivery_result){
	    .msg_id = 77,
	    .site_error = SPAN_LIT("connect to mx[192.0.2.1]:25: Connection refused"),
	    .site_error_dsn = SPAN_LIT("4.4.1"),
	    .partly = true,
	    .outcomes = outcomes,
	    .outcome_count = ARRAY_LEN(outcomes),
	};
}

static void
request_round_trip(void **state UNUSED)
{
	struct delivery_request in = sample_request(), out = {0};
	struct arena arena CLEANUP(arena_done) = {0};
	struct buf b CLEANUP(buf_done) = {0};

	delivery_write_request(&b, &in);
	assert_true(delivery_parse_request(buf_span(&b), &arena, &out));
	assert_int_equal(out.msg_id, in.msg_id);
	assert_int_equal(out.epoch, in.epoch);
	SPAN_IS(out.queue_id, "4XyZ12");
	SPAN_IS(out.transport, "smtp");
	SPAN_IS(out.nexthop, "example.com");
	assert_int_equal(out.sender.len, 0);
	assert_int_equal(out.arrival, in.arrival);
	assert_int_equal(out.activated, in.activated);
	assert_int_equal(out.size, 5);
	assert_true(out.content_inline);
	assert_true(span_equal(out.content, in.content));
	assert_true(out.verify_only);
	assert_true(out.partly);
	assert_int_equal(out.attr_count, 2);
	SPAN_IS(out.attrs[0].name, "client_name");
	SPAN_IS(out.attrs[0].value, "mail.example.org");
	assert_int_equal(out.attrs[1].value.len, 0);
	assert_int_equal(out.rcpt_count, 2);
	SPAN_IS(out.rcpts[0].addr, "a@example.com");
	assert_int_equal(out.rcpts[1].rcpt_no, 4000000000u);
	SPAN_IS(out.rcpts[1].addr, "b c@example.com");
	SPAN_IS(out.rcpts[1].orig_addr, "B@example.com");
	SPAN_IS(out.rcpts[1].dsn_orcpt, "rfc822;b@example.com");
	assert_int_equal(out.rcpts[1].dsn_notify, DELIVERY_NOTIFY_FAILURE | DELIVERY_NOTIFY_DELAY);
	SPAN_IS(out.rcpts[1].user, "b");
}

static void
result_round_trip(void **state UNUSED)
{
	struct delivery_result in = sample_result(), out = {0};
	struct arena arena CLEANUP(arena_done) = {0};
	struct buf b CLEANUP(buf_done) = {0};

	delivery_write_result(&b, &in);
	assert_true(delivery_parse_result(buf_span(&b), &arena, &out));
	assert_true(span_equal(out.site_error, in.site_error));
	SPAN_IS(out.site_error_dsn, "4.4.1");
	assert_true(out.partly);
	assert_int_equal(out.outcome_count, 2);
	assert_int_equal(out.outcomes[0].rcpt_no, 7);
	assert_int_equal(out.outcomes[0].status, DELIVERY_SENT);
	SPAN_IS(out.outcomes[0].text, "250 2.0.0 Ok");
	SPAN_IS(out.outcomes[0].relay, "mx[192.0.2.1]:25");
	assert_int_equal(out.outcomes[1].status, DELIVERY_BOUNCED);
	SPAN_IS(out.outcomes[1].remote_mta, "dns; mx");
	SPAN_IS(out.outcomes[1].diagnostic, "smtp; 550 5.1.1");
	SPAN_IS(out.outcomes[1].reply_status, "5.1.1");
	SPAN_IS(out.outcomes[1].forwards, "x@example.com\ny@example.com");
}

static void
small_frames_round_trip(void **state UNUSED)
{
	struct delivery_hello hello = {SPAN_LIT("relay"), 4711, 20}, hello_out;
	struct delivery_content content = {1 << 20, SPAN_LIT("piece"), true, false}, content_out;
	struct delivery_pull pull = {UINT64_MAX, 262144}, pull_out;
	struct delivery_idle idle = {SPAN_LIT("[mx]:25"), 2}, idle_out;
	struct delivery_lease lease = {7, INT64_MAX, 12345678901}, lease_out;
	struct delivery_notice notice = {
	    true, SPAN_LIT("mx[192.0.2.1]:24"), SPAN_LIT("In:  500\n"), true};
	struct delivery_notice notice_out;
	struct buf b CLEANUP(buf_done) = {0};

	delivery_write_hello(&b, &hello);
	assert_true(delivery_parse_hello(buf_span(&b), &hello_out));
	SPAN_IS(hello_out.service, "relay");
	assert_int_equal(hello_out.pid, 4711);
	assert_int_equal(hello_out.slots, 20);

	buf_clear(&b);
	delivery_write_content(&b, &content);
	assert_true(delivery_parse_content(buf_span(&b), &content_out));
	assert_int_equal(content_out.offset, 1 << 20);
	SPAN_IS(content_out.bytes, "piece");
	assert_true(content_out.last);
	assert_false(content_out.failed);

	buf_clear(&b);
	delivery_write_pull(&b, &pull);
	assert_true(delivery_parse_pull(buf_span(&b), &pull_out));
	assert_true(pull_out.offset == UINT64_MAX);
	assert_int_equal(pull_out.credit, 262144);

	buf_clear(&b);
	delivery_write_idle(&b, &idle);
	assert_true(delivery_parse_idle(buf_span(&b), &idle_out));
	SPAN_IS(idle_out.nexthop, "[mx]:25");
	assert_int_equal(idle_out.count, 2);

	buf_clear(&b);
	delivery_write_lease(&b, &lease);
	assert_true(delivery_parse_lease(buf_span(&b), &lease_out));
	assert_int_equal(lease_out.shard, 7);
	assert_true(lease_out.epoch == INT64_MAX);
	assert_true(lease_out.until == 12345678901);

	buf_clear(&b);
	delivery_write_notice(&b, &notice);
	assert_true(delivery_parse_notice(buf_span(&b), &notice_out));
	assert_true(notice_out.lmtp && notice_out.cut);
	SPAN_IS(notice_out.peer, "mx[192.0.2.1]:24");
	SPAN_IS(notice_out.transcript, "In:  500\n");
	for (size_t len = 0; len < b.len; len++)
		assert_false(delivery_parse_notice(span_head(buf_span(&b), len), &notice_out));
}

static void
doubts_round_trip(void **state UNUSED)
{
	struct arena arena CLEANUP(arena_done) = {0};
	uint32_t rcpt_nos[] = {0, 7, UINT32_MAX};
	struct delivery_doubt doubt = {INT64_MIN, rcpt_nos, 3}, out;
	struct buf b CLEANUP(buf_done) = {0};

	delivery_write_doubt(&b, &doubt);
	assert_true(delivery_parse_doubt(buf_span(&b), &arena, &out));
	assert_true(out.msg_id == INT64_MIN);
	assert_int_equal(out.rcpt_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(out.rcpt_nos[i], rcpt_nos[i]);
	assert_false(delivery_parse_doubt(span_head(buf_span(&b), b.len - 1), &arena, &out));
	buf_add_u8(&b, 0);
	assert_false(delivery_parse_doubt(buf_span(&b), &arena, &out));
}

static void
recorded_numbers_round_trip(void **state UNUSED)
{
	const uint32_t in[] = {0, 7, UINT32_MAX};
	struct buf b CLEANUP(buf_done) = {0};
	struct span rest;
	uint32_t out;

	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		delivery_add_recorded(&b, in[i]);
	rest = buf_span(&b);
	for (size_t i = 0; i < ARRAY_LEN(in); i++) {
		assert_true(delivery_next_recorded(&rest, &out));
		assert_int_equal(out, in[i]);
	}
	assert_false(delivery_next_recorded(&rest, &out));
	rest = span_head(buf_span(&b), 3);
	assert_false(delivery_next_recorded(&rest, &out));
	assert_int_equal(rest.len, 3);
}

static void
only_what_was_sent_counts(void **state UNUSED)
{
	struct delivery_outcome two[2] = {
	    {.status = DELIVERY_UNTRIED}, {.status = DELIVERY_BOUNCED}};
	struct delivery_result result = {.outcomes = two, .outcome_count = 2};

	assert_false(delivery_result_counts(&result));
	two[1].status = DELIVERY_SENT;
	assert_true(delivery_result_counts(&result));
	result.outcome_count = 1;
	assert_false(delivery_result_counts(&result));
}

/* Runs all parsers over the bytes; the sanitizer build watches what they touch. */
static size_t
parse_all(struct span in)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct delivery_request request;
	struct delivery_result result;
	struct delivery_hello hello;
	struct delivery_content content;
	struct delivery_pull pull;
	struct delivery_idle idle;
	struct delivery_lease lease;
	struct delivery_doubt doubt;
	struct delivery_notice notice;
	size_t good = 0;

	good += delivery_parse_request(in, &arena, &request);
	good += delivery_parse_result(in, &arena, &result);
	good += delivery_parse_hello(in, &hello);
	good += delivery_parse_content(in, &content);
	good += delivery_parse_pull(in, &pull);
	good += delivery_parse_idle(in, &idle);
	good += delivery_parse_lease(in, &lease);
	good += delivery_parse_doubt(in, &arena, &doubt);
	good += delivery_parse_notice(in, &notice);
	/* What a frame makes us allocate is bounded by what was sent. */
	assert_true(arena.total <= 1024 + 16 * in.len);
	return good;
}

static void
cut_and_longer_frames_are_refused(void **state UNUSED)
{
	struct delivery_request request = sample_request(), request_out;
	struct delivery_result result = sample_result(), result_out;
	struct arena arena CLEANUP(arena_done) = {0};
	struct buf b CLEANUP(buf_done) = {0};

	delivery_write_request(&b, &request);
	for (size_t len = 0; len < b.len; len++)
		assert_false(
		    delivery_parse_request(span_head(buf_span(&b), len), &arena, &request_out));
	buf_add_char(&b, 'x');
	assert_false(delivery_parse_request(buf_span(&b), &arena, &request_out));

	buf_clear(&b);
	delivery_write_result(&b, &result);
	for (size_t len = 0; len < b.len; len++)
		assert_false(
		    delivery_parse_result(span_head(buf_span(&b), len), &arena, &result_out));
	buf_add_char(&b, 'x');
	assert_false(delivery_parse_result(buf_span(&b), &arena, &result_out));
}

static void
bad_values_are_refused(void **state UNUSED)
{
	struct delivery_outcome outcome = outcomes[0];
	struct delivery_result result = {.outcomes = &outcome, .outcome_count = 1}, out;
	struct arena arena CLEANUP(arena_done) = {0};
	struct buf b CLEANUP(buf_done) = {0};

	outcome.status = (enum delivery_status)0;
	delivery_write_result(&b, &result);
	assert_false(delivery_parse_result(buf_span(&b), &arena, &out));

	buf_clear(&b);
	outcome.status = (enum delivery_status)(DELIVERY_PASSED + 1);
	delivery_write_result(&b, &result);
	assert_false(delivery_parse_result(buf_span(&b), &arena, &out));

	/* A count without elements allocates nothing. */
	arena_done(&arena);
	buf_clear(&b);
	delivery_write_result(&b, &(struct delivery_result){0});
	buf_truncate(&b, b.len - sizeof(uint32_t));
	buf_add_u32(&b, UINT32_MAX);
	assert_false(delivery_parse_result(buf_span(&b), &arena, &out));
	assert_int_equal(arena.total, 0);
}

static uint32_t
next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void
mutated_frames_do_no_harm(void **state UNUSED)
{
	struct delivery_request request = sample_request();
	struct delivery_result result = sample_result();
	struct buf good[2] = {0};
	struct buf b CLEANUP(buf_done) = {0};
	uint32_t seed = 20261121;
	size_t accepted = 0;

	delivery_write_request(&good[0], &request);
	delivery_write_result(&good[1], &result);
	for (int round = 0; round < 20000; round++) {
		const struct buf *from = &good[round % 2];

		buf_clear(&b);
		buf_add_span(&b, buf_span(from));
		for (uint32_t n = 1 + next_random(&seed) % 4; n > 0; n--)
			b.ptr[next_random(&seed) % b.len] = (char)next_random(&seed);
		if (next_random(&seed) % 4 == 0)
			buf_truncate(&b, next_random(&seed) % b.len);
		accepted += parse_all(buf_span(&b));
	}
	/* Some changes hit only text: the test would be blind if all were refused. */
	assert_true(accepted > 100);
	buf_done(&good[0]);
	buf_done(&good[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(request_round_trip),
	    cmocka_unit_test(result_round_trip),
	    cmocka_unit_test(small_frames_round_trip),
	    cmocka_unit_test(doubts_round_trip),
	    cmocka_unit_test(recorded_numbers_round_trip),
	    cmocka_unit_test(only_what_was_sent_counts),
	    cmocka_unit_test(cut_and_longer_frames_are_refused),
	    cmocka_unit_test(bad_values_are_refused),
	    cmocka_unit_test(mutated_frames_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
