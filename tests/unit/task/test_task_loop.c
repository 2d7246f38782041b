/*
 * test_task_loop.c - the loop: fairness, hooks, the log, the watchdog, and life after fork().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "task/task.h"

#define SOON  (5 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)

static int log_pipe[2]; /* keeps writes apart */
static struct buf trace;

static int
set_up_with(int64_t stall_report)
{
	struct task_settings settings = {.stall_report = stall_report};
	struct log_settings log = {.tag = "postfix/test", .host = "host"};

	assert_int_equal(pipe2(log_pipe, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
	log.fd = log_pipe[1];
	log_setup(&log);
	task_init(&settings);
	return 0;
}

/* No machine is too slow for the tests that look at the log. */
static int
set_up(void **state UNUSED)
{
	return set_up_with(60 * CLOCK_SECOND);
}

static int
set_up_watched(void **state UNUSED)
{
	return set_up_with(50 * CLOCK_MILLI);
}

static int
tear_down(void **state UNUSED)
{
	task_done();
	buf_done(&trace);
	log_reopen(-1);
	(void)close(log_pipe[0]);
	return 0;
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
}

/* What was written to the log in one go; the empty string if nothing was. */
static const char *
next_log_write(void)
{
	static char text[4096];
	ssize_t n = read(log_pipe[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* ---- fairness -------------------------------------------------------------------------------------------------- */

static bool done;

static void
yield_until_done(void *arg UNUSED)
{
	while (!done)
		MUST(task_yield() == TASK_READY);
}

static void
wait_readable(void *arg)
{
	struct task_fd *f = task_fd_new(*(int *)arg);

	MUST(task_fd_wait_read(f, clock_deadline(LATER)) == TASK_READY);
	task_fd_free(&f);
	done = true;
}

static void
busy_tasks_do_not_starve_descriptors(void **state UNUSED)
{
	int ends[2];

	done = false;
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_non_null(task_start("busy", yield_until_done, NULL));
	run(wait_readable, &ends[0]);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void
end_yielding(void *arg UNUSED)
{
	done = true;
}

static void
busy_tasks_do_not_starve_timers(void **state UNUSED)
{
	struct task_timer t = {.fn = end_yielding};

	done = false;
	task_timer_arm(&t, clock_deadline(SOON));
	run(yield_until_done, NULL);
	assert_int_equal(t.heap_index, 0);
}

/* ---- hooks ----------------------------------------------------------------------------------------------------- */

static struct task_cond from_hook;

static void
note_hook(void *arg)
{
	MUST(task_self() == NULL);
	buf_add_str(&trace, arg);
	task_cond_wake_all(&from_hook);
}

static char hook_word[] = "[hook]";
static struct task_hook hook = {.fn = note_hook, .arg = hook_word};

static void
work_and_hook(void *arg UNUSED)
{
	for (int i = 0; i < 3; i++) {
		buf_add_str(&trace, "w");
		task_hook_at_turn_end(&hook);
		MUST(task_yield() == TASK_READY);
	}
}

static void
wait_for_hook(void *arg UNUSED)
{
	MUST(task_cond_wait(&from_hook, clock_deadline(LATER)) == TASK_READY);
	buf_add_str(&trace, "woken");
	/* hooked up again, it runs again */
	task_hook_at_turn_end(&hook);
	MUST(task_cond_wait(&from_hook, clock_deadline(LATER)) == TASK_READY);
}

static void
hooks_run_once_after_the_tasks(void **state UNUSED)
{
	/* all rounds of a turn in no time */
	clock_fake(clock_mono_us(), -1);
	assert_non_null(task_start("wait", wait_for_hook, NULL));
	assert_non_null(task_start("work", work_and_hook, NULL));
	run(work_and_hook, NULL);
	clock_fake(-1, -1);
	assert_string_equal(buf_str(&trace), "wwwwww[hook]woken[hook]");
}

static int chained;

static void
hook_itself(void *arg)
{
	if (++chained < 3)
		task_hook_at_turn_end(arg);
}

static void
wait_for_chain(void *arg)
{
	task_hook_at_turn_end(arg);
	/* three turns of the loop, and some more */
	for (int i = 0; i < 5; i++)
		MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
}

static void
a_hook_may_hook(void **state UNUSED)
{
	struct task_hook h = {.fn = hook_itself, .arg = &h};

	run(wait_for_chain, &h);
	assert_int_equal(chained, 3);
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

static void
log_twice(void *arg UNUSED)
{
	log_info("one");
	log_info("two");
	MUST(strcmp(next_log_write(), "") == 0);
	/* asleep: now it must be written */
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(strstr(next_log_write(), "one\n") != NULL);
	MUST(strcmp(next_log_write(), "") == 0);
	log_info("three");
}

static void
a_turn_writes_its_log_once(void **state UNUSED)
{
	run(log_twice, NULL);
	assert_non_null(strstr(next_log_write(), "three\n"));
	log_info("four");
	assert_non_null(strstr(next_log_write(), "four\n"));
}

/* ---- the watchdog ---------------------------------------------------------------------------------------------- */

static void
work_for(int64_t us)
{
	int64_t end = clock_deadline(us);

	while (clock_mono_us() < end)
		continue;
}

static void
work_long(void *arg UNUSED)
{
	work_for(80 * CLOCK_MILLI);
}

static void
a_stall_is_reported_by_name(void **state UNUSED)
{
	struct task_stats before, after;
	const char *line;

	task_stats_get(&before);
	assert_non_null(task_start("slow-coach", work_long, NULL));
	assert_non_null(task_start("quick", end_yielding, NULL));
	task_run();
	task_stats_get(&after);
	assert_true(after.stalls > before.stalls);
	line = next_log_write();
	assert_non_null(strstr(line, "warning: event loop held up for "));
	assert_non_null(strstr(line, "slow-coach"));
}

static void
stall_in_timer(void *arg)
{
	struct task_timer t = {.fn = work_long, .arg = NULL};

	task_timer_arm(&t, 0);
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	*(bool *)arg = true;
}

static void
a_stall_outside_of_tasks_is_reported(void **state UNUSED)
{
	bool ran = false;

	run(stall_in_timer, &ran);
	assert_true(ran);
	assert_non_null(strstr(next_log_write(), "by timer"));
}

/* ---- fork ------------------------------------------------------------------------------------------------------ */

static void
read_one(void *arg)
{
	int *ends = arg;
	struct task_fd *f = task_fd_new(ends[0]);
	char c;

	while (read(ends[0], &c, 1) != 1)
		MUST(task_fd_wait_read(f, clock_deadline(LATER)) == TASK_READY);
	task_fd_free(&f);
	buf_add_char(&trace, c);
}

static void
write_one(void *arg)
{
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(write(((int *)arg)[1], "x", 1) == 1);
}

/* In the child, on the stack of one of the parent's tasks: a loop of its own, and the parent's descriptors let go. */
NO_RETURN static void
be_child(struct task_fd *parents)
{
	int ends[2];

	task_init(NULL);
	MUST(task_count() == 0);
	task_fd_free(&parents);
	MUST(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
	MUST(task_start("child", read_one, ends) != NULL);
	MUST(task_start("child", write_one, ends) != NULL);
	task_run();
	MUST(strcmp(buf_str(&trace), "x") == 0);
	task_done();
	_exit(42);
}

static void
fork_in_task(void *arg)
{
	int *ends = arg, status;
	struct task_fd *f = task_fd_new(ends[0]);
	struct task_timer t = {.fn = end_yielding};
	pid_t pid;

	task_timer_arm(&t, clock_deadline(4 * SOON));
	task_hook_at_turn_end(&hook);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		be_child(f);
	MUST(task_child_wait(pid, &status, clock_deadline(LATER)) == TASK_READY);
	MUST(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	/* the child took nothing out of our loop */
	MUST(write(ends[1], "y", 1) == 1);
	MUST(task_fd_wait_read(f, clock_deadline(LATER)) == TASK_READY);
	MUST(task_sleep_until(clock_deadline(4 * SOON)) == TASK_TIMEOUT);
	MUST(t.heap_index == 0);
	task_fd_free(&f);
}

static void
a_child_has_a_loop_of_its_own(void **state UNUSED)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	run(fork_in_task, ends);
	assert_string_equal(buf_str(&trace), "[hook]");
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* ---- stopping -------------------------------------------------------------------------------------------------- */

static void
stop_from_timer(void *arg UNUSED)
{
	task_stop(CLOCK_NEVER);
}

static void
sleep_for_ever(void *arg)
{
	*(enum task_wait *)arg = task_sleep_until(CLOCK_NEVER);
}

static void
the_loop_may_be_stopped_from_outside(void **state UNUSED)
{
	struct task_timer t = {.fn = stop_from_timer};
	enum task_wait r = TASK_READY;

	task_timer_arm(&t, clock_deadline(SOON));
	run(sleep_for_ever, &r);
	assert_int_equal(r, TASK_CANCELLED);
}

static struct task_cond bell;

static void
be_urgent(void *arg UNUSED)
{
	task_urgent();
	buf_add_str(&trace, task_cond_wait(&bell, CLOCK_NEVER) == TASK_READY ? "urgent" : "?");
}

static void
be_patient(void *arg)
{
	if (arg != NULL)
		task_cond_wake_all(&bell);
	buf_add_str(&trace, "p");
	MUST(task_yield() == TASK_READY);
	buf_add_str(&trace, "q");
}

static void
who_is_urgent_goes_first(void **state UNUSED)
{
	assert_non_null(task_start("urgent", be_urgent, NULL));
	assert_non_null(task_start("one", be_patient, NULL));
	assert_non_null(task_start("two", be_patient, &bell));
	assert_non_null(task_start("three", be_patient, NULL));
	task_run();
	assert_string_equal(buf_str(&trace), "ppurgentpqqq");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(busy_tasks_do_not_starve_descriptors),
	    T(busy_tasks_do_not_starve_timers),
	    T(who_is_urgent_goes_first),
	    T(hooks_run_once_after_the_tasks),
	    T(a_hook_may_hook),
	    T(a_turn_writes_its_log_once),
	    cmocka_unit_test_setup_teardown(a_stall_is_reported_by_name, set_up_watched, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_stall_outside_of_tasks_is_reported, set_up_watched, tear_down),
	    T(a_child_has_a_loop_of_its_own),
	    T(the_loop_may_be_stopped_from_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
