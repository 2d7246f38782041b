/*
 * task_group.c - counting tasks of one kind.
 */
#include "task/task_int.h"

struct task *
task_group_start(struct task_group *g, const char *name, void (*fn)(void *arg), void *arg)
{
	struct task *t = task_start(name, fn, arg);

	if (t == NULL)
		return NULL;
	t->group = g;
	g->alive++;
	return t;
}

void
task_group_leave(struct task_group *g)
{
	MUST(g->alive > 0);
	if (--g->alive == 0)
		task_cond_wake_all(&g->cond);
}

enum task_wait
task_group_wait(struct task_group *g, int64_t deadline)
{
	while (g->alive > 0) {
		enum task_wait r = task_cond_wait(&g->cond, deadline);

		if (r != TASK_READY)
			return r;
	}
	return TASK_READY;
}
