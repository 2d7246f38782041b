/*
 * test_task_signal.c - signals and children.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "task/task.h"

#define SOON  (5 * CLOCK_MILLI)
#define LATER (60 * CLOCK_SECOND)

static int arrived[64];
static struct task_cond some_arrived;

static int
set_up(void **state UNUSED)
{
	task_init(NULL);
	arrived[SIGUSR1] = arrived[SIGUSR2] = 0;
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	task_done();
	return 0;
}

static void
run(void (*fn)(void *arg), void *arg)
{
	assert_non_null(task_start("test", fn, arg));
	task_run();
}

/* ---- signals --------------------------------------------------------------------------------------------------- */

static void
on_signal(int signo, void *arg)
{
	MUST(task_self() == NULL);
	MUST(arg == &some_arrived);
	arrived[signo]++;
	task_cond_wake_all(&some_arrived);
}

static void
signal_myself(void *arg UNUSED)
{
	task_on_signal(SIGUSR1, on_signal, &some_arrived);
	task_on_signal(SIGUSR2, on_signal, &some_arrived);
	MUST(raise(SIGUSR1) == 0);
	MUST(arrived[SIGUSR1] == 0);
	MUST(task_cond_wait(&some_arrived, clock_deadline(LATER)) == TASK_READY);
	MUST(arrived[SIGUSR1] == 1 && arrived[SIGUSR2] == 0);
	MUST(raise(SIGUSR2) == 0 && raise(SIGUSR2) == 0);
	while (arrived[SIGUSR2] < 2)
		MUST(task_cond_wait(&some_arrived, clock_deadline(LATER)) == TASK_READY);
	MUST(arrived[SIGUSR1] == 1);
}

static void
signals_become_calls(void **state UNUSED)
{
	run(signal_myself, NULL);
}

static void
handlers_are_removed(void **state UNUSED)
{
	struct sigaction now;

	task_on_signal(SIGUSR1, on_signal, NULL);
	task_on_signal(SIGUSR2, on_signal, NULL);
	assert_int_equal(sigaction(SIGUSR1, NULL, &now), 0);
	assert_true(now.sa_handler != SIG_DFL);
	task_on_signal(SIGUSR1, NULL, NULL);
	assert_int_equal(sigaction(SIGUSR1, NULL, &now), 0);
	assert_true(now.sa_handler == SIG_DFL);
	/* and all of them with the loop */
	task_done();
	assert_int_equal(sigaction(SIGUSR2, NULL, &now), 0);
	assert_true(now.sa_handler == SIG_DFL);
	task_init(NULL);
}

static void
signal_in_child(void *arg UNUSED)
{
	int status;
	pid_t pid;

	task_on_signal(SIGUSR1, on_signal, &some_arrived);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		(void)raise(SIGUSR1);
		_exit(0);
	}
	MUST(task_child_wait(pid, &status, clock_deadline(LATER)) == TASK_READY);
	MUST(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(arrived[SIGUSR1] == 0);
}

/* Between fork() and exec() the child has our handlers; what is sent to it is not ours. */
static void
a_childs_signal_is_not_ours(void **state UNUSED)
{
	run(signal_in_child, NULL);
}

/* ---- children -------------------------------------------------------------------------------------------------- */

/* A child that lives until the write end that this returns is closed, then exits with `code`. */
static pid_t
start_child(int code, int *ret_hold)
{
	int ends[2];
	pid_t pid;
	char c;

	MUST(pipe(ends) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		(void)close(ends[1]);
		(void)!read(ends[0], &c, 1);
		_exit(code);
	}
	(void)close(ends[0]);
	*ret_hold = ends[1];
	return pid;
}

struct wait_for {
	pid_t pid;
	int code;
	bool ended;
};

static void
wait_for_child(void *arg)
{
	struct wait_for *w = arg;
	int status;

	MUST(task_child_wait(w->pid, &status, clock_deadline(LATER)) == TASK_READY);
	MUST(WIFEXITED(status) && WEXITSTATUS(status) == w->code);
	w->ended = true;
}

static void
wait_for_children(void *arg UNUSED)
{
	struct wait_for first = {.code = 1}, second = {.code = 2};
	struct task_group g = {0};
	int hold_first, hold_second, status;

	/* the second before the first: it would inherit the other's pipe */
	second.pid = start_child(2, &hold_second);
	first.pid = start_child(1, &hold_first);
	MUST(task_child_wait(first.pid, &status, clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(task_group_start(&g, "first", wait_for_child, &first) != NULL);
	MUST(task_group_start(&g, "second", wait_for_child, &second) != NULL);
	MUST(task_yield() == TASK_READY);
	(void)close(hold_first);
	while (!first.ended)
		MUST(task_sleep_until(clock_deadline(SOON)) == TASK_TIMEOUT);
	MUST(!second.ended);
	(void)close(hold_second);
	MUST(task_group_wait(&g, clock_deadline(LATER)) == TASK_READY);
	MUST(second.ended);
}

static void
each_waits_for_his_own_child(void **state UNUSED)
{
	run(wait_for_children, NULL);
}

static void
wait_late(void *arg UNUSED)
{
	siginfo_t info;
	int hold, status;
	pid_t pid = start_child(7, &hold);

	(void)close(hold);
	/* it is over before anybody asks */
	MUST(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
	MUST(task_child_wait(pid, &status, CLOCK_NEVER) == TASK_READY);
	MUST(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	MUST(task_child_wait(pid, &status, CLOCK_NEVER) == TASK_READY);
	MUST(status == -1);
}

static void
an_ended_child_is_found(void **state UNUSED)
{
	run(wait_late, NULL);
}

static void
wait_cancelled(void *arg)
{
	int status = 0;

	MUST(task_child_wait(*(pid_t *)arg, &status, CLOCK_NEVER) == TASK_CANCELLED);
	MUST(status == 0);
}

static void
cancel_wait(void *arg UNUSED)
{
	int hold, status;
	pid_t pid = start_child(0, &hold);
	struct task *t = task_start("waits", wait_cancelled, &pid);

	MUST(task_yield() == TASK_READY);
	task_cancel(t);
	(void)close(hold);
	MUST(task_child_wait(pid, &status, clock_deadline(LATER)) == TASK_READY);
	MUST(WIFEXITED(status));
}

static void
waiting_for_a_child_can_be_cancelled(void **state UNUSED)
{
	run(cancel_wait, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(signals_become_calls),
	    T(handlers_are_removed),
	    T(a_childs_signal_is_not_ours),
	    T(each_waits_for_his_own_child),
	    T(an_ended_child_is_found),
	    T(waiting_for_a_child_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
