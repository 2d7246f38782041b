/*
 * test_stream.c - lines, bytes, limits, ends and deadlines of plain streams, over UNIX and TCP sockets. Checks inside
 * tasks are MUST(): cmocka's assertions cannot jump from one stack to another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/stream.h"
#include "task/task.h"

#define SOON  (10 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)

static struct stream *stream; /* the side under test */
static int peer;              /* the other, blocking for tasks that do not mind */

static int
set_up(void **state UNUSED)
{
	int ends[2];

	task_init(NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	stream = stream_new(ends[0]);
	stream_set_deadline(stream, clock_deadline(LATER));
	peer = ends[1];
	return 0;
}

/* The same over TCP, where a connection can be reset. */
static int
set_up_tcp(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

	task_init(NULL);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	peer = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&at, len), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	(void)close(listener);
	stream = stream_new(fd);
	stream_set_deadline(stream, clock_deadline(LATER));
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	stream_free(&stream);
	stream_free(&stream);
	if (peer >= 0)
		(void)close(peer);
	task_done();
	return 0;
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
	assert_int_equal(task_count(), 0);
}

static void
put(const char *text)
{
	MUST(send(peer, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static void
pause_for(int64_t us)
{
	MUST(task_sleep_until(clock_deadline(us)) == TASK_TIMEOUT);
}

static void
hang_up(void)
{
	(void)close(peer);
	peer = -1;
}

/* ---- lines ----------------------------------------------------------------------------------------------------- */

static void
expect_line(size_t max, const char *text, bool bare)
{
	struct span line;
	bool is_bare = !bare;

	MUST(stream_read_line(stream, max, &line, &is_bare) == STREAM_OK);
	MUST(span_equal_str(line, text));
	MUST(is_bare == bare);
}

static void
expect_long(size_t max, const char *text)
{
	struct span line;

	MUST(stream_read_line(stream, max, &line, NULL) == STREAM_TOO_LONG);
	MUST(span_equal_str(line, text));
}

static void
read_lines(void *arg UNUSED)
{
	put("EHLO x\r\n\r\nbare\na\rb\r\r\n\n");
	expect_line(100, "EHLO x", false);
	MUST(stream_has_input(stream));
	expect_line(100, "", false);
	expect_line(100, "bare", true);
	expect_line(100, "a\rb\r", false);
	expect_line(100, "", true);
	MUST(!stream_has_input(stream) && stream_input_size(stream) == 0);
}

static void
lines_end_in_lf_or_crlf(void **state UNUSED)
{
	run(read_lines, NULL);
}

static void
read_limited(void *arg UNUSED)
{
	put("12345\r\n12345\n123456\r\n12345678\r\n1\r\n");
	expect_line(5, "12345", false);
	expect_line(5, "12345", true);
	expect_long(5, "12345");
	expect_line(5, "6", false);
	expect_long(5, "12345");
	expect_line(5, "678", false);
	expect_line(5, "1", false);
	/* the limit is seen before the end of the line is */
	put("1234567");
	expect_long(5, "12345");
	put("\r\n");
	expect_line(5, "67", false);
	/* a CR at the limit may yet belong to the end */
	put("12345\r");
	stream_set_deadline(stream, clock_deadline(SOON));
	MUST(stream_read_line(stream, 5, &(struct span){0}, NULL) == STREAM_TIMEOUT);
	put("\n");
	stream_set_deadline(stream, clock_deadline(LATER));
	expect_line(5, "12345", false);
	put("\r\n");
	expect_line(0, "", false);
}

static void
lines_have_a_limit(void **state UNUSED)
{
	run(read_limited, NULL);
}

static void
put_slowly(void *arg)
{
	for (const char *p = arg; *p != '\0'; p++) {
		MUST(send(peer, p, 1, 0) == 1);
		MUST(task_yield() == TASK_READY);
		if (*p == '\r')
			pause_for(1000);
	}
}

static char slow_text[] = "one\r\ntwo\r\nthree\n";

static void
read_slow(void *arg UNUSED)
{
	MUST(task_start("slow", put_slowly, slow_text) != NULL);
	expect_line(100, "one", false);
	expect_line(100, "two", false);
	expect_line(100, "three", true);
}

static void
lines_arrive_byte_by_byte(void **state UNUSED)
{
	run(read_slow, NULL);
}

#define BIG ((size_t)300000)

static void
write_big(void *arg)
{
	const char *text = arg;
	size_t len = strlen(text);
	struct stream *s = stream_new(dup(peer));

	MUST(stream_write(s, text, len) == STREAM_OK);
	MUST(stream_flush(s) == STREAM_OK);
	stream_free(&s);
}

/* BIG bytes of 'x' with a line end after each `every` bytes. */
static char *
big_text(size_t every)
{
	char *text = mem_alloc(BIG + 1);

	for (size_t i = 0; i < BIG; i++)
		text[i] = i % every == every - 1 ? '\n' : 'x';
	text[BIG] = '\0';
	return text;
}

static void
read_many_lines(void *arg)
{
	char *text = big_text(1000);
	struct span line;

	MUST(task_start("writer", write_big, text) != NULL);
	for (size_t i = 0; i < BIG / 1000; i++) {
		MUST(stream_read_line(stream, 2000, &line, NULL) == STREAM_OK);
		MUST(line.len == 999 && line.ptr[0] == 'x' && line.ptr[998] == 'x');
	}
	mem_free(text);
	*(bool *)arg = true;
}

static void
many_lines_in_a_row(void **state UNUSED)
{
	bool done = false;

	run(read_many_lines, &done);
	assert_true(done);
}

/* Longer than the largest buffer, because the caller says so. */
static void
read_huge_line(void *arg UNUSED)
{
	char *text = big_text(BIG);
	struct span line;

	MUST(task_start("writer", write_big, text) != NULL);
	MUST(stream_read_line(stream, BIG, &line, NULL) == STREAM_OK);
	MUST(line.len == BIG - 1);
	mem_free(text);
}

static void
a_line_longer_than_the_buffer(void **state UNUSED)
{
	run(read_huge_line, NULL);
}

/* ---- bytes ----------------------------------------------------------------------------------------------------- */

static void
peek_all(void *arg UNUSED)
{
	struct span bytes;

	put("abcdef");
	MUST(stream_peek(stream, &bytes) == STREAM_OK && span_equal_str(bytes, "abcdef"));
	stream_consume(stream, 2);
	MUST(stream_peek(stream, &bytes) == STREAM_OK && span_equal_str(bytes, "cdef"));
	MUST(stream_input_size(stream) == 4);
	stream_consume(stream, 4);
	put("x\ny\n");
	expect_line(10, "x", true);
	MUST(stream_peek(stream, &bytes) == STREAM_OK && span_equal_str(bytes, "y\n"));
	stream_discard_input(stream);
	MUST(!stream_has_input(stream));
	stream_set_deadline(stream, clock_deadline(SOON));
	MUST(stream_peek(stream, &bytes) == STREAM_TIMEOUT);
}

static void
peek_consumes_nothing(void **state UNUSED)
{
	run(peek_all, NULL);
}

static void
peek_big(void *arg UNUSED)
{
	char *text = big_text(77);
	size_t got = 0, largest = 0;
	struct span bytes;

	MUST(task_start("writer", write_big, text) != NULL);
	while (got < BIG) {
		MUST(stream_peek(stream, &bytes) == STREAM_OK);
		MUST(bytes.len <= 65536 && memcmp(bytes.ptr, text + got, bytes.len) == 0);
		largest = MAX(largest, bytes.len);
		got += bytes.len;
		stream_consume(stream, bytes.len);
	}
	/* the buffer has grown to what comes */
	MUST(largest > 16384);
	mem_free(text);
}

static void
peek_takes_large_pieces(void **state UNUSED)
{
	run(peek_big, NULL);
}

static void
read_exactly(void *arg UNUSED)
{
	char *text = big_text(91), *copy = mem_alloc(BIG), three[3];

	MUST(task_start("writer", write_big, text) != NULL);
	MUST(stream_read_full(stream, three, 3) == STREAM_OK);
	MUST(memcmp(three, text, 3) == 0);
	MUST(stream_read_full(stream, copy, BIG - 3 - 5) == STREAM_OK);
	MUST(memcmp(copy, text + 3, BIG - 8) == 0);
	MUST(stream_read_full(stream, copy, 5) == STREAM_OK);
	MUST(memcmp(copy, text + BIG - 5, 5) == 0);
	hang_up();
	MUST(stream_read_full(stream, three, 1) == STREAM_EOF);
	mem_free(text);
	mem_free(copy);
}

static void
reads_exactly_what_is_asked(void **state UNUSED)
{
	run(read_exactly, NULL);
}

/* ---- ends ------------------------------------------------------------------------------------------------------ */

static void
read_to_end(void *arg UNUSED)
{
	struct span bytes;

	put("line\npart");
	hang_up();
	/* let the edge of the end come and go before the first read */
	pause_for(SOON);
	expect_line(100, "line", true);
	MUST(stream_read_line(stream, 100, &bytes, NULL) == STREAM_EOF);
	/* what came before the end is still there */
	MUST(stream_peek(stream, &bytes) == STREAM_OK && span_equal_str(bytes, "part"));
	stream_consume(stream, 4);
	MUST(stream_peek(stream, &bytes) == STREAM_EOF);
	MUST(stream_peek(stream, &bytes) == STREAM_EOF);
}

static void
the_end_comes_after_the_data(void **state UNUSED)
{
	run(read_to_end, NULL);
}

static void
reset(void)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	MUST(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	hang_up();
}

static void
put_and_reset(void *arg UNUSED)
{
	put("line\n");
	reset();
}

/* Data and reset arrive together while the reader waits: one edge for both, and the read that follows comes short. */
static void
reset_with_data(void *arg UNUSED)
{
	struct span line;

	MUST(task_start("reset", put_and_reset, NULL) != NULL);
	expect_line(100, "line", true);
	MUST(stream_read_line(stream, 100, &line, NULL) == STREAM_ERROR);
	MUST(stream_errno(stream) == ECONNRESET);
}

static void
a_reset_is_noticed(void **state UNUSED)
{
	run(reset_with_data, NULL);
}

static void
reset_soon(void *arg UNUSED)
{
	pause_for(SOON);
	reset();
}

static void
reset_while_waiting(void *arg UNUSED)
{
	struct span line;

	put("line\n");
	expect_line(100, "line", true);
	MUST(task_start("reset", reset_soon, NULL) != NULL);
	MUST(stream_read_line(stream, 100, &line, NULL) == STREAM_ERROR);
	MUST(stream_errno(stream) == ECONNRESET);
}

static void
a_reset_ends_the_wait(void **state UNUSED)
{
	run(reset_while_waiting, NULL);
}

static void
write_to_nobody(void *arg UNUSED)
{
	reset();
	pause_for(SOON);
	MUST(stream_printf(stream, "hello\r\n") == STREAM_OK);
	MUST(stream_flush(stream) == STREAM_ERROR);
	MUST(stream_errno(stream) == EPIPE || stream_errno(stream) == ECONNRESET);
	MUST(strcmp(stream_result_text(STREAM_ERROR), "lost connection") == 0);
}

static void
writing_to_nobody_fails(void **state UNUSED)
{
	run(write_to_nobody, NULL);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static size_t
available(void)
{
	static char some[65536];
	ssize_t n = recv(peer, some, sizeof(some), MSG_PEEK | MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

static void
write_gathered(void *arg UNUSED)
{
	MUST(stream_write(stream, "a", 1) == STREAM_OK);
	MUST(stream_write_span(stream, SPAN_LIT("b")) == STREAM_OK);
	MUST(stream_printf(stream, "%d%s", 1, "\r\n") == STREAM_OK);
	MUST(stream_write(stream, NULL, 0) == STREAM_OK);
	MUST(available() == 0);
	MUST(stream_flush(stream) == STREAM_OK);
	MUST(available() == 5);
	MUST(stream_flush(stream) == STREAM_OK);
	MUST(available() == 5);
}

static void
output_gathers_until_flush(void **state UNUSED)
{
	run(write_gathered, NULL);
}

static void
read_peer_slowly(void *arg)
{
	struct stream *s = stream_new(dup(peer));
	const char *text = arg;
	size_t got = 0;

	while (got < BIG) {
		struct span bytes;

		MUST(stream_peek(s, &bytes) == STREAM_OK);
		MUST(memcmp(bytes.ptr, text + got, bytes.len) == 0);
		got += bytes.len;
		stream_consume(s, bytes.len);
		MUST(task_yield() == TASK_READY);
	}
	stream_free(&s);
}

static void
write_pieces(void *arg UNUSED)
{
	char *text = big_text(333);
	size_t sent = 0;

	MUST(task_start("reader", read_peer_slowly, text) != NULL);
	for (size_t piece = 1; sent < BIG; sent += piece, piece = piece * 3 + 1) {
		piece = MIN(piece, BIG - sent);
		MUST(stream_write(stream, text + sent, piece) == STREAM_OK);
	}
	MUST(stream_flush(stream) == STREAM_OK);
	while (task_count() > 1)
		pause_for(1000);
	mem_free(text);
}

static void
pieces_arrive_in_order(void **state UNUSED)
{
	run(write_pieces, NULL);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static void
wait_for_nothing(void *arg UNUSED)
{
	char *text = big_text(1000);
	struct span line;

	stream_set_deadline(stream, clock_deadline(SOON));
	MUST(stream_read_line(stream, 10, &line, NULL) == STREAM_TIMEOUT);
	MUST(stream_peek(stream, &line) == STREAM_TIMEOUT);
	MUST(stream_read_full(stream, text, BIG) == STREAM_TIMEOUT);
	/* nobody reads */
	stream_set_deadline(stream, clock_deadline(SOON));
	MUST(stream_write(stream, text, BIG) == STREAM_TIMEOUT);
	mem_free(text);
}

static void
deadlines_end_waits(void **state UNUSED)
{
	run(wait_for_nothing, NULL);
}

static void
wait_cancelled(void *arg)
{
	struct span line;
	char c;

	MUST(stream_read_line(stream, 10, &line, NULL) == STREAM_CANCELLED);
	put("late\n");
	MUST(stream_read_line(stream, 10, &line, NULL) == STREAM_CANCELLED);
	MUST(stream_peek(stream, &line) == STREAM_CANCELLED);
	MUST(stream_read_full(stream, &c, 1) == STREAM_CANCELLED);
	/* a farewell goes out as long as nobody has to wait for it */
	MUST(stream_printf(stream, "421 bye\r\n") == STREAM_OK);
	MUST(stream_flush(stream) == STREAM_OK);
	MUST(available() == 9);
	MUST(stream_write(stream, arg, BIG) == STREAM_CANCELLED);
}

static void
cancel_waits(void *arg UNUSED)
{
	char *text = big_text(1000);
	struct task *t = task_start("reader", wait_cancelled, text);

	pause_for(SOON);
	task_cancel(t);
	while (task_count() > 1)
		pause_for(1000);
	mem_free(text);
}

static void
waits_can_be_cancelled(void **state UNUSED)
{
	run(cancel_waits, NULL);
}

/* ---- idleness -------------------------------------------------------------------------------------------------- */

#define STREAMS 200

static struct stream *many[STREAMS];
static int many_peers[STREAMS];

static void
talk_and_idle(void *arg)
{
	size_t i = (size_t)(struct stream **)arg - (size_t)many;
	struct stream *s = many[i / sizeof(many[0])];
	struct span line;

	MUST(stream_read_line(s, 100, &line, NULL) == STREAM_OK);
	MUST(stream_printf(s, "250 ok\r\n") == STREAM_OK && stream_flush(s) == STREAM_OK);
	MUST(stream_read_line(s, 100, &line, NULL) == STREAM_EOF);
}

static size_t
heap_in_use(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void
idle_many(void *arg)
{
	size_t before = heap_in_use();

	for (size_t i = 0; i < STREAMS; i++)
		MUST(task_start("idle", talk_and_idle, &many[i]) != NULL);
	for (size_t i = 0; i < STREAMS; i++)
		MUST(send(many_peers[i], "hi\r\n", 4, 0) == 4);
	pause_for(SOON);
	*(size_t *)arg = heap_in_use() - before;
	for (size_t i = 0; i < STREAMS; i++)
		MUST(shutdown(many_peers[i], SHUT_WR) == 0);
}

/* Stream, descriptor and task of an idle session, buffers freed. */
static void
idle_streams_are_small(void **state UNUSED)
{
	size_t grown = 0;

	for (size_t i = 0; i < STREAMS; i++) {
		int ends[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
		many[i] = stream_new(ends[0]);
		many_peers[i] = ends[1];
	}
	run(idle_many, &grown);
	for (size_t i = 0; i < STREAMS; i++) {
		stream_free(&many[i]);
		(void)close(many_peers[i]);
	}
	assert_true(grown / STREAMS < 1500);
}

static void
results_have_words(void **state UNUSED)
{
	assert_string_equal(stream_result_text(STREAM_EOF), "lost connection");
	assert_string_equal(stream_result_text(STREAM_TIMEOUT), "timeout");
	assert_null(stream_tls(stream));
	assert_true(stream_fd(stream) >= 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f)   cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define TCP(f) cmocka_unit_test_setup_teardown(f, set_up_tcp, tear_down)
	    T(lines_end_in_lf_or_crlf),
	    T(lines_have_a_limit),
	    T(lines_arrive_byte_by_byte),
	    T(many_lines_in_a_row),
	    T(a_line_longer_than_the_buffer),
	    T(peek_consumes_nothing),
	    T(peek_takes_large_pieces),
	    T(reads_exactly_what_is_asked),
	    T(the_end_comes_after_the_data),
	    TCP(the_end_comes_after_the_data),
	    TCP(a_reset_is_noticed),
	    TCP(a_reset_ends_the_wait),
	    TCP(writing_to_nobody_fails),
	    T(output_gathers_until_flush),
	    T(pieces_arrive_in_order),
	    TCP(pieces_arrive_in_order),
	    T(deadlines_end_waits),
	    T(waits_can_be_cancelled),
	    T(idle_streams_are_small),
	    T(results_have_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
