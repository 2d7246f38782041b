/*
 * task.h - stackful tasks over one event loop. A session is a task: straight-line code that simply waits where it has
 * to wait, while the other tasks of the process go on. One thread; a switch happens only inside the calls marked
 * "waits". Between two such calls a task has the process to itself.
 *
 * Rules
 *	1. Every wait has a deadline (monotonic microseconds, CLOCK_NEVER where something else surely ends it).
 *	2. A wait ends in exactly one of: ready, timeout, cancelled. After a cancellation every further wait of that task
 *	   returns TASK_CANCELLED at once, so that it unwinds by the same path as after an error.
 *	3. Stacks are 64 KiB with a guard page, pooled; a task parked for more than 5 s gives its untouched pages back.
 *	   Keep large arrays off the stack; no recursion over input.
 *	4. errno is kept across waits.
 *	5. Work that needs long (more than 64 KB of input, regular expressions) calls task_yield() on its way. A watchdog
 *	   logs every turn of the loop that took longer than 100 ms, with the name of the task.
 */
#ifndef TASK_TASK_H
#define TASK_TASK_H

#include "base/base.h"
#include "base/clock.h"

struct task;

enum task_wait {
	TASK_READY,
	TASK_TIMEOUT,
	TASK_CANCELLED,
};

struct task_settings {
	size_t task_limit;    /* most tasks at once; 0 = 20000 */
	size_t stack_size;    /* bytes; 0 = 64 KiB */
	int64_t stall_report; /* log a loop turn longer than this many us; 0 = 100 ms */
};

/* Prepares the loop, once a process (again in a child after fork). NULL: all defaults. */
void task_init(const struct task_settings *settings);

/* Runs until task_stop() was called and every task has ended, or until no task is left. */
void task_run(void);

/*
 * Orderly end: cancels every task, also those started from now on; task_run() returns when all have ended, or after
 * `grace` us (then task_count() is not 0 and task_done() must not be called). May be called from a task.
 */
void task_stop(int64_t grace);

/* Releases the loop and the stack pool; for tests and leak checkers. No task may be left. */
void task_done(void);

/*
 * Starts a task that calls fn(arg); it runs for the first time in this turn of the loop, after the caller waits or
 * ends. `name` is borrowed for the task's life (a literal). NULL when the task limit is reached.
 */
struct task *task_start(const char *name, void (*fn)(void *arg), void *arg);

/* The running task; NULL in the loop itself (before task_run(), in hooks). */
struct task *task_self(void);
const char *task_name(const struct task *t);

/* Number of tasks alive, the running one included. */
size_t task_count(void);

/* Cancels `t`: its present wait and all further ones return TASK_CANCELLED. `t` must be alive. */
void task_cancel(struct task *t);

/* True if the running task was cancelled and has no shield: for loops that do not wait. */
bool task_is_cancelled(void);

/*
 * A cancelled task that must still wait (to log out politely, to give back a lease) lifts the cancellation for the
 * length of its cleaning up. Counted: each true needs its false.
 */
void task_shield(bool on);

/*
 * From now on the running task goes before all that are ready whenever it is woken: for the few on whom many wait, such as who
 * writes the group commit. It must not be busy for long.
 */
void task_urgent(void);

/* Lets the other ready tasks run, also when it returns TASK_CANCELLED. Waits. */
enum task_wait task_yield(void);

/* Waits until `deadline`: TASK_TIMEOUT, or TASK_CANCELLED. */
enum task_wait task_sleep_until(int64_t deadline);

/* ---- file descriptors -------------------------------------------------------------------------------------- */

struct task_fd;

/*
 * Watches the non-blocking descriptor `fd` (sockets, pipes) edge-triggered, registered once for its whole life: the
 * owner reads or writes until EAGAIN before it waits. The descriptor stays the caller's to close, after task_fd_free().
 * One task may wait to read and one to write.
 */
struct task_fd *task_fd_new(int fd);

