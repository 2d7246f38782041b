/*
 * agent_worker.c - the agent's side: making, lending and retiring workers, answering what they ask.
 */
#include "agent/agent_worker.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/agent_content.h"
#include "agent/agent_worker_int.h"
#include "agent/agent_worker_side.h"
#include "agent/agent_worker_tables.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "net/stream.h"
#include "service/link.h"
#include "service/service_fork.h"

/* How long a content that was asked for may take to come. */
#define AGENT_WORKER_CONTENT_WAIT (300 * CLOCK_SECOND)
#define AGENT_WORKER_END_WAIT     (2 * CLOCK_SECOND)

struct agent_worker_pool {
	struct agent *agent;
	const struct agent_worker_kind *kind;
	struct agent_worker_tables *tables;
	uint64_t generation; /* of the configuration */
	struct list all;
	struct list idle;          /* the one used last in front */
	struct task_group reapers; /* one a worker */
	struct task_timer rest;    /* when the oldest idle one has rested long enough */
};

struct agent_worker {
	struct agent_worker_pool *pool;
	struct list in_all;
	struct list in_idle;
	struct link *link; /* NULL: retired */
	uint64_t generation;
	unsigned log_generation;
	int64_t idle_since; /* mono us */
	int uses;
	pid_t pid;
	bool busy;
	bool ended;
	bool may_be_done; /* it was told to go on: the mail may be delivered */
};

/* ---- making ---- */

NO_RETURN static void
agent_worker_body(void *arg, int fd)
{
	const struct agent_worker_pool *p = arg;

	agent_worker_main(p->agent->service, p->kind, fd);
}

static void
agent_worker_free(struct agent_worker *w)
{
	list_remove(&w->in_idle);
	list_remove(&w->in_all);
	link_free(&w->link);
	mem_free(w);
}

/* Waits for the end of one worker; the worker is forgotten when it has ended and nobody uses it. */
static void
agent_worker_reap(void *arg)
{
	struct agent_worker *w = arg;
	int status;

	if (task_child_wait(w->pid, &status, CLOCK_NEVER) != TASK_READY)
		return;
	if (WIFSIGNALED(status) && !w->busy && w->link != NULL)
		log_warn(
		    "idle delivery process %d ended by signal %d", (int)w->pid, WTERMSIG(status));
	w->ended = true;
	if (!w->busy)
		agent_worker_free(w);
}

static struct agent_worker *
agent_worker_new(struct agent_worker_pool *p)
{
	struct agent_worker *w = mem_new(struct agent_worker);
	struct err err;
	int fd;

	w->pool = p;
	w->generation = p->generation;
	w->log_generation = log_generation();
	w->busy = true;
	w->pid = service_fork(agent_worker_body, p, &fd, &err);
	if (w->pid == 0) {
		log_warn("cannot start a delivery process: %s", err.text);
		mem_free(w);
		return NULL;
	}
	w->link = link_new(stream_new(fd));
	list_add(&p->all, &w->in_all);
	if (task_group_start(&p->reapers, "worker", agent_worker_reap, w) == NULL) {
		log_warn("cannot start a delivery process: too many tasks");
		(void)kill(w->pid, SIGKILL);
		(void)waitpid(w->pid, NULL, 0);
		agent_worker_free(w);
		return NULL;
	}
	return w;
}

/* ---- lending ---- */

/* It ends by itself when it sees its socket closed; agent_worker_reap() does the rest. */
static void
agent_worker_retire(struct agent_worker *w)
{
	list_remove(&w->in_idle);
	link_free(&w->link);
}

static bool
agent_worker_is_stale(const struct agent_worker *w)
{
	const struct conf *c = w->pool->agent->service->conf;

	return w->generation != w->pool->generation || w->log_generation != log_generation() ||
	       w->uses >= conf_int(c, CONF_max_use);
}

