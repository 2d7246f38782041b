/*
 * test_task.c - tasks among themselves: order, waiting, deadlines, cancellation, meeting points. What must hold inside a
 * task is checked with MUST(): cmocka's assertions jump, and cannot jump from one stack to another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "task/task.h"

#define SOON  (5 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)

/* A literal that may be passed as void *; lives as long as its block. */
#define WORD(s) ((char[]){s})

static struct buf trace;

static int
set_up(void **state UNUSED)
{
	task_init(NULL);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	task_done();
	buf_done(&trace);
	return 0;
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
	assert_int_equal(task_count(), 0);
}

/* ---- order ----------------------------------------------------------------------------------------------------- */

static void
say(const char *word)
{
	buf_add_str(&trace, word);
}

static void
say_it(void *arg)
{
	say(arg);
}

static void
say_twice(void *arg)
{
	say(arg);
	MUST(task_yield() == TASK_READY);
	say(arg);
}

static char word_b[] = "b", word_c[] = "c";

static void
start_nested(void *arg UNUSED)
{
	say("a");
	MUST(task_start("b", say_twice, word_b) != NULL);
	MUST(task_start("c", say_twice, word_c) != NULL);
	MUST(task_count() == 3);
	say("A");
}

static void
started_tasks_run_in_order(void **state UNUSED)
{
	run(start_nested, NULL);
	assert_string_equal(buf_str(&trace), "aAbcbc");
}

static void
start_deeper(void *arg)
{
	size_t *left = arg;

	if (--*left > 0)
		MUST(task_start("deeper", start_deeper, left) != NULL);
}

static void
tasks_start_tasks(void **state UNUSED)
{
	size_t left = 1000;

	run(start_deeper, &left);
	assert_int_equal(left, 0);
}

static void
name_myself(void *arg UNUSED)
{
	MUST(strcmp(task_name(task_self()), "test") == 0);
}

static void
a_task_knows_itself(void **state UNUSED)
{
	assert_null(task_self());
	run(name_myself, NULL);
	assert_null(task_self());
}

static void
the_limit_holds(void **state UNUSED)
{
	struct task_settings settings = {.task_limit = 3};
	size_t left = 1;

	task_done();
	task_init(&settings);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++)
			assert_non_null(task_start("few", say_it, word_b));
		assert_null(task_start("one too many", start_deeper, &left));
		task_run();
	}
	assert_string_equal(buf_str(&trace), "bbbbbb");
	assert_int_equal(left, 1);
}

static void
change_errno(void *arg)
{
	for (int i = 0; i < 10; i++) {
		errno = *(int *)arg;
		MUST(task_yield() == TASK_READY);
		MUST(errno == *(int *)arg);
		MUST(task_sleep_until(0) == TASK_TIMEOUT);
		MUST(errno == *(int *)arg);
	}
}

static void
errno_is_kept(void **state UNUSED)
{
	int a = ENOENT, b = EPIPE;

	assert_non_null(task_start("a", change_errno, &a));
	run(change_errno, &b);
}

/* Rounding and precision of one task are not another's. */
static void
divide(void *arg)
{
	double d = *(double *)arg, sum = 0;

	for (int i = 1; i < 100; i++) {
		sum += d / i;
		MUST(task_yield() == TASK_READY);
	}
	*(double *)arg = sum;
}

