/*
 * task_stack.h - the stacks of tasks: mapped once, with a page below them that nobody may touch, kept in a pool, and
 * known to valgrind and LeakSanitizer. Pages that nobody needs any more go back to the kernel; the mapping stays.
 */
#ifndef TASK_TASK_STACK_H
#define TASK_TASK_STACK_H

#include "base/base.h"
#include "base/list.h"

struct task_stack {
	char *low;         /* lowest usable byte; the guard page lies below */
	size_t size;       /* usable bytes */
	struct list link;  /* in the pool, while no task has it */
	int64_t put_at;    /* when it came into the pool */
	unsigned valgrind; /* valgrind's number for it */
};

/* Sets the size of the stacks to come, at least 16 KiB, rounded up to pages. */
void task_stack_init(size_t size);

/* Unmaps what is in the pool. */
void task_stack_done(void);

/* A stack from the pool, or a new one; NULL when the kernel gives no more (vm.max_map_count, memory). */
struct task_stack *task_stack_take(void);

/* Back into the pool at time `now`; nothing may run on it. Sets *s to NULL. */
void task_stack_put(struct task_stack **s, int64_t now);

/* Gives the pages of `s` below `in_use`, an address on it, back to the kernel. */
void task_stack_trim(const struct task_stack *s, const char *in_use);

/* Empties the stacks that came into the pool before `before`. Returns when the oldest of the others came, or CLOCK_NEVER. */
int64_t task_stack_trim_pool(int64_t before);

/* Number of stacks in the pool. */
size_t task_stack_pooled(void);

#endif
