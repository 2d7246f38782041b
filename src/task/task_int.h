/*
 * task_int.h - what the files of this room share: the task, the loop, and the three steps every wait is made of
 * (register somewhere, task_park(), be woken by task_wake()).
 *
 * Invariants
 *	I1. A task is in exactly one state: running (loop.running), ready (in loop.ready), parked, or ended.
 *	I2. A parked task is woken once, with one result; from then on its result is fixed. task_wake() takes it out of the
 *	    condition it waits for, so that no other wake-up is spent on it.
 *	I3. A task's timer is in the heap at or before its deadline while it is parked with one. It stays there when the
 *	    task goes on: the next wait mostly ends later, and needs no work then. A timer that fires early is re-armed.
 */
#ifndef TASK_TASK_INT_H
#define TASK_TASK_INT_H

#include "base/base.h"
#include "base/list.h"
#include "task/task.h"
#include "task/task_switch.h"

struct event_base;
struct task_stack;

/* A place in the queue of a condition. */
struct task_waiter {
	struct task_waiter *next;
	struct task_waiter *prev;
	struct task_cond *cond; /* NULL: waits for no condition */
};

struct task {
	const char *name; /* borrowed */
	void (*fn)(void *arg);
	void *arg;
	struct task_context context;
	struct task_stack *stack; /* owned */
	struct list in_all;
	struct list
	    in_queue; /* loop.ready; or loop.parked, oldest first, until the stack was trimmed */
	struct task_waiter waiter;
	struct task_group *group; /* NULL: none; borrowed */
	struct task_timer timer;
	int64_t deadline;  /* of the present wait */
	int64_t parked_at; /* since when the present wait lasts */
	enum task_wait result;
	bool parked;
	bool urgent; /* goes before all others */
	bool cancelled;
	bool ended;
	unsigned shields; /* task_shield(true) calls not yet taken back */
};

struct task_loop {
	struct event_base *base;
	int process; /* number of the process that made it */
	uint64_t
	    generation; /* counts task_init(): descriptors and timers of a loop before the last fork() are dead */
	size_t task_limit;
	int64_t stall_report;

	struct task_context context; /* of task_run() */
	struct task *running;
	struct list all;
	struct list ready;
	struct list parked;
	size_t count;
	int64_t now; /* when the last task went to sleep: at most a slice old */

	bool in_run;
	bool stopping;
	bool given_up; /* the grace of task_stop() is over */
	struct task_timer stop_timer;
	struct task_timer care_timer; /* trims stacks */
	struct task_hook *hooks;
	struct task_hook **hooks_end;

	int64_t turn_began;
	int64_t slowest; /* longest stretch of this turn, us */
	char slowest_name[64];
	struct task_stats stats;
};

extern struct task_loop task_loop;

/*
 * Parks the running task until task_wake() or `deadline`. The caller has made sure that it is not cancelled
 * (task_is_cancelled) and has left word where the wake-up will come from.
 */
enum task_wait task_park(int64_t deadline);

/* Ends the wait of `t` with `result`. False if `t` is not parked: then nothing happens. */
bool task_wake(struct task *t, enum task_wait result);

/* Runs `t`, a ready task that was taken out of loop.ready, until it waits or ends. */
void task_resume(struct task *t);

/* Counts the time since loop.now as used by `name`, and moves loop.now on. */
void task_note_slice(const char *name);

/* Sees to it that stacks without use are looked after in time; cheap. */
void task_care(void);

/* Called when a member ends, by task.c. */
void task_group_leave(struct task_group *g);

/* When the earliest timer is due; CLOCK_NEVER if none is armed. */
int64_t task_timer_next(void);

/* Calls what is due at `now`. False if nothing was. */
bool task_timer_fire(int64_t now);
void task_timer_done(void);

/* Takes `t` out of the queue of its condition, if it is in one. */
void task_cond_forget(struct task *t);

/* Sets up and tears down the signals of a loop. */
void task_signal_init(void);
void task_signal_done(void);

#endif