static void
registers_are_kept(void **state UNUSED)
{
	double a = 1, b = 1;

	assert_non_null(task_start("a", divide, &a));
	run(divide, &b);
	assert_true(a == b && a > 5.17 && a < 5.18);
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

struct sleep {
	int64_t length;
	int64_t woken_after;
};

static void
sleep_once(void *arg)
{
	struct sleep *s = arg;
	int64_t begin = clock_mono_us();

	MUST(task_sleep_until(begin + s->length) == TASK_TIMEOUT);
	s->woken_after = clock_mono_us() - begin;
}

static void
deadlines_are_kept(void **state UNUSED)
{
	struct sleep sleeps[] = {{.length = 30000}, {.length = 0}, {.length = 500},
	    {.length = 11000}, {.length = -5}, {.length = 20000}, {.length = 10900}};

	for (size_t i = 0; i < ARRAY_LEN(sleeps); i++)
		assert_non_null(task_start("sleep", sleep_once, &sleeps[i]));
	task_run();
	for (size_t i = 0; i < ARRAY_LEN(sleeps); i++) {
		assert_true(sleeps[i].woken_after >= sleeps[i].length);
		/* the machine may be busy */
		assert_true(sleeps[i].woken_after < sleeps[i].length + LATER);
	}
	assert_true(sleeps[3].woken_after <= sleeps[0].woken_after);
}

/* The timer of an earlier, nearer deadline is still in the heap when the later wait begins. */
static void
wait_near_then_far(void *arg)
{
	struct task_cond *c = arg;
	int64_t begin = clock_mono_us();

	MUST(task_cond_wait(c, begin + 200 * CLOCK_MILLI) == TASK_READY);
	MUST(task_cond_wait(c, begin + 300 * CLOCK_MILLI) == TASK_TIMEOUT);
	MUST(clock_mono_us() >= begin + 300 * CLOCK_MILLI);
	/* and now nearer than what the heap has */
	begin = clock_mono_us();
	MUST(task_cond_wait(c, begin + LATER) == TASK_READY);
	MUST(task_cond_wait(c, begin + SOON) == TASK_TIMEOUT);
	MUST(clock_mono_us() < begin + LATER);
}

static void
wake_twice(void *arg)
{
	struct task_cond *c = arg;

	task_cond_wake_one(c);
	MUST(task_sleep_until(clock_deadline(400 * CLOCK_MILLI)) == TASK_TIMEOUT);
	task_cond_wake_one(c);
}

static void
deadlines_move_both_ways(void **state UNUSED)
{
	struct task_cond c = {0};

	assert_non_null(task_start("wait", wait_near_then_far, &c));
	run(wake_twice, &c);
}

static void
note_timer(void *arg)
{
	buf_add_char(&trace, *(const char *)arg);
}

static void
use_timers(void *arg UNUSED)
{
	int64_t now = clock_mono_us();
	struct task_timer t[] = {{.fn = note_timer, .arg = WORD("0")},
	    {.fn = note_timer, .arg = WORD("1")}, {.fn = note_timer, .arg = WORD("2")},
	    {.fn = note_timer, .arg = WORD("3")}};

	task_timer_arm(&t[3], now + 9000);
	task_timer_arm(&t[1], now + 60 * CLOCK_SECOND);
	task_timer_arm(&t[0], now + 6000);
	task_timer_arm(&t[2], now + 1000);
	task_timer_arm(&t[1], now + 7000);
	task_timer_disarm(&t[2]);
	task_timer_disarm(&t[2]);
	MUST(task_sleep_until(now + 20000) == TASK_TIMEOUT);
}

static void
timers_fire_in_order(void **state UNUSED)
{
	run(use_timers, NULL);
	assert_string_equal(buf_str(&trace), "013");
}

#define MANY_TIMERS 500

static int64_t last_fired;
static size_t fired;

static void
check_order(void *arg)
{
	struct task_timer *t = arg;

	MUST(t->deadline >= last_fired && t->heap_index == 0);
	last_fired = t->deadline;
	fired++;
}

/* Arms, moves and disarms many timers in a pseudo-random way; the heap must stay a heap. */
static void
shuffle_timers(void *arg UNUSED)
{
	struct task_timer *timers = mem_zalloc(MANY_TIMERS * sizeof(*timers));
	int64_t now = clock_mono_us();
	uint32_t dice = 12345;
	size_t armed = 0;

	for (size_t i = 0; i < 20 * MANY_TIMERS; i++) {
		struct task_timer *t = &timers[(dice >> 8) % MANY_TIMERS];

		dice = dice * 1664525u + 1013904223u;
		t->fn = check_order;
		t->arg = t;
		if (dice >> 30 == 0)
			task_timer_disarm(t);
		else
			task_timer_arm(t, now + SOON + (int64_t)(dice >> 12) % 5000);
	}
	for (size_t i = 0; i < MANY_TIMERS; i++)
		armed += timers[i].heap_index != 0;
	MUST(task_sleep_until(now + 100 * CLOCK_MILLI) == TASK_TIMEOUT);
	MUST(fired == armed && armed > MANY_TIMERS / 2);
	mem_free(timers);
}

static void
the_heap_stays_a_heap(void **state UNUSED)
{
	last_fired = 0;
	fired = 0;
	run(shuffle_timers, NULL);
}

/* ---- conditions ------------------------------------------------------------------------------------------------ */

struct meeting {
	struct task_cond cond;
	int64_t deadline;
	enum task_wait expect;
	const char *word;
};

static void
wait_and_say(void *arg)
{
	struct meeting *m = arg;

	MUST(task_cond_wait(&m->cond, m->deadline) == m->expect);
	say("x");
}

static void
wait_in_line(void *arg)
{
	struct task_cond *c = arg;
	char digit = (char)('0' + trace.len);

	buf_add_char(&trace, digit);
	MUST(task_cond_wait(c, clock_deadline(LATER)) == TASK_READY);
	buf_add_char(&trace, digit);
}

static void
wake_in_line(void *arg)
{
	struct task_cond *c = arg;

	for (int i = 0; i < 3; i++)
		MUST(task_start("line", wait_in_line, c) != NULL);
	MUST(task_yield() == TASK_READY);
	MUST(task_cond_has_waiters(c));
	task_cond_wake_one(c);
	MUST(task_yield() == TASK_READY);
	MUST(strcmp(buf_str(&trace), "0120") == 0);
	task_cond_wake_all(c);
	MUST(!task_cond_has_waiters(c));
	MUST(task_yield() == TASK_READY);
}

static void
conditions_wake_in_order(void **state UNUSED)
{
	struct task_cond c = {0};

	run(wake_in_line, &c);
	assert_string_equal(buf_str(&trace), "012012");
}

static void
nobody_wakes_a_lost_wake_up(void **state UNUSED)
{
	struct meeting m = {.deadline = 0, .expect = TASK_TIMEOUT};

	task_cond_wake_one(&m.cond);
	task_cond_wake_all(&m.cond);
	run(wait_and_say, &m);
	assert_false(task_cond_has_waiters(&m.cond));
}

/* One in the middle of the queue times out; the others are still found. */
static void
wake_around_a_gap(void *arg)
{
	struct task_cond *c = arg;
	struct task *t;

	for (int i = 0; i < 3; i++)
		MUST((t = task_start("line", wait_in_line, c)) != NULL);
	MUST(task_yield() == TASK_READY);
	MUST(task_cond_wait(c, clock_deadline(SOON)) == TASK_TIMEOUT);
	task_cond_wake_all(c);
}

static void
a_timeout_leaves_the_queue_whole(void **state UNUSED)
{
	struct task_cond c = {0};

	run(wake_around_a_gap, &c);
	assert_string_equal(buf_str(&trace), "012012");
}

/* ---- locks ----------------------------------------------------------------------------------------------------- */

static struct task_lock lock;
static int inside;

static void
take_in_turn(void *arg)
{
	for (int i = 0; i < 3; i++) {
		MUST(task_lock_take(&lock, CLOCK_NEVER) == TASK_READY);
		MUST(inside++ == 0);
		say(arg);
		MUST(task_yield() == TASK_READY);
		MUST(--inside == 0);
		task_lock_give(&lock);
	}
}

static void
locks_are_fair(void **state UNUSED)
{
	assert_non_null(task_start("a", take_in_turn, WORD("a")));
	assert_non_null(task_start("b", take_in_turn, WORD("b")));
	run(take_in_turn, WORD("c"));
	assert_string_equal(buf_str(&trace), "abcabcabc");
	assert_null(lock.owner);
}

static void
fail_to_take(void *arg)
{
	*(enum task_wait *)arg = task_lock_take(&lock, clock_deadline(SOON));
}

static void
hold_too_long(void *arg)
{
	struct task *t;
	enum task_wait late = TASK_READY;

	MUST(task_lock_take(&lock, CLOCK_NEVER) == TASK_READY);
	MUST(task_start("late", fail_to_take, arg) != NULL);
	t = task_start("cancelled", fail_to_take, &late);
	MUST(task_yield() == TASK_READY);
	task_cancel(t);
	MUST(task_sleep_until(clock_deadline(4 * SOON)) == TASK_TIMEOUT);
	MUST(late == TASK_CANCELLED);
	task_lock_give(&lock);
	MUST(lock.owner == NULL);
}

static void
a_lock_wait_may_fail(void **state UNUSED)
{
	enum task_wait r = TASK_READY;

	run(hold_too_long, &r);
	assert_int_equal(r, TASK_TIMEOUT);
}

/* ---- channels -------------------------------------------------------------------------------------------------- */

static int numbers[100];

static void
send_numbers(void *arg)
{
	struct task_chan *c = arg;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		numbers[i] = (int)i;
		MUST(task_chan_send(c, &numbers[i], CLOCK_NEVER) == TASK_READY);
		MUST(task_chan_count(c) <= 7);
	}
	task_chan_close(c);
}

