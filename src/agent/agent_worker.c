/*
 * agent_worker.c - the agent's side: handing deliveries to workers, answering what they ask.
 */
#include "agent/agent_worker.h"

#include <string.h>

#include "agent/agent_content.h"
#include "agent/agent_worker_int.h"
#include "agent/agent_worker_side.h"
#include "agent/agent_worker_tables.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "service/link.h"
#include "service/service_worker.h"

/* How long a content that was asked for may take to come. */
#define AGENT_WORKER_CONTENT_WAIT (300 * CLOCK_SECOND)

struct agent_worker_pool {
	struct agent *agent;
	const struct agent_worker_kind *kind;
	struct agent_worker_tables *tables;
	struct service_worker_pool *workers;
};

/* One delivery, at a worker. */
struct agent_worker_talk {
	struct agent_worker_pool *pool;
	struct agent_job *job;
	struct link *link; /* borrowed from the worker */
	bool may_be_done;  /* the worker was told to go on: the mail may be delivered */
};

static void
agent_worker_body(void *arg, int fd)
{
	const struct agent_worker_pool *p = arg;

	agent_worker_main(p->agent->service, p->kind, fd);
}

static const struct service_worker_kind agent_worker_processes = {
    .word = "delivery",
    .body = agent_worker_body,
};

/* ---- answering ---- */

static void
agent_worker_send_piece(struct agent_worker_talk *t, bool rewind)
{
	struct span piece = {0};
	bool last = false;
	bool ok;
	struct buf *out;

	if (rewind)
		agent_content_rewind(t->job);
	ok = agent_content_next(t->job, clock_deadline(AGENT_WORKER_CONTENT_WAIT), &piece, &last);
	out = link_send_begin(t->link, AGENT_WORKER_PIECE, 0);
	buf_add_u8(out, (ok ? AGENT_WORKER_PIECE_OK : 0) | (last ? AGENT_WORKER_PIECE_LAST : 0));
	buf_add_span(out, piece);
	link_send_end(t->link);
}

static bool
agent_worker_lookup(struct agent_worker_talk *t, struct span payload)
{
	struct buf value CLEANUP(buf_done) = {0};
	enum agent_work_lookup found;
	struct buf *out;
	uint32_t param;

	if (payload.len < 5)
		return false;
	memcpy(&param, payload.ptr, sizeof(param));
	found = agent_worker_tables_find(t->pool->tables, (enum conf_param)param,
	    (enum agent_work_key)payload.ptr[4], span_from(payload, 5), &value);
	out = link_send_begin(t->link, AGENT_WORKER_VALUE, 0);
	buf_add_u8(out, (uint8_t)found);
	buf_add_span(out, buf_span(&value));
	link_send_end(t->link);
	return true;
}

static void
agent_worker_go_on(struct agent_worker_talk *t)
{
	bool yes = agent_may_finish(t->job);

	t->may_be_done |= yes;
	buf_add_u8(link_send_begin(t->link, AGENT_WORKER_GO_ON, 0), yes);
	link_send_end(t->link);
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
agent_worker_serve(struct agent_worker_talk *t)
{
	struct span payload;
	uint32_t number;
	uint8_t type;

	while (link_receive(t->link, CLOCK_NEVER, &type, &number, &payload) == STREAM_OK) {
		switch (type) {
		case AGENT_WORKER_CONTENT:
			if (payload.len != 1)
				return false;
			agent_worker_send_piece(t, payload.ptr[0] != 0);
			break;
		case AGENT_WORKER_LOOKUP:
			if (!agent_worker_lookup(t, payload))
				return false;
			break;
		case AGENT_WORKER_MAY_GO_ON:
			agent_worker_go_on(t);
			break;
		case AGENT_WORKER_RESULT:
			return agent_worker_result(t->job, payload);
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
	struct service_worker *w = service_worker_take(p->workers, CLOCK_NEVER);
	struct agent_worker_talk t = {.pool = p, .job = job};
	bool ok;

	if (w == NULL) {
		agent_worker_defer(job, "cannot start a delivery process");
		return;
	}
	t.link = service_worker_link(w);
	delivery_write_request(link_send_begin(t.link, AGENT_WORKER_REQUEST, 0), &job->request);
	link_send_end(t.link);
	ok = agent_worker_serve(&t);
	if (!ok) {
		log_warn("%s: delivery process %d ended before it reported",
		    job->request.queue_id.ptr, (int)service_worker_pid(w));
		/* Told to leave in the middle of it: somebody else may try at once if nothing can have happened. */
		if (!task_is_cancelled() || t.may_be_done)
			agent_worker_defer(
			    job, "the delivery process ended before it reported an outcome");
	}
	service_worker_give(&w, ok);
}

/* ---- the pool ---- */

static struct agent_worker_pool *
agent_worker_pool_new(struct agent *agent, const struct agent_worker_kind *kind)
{
	struct agent_worker_pool *p = mem_new(struct agent_worker_pool);

	p->agent = agent;
	p->kind = kind;
	p->workers = service_worker_pool_new(agent->service, &agent_worker_processes, 0, p);
	return p;
}

void
agent_worker_configure(struct agent *agent, const struct agent_worker_kind *kind)
{
	struct agent_worker_pool *p = agent->state;

	if (p == NULL)
		p = agent->state = agent_worker_pool_new(agent, kind);
	agent_worker_tables_free(&p->tables);
	p->tables = agent_worker_tables_new(agent->service->conf, kind);
	service_worker_pool_renew(p->workers);
}

void
agent_worker_stopping(struct agent *agent)
{
	struct agent_worker_pool *p = agent->state;

	service_worker_pool_stop(p->workers);
}