static void
agent_worker_on_rest(void *arg)
{
	struct agent_worker_pool *p = arg;
	int64_t rest = conf_time(p->agent->service->conf, CONF_max_idle);
	int64_t next = CLOCK_NEVER;

	LIST_FOREACH_SAFE (w, &p->idle, struct agent_worker, in_idle) {
		if (w->idle_since + rest <= clock_mono_us())
			agent_worker_retire(w);
		else
			next = MIN(next, w->idle_since + rest);
	}
	if (next != CLOCK_NEVER)
		task_timer_arm(&p->rest, next);
}

static struct agent_worker *
agent_worker_take(struct agent_worker_pool *p)
{
	LIST_FOREACH_SAFE (w, &p->idle, struct agent_worker, in_idle) {
		if (w->ended || agent_worker_is_stale(w)) {
			agent_worker_retire(w);
			continue;
		}
		list_remove(&w->in_idle);
		w->busy = true;
		return w;
	}
	return agent_worker_new(p);
}

static void
agent_worker_give(struct agent_worker *w, bool usable)
{
	struct agent_worker_pool *p = w->pool;

	w->busy = false;
	w->may_be_done = false;
	w->uses++;
	if (w->ended) {
		agent_worker_free(w);
	} else if (!usable || agent_worker_is_stale(w) || p->agent->service->leaving) {
		agent_worker_retire(w);
	} else {
		w->idle_since = clock_mono_us();
		list_add_front(&p->idle, &w->in_idle);
		if (p->rest.heap_index == 0)
			task_timer_arm(&p->rest,
			    w->idle_since + conf_time(p->agent->service->conf, CONF_max_idle));
	}
}

/* ---- answering ---- */

static void
agent_worker_send_piece(struct agent_worker *w, struct agent_job *job, bool rewind)
{
	struct span piece = {0};
	bool last = false;
	bool ok;
	struct buf *out;

	if (rewind)
		agent_content_rewind(job);
	ok = agent_content_next(job, clock_deadline(AGENT_WORKER_CONTENT_WAIT), &piece, &last);
	out = link_send_begin(w->link, AGENT_WORKER_PIECE, 0);
	buf_add_u8(out, (ok ? AGENT_WORKER_PIECE_OK : 0) | (last ? AGENT_WORKER_PIECE_LAST : 0));
	buf_add_span(out, piece);
	link_send_end(w->link);
}

static bool
agent_worker_lookup(struct agent_worker *w, struct span payload)
{
	struct agent_worker_pool *p = w->pool;
	struct buf value CLEANUP(buf_done) = {0};
	enum agent_work_lookup found;
	struct buf *out;
	uint32_t param;

	if (payload.len < 5)
		return false;
	memcpy(&param, payload.ptr, sizeof(param));
	found = agent_worker_tables_find(p->tables, (enum conf_param)param,
	    (enum agent_work_key)payload.ptr[4], span_from(payload, 5), &value);
	out = link_send_begin(w->link, AGENT_WORKER_VALUE, 0);
	buf_add_u8(out, (uint8_t)found);
	buf_add_span(out, buf_span(&value));
	link_send_end(w->link);
	return true;
}

static void
agent_worker_go_on(struct agent_worker *w, struct agent_job *job)
{
	bool yes = agent_may_finish(job);

	w->may_be_done |= yes;
	buf_add_u8(link_send_begin(w->link, AGENT_WORKER_GO_ON, 0), yes);
	link_send_end(w->link);
}

static bool
agent_worker_result(struct agent_job *job, struct span payload)
{
	char *copy = arena_dup(&job->arena, payload);
	struct delivery_result result;

	if (!delivery_parse_result(span_of(copy, payload.len), &job->arena, &result) ||
	    result.outcome_count != job->request.rcpt_count)
		return false;
	for (size_t i = 0; i < result.outcome_count; i++)
		if (result.outcomes[i].rcpt_no != job->outcomes[i].rcpt_no)
			return false;
	memcpy(job->outcomes, result.outcomes, result.outcome_count * sizeof(*job->outcomes));
	return true;
}

