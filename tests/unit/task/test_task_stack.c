/*
 * test_task_stack.c - stacks: guarded, pooled, and given back by who does not need them. Time is set by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "task/task.h"

#define PAGE  ((size_t)4096)
#define STACK ((size_t)65536)
#define DIRTY 40000

static int64_t now;

static int
set_up(void **state UNUSED)
{
	now = clock_mono_us();
	task_init(NULL);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	clock_fake(-1, -1);
	task_done();
	return 0;
}

static void
advance(int64_t us)
{
	now += us;
	clock_fake(now, -1);
	/* two turns of the loop, with its timers */
	MUST(task_sleep_until(now) == TASK_TIMEOUT);
	MUST(task_sleep_until(now) == TASK_TIMEOUT);
}

/* Pages in memory of the stack whose top lies in the page of `at`; they lie below it. */
static size_t
resident(const char *at)
{
	unsigned char map[STACK / PAGE];
	uintptr_t end = ((uintptr_t)at | (PAGE - 1)) + 1;
	size_t sum = 0;

	MUST(mincore((char *)(uintptr_t)at + (end - STACK - (uintptr_t)at), STACK, map) == 0);
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		sum += map[i] & 1;
	return sum;
}

struct parked {
	struct task_cond cond;
	const char *top; /* an address near the top of its stack */
	bool ended;
};

__attribute__((noinline)) static void
use_stack(void)
{
	volatile char much[DIRTY];

	for (size_t i = 0; i < DIRTY; i += 64)
		much[i] = 1;
	MUST(much[64] == 1);
}

static void
use_and_park(void *arg)
{
	struct parked *p = arg;
	char mine[1000];

	p->top = __builtin_frame_address(0);
	memset(mine, 'm', sizeof(mine));
	use_stack();
	MUST(task_cond_wait(&p->cond, CLOCK_NEVER) == TASK_READY);
	for (size_t i = 0; i < sizeof(mine); i++)
		MUST(mine[i] == 'm');
	use_stack();
	MUST(task_cond_wait(&p->cond, CLOCK_NEVER) == TASK_READY);
	p->ended = true;
}

static void
park_and_look(void *arg UNUSED)
{
	struct parked p = {0};

	clock_fake(now, -1);
	MUST(task_start("parked", use_and_park, &p) != NULL);
	MUST(task_yield() == TASK_READY);
	MUST(resident(p.top) >= DIRTY / PAGE);
	advance(4 * CLOCK_SECOND);
	MUST(resident(p.top) >= DIRTY / PAGE);
	advance(3 * CLOCK_SECOND);
	MUST(resident(p.top) <= 2);

	/* It goes on as if nothing had been, and the same again. */
	task_cond_wake_all(&p.cond);
	MUST(task_yield() == TASK_READY);
	MUST(resident(p.top) >= DIRTY / PAGE);
	advance(7 * CLOCK_SECOND);
	MUST(resident(p.top) <= 2);

	task_cond_wake_all(&p.cond);
	advance(0);
	MUST(p.ended);
	advance(7 * CLOCK_SECOND);
	MUST(resident(p.top) == 0);
}

static void
stacks_are_given_back(void **state UNUSED)
{
	assert_non_null(task_start("look", park_and_look, NULL));
	task_run();
}

static void
note_top(void *arg)
{
	*(const char **)arg = __builtin_frame_address(0);
}

static void
stacks_are_pooled(void **state UNUSED)
{
	const char *first = NULL, *second = NULL;
	struct task_stats stats;

	assert_non_null(task_start("a", note_top, &first));
	task_run();
	task_stats_get(&stats);
	assert_int_equal(stats.stacks_pooled, 1);
	assert_int_equal(stats.tasks, 0);
	assert_non_null(task_start("b", note_top, &second));
	task_run();
	assert_ptr_equal(first, second);
}

#define MANY 10000

static void
wait_for_all(void *arg)
{
	MUST(task_cond_wait(arg, CLOCK_NEVER) == TASK_READY);
}

static void
start_many(void *arg UNUSED)
{
	struct task_group group = {0};
	struct task_cond go = {0};

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++)
			MUST(task_group_start(&group, "one of many", wait_for_all, &go) != NULL);
		MUST(task_count() == MANY + 1);
		MUST(task_yield() == TASK_READY);
		task_cond_wake_all(&go);
		MUST(task_group_wait(&group, CLOCK_NEVER) == TASK_READY);
	}
}

static void
ten_thousand_tasks(void **state UNUSED)
{
	struct task_stats stats;

	assert_non_null(task_start("start", start_many, NULL));
	task_run();
	task_stats_get(&stats);
	assert_int_equal(stats.stacks_pooled, MANY + 1);
}

/* A frame of a kilobyte and a call that no compiler can shorten. */
static int
sink_deep(int depth)
{
	static int (*volatile deeper)(int depth) = sink_deep;
	char frame[1024];

	__asm__ volatile("" : : "r"(frame) : "memory");
	frame[0] = (char)depth;
	depth = depth == 0 ? 0 : deeper(depth - 1);
	__asm__ volatile("" : : "r"(frame) : "memory");
	return depth + frame[0];
}

static void
overflow(void *arg)
{
	*(int *)arg = sink_deep(1000);
}

/* What lies below a stack is not another stack. */
static void
the_guard_page_stops_an_overflow(void **state UNUSED)
{
	const struct rlimit no_core = {0, 0};
	int status, sum = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)close(STDERR_FILENO);
		task_init(NULL);
		if (task_start("overflow", overflow, &sum) != NULL)
			task_run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	    T(stacks_are_given_back),
	    T(stacks_are_pooled),
	    T(ten_thousand_tasks),
	    T(the_guard_page_stops_an_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
