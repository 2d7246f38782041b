/*
 * service_worker.c - see service_worker.h. A process that is sent away finds its socket closed and ends by itself; its reaper, a task
 * that waits for this, forgets it when nobody has it any more.
 */
#include "service/service_worker.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/stream.h"
#include "service/service_fork.h"
#include "task/task.h"

#define SERVICE_WORKER_END_WAIT (2 * CLOCK_SECOND)

struct service_worker {
	struct service_worker_pool *pool;
	struct list in_idle;
	struct link *link; /* NULL: sent away */
	pid_t pid;
	uint64_t generation;
	unsigned log_generation;
	int uses;
	int64_t idle_since; /* mono us */
	bool lent;
	bool ended;
	bool watched; /* its reaper is alive */
};

struct service_worker_pool {
	struct service *service;
	const struct service_worker_kind *kind;
	void *arg;
	size_t most;
	uint64_t generation; /* of the configuration */
	struct list idle;    /* the one used last in front */
	size_t count;        /* processes alive, and being made */
	struct task_cond freed;
	struct task_group reapers; /* one a process */
	struct task_timer rest;    /* when the oldest idle one has rested long enough */
};

static void
service_worker_send_away(struct service_worker *w)
{
	list_remove(&w->in_idle);
	link_free(&w->link);
}

static void
service_worker_free(struct service_worker *w)
{
	service_worker_send_away(w);
	mem_free(w);
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static void
service_worker_reap(void *arg)
{
	struct service_worker *w = arg;
	struct service_worker_pool *p = w->pool;
	int status;

	w->ended = task_child_wait(w->pid, &status, CLOCK_NEVER) == TASK_READY;
	w->watched = false;
	if (w->ended) {
		if (WIFSIGNALED(status) && w->link != NULL)
			log_warn("%s process %d ended by signal %d", p->kind->word, (int)w->pid,
			    WTERMSIG(status));
		p->count--;
		task_cond_wake_one(&p->freed);
	}
	if (!w->lent)
		service_worker_free(w);
}

/* False: there is no process. */
static bool
service_worker_start(struct service_worker *w)
{
	struct service_worker_pool *p = w->pool;
	struct err err;
	int fd;

	w->pid = service_fork(p->kind->body, p->arg, &fd, &err);
	if (w->pid == 0) {
		log_warn("cannot start a %s process: %s", p->kind->word, err.text);
		return false;
	}
	w->link = link_new(stream_new(fd));
	w->watched = task_group_start(&p->reapers, "worker", service_worker_reap, w) != NULL;
	if (w->watched)
		return true;
	log_warn("cannot start a %s process: too many tasks", p->kind->word);
	(void)kill(w->pid, SIGKILL);
	(void)waitpid(w->pid, NULL, 0);
	return false;
}

static struct service_worker *
service_worker_new(struct service_worker_pool *p)
{
	struct service_worker *w = mem_new(struct service_worker);

	w->pool = p;
	w->generation = p->generation;
	w->log_generation = log_generation();
	w->lent = true;
	p->count++;
	if (service_worker_start(w))
		return w;
	p->count--;
	service_worker_free(w);
	return NULL;
}

/* ---- lending ---------------------------------------------------------------------------------------------------- */

static bool
service_worker_is_stale(const struct service_worker *w)
{
	return w->generation != w->pool->generation || w->log_generation != log_generation() ||
	       w->uses >= conf_int(w->pool->service->conf, CONF_max_use);
}

static struct service_worker *
service_worker_take_idle(struct service_worker_pool *p)
{
	LIST_FOREACH_SAFE (w, &p->idle, struct service_worker, in_idle) {
		if (service_worker_is_stale(w)) {
			service_worker_send_away(w);
			continue;
		}
		list_remove(&w->in_idle);
		w->lent = true;
		return w;
	}
	return NULL;
}

struct service_worker *
service_worker_take(struct service_worker_pool *p, int64_t deadline)
{
	for (;;) {
		struct service_worker *w = service_worker_take_idle(p);

		if (w != NULL)
			return w;
		if (p->most == 0 || p->count < p->most)
			return service_worker_new(p);
		if (task_cond_wait(&p->freed, deadline) != TASK_READY)
			return NULL;
	}
}

static void
service_worker_rest(struct service_worker *w)
{
	struct service_worker_pool *p = w->pool;

	w->idle_since = clock_mono_us();
	list_add_front(&p->idle, &w->in_idle);
	if (p->rest.heap_index == 0)
		task_timer_arm(
		    &p->rest, w->idle_since + conf_time(p->service->conf, CONF_max_idle));
	task_cond_wake_one(&p->freed);
}

void
service_worker_give(struct service_worker **worker, bool usable)
{
	struct service_worker *w = *worker;

	*worker = NULL;
	w->lent = false;
	w->uses++;
	if (!usable && !w->ended)
		(void)kill(w->pid, SIGKILL);
	if (!w->watched)
		service_worker_free(w);
	else if (!usable || service_worker_is_stale(w) || w->pool->service->leaving)
		service_worker_send_away(w);
	else
		service_worker_rest(w);
}

struct link *
service_worker_link(const struct service_worker *w)
{
	return w->link;
}

pid_t
service_worker_pid(const struct service_worker *w)
{
	return w->pid;
}

/* ---- the pool --------------------------------------------------------------------------------------------------- */

static void
service_worker_pool_on_rest(void *arg)
{
	struct service_worker_pool *p = arg;
	int64_t rest = conf_time(p->service->conf, CONF_max_idle);
	int64_t next = CLOCK_NEVER;

	LIST_FOREACH_SAFE (w, &p->idle, struct service_worker, in_idle) {
		if (w->idle_since + rest <= clock_mono_us())
			service_worker_send_away(w);
		else
			next = MIN(next, w->idle_since + rest);
	}
	if (next != CLOCK_NEVER)
		task_timer_arm(&p->rest, next);
}

struct service_worker_pool *
service_worker_pool_new(
    struct service *service, const struct service_worker_kind *kind, size_t most, void *arg)
{
	struct service_worker_pool *p = mem_new(struct service_worker_pool);

	p->service = service;
	p->kind = kind;
	p->most = most;
	p->arg = arg;
	list_init(&p->idle);
	p->rest.fn = service_worker_pool_on_rest;
	p->rest.arg = p;
	return p;
}

static void
service_worker_pool_send_away(struct service_worker_pool *p)
{
	LIST_FOREACH_SAFE (w, &p->idle, struct service_worker, in_idle)
		service_worker_send_away(w);
}

void
service_worker_pool_renew(struct service_worker_pool *p)
{
	p->generation++;
	service_worker_pool_send_away(p);
}

void
service_worker_pool_stop(struct service_worker_pool *p)
{
	task_timer_disarm(&p->rest);
	service_worker_pool_send_away(p);
	(void)task_group_wait(&p->reapers, clock_deadline(SERVICE_WORKER_END_WAIT));
}