/* Serves the worker until it reports. False: it ended, or is confused. */
static bool
agent_worker_serve(struct agent_worker *w, struct agent_job *job)
{
	struct span payload;
	uint32_t number;
	uint8_t type;

	while (link_receive(w->link, CLOCK_NEVER, &type, &number, &payload) == STREAM_OK) {
		switch (type) {
		case AGENT_WORKER_CONTENT:
			if (payload.len != 1)
				return false;
			agent_worker_send_piece(w, job, payload.ptr[0] != 0);
			break;
		case AGENT_WORKER_LOOKUP:
			if (!agent_worker_lookup(w, payload))
				return false;
			break;
		case AGENT_WORKER_MAY_GO_ON:
			agent_worker_go_on(w, job);
			break;
		case AGENT_WORKER_RESULT:
			return agent_worker_result(job, payload);
		default:
			return false;
		}
	}
	return false;
}

/* What no worker is left to say. */
static void
agent_worker_defer(struct agent_job *job, const char *text)
{
	agent_settle_open(job, DELIVERY_DEFERRED, "4.3.0", text);
	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		const struct delivery_rcpt *r = &job->request.rcpts[i];
		struct buf line CLEANUP(buf_done) = {0};
		const struct mail_log_delivery d = {
		    .queue_id = job->request.queue_id.ptr,
		    .recipient = r->addr.ptr,
		    .orig_recipient = r->orig_addr.len != 0 ? r->orig_addr.ptr : NULL,
		    .relay = job->agent->service->name,
		    .times = {.arrival = job->request.arrival,
			.active = job->request.activated,
			.handed = job->started,
			.done = clock_real_us()},
		    .dsn = "4.3.0",
		    .status = "deferred",
		    .text = span_str(text),
		};

		job->outcomes[i].relay = span_str(job->agent->service->name);
		mail_log_delivery(&line, &d);
		log_info("%s", buf_str(&line));
	}
}

void
agent_worker_deliver(struct agent_job *job)
{
	struct agent_worker_pool *p = job->agent->state;
	struct agent_worker *w = agent_worker_take(p);
	bool ok;

	if (w == NULL) {
		agent_worker_defer(job, "cannot start a delivery process");
		return;
	}
	delivery_write_request(link_send_begin(w->link, AGENT_WORKER_REQUEST, 0), &job->request);
	link_send_end(w->link);
	ok = agent_worker_serve(w, job);
	if (!ok) {
		log_warn("%s: delivery process %d ended before it reported",
		    job->request.queue_id.ptr, (int)w->pid);
		if (!w->ended)
			(void)kill(w->pid, SIGKILL);
		/* Told to leave in the middle of it: somebody else may try at once if nothing can have happened. */
		if (!task_is_cancelled() || w->may_be_done)
			agent_worker_defer(
			    job, "the delivery process ended before it reported an outcome");
	}
	agent_worker_give(w, ok);
}

/* ---- the pool ---- */

static struct agent_worker_pool *
agent_worker_pool_new(struct agent *agent, const struct agent_worker_kind *kind)
{
	struct agent_worker_pool *p = mem_new(struct agent_worker_pool);

	p->agent = agent;
	p->kind = kind;
	list_init(&p->all);
	list_init(&p->idle);
	p->rest.fn = agent_worker_on_rest;
	p->rest.arg = p;
	return p;
}

void
agent_worker_configure(struct agent *agent, const struct agent_worker_kind *kind)
{
	struct agent_worker_pool *p = agent->state;

	if (p == NULL)
		p = agent->state = agent_worker_pool_new(agent, kind);
	p->generation++;
	agent_worker_tables_free(&p->tables);
	p->tables = agent_worker_tables_new(agent->service->conf, kind);
	LIST_FOREACH_SAFE (w, &p->idle, struct agent_worker, in_idle) {
		agent_worker_retire(w);
	}
}

void
agent_worker_stopping(struct agent *agent)
{
	struct agent_worker_pool *p = agent->state;

	task_timer_disarm(&p->rest);
	LIST_FOREACH_SAFE (w, &p->idle, struct agent_worker, in_idle) {
		agent_worker_retire(w);
	}
	(void)task_group_wait(&p->reapers, clock_deadline(AGENT_WORKER_END_WAIT));
}