/* Stops watching; wakes nobody: no task may be waiting on it. Accepts NULL. */
void task_fd_free(struct task_fd **f);

/* Waits until an edge says that `fd` may be readable / writable since the last wait (spurious wake-ups possible). */
enum task_wait task_fd_wait_read(struct task_fd *f, int64_t deadline);
enum task_wait task_fd_wait_write(struct task_fd *f, int64_t deadline);
/* Waits for either. */
enum task_wait task_fd_wait_any(struct task_fd *f, int64_t deadline);

/* ---- meeting points ---------------------------------------------------------------------------------------- */

/* A condition: tasks wait, others wake them. Zero-filled is valid. No memory: a wake-up with nobody waiting is lost. */
struct task_cond {
	struct task_waiter *first; /* waiting tasks, in order */
	struct task_waiter *last;
};
enum task_wait task_cond_wait(struct task_cond *c, int64_t deadline);
void task_cond_wake_one(struct task_cond *c);
void task_cond_wake_all(struct task_cond *c);
bool task_cond_has_waiters(const struct task_cond *c);

/* A lock held across waits. First come, first served. Zero-filled is valid. */
struct task_lock {
	struct task *owner;
	struct task_cond cond;
};
enum task_wait task_lock_take(struct task_lock *l, int64_t deadline);
void task_lock_give(struct task_lock *l);

/* A bounded queue of pointers between tasks. */
struct task_chan;
struct task_chan *task_chan_new(size_t capacity);
void task_chan_free(struct task_chan **c);
/* Waits while the channel is full / empty. Receiving from a closed, empty channel: TASK_CANCELLED. */
enum task_wait task_chan_send(struct task_chan *c, void *item, int64_t deadline);
enum task_wait task_chan_receive(struct task_chan *c, void **ret_item, int64_t deadline);
/* Never waits: false when full / empty. */
bool task_chan_try_send(struct task_chan *c, void *item);
bool task_chan_try_receive(struct task_chan *c, void **ret_item);
void task_chan_close(struct task_chan *c);
size_t task_chan_count(const struct task_chan *c);

/* Counts tasks of one kind, so that somebody can wait for the last one. Zero-filled is valid. */
struct task_group {
	size_t alive;
	struct task_cond cond;
};
/* task_start() as a member of the group. */
struct task *task_group_start(
    struct task_group *g, const char *name, void (*fn)(void *arg), void *arg);
/* Waits until no member is alive. */
enum task_wait task_group_wait(struct task_group *g, int64_t deadline);

/* ---- signals, children, the loop --------------------------------------------------------------------------- */

/* Calls fn(signo, arg) from the loop (not in signal context) for each arrival of `signo`; NULL removes it. */
void task_on_signal(int signo, void (*fn)(int signo, void *arg), void *arg);

/*
 * Waits for the end of child `pid`, reaps it and sets *ret_status as waitpid() does; -1 if it is no child of ours (any
 * more). After a timeout it may be called again. Uses SIGCHLD from the first call on.
 */
enum task_wait task_child_wait(int pid, int *ret_status, int64_t deadline);

/* Calls fn(arg) once, in this turn of the loop after all ready tasks ran: to write in one go what the turn gathered. */
struct task_hook {
	void (*fn)(void *arg);
	void *arg;
	struct task_hook *next;
	bool pending;
};
void task_hook_at_turn_end(struct task_hook *hook);

/* Calls fn(arg) at `deadline` from the loop. Re-arming moves it; zero-filled except fn and arg is valid. */
struct task_timer {
	void (*fn)(void *arg);
	void *arg;
	int64_t deadline;
	size_t heap_index; /* 0 = not armed */
};
void task_timer_arm(struct task_timer *t, int64_t deadline);
void task_timer_disarm(struct task_timer *t);

/* How the loop fared, for metrics and the benchmark. */
struct task_stats {
	uint64_t switches;
	uint64_t turns;
	uint64_t stalls;
	size_t tasks;
	size_t stacks_pooled;
};
void task_stats_get(struct task_stats *ret);

#endif