static void
receive_numbers(void *arg)
{
	struct task_chan *c = arg;
	void *item;

	for (int i = 0; i < (int)ARRAY_LEN(numbers); i++) {
		MUST(task_chan_receive(c, &item, CLOCK_NEVER) == TASK_READY);
		MUST(*(int *)item == i);
	}
	MUST(task_chan_receive(c, &item, CLOCK_NEVER) == TASK_CANCELLED);
	MUST(!task_is_cancelled());
	say("all");
}

static void
channels_keep_order(void **state UNUSED)
{
	struct task_chan *c = task_chan_new(7);

	assert_non_null(task_start("send", send_numbers, c));
	run(receive_numbers, c);
	assert_string_equal(buf_str(&trace), "all");
	task_chan_free(&c);
	assert_null(c);
	task_chan_free(&c);
}

static char item_1[] = "1", item_2[] = "2", item_3[] = "3", item_4[] = "4";

static void
fill_channel(void *arg)
{
	struct task_chan *c = arg;
	void *item = NULL;

	MUST(!task_chan_try_receive(c, &item));
	MUST(task_chan_receive(c, &item, clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(task_chan_try_send(c, item_1) && task_chan_try_send(c, item_2) &&
	     !task_chan_try_send(c, item_3));
	MUST(task_chan_send(c, item_3, clock_deadline(SOON)) == TASK_TIMEOUT);
	task_chan_close(c);
	MUST(!task_chan_try_send(c, item_4));
	MUST(task_chan_send(c, item_4, CLOCK_NEVER) == TASK_CANCELLED);
	/* What was sent before is still to be had. */
	MUST(task_chan_receive(c, &item, CLOCK_NEVER) == TASK_READY && strcmp(item, "1") == 0);
	MUST(task_chan_receive(c, &item, CLOCK_NEVER) == TASK_READY && strcmp(item, "2") == 0);
	MUST(task_chan_receive(c, &item, CLOCK_NEVER) == TASK_CANCELLED);
}

static void
channels_have_bounds(void **state UNUSED)
{
	struct task_chan *c = task_chan_new(2);

	run(fill_channel, c);
	task_chan_free(&c);
}

static void
receive_nothing(void *arg)
{
	void *item;

	MUST(task_chan_receive(arg, &item, CLOCK_NEVER) == TASK_CANCELLED);
	say("woken");
}

static void
close_on_waiters(void *arg)
{
	MUST(task_start("r", receive_nothing, arg) != NULL);
	MUST(task_start("r", receive_nothing, arg) != NULL);
	MUST(task_yield() == TASK_READY);
	task_chan_close(arg);
}

static void
closing_wakes_receivers(void **state UNUSED)
{
	struct task_chan *c = task_chan_new(1);

	run(close_on_waiters, c);
	assert_string_equal(buf_str(&trace), "wokenwoken");
	task_chan_free(&c);
}

/* ---- groups ---------------------------------------------------------------------------------------------------- */

static void
wait_for_group(void *arg UNUSED)
{
	struct task_group g = {0};
	struct sleep sleeps[] = {{.length = SOON}, {.length = 4 * SOON}, {.length = 0}};

	MUST(task_group_wait(&g, CLOCK_NEVER) == TASK_READY);
	for (size_t i = 0; i < ARRAY_LEN(sleeps); i++)
		MUST(task_group_start(&g, "member", sleep_once, &sleeps[i]) != NULL);
	MUST(g.alive == 3);
	MUST(task_group_wait(&g, clock_deadline(2 * SOON)) == TASK_TIMEOUT);
	MUST(task_group_wait(&g, CLOCK_NEVER) == TASK_READY);
	MUST(g.alive == 0 && sleeps[1].woken_after >= 4 * SOON);
}

static void
groups_end_together(void **state UNUSED)
{
	run(wait_for_group, NULL);
}

/* ---- cancelling ------------------------------------------------------------------------------------------------ */

struct cancel_case {
	const char *name;
	enum task_wait (*wait)(void);
};

static struct task_cond never_woken;
static struct task_lock never_free;
static struct task_chan *never_used;
static struct task_group never_empty;

static enum task_wait
wait_sleep(void)
{
	return task_sleep_until(clock_deadline(LATER));
}

static enum task_wait
wait_cond(void)
{
	return task_cond_wait(&never_woken, CLOCK_NEVER);
}

static enum task_wait
wait_lock(void)
{
	return task_lock_take(&never_free, CLOCK_NEVER);
}

static enum task_wait
wait_receive(void)
{
	void *item;

	return task_chan_receive(never_used, &item, CLOCK_NEVER);
}

static enum task_wait
wait_send(void)
{
	while (task_chan_try_send(never_used, NULL))
		continue;
	return task_chan_send(never_used, NULL, CLOCK_NEVER);
}

static enum task_wait
wait_group(void)
{
	return task_group_wait(&never_empty, CLOCK_NEVER);
}

static const struct cancel_case cancel_cases[] = {
    {"sleep", wait_sleep},
    {"cond", wait_cond},
    {"lock", wait_lock},
    {"receive", wait_receive},
    {"send", wait_send},
    {"group", wait_group},
};

static void
wait_in_vain(void *arg)
{
	const struct cancel_case *c = arg;

	MUST(c->wait() == TASK_CANCELLED);
	MUST(task_is_cancelled());
	/* each further wait, of whatever kind, at once */
	for (size_t i = 0; i < ARRAY_LEN(cancel_cases); i++)
		MUST(cancel_cases[i].wait() == TASK_CANCELLED);
	MUST(task_yield() == TASK_CANCELLED);
	say("c");
}

static void
cancel_each(void *arg UNUSED)
{
	for (size_t i = 0; i < ARRAY_LEN(cancel_cases); i++) {
		struct cancel_case c = cancel_cases[i];
		struct task *t;

		never_used = task_chan_new(1);
		t = task_start(c.name, wait_in_vain, &c);
		MUST(task_yield() == TASK_READY);
		task_cancel(t);
		task_cancel(t);
		while (task_count() > 1)
			MUST(task_yield() == TASK_READY);
		task_chan_free(&never_used);
	}
	MUST(!task_cond_has_waiters(&never_woken));
}

static void
every_wait_can_be_cancelled(void **state UNUSED)
{
	never_free.owner = (struct task *)&never_free;
	never_empty.alive = 1;
	run(cancel_each, NULL);
	assert_int_equal(trace.len, ARRAY_LEN(cancel_cases));
}

static void
cancelled_before_it_ran(void **state UNUSED)
{
	struct task *t = task_start("early", wait_in_vain, (void *)(uintptr_t)&cancel_cases[0]);

	never_used = task_chan_new(1);
	task_cancel(t);
	task_run();
	assert_string_equal(buf_str(&trace), "c");
	task_chan_free(&never_used);
}

/* The wake-up came first: it counts, and the cancellation is seen by the next wait. */
static void
woken_then_cancelled(void *arg)
{
	MUST(task_cond_wait(arg, CLOCK_NEVER) == TASK_READY);
	MUST(task_cond_wait(arg, CLOCK_NEVER) == TASK_CANCELLED);
}

static void
wake_then_cancel(void *arg)
{
	struct task *t = task_start("t", woken_then_cancelled, arg);

	MUST(task_yield() == TASK_READY);
	task_cond_wake_one(arg);
	task_cancel(t);
	MUST(task_yield() == TASK_READY);
}

static void
a_wait_ends_in_one_way(void **state UNUSED)
{
	struct task_cond c = {0};

	run(wake_then_cancel, &c);
	assert_false(task_cond_has_waiters(&c));
}

static void
shielded(void *arg)
{
	MUST(task_sleep_until(CLOCK_NEVER) == TASK_CANCELLED);
	task_shield(true);
	MUST(!task_is_cancelled());
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	task_shield(true);
	task_shield(false);
	MUST(task_cond_wait(arg, CLOCK_NEVER) == TASK_READY);
	task_shield(false);
	MUST(task_is_cancelled());
	MUST(task_cond_wait(arg, CLOCK_NEVER) == TASK_CANCELLED);
}

static void
cancel_shielded(void *arg)
{
	struct task *t = task_start("t", shielded, arg);

	MUST(task_yield() == TASK_READY);
	task_cancel(t);
	MUST(task_sleep_until(clock_deadline(4 * SOON)) == TASK_TIMEOUT);
	/* once more, while the shield is up and it waits */
	task_cancel(t);
	MUST(task_yield() == TASK_READY && task_count() == 2);
	task_cond_wake_one(arg);
	MUST(task_yield() == TASK_READY);
}

static void
a_shield_lifts_the_cancellation(void **state UNUSED)
{
	struct task_cond c = {0};

	run(cancel_shielded, &c);
}

/* ---- stopping -------------------------------------------------------------------------------------------------- */

static void
sleep_until_cancelled(void *arg UNUSED)
{
	MUST(task_sleep_until(CLOCK_NEVER) == TASK_CANCELLED);
	say("s");
}

static void
stop_all(void *arg UNUSED)
{
	task_stop(LATER);
	MUST(task_is_cancelled());
	/* one started now is cancelled from the start */
	MUST(task_start("late", sleep_until_cancelled, NULL) != NULL);
}

static void
stop_ends_every_task(void **state UNUSED)
{
	for (int i = 0; i < 3; i++)
		assert_non_null(task_start("s", sleep_until_cancelled, NULL));
	run(stop_all, NULL);
	assert_string_equal(buf_str(&trace), "ssss");
	/* and the loop can be used again */
	run(say_it, WORD("again"));
}

static struct task_cond release;

static void
refuse_to_end(void *arg UNUSED)
{
	task_shield(true);
	MUST(task_cond_wait(&release, CLOCK_NEVER) == TASK_READY);
	say("at last");
}

static void
stop_soon(void *arg UNUSED)
{
	task_stop(20 * CLOCK_MILLI);
}

static void
stop_waits_for_the_grace(void **state UNUSED)
{
	int64_t begin = clock_mono_us();

	assert_non_null(task_start("stubborn", refuse_to_end, NULL));
	assert_non_null(task_start("stop", stop_soon, NULL));
	task_run();
	assert_int_equal(task_count(), 1);
	assert_true(clock_mono_us() - begin >= 20 * CLOCK_MILLI);
	task_cond_wake_all(&release);
	task_run();
	assert_int_equal(task_count(), 0);
	assert_string_equal(buf_str(&trace), "at last");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(started_tasks_run_in_order),
	    T(tasks_start_tasks),
	    T(a_task_knows_itself),
	    T(the_limit_holds),
	    T(errno_is_kept),
	    T(registers_are_kept),
	    T(deadlines_are_kept),
	    T(deadlines_move_both_ways),
	    T(timers_fire_in_order),
	    T(the_heap_stays_a_heap),
	    T(conditions_wake_in_order),
	    T(nobody_wakes_a_lost_wake_up),
	    T(a_timeout_leaves_the_queue_whole),
	    T(locks_are_fair),
	    T(a_lock_wait_may_fail),
	    T(channels_keep_order),
	    T(channels_have_bounds),
	    T(closing_wakes_receivers),
	    T(groups_end_together),
	    T(every_wait_can_be_cancelled),
	    T(cancelled_before_it_ran),
	    T(a_wait_ends_in_one_way),
	    T(a_shield_lifts_the_cancellation),
	    T(stop_ends_every_task),
	    T(stop_waits_for_the_grace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
