/*
 * task_loop.c - the loop under the tasks. A turn: run ready tasks, a few, for about a millisecond at most; run the hooks of
 * the turn's end; write the log; ask the kernel for events, sleeping only if nothing is ready; fire timers.
 *
 * libevent watches descriptors and one alarm, which stands at the earliest of our own timers or before it.
 */
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/task_int.h"
#include "task/task_stack.h"

/*
 * So many tasks run, or for so long, before the loop looks for events again: what an urgent task waits for is then noticed in the
 * midst of a crowd of others.
 */
#define TURN_TASKS 16
#define TURN_TIME  CLOCK_MILLI

/* A stack that was not needed for so long is emptied. */
#define STACK_REST    (5 * CLOCK_SECOND)
#define CARE_INTERVAL CLOCK_SECOND

#define DEFAULT_TASK_LIMIT   ((size_t)20000)
#define DEFAULT_STACK_SIZE   ((size_t)65536)
#define DEFAULT_STALL_REPORT (100 * CLOCK_MILLI)

struct task_loop task_loop;

/* Tasks of the process that this one was forked from: never run here, only kept within sight of leak checkers. */
static struct list orphans;

static struct event *alarm_event;
static int64_t alarm_at; /* when it fires; CLOCK_NEVER: not set */

/* ---- looking after stacks -------------------------------------------------------------------------------------- */

static void
on_care_timer(void *arg UNUSED)
{
	int64_t now = task_loop.now, next;

	next = task_stack_trim_pool(now - STACK_REST);
	for (;;) {
		struct task *t = LIST_FIRST(&task_loop.parked, struct task, in_queue);

		if (t == NULL)
			break;
		if (t->parked_at >= now - STACK_REST) {
			next = MIN(next, t->parked_at);
			break;
		}
		task_stack_trim(t->stack, task_switch_low(&t->context));
		list_remove(&t->in_queue);
	}
	if (next != CLOCK_NEVER)
		task_timer_arm(&task_loop.care_timer, MAX(next + STACK_REST, now) + CARE_INTERVAL);
}

void
task_care(void)
{
	if (task_loop.care_timer.heap_index == 0)
		task_timer_arm(&task_loop.care_timer, task_loop.now + STACK_REST + CARE_INTERVAL);
}

/* ---- the watchdog ---------------------------------------------------------------------------------------------- */

void
task_note_slice(const char *name)
{
	int64_t now = clock_mono_us();
	int64_t used = now - task_loop.now;

	task_loop.now = now;
	if (used <= task_loop.slowest)
		return;
	task_loop.slowest = used;
	/* The name may go away with its task; copied only when it may be needed. */
	if (used > task_loop.stall_report / 16)
		(void)snprintf(task_loop.slowest_name, sizeof(task_loop.slowest_name), "%s", name);
}

static void
report_stall(void)
{
	int64_t turn = MAX(task_loop.now - task_loop.turn_began, task_loop.slowest);

	if (turn <= task_loop.stall_report)
		return;
	task_loop.stats.stalls++;
	if (task_loop.slowest_name[0] == '\0')
		log_warn("event loop held up for %lld ms by many tasks",
		    (long long)(turn / CLOCK_MILLI));
	else
		log_warn("event loop held up for %lld ms, %lld ms of it by %s",
		    (long long)(turn / CLOCK_MILLI), (long long)(task_loop.slowest / CLOCK_MILLI),
		    task_loop.slowest_name);
}

static void
begin_turn(void)
{
	task_loop.turn_began = task_loop.now = clock_mono_us();
	task_loop.slowest = 0;
	task_loop.slowest_name[0] = '\0';
}

/* ---- a turn ---------------------------------------------------------------------------------------------------- */

static void
run_ready(void)
{
	int64_t until = task_loop.now + TURN_TIME;

	for (int n = 0; n < TURN_TASKS && task_loop.now < until; n++) {
		struct task *t = LIST_FIRST(&task_loop.ready, struct task, in_queue);

		if (t == NULL)
			return;
		list_remove(&t->in_queue);
		task_resume(t);
	}
}

static void
run_hooks(void)
{
	struct task_hook *hook = task_loop.hooks, *next;

	if (hook == NULL)
		return;
	/* What a hook hooks up waits for the next turn. */
	task_loop.hooks = NULL;
	task_loop.hooks_end = &task_loop.hooks;
	for (; hook != NULL; hook = next) {
		next = hook->next;
		hook->next = NULL;
		hook->pending = false;
		hook->fn(hook->arg);
	}
	task_note_slice("turn-end hook");
}

void
task_hook_at_turn_end(struct task_hook *hook)
{
	if (hook->pending)
		return;
	hook->pending = true;
	hook->next = NULL;
	*task_loop.hooks_end = hook;
	task_loop.hooks_end = &hook->next;
}

static void
on_alarm(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
	alarm_at = CLOCK_NEVER;
}

/* Makes libevent wake up for the next timer. An alarm that is early does no harm, so it is moved only forward. False if
 * a timer is due already. */
