/*
 * task_cond.c - conditions: a queue of waiting tasks.
 */
#include "task/task_int.h"

static struct task *
waiter_task(struct task_waiter *w)
{
	return CONTAINER_OF(w, struct task, waiter);
}

static void
queue_add(struct task_cond *c, struct task_waiter *w)
{
	w->cond = c;
	w->next = NULL;
	w->prev = c->last;
	if (c->last != NULL)
		c->last->next = w;
	else
		c->first = w;
	c->last = w;
}

void
task_cond_forget(struct task *t)
{
	struct task_waiter *w = &t->waiter;
	struct task_cond *c = w->cond;

	if (c == NULL)
		return;
	if (w->prev != NULL)
		w->prev->next = w->next;
	else
		c->first = w->next;
	if (w->next != NULL)
		w->next->prev = w->prev;
	else
		c->last = w->prev;
	*w = (struct task_waiter){0};
}

enum task_wait
task_cond_wait(struct task_cond *c, int64_t deadline)
{
	struct task *self = task_self();

	MUST(self != NULL);
	if (task_is_cancelled())
		return TASK_CANCELLED;
	queue_add(c, &self->waiter);
	return task_park(deadline);
}

void
task_cond_wake_one(struct task_cond *c)
{
	if (c->first != NULL)
		MUST(task_wake(waiter_task(c->first), TASK_READY));
}

void
task_cond_wake_all(struct task_cond *c)
{
	while (c->first != NULL)
		task_cond_wake_one(c);
}

bool
task_cond_has_waiters(const struct task_cond *c)
{
	return c->first != NULL;
}
