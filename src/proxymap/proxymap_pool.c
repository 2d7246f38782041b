/*
 * proxymap_pool.c - the processes that may block, one request at a time each: made when all others are busy, at most maxproc of
 * them, kept for max_idle, replaced after max_use and when the log is another file. One that does not answer is killed: its request
 * is answered with "try again".
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "net/stream.h"
#include "proxymap/proxymap_int.h"
#include "service/service_fork.h"
#include "task/task.h"

/* What takes longer has come to a standstill; who asked has given up before. */
#define PROXYMAP_LOOKUP_MAX (150 * CLOCK_SECOND)
#define PROXYMAP_QUEUE_MAX  (120 * CLOCK_SECOND)
#define PROXYMAP_END_WAIT   (2 * CLOCK_SECOND)

struct proxymap_worker {
	struct proxymap_pool *pool;
	struct list in_idle;
	struct stream *stream; /* owned; NULL: sent away */
	pid_t pid;
	int uses;
	unsigned log_generation;
	int64_t idle_since; /* mono us */
	bool busy;
	bool ended;
};

struct proxymap_pool {
	struct service *service;
	struct list idle; /* the one used last in front */
	size_t count;     /* processes alive, and being made */
	struct task_cond freed;
	struct task_group reapers; /* one a process */
	struct task_timer rest;    /* when the oldest idle one has rested long enough */
};

/* It ends by itself when it sees its socket closed; its reaper does the rest. */
static void
proxymap_worker_send_away(struct proxymap_worker *w)
{
	list_remove(&w->in_idle);
	stream_free(&w->stream);
}