static bool
set_alarm(void)
{
	int64_t next = task_timer_next(), in;
	struct timeval tv;

	if (next == CLOCK_NEVER)
		return true;
	in = next - task_loop.now;
	if (in <= 0)
		return false;
	if (alarm_at <= next)
		return true;
	tv = (struct timeval){.tv_sec = in / CLOCK_SECOND, .tv_usec = in % CLOCK_SECOND};
	MUST(event_add(alarm_event, &tv) == 0);
	alarm_at = next;
	return true;
}

static void
poll_events(void)
{
	bool sleep = list_is_empty(&task_loop.ready) && task_loop.hooks == NULL && set_alarm();
	int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (sleep ? 0 : EVLOOP_NONBLOCK);

	MUST(event_base_loop(task_loop.base, flags) >= 0);
}

static bool
is_over(void)
{
	return task_loop.count == 0 || task_loop.given_up;
}

static void
loop_turn(void)
{
	task_loop.stats.turns++;
	run_ready();
	run_hooks();
	report_stall();
	if (is_over())
		return;
	log_flush();
	poll_events();
	begin_turn();
	if (task_timer_fire(task_loop.now))
		task_note_slice("timer");
}

void
task_run(void)
{
	MUST(task_loop.base != NULL && !task_loop.in_run && task_loop.running == NULL);
	task_loop.in_run = true;
	log_buffered(true);
	begin_turn();
	while (!is_over())
		loop_turn();
	log_buffered(false);
	task_loop.in_run = false;
	task_loop.stopping = task_loop.given_up = false;
	task_timer_disarm(&task_loop.stop_timer);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static void
on_stop_timer(void *arg UNUSED)
{
	task_loop.given_up = true;
}

void
task_stop(int64_t grace)
{
	task_loop.stopping = true;
	LIST_FOREACH (t, &task_loop.all, struct task, in_all)
		task_cancel(t);
	if (grace == CLOCK_NEVER)
		task_timer_disarm(&task_loop.stop_timer);
	else
		task_timer_arm(&task_loop.stop_timer, clock_deadline(grace));
}

static void
loop_free(void)
{
	task_signal_done();
	event_free(alarm_event);
	alarm_event = NULL;
	event_base_free(task_loop.base);
	task_loop.base = NULL;
	task_timer_done();
	task_stack_done();
}

void
task_done(void)
{
	MUST(task_loop.count == 0 && !task_loop.in_run);
	if (task_loop.base != NULL)
		loop_free();
}

/* ---- the beginning --------------------------------------------------------------------------------------------- */

static void
on_libevent_log(int severity UNUSED, const char *text)
{
	log_debug("libevent: %s", text);
}

/*
 * After fork() the tasks are the parent's, and so is the epoll instance: freeing it as it stands would take the parent's
 * descriptors out of it. event_reinit() makes it ours first.
 */
static void
forget_parent(void)
{
	for (struct task_hook *h = task_loop.hooks; h != NULL; h = h->next)
		h->pending = false;
	if (orphans.next == NULL)
		list_init(&orphans);
	list_splice(&orphans, &task_loop.all);
	(void)event_reinit(task_loop.base);
	loop_free();
}

static struct event_base *
base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	MUST(config != NULL);
	(void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	(void)event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
	base = event_base_new_with_config(config);
	event_config_free(config);
	if (base == NULL)
		log_fatal(71, "cannot create the event loop (file descriptors?)");
	return base;
}

static void
loop_clear(const struct task_settings *s)
{
	uint64_t generation = task_loop.generation + 1;

	task_loop = (struct task_loop){
	    .process = getpid(),
	    .generation = generation,
	    .task_limit = s->task_limit != 0 ? s->task_limit : DEFAULT_TASK_LIMIT,
	    .stall_report = s->stall_report != 0 ? s->stall_report : DEFAULT_STALL_REPORT,
	    .stop_timer = {.fn = on_stop_timer},
	    .care_timer = {.fn = on_care_timer},
	};
	list_init(&task_loop.all);
	list_init(&task_loop.ready);
	list_init(&task_loop.parked);
	task_loop.hooks_end = &task_loop.hooks;
}

void
task_init(const struct task_settings *settings)
{
	const struct task_settings defaults = {0};
	const struct task_settings *s = settings != NULL ? settings : &defaults;
	static bool process_ready;

	if (!process_ready) {
		process_ready = true;
		event_set_log_callback(on_libevent_log);
		/* A child must not write the gathered lines once more. */
		(void)pthread_atfork(log_flush, NULL, NULL);
	}
	if (task_loop.base != NULL) {
		MUST(task_loop.process != getpid());
		forget_parent();
	}
	loop_clear(s);
	task_stack_init(s->stack_size != 0 ? s->stack_size : DEFAULT_STACK_SIZE);
	task_loop.base = base_new();
	alarm_event = event_new(task_loop.base, -1, 0, on_alarm, NULL);
	MUST(alarm_event != NULL);
	alarm_at = CLOCK_NEVER;
	begin_turn();
	task_signal_init();
}

void
task_stats_get(struct task_stats *ret)
{
	*ret = task_loop.stats;
	ret->tasks = task_loop.count;
	ret->stacks_pooled = task_stack_pooled();
}
