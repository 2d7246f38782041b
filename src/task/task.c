/*
 * task.c - tasks: starting, waiting, waking, cancelling, ending. The loop that runs them is in task_loop.c; the
 * invariants are in task_int.h.
 */
#include "task/task.h"

#include <errno.h>

#include "base/mem.h"
#include "task/task_int.h"
#include "task/task_stack.h"

/* ---- a life ---------------------------------------------------------------------------------------------------- */

NO_RETURN static void
task_main(void *arg)
{
	struct task *t = arg;

	t->fn(t->arg);
	t->ended = true;
	task_switch_last(&t->context, &task_loop.context);
}

/* The timer may be early (I3). */
static void
on_task_timer(void *arg)
{
	struct task *t = arg;

	if (!t->parked || t->deadline == CLOCK_NEVER)
		return;
	if (t->deadline > task_loop.now)
		task_timer_arm(&t->timer, t->deadline);
	else
		(void)task_wake(t, TASK_TIMEOUT);
}

struct task *
task_start(const char *name, void (*fn)(void *arg), void *arg)
{
	struct task_stack *stack;
	struct task *t;

	MUST(task_loop.base != NULL);
	if (task_loop.count >= task_loop.task_limit)
		return NULL;
	stack = task_stack_take();
	if (stack == NULL)
		return NULL;
	t = mem_new(struct task);
	t->name = name;
	t->fn = fn;
	t->arg = arg;
	t->stack = stack;
	t->timer.fn = on_task_timer;
	t->timer.arg = t;
	t->cancelled = task_loop.stopping;
	task_switch_prepare(&t->context, stack->low, stack->size, task_main, t);
	list_add(&task_loop.all, &t->in_all);
	list_add(&task_loop.ready, &t->in_queue);
	task_loop.count++;
	return t;
}

static void
task_release(struct task *t)
{
	task_timer_disarm(&t->timer);
	list_remove(&t->in_all);
	task_loop.count--;
	task_stack_put(&t->stack, task_loop.now);
	task_care();
	if (t->group != NULL)
		task_group_leave(t->group);
	mem_free(t);
}

void
task_resume(struct task *t)
{
	task_loop.running = t;
	task_loop.stats.switches++;
	task_switch(&task_loop.context, &t->context);
	task_loop.running = NULL;
	task_note_slice(t->name);
	if (t->ended)
		task_release(t);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

/* Back to the loop, until task_resume(). */
static void
leave(struct task *t)
{
	int saved_errno = errno;

	task_switch(&t->context, &task_loop.context);
	errno = saved_errno;
}

enum task_wait
task_park(int64_t deadline)
{
	struct task *t = task_loop.running;

	MUST(t != NULL);
	t->deadline = deadline;
	if (deadline != CLOCK_NEVER && (t->timer.heap_index == 0 || t->timer.deadline > deadline))
		task_timer_arm(&t->timer, deadline);
	t->parked = true;
	t->parked_at = task_loop.now;
	list_add(&task_loop.parked, &t->in_queue);
	task_care();
	leave(t);
	return t->result;
}

bool
task_wake(struct task *t, enum task_wait result)
{
	if (!t->parked)
		return false;
	t->parked = false;
	t->result = result;
	task_cond_forget(t);
	list_remove(&t->in_queue);
	if (t->urgent)
		list_add_front(&task_loop.ready, &t->in_queue);
	else
		list_add(&task_loop.ready, &t->in_queue);
	return true;
}

enum task_wait
task_yield(void)
{
	struct task *t = task_loop.running;

	MUST(t != NULL);
	list_add(&task_loop.ready, &t->in_queue);
	leave(t);
	return task_is_cancelled() ? TASK_CANCELLED : TASK_READY;
}

enum task_wait
task_sleep_until(int64_t deadline)
{
	if (task_is_cancelled())
		return TASK_CANCELLED;
	return task_park(deadline);
}

/* ---- cancelling ------------------------------------------------------------------------------------------------ */

void
task_cancel(struct task *t)
{
	t->cancelled = true;
	if (t->shields == 0)
		(void)task_wake(t, TASK_CANCELLED);
}

bool
task_is_cancelled(void)
{
	const struct task *t = task_loop.running;

	return t != NULL && t->cancelled && t->shields == 0;
}

void
task_urgent(void)
{
	MUST(task_loop.running != NULL);
	task_loop.running->urgent = true;
}

void
task_shield(bool on)
{
	struct task *t = task_loop.running;

	MUST(t != NULL);
	MUST(on || t->shields > 0);
	t->shields = on ? t->shields + 1 : t->shields - 1;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

struct task *
task_self(void)
{
	return task_loop.running;
}

const char *
task_name(const struct task *t)
{
	return t->name;
}

size_t
task_count(void)
{
	return task_loop.count;
}
