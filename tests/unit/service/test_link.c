/*
 * test_link.c - frames over a socket pair: order, pieces, large frames, back pressure, broken peers, freeing at bad moments.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "service/delivery.h"
#include "service/link.h"
#include "task/task.h"

#define LIMIT (60 * CLOCK_SECOND)

/* Both ends of a pair; b is a raw descriptor where a test plays the peer by hand. */
static struct link *a, *b;
static int raw_b;

static void
open_pair(bool link_both)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	a = link_new(stream_new(pair[0]));
	b = link_both ? link_new(stream_new(pair[1])) : NULL;
	raw_b = pair[1];
}

static void
close_pair(void)
{
	if (b == NULL && raw_b >= 0)
		(void)close(raw_b);
	link_free(&a);
	link_free(&b);
}

static void
in_task(void (*fn)(void *arg))
{
	task_init(NULL);
	assert_non_null(task_start("test", fn, NULL));
	task_run();
	task_done();
}

static enum stream_result
receive(struct link *l, uint8_t *type, uint32_t *id, struct span *payload)
{
	return link_receive(l, clock_deadline(LIMIT), type, id, payload);
}

static void
many_small_body(void *arg UNUSED)
{
	uint8_t type;
	uint32_t id;
	struct span payload;

	open_pair(true);
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(
		    link_send(a, (uint8_t)(i % 200), i, span_of("payload-payload", i % 16)));
	assert_true(link_send(b, 7, 9, SPAN_LIT("back")));
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(receive(b, &type, &id, &payload), STREAM_OK);
		assert_int_equal(type, i % 200);
		assert_int_equal(id, i);
		assert_int_equal(payload.len, i % 16);
		assert_memory_equal(payload.ptr, "payload-payload", payload.len);
	}
	assert_int_equal(receive(a, &type, &id, &payload), STREAM_OK);
	assert_true(span_equal_str(payload, "back"));
	close_pair();
}

static void
many_small_frames(void **state UNUSED)
{
	in_task(many_small_body);
}

static void
large_sender(void *arg)
{
	struct buf *content = arg;
	struct buf *out = link_send_begin(a, 1, 1);

	buf_add_span(out, buf_span(content));
	link_send_end(a);
	assert_true(link_backlog(a) > 0);
	assert_int_equal(link_wait_backlog(a, 1000, clock_deadline(LIMIT)), STREAM_OK);
	assert_true(link_backlog(a) <= 1000);
	assert_true(link_send(a, 2, 2, SPAN_LIT("after")));
}

static void
large_body(void *arg UNUSED)
{
	struct buf content CLEANUP(buf_done) = {0};
	uint8_t type;
	uint32_t id;
	struct span payload;

	for (uint32_t i = 0; i < 1000000; i++)
		buf_add_u32(&content, i * 2654435761u);
	open_pair(true);
	assert_non_null(task_start("sender", large_sender, &content));
	assert_int_equal(receive(b, &type, &id, &payload), STREAM_OK);
	assert_int_equal(type, 1);
	assert_int_equal(payload.len, content.len);
	assert_memory_equal(payload.ptr, content.ptr, content.len);
	assert_int_equal(receive(b, &type, &id, &payload), STREAM_OK);
	assert_int_equal(type, 2);
	assert_true(span_equal_str(payload, "after"));
	close_pair();
}

/* Larger than the kernel's buffers: the writer task takes over, the reader gathers. */
static void
large_frame_with_back_pressure(void **state UNUSED)
{
	in_task(large_body);
}

static void
pieces_body(void *arg UNUSED)
{
	static const char frame[] = "\0\0\0\x0a\x05\0\0\0\x2ahello";
	uint8_t type;
	uint32_t id;
	struct span payload;

	open_pair(false);
	for (size_t i = 0; i < sizeof(frame) - 1; i++) {
		assert_int_equal(link_receive(a, clock_deadline(CLOCK_MILLI), &type, &id, &payload),
		    STREAM_TIMEOUT);
		assert_int_equal(write(raw_b, frame + i, 1), 1);
	}
	assert_int_equal(receive(a, &type, &id, &payload), STREAM_OK);
	assert_int_equal(type, 5);
	assert_int_equal(id, 42);
	assert_true(span_equal_str(payload, "hello"));
	/* The last frame and the first bytes of the next in one read. */
	assert_int_equal(write(raw_b, frame, sizeof(frame) - 1), sizeof(frame) - 1);
	assert_int_equal(write(raw_b, frame, 6), 6);
	assert_int_equal(receive(a, &type, &id, &payload), STREAM_OK);
	assert_int_equal(write(raw_b, frame + 6, sizeof(frame) - 7), sizeof(frame) - 7);
	assert_int_equal(receive(a, &type, &id, &payload), STREAM_OK);
	assert_true(span_equal_str(payload, "hello"));
	close_pair();
}