static void
proxymap_worker_free(struct proxymap_worker *w)
{
	proxymap_worker_send_away(w);
	mem_free(w);
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static void
proxymap_pool_body(void *arg, int fd)
{
	const struct proxymap_pool *p = arg;

	proxymap_worker_run(p->service->conf, fd);
}

static void
proxymap_worker_reap(void *arg)
{
	struct proxymap_worker *w = arg;
	struct proxymap_pool *p = w->pool;
	int status;

	if (task_child_wait(w->pid, &status, CLOCK_NEVER) != TASK_READY)
		return;
	if (WIFSIGNALED(status) && w->stream != NULL)
		log_warn("lookup process %d ended by signal %d", (int)w->pid, WTERMSIG(status));
	p->count--;
	task_cond_wake_one(&p->freed);
	w->ended = true;
	if (!w->busy)
		proxymap_worker_free(w);
}

static struct proxymap_worker *
proxymap_worker_new(struct proxymap_pool *p)
{
	struct proxymap_worker *w = mem_new(struct proxymap_worker);
	struct err err;
	int fd;

	*w = (struct proxymap_worker){.pool = p, .busy = true, .log_generation = log_generation()};
	p->count++;
	w->pid = service_fork(proxymap_pool_body, p, &fd, &err);
	if (w->pid == 0) {
		log_warn("cannot start a lookup process: %s", err.text);
		p->count--;
		mem_free(w);
		return NULL;
	}
	w->stream = stream_new(fd);
	if (task_group_start(&p->reapers, "worker", proxymap_worker_reap, w) != NULL)
		return w;
	log_warn("cannot start a lookup process: too many tasks");
	(void)kill(w->pid, SIGKILL);
	(void)waitpid(w->pid, NULL, 0);
	p->count--;
	proxymap_worker_free(w);
	return NULL;
}

/* ---- lending ---------------------------------------------------------------------------------------------------- */

static bool
proxymap_worker_is_stale(const struct proxymap_worker *w)
{
	return w->log_generation != log_generation() ||
	       w->uses >= conf_int(w->pool->service->conf, CONF_max_use);
}

static void
proxymap_pool_rest(void *arg)
{
	struct proxymap_pool *p = arg;
	int64_t rest = conf_time(p->service->conf, CONF_max_idle);
	int64_t next = CLOCK_NEVER;

	LIST_FOREACH_SAFE (w, &p->idle, struct proxymap_worker, in_idle) {
		if (w->idle_since + rest <= clock_mono_us())
			proxymap_worker_send_away(w);
		else
			next = MIN(next, w->idle_since + rest);
	}
	if (next != CLOCK_NEVER)
		task_timer_arm(&p->rest, next);
}

static struct proxymap_worker *
proxymap_pool_take_idle(struct proxymap_pool *p)
{
	LIST_FOREACH_SAFE (w, &p->idle, struct proxymap_worker, in_idle) {
		if (w->ended || proxymap_worker_is_stale(w)) {
			proxymap_worker_send_away(w);
			continue;
		}
		list_remove(&w->in_idle);
		w->busy = true;
		return w;
	}
	return NULL;
}

/* NULL: none can be had. */
static struct proxymap_worker *
proxymap_pool_take(struct proxymap_pool *p)
{
	int64_t deadline = clock_deadline(PROXYMAP_QUEUE_MAX);

	for (;;) {
		struct proxymap_worker *w = proxymap_pool_take_idle(p);

		if (w != NULL)
			return w;
		if (p->count < MAX(p->service->slots, 1))
			return proxymap_worker_new(p);
		if (task_cond_wait(&p->freed, deadline) != TASK_READY)
			return NULL;
	}
}

static void
proxymap_pool_give(struct proxymap_pool *p, struct proxymap_worker *w, bool usable)
{
	int64_t rest = conf_time(p->service->conf, CONF_max_idle);

	w->busy = false;
	w->uses++;
	if (w->ended) {
		proxymap_worker_free(w);
		return;
	}
	if (!usable || p->service->leaving) {
		proxymap_worker_send_away(w);
		return;
	}
	w->idle_since = clock_mono_us();
	list_add_front(&p->idle, &w->in_idle);
	if (p->rest.heap_index == 0)
		task_timer_arm(&p->rest, w->idle_since + rest);
	task_cond_wake_one(&p->freed);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

/* Passes the frame on and appends what comes back to `reply`. */
static bool
proxymap_worker_ask(struct proxymap_worker *w, struct span frame, struct buf *reply)
{
	struct buf length CLEANUP(buf_done) = {0};
	struct buf answer CLEANUP(buf_done) = {0};
	enum table_proxy_status status;
	struct span value;

	stream_set_deadline(w->stream, clock_deadline(PROXYMAP_LOOKUP_MAX));
	buf_add_u32(&length, (uint32_t)frame.len);
	if (stream_write_span(w->stream, buf_span(&length)) != STREAM_OK ||
	    stream_write_span(w->stream, frame) != STREAM_OK ||
	    stream_flush(w->stream) != STREAM_OK ||
	    table_proxy_read(w->stream, &answer) != STREAM_OK ||
	    !table_proxy_parse_reply(buf_span(&answer), &status, &value))
		return false;
	table_proxy_write_reply(reply, status, value);
	return true;
}

void
proxymap_pool_ask(struct proxymap_pool *p, struct span frame, struct buf *reply)
{
	struct proxymap_worker *w = proxymap_pool_take(p);
	bool ok;

	if (w == NULL) {
		log_warn("no lookup process is free");
		table_proxy_write_reply(reply, TABLE_PROXY_RETRY, (struct span){0});
		return;
	}
	ok = proxymap_worker_ask(w, frame, reply);
	if (!ok) {
		log_warn("lookup process %d gave no answer", (int)w->pid);
		if (!w->ended)
			(void)kill(w->pid, SIGKILL);
		table_proxy_write_reply(reply, TABLE_PROXY_RETRY, (struct span){0});
	}
	proxymap_pool_give(p, w, ok);
}

struct proxymap_pool *
proxymap_pool_new(struct service *service)
{
	struct proxymap_pool *p = mem_new(struct proxymap_pool);

	p->service = service;
	list_init(&p->idle);
	p->rest.fn = proxymap_pool_rest;
	p->rest.arg = p;
	return p;
}

void
proxymap_pool_stop(struct proxymap_pool *p)
{
	task_timer_disarm(&p->rest);
	LIST_FOREACH_SAFE (w, &p->idle, struct proxymap_worker, in_idle) {
		proxymap_worker_send_away(w);
	}
	(void)task_group_wait(&p->reapers, clock_deadline(PROXYMAP_END_WAIT));
}
