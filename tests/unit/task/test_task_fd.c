/*
 * test_task_fd.c - waiting for descriptors: edges that come before, during and without a wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "task/task.h"

#define SOON  (5 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)

static int ends[2];           /* a connected pair, non-blocking */
static struct task_fd *watch; /* of ends[0] */
static char junk[65536];

static int
set_up(void **state UNUSED)
{
	task_init(NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	watch = task_fd_new(ends[0]);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	task_fd_free(&watch);
	assert_null(watch);
	task_fd_free(&watch);
	(void)close(ends[0]);
	(void)close(ends[1]);
	task_done();
	return 0;
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
}

static enum task_wait
wait_read(int64_t us)
{
	return task_fd_wait_read(watch, clock_deadline(us));
}

/* Reads until EAGAIN; the number of bytes, or -1 at the end. */
static ssize_t
drain(int fd)
{
	ssize_t n, sum = 0;

	while ((n = read(fd, junk, sizeof(junk))) > 0)
		sum += n;
	MUST(n == 0 || errno == EAGAIN);
	return n == 0 ? -1 : sum;
}

static void
fill_up(int fd)
{
	while (write(fd, junk, sizeof(junk)) > 0)
		continue;
	MUST(errno == EAGAIN);
}

static void
put(const char *text)
{
	MUST(write(ends[1], text, strlen(text)) == (ssize_t)strlen(text));
}

static void
put_soon(void *arg)
{
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	put(arg);
}

static char word[] = "hello";

static void
read_during(void *arg UNUSED)
{
	MUST(task_start("put", put_soon, word) != NULL);
	MUST(wait_read(LATER) == TASK_READY);
	MUST(drain(ends[0]) == 5);
	MUST(wait_read(SOON) == TASK_TIMEOUT);
}

static void
an_edge_during_the_wait(void **state UNUSED)
{
	run(read_during, NULL);
}

static void
read_before(void *arg UNUSED)
{
	put("x");
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(wait_read(LATER) == TASK_READY);
	MUST(drain(ends[0]) == 1);
	/* one edge, one wake-up */
	MUST(wait_read(SOON) == TASK_TIMEOUT);
	put("y");
	MUST(wait_read(LATER) == TASK_READY);
}

static void
an_edge_before_the_wait_is_kept(void **state UNUSED)
{
	run(read_before, NULL);
}

static struct task_stats
stats(void)
{
	struct task_stats s;

	task_stats_get(&s);
	return s;
}

static void
read_ready(void *arg UNUSED)
{
	uint64_t before;

	put("x");
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	before = stats().switches;
	MUST(wait_read(LATER) == TASK_READY);
	MUST(stats().switches == before);
}

static void
a_ready_wait_does_not_switch(void **state UNUSED)
{
	run(read_ready, NULL);
}

static void
read_cancelled(void *arg UNUSED)
{
	MUST(wait_read(LATER) == TASK_CANCELLED);
	put("x");
	MUST(wait_read(LATER) == TASK_CANCELLED);
	MUST(task_fd_wait_write(watch, CLOCK_NEVER) == TASK_CANCELLED);
	MUST(task_fd_wait_any(watch, CLOCK_NEVER) == TASK_CANCELLED);
	task_shield(true);
	MUST(wait_read(LATER) == TASK_READY);
}

static void
cancel_reader(void *arg UNUSED)
{
	struct task *t = task_start("reader", read_cancelled, NULL);

	MUST(task_yield() == TASK_READY);
	task_cancel(t);
}

static void
waits_can_be_cancelled(void **state UNUSED)
{
	run(cancel_reader, NULL);
}

static void
drain_soon(void *arg UNUSED)
{
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(drain(ends[1]) > 0);
}

static void
write_full(void *arg UNUSED)
{
	for (int round = 0; round < 3; round++) {
		fill_up(ends[0]);
		/* an edge may be left from the time before; then it is full again */
		while (task_fd_wait_write(watch, clock_deadline(SOON)) == TASK_READY)
			fill_up(ends[0]);
		MUST(task_start("drain", drain_soon, NULL) != NULL);
		MUST(task_fd_wait_write(watch, clock_deadline(LATER)) == TASK_READY);
		MUST(write(ends[0], "x", 1) == 1);
		/* edges that nobody waits for, and the interest in them is gone */
		MUST(drain(ends[1]) > 0);
		MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	}
}

static void
writers_wait_for_room(void **state UNUSED)
{
	run(write_full, NULL);
}

static void
write_until_room(void *arg)
{
	fill_up(ends[0]);
	while (task_fd_wait_write(watch, clock_deadline(LATER)) == TASK_READY)
		if (write(ends[0], "x", 1) == 1)
			break;
	*(bool *)arg = true;
}

static void
read_while_writing(void *arg UNUSED)
{
	bool written = false;

	MUST(task_start("writer", write_until_room, &written) != NULL);
	MUST(task_yield() == TASK_READY);
	MUST(wait_read(SOON) == TASK_TIMEOUT);
	put("x");
	MUST(wait_read(LATER) == TASK_READY);
	MUST(drain(ends[0]) == 1 && !written);
	MUST(drain(ends[1]) > 0);
	/* each wait lets the writer go on */
	for (int i = 0; i < 1000 && !written; i++)
		(void)wait_read(SOON);
	MUST(written);
}

static void
one_reads_while_one_writes(void **state UNUSED)
{
	run(read_while_writing, NULL);
}

static void
wait_any(void *arg UNUSED)
{
	/* there is room: at once */
	MUST(task_fd_wait_any(watch, clock_deadline(LATER)) == TASK_READY);
	fill_up(ends[0]);
	while (task_fd_wait_any(watch, clock_deadline(SOON)) == TASK_READY)
		fill_up(ends[0]);
	put("x");
	MUST(task_fd_wait_any(watch, clock_deadline(LATER)) == TASK_READY);
	MUST(drain(ends[0]) == 1);
	MUST(task_start("drain", drain_soon, NULL) != NULL);
	MUST(task_fd_wait_any(watch, clock_deadline(LATER)) == TASK_READY);
}

static void
any_is_either(void **state UNUSED)
{
	run(wait_any, NULL);
}

/* The edge of the end is spent before the last data are read: it must not be lost. */
static void
read_to_the_end(void *arg UNUSED)
{
	put("bye");
	MUST(shutdown(ends[1], SHUT_WR) == 0);
	MUST(wait_read(LATER) == TASK_READY);
	MUST(read(ends[0], junk, sizeof(junk)) == 3);
	MUST(wait_read(LATER) == TASK_READY);
	MUST(drain(ends[0]) == -1);
}

static void
the_end_is_remembered(void **state UNUSED)
{
	int64_t begin = clock_mono_us();

	run(read_to_the_end, NULL);
	assert_true(clock_mono_us() - begin < LATER);
}

static void
wait_for_file(void *arg)
{
	struct task_fd *f = task_fd_new(*(int *)arg);

	MUST(task_fd_wait_read(f, clock_deadline(LATER)) == TASK_READY);
	MUST(task_fd_wait_read(f, clock_deadline(LATER)) == TASK_READY);
	MUST(task_fd_wait_write(f, clock_deadline(LATER)) == TASK_READY);
	MUST(task_fd_wait_write(f, clock_deadline(LATER)) == TASK_READY);
	task_fd_free(&f);
}

static void
a_file_is_always_ready(void **state UNUSED)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	run(wait_for_file, &fd);
	(void)close(fd);
}

/* The number of a closed descriptor comes back with the next one. */
static void
reuse_number(void *arg UNUSED)
{
	for (int i = 0; i < 100; i++) {
		int pair[2];
		struct task_fd *f;

		MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
		f = task_fd_new(pair[0]);
		MUST(write(pair[1], "x", 1) == 1);
		MUST(task_fd_wait_read(f, clock_deadline(LATER)) == TASK_READY);
		MUST(drain(pair[0]) == 1);
		task_fd_free(&f);
		(void)close(pair[0]);
		(void)close(pair[1]);
	}
}

static void
numbers_are_reused(void **state UNUSED)
{
	run(reuse_number, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(an_edge_during_the_wait),
	    T(an_edge_before_the_wait_is_kept),
	    T(a_ready_wait_does_not_switch),
	    T(waits_can_be_cancelled),
	    T(writers_wait_for_room),
	    T(one_reads_while_one_writes),
	    T(any_is_either),
	    T(the_end_is_remembered),
	    T(a_file_is_always_ready),
	    T(numbers_are_reused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