/* A time-out in the middle of a frame loses nothing. */
static void
frames_in_pieces(void **state UNUSED)
{
	in_task(pieces_body);
}

static void
bad_length_body(void *arg UNUSED)
{
	static const char *const bad[] = {
	    "\0\0\0\0", "\0\0\0\x04", "\xff\xff\xff\xff", "\x05\0\0\0"};
	uint8_t type;
	uint32_t id;
	struct span payload;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		open_pair(false);
		assert_int_equal(write(raw_b, bad[i], 4), 4);
		assert_int_equal(write(raw_b, "xxxxxxxx", 8), 8);
		assert_int_equal(receive(a, &type, &id, &payload), STREAM_ERROR);
		close_pair();
	}
}

static void
bad_lengths_are_errors(void **state UNUSED)
{
	in_task(bad_length_body);
}

static void
gone_body(void *arg UNUSED)
{
	uint8_t type;
	uint32_t id;
	struct span payload;

	open_pair(false);
	assert_int_equal(write(raw_b, "\0\0\0\x0a\x05", 5), 5);
	(void)close(raw_b);
	raw_b = -1;
	assert_int_equal(receive(a, &type, &id, &payload), STREAM_EOF);
	assert_true(link_send(a, 1, 1, SPAN_LIT("into the void")));
	assert_int_equal(link_wait_backlog(a, 0, clock_deadline(LIMIT)), STREAM_ERROR);
	assert_false(link_send(a, 1, 1, SPAN_LIT("broken by now")));
	close_pair();
}

static void
peer_that_goes_in_mid_frame(void **state UNUSED)
{
	in_task(gone_body);
}

static void
free_early_body(void *arg UNUSED)
{
	struct buf content CLEANUP(buf_done) = {0};

	/* With a frame queued and the hook pending. */
	open_pair(true);
	assert_true(link_send(a, 1, 1, SPAN_LIT("lost")));
	close_pair();

	/* With a writer that has not run yet, then with one that waits for room. */
	for (int turns = 0; turns < 3; turns++) {
		open_pair(false);
		memset(buf_room(&content, 4000000), 'x', 4000000);
		buf_added(&content, 4000000);
		assert_true(link_send(a, 1, 1, buf_span(&content)));
		buf_clear(&content);
		for (int i = 0; i < turns; i++)
			(void)task_yield();
		close_pair();
	}
}

static void
freeing_with_output_pending(void **state UNUSED)
{
	in_task(free_early_body);
}

static enum stream_result waited;

static void
wait_for_room(void *arg UNUSED)
{
	waited = link_wait_backlog(a, 0, clock_deadline(LIMIT));
}

static void
free_beside_waiter_body(void *arg UNUSED)
{
	struct task_group waiters = {0};
	struct buf content CLEANUP(buf_done) = {0};

	open_pair(false);
	memset(buf_room(&content, 4000000), 'x', 4000000);
	buf_added(&content, 4000000);
	assert_true(link_send(a, 1, 1, buf_span(&content)));
	waited = STREAM_OK;
	assert_non_null(task_group_start(&waiters, "waiter", wait_for_room, NULL));
	(void)task_yield();
	close_pair();
	assert_int_equal(task_group_wait(&waiters, clock_deadline(LIMIT)), TASK_READY);
	assert_int_equal(waited, STREAM_ERROR);
}

static void
freeing_beside_one_who_waits(void **state UNUSED)
{
	in_task(free_beside_waiter_body);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_small_frames),
	    cmocka_unit_test(large_frame_with_back_pressure),
	    cmocka_unit_test(frames_in_pieces),
	    cmocka_unit_test(bad_lengths_are_errors),
	    cmocka_unit_test(peer_that_goes_in_mid_frame),
	    cmocka_unit_test(freeing_with_output_pending),
	    cmocka_unit_test(freeing_beside_one_who_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
