/*
 * task_lock.c - locks. Giving one up hands it to the first who waits: nobody can overtake.
 */
#include "task/task_int.h"

enum task_wait
task_lock_take(struct task_lock *l, int64_t deadline)
{
	struct task *self = task_self();
	enum task_wait r;

	MUST(self != NULL);
	MUST(l->owner != self);
	if (task_is_cancelled())
		return TASK_CANCELLED;
	if (l->owner == NULL) {
		l->owner = self;
		return TASK_READY;
	}
	r = task_cond_wait(&l->cond, deadline);
	MUST(r != TASK_READY || l->owner == self);
	return r;
}

void
task_lock_give(struct task_lock *l)
{
	MUST(l->owner == task_self());
	l->owner = NULL;
	if (l->cond.first == NULL)
		return;
	l->owner = CONTAINER_OF(l->cond.first, struct task, waiter);
	task_cond_wake_one(&l->cond);
}
