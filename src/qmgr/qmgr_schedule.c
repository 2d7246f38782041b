/*
 * qmgr_schedule.c - see qmgr_schedule.h. The states of a destination:
 *
 *	idle     nothing to do                  ready      work and room: in transport->ready
 *	full     work, window in use            suspended  work, but a pause (rate delay) is not over
 *	dead     its site failed: nothing waits here, new work is deferred at once (qmgr_dead.h)
 */
#include "qmgr/qmgr_schedule.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_clog.h"
#include "qmgr/qmgr_dead.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_shard.h"
#include "qmgr/qmgr_transport.h"
#include "sched/sched_rate.h"

/* How long mail waits for an agent of its transport before it is deferred (Postfix: the connect fails at once). */
#define QMGR_AGENT_WAIT    (10 * CLOCK_SECOND)
/* Recipients of a large list that are looked up in one go. */
#define QMGR_RESOLVE_SLICE 100

/* ---- recipients that are not handed to an agent ------------------------------------------------------------------ */

/* "5.1.1 text" or "text": what error: and retry: carry as their nexthop. */
static void
qmgr_builtin_outcome(struct sched_transport *t, const char *nexthop, struct qmgr_outcome *o)
{
	const char *fallback = t->builtin == SCHED_ERROR   ? "5.0.0"
			       : t->builtin == SCHED_RETRY ? "4.0.0"
							   : "2.0.0";
	static const char *const sayers[] = {[SCHED_ERROR] = "bounce_append",
	    [SCHED_RETRY] = "defer_append",
	    [SCHED_DISCARD] = "sent"};
	int a, b, c, used = 0;

	o->relay = "none";
	(void)snprintf(o->dsn, sizeof(o->dsn), "%s", fallback);
	if (sscanf(nexthop, "%1d.%3d.%3d %n", &a, &b, &c, &used) == 3 && used > 0) {
		if (nexthop[0] == fallback[0])
			(void)snprintf(o->dsn, sizeof(o->dsn), "%c.%d.%d", fallback[0], b, c);
		else
			log_info_as(t->builtin == SCHED_DISCARD ? "discard" : "error",
			    "warning: %s: ignoring dsn code \"%d.%d.%d\"", sayers[t->builtin], a, b,
			    c);
		nexthop += used;
	}
	o->text = nexthop;
	switch (t->builtin) {
	case SCHED_ERROR:
		o->status = DELIVERY_BOUNCED;
		return;
	case SCHED_RETRY:
		o->status = DELIVERY_DEFERRED;
		return;
	case SCHED_DISCARD:
		o->status = DELIVERY_SENT;
		o->discarded = true;
		return;
	case SCHED_AGENT:
		break;
	}
	UNREACHED();
}

/* The outcome is recorded as fenced, which forgets the recipient here and changes nothing there. */
static void
qmgr_schedule_lost(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt)
{
	struct qmgr_outcome o = {
	    .status = DELIVERY_DEFERRED, .dsn = "4.3.0", .destination_dead = true};

	o.text = "taken over by another node";
	qmgr_outcome_add(q, m, rcpt, &o);
}

/* While tables are asked a reload may come: nothing of the answer is left in the configuration. */
static void
qmgr_schedule_ask(struct qmgr *q, struct arena *arena, const char *sender, struct span addr,
    struct rewrite_route *ret)
{
	struct qmgr_setup *setup = qmgr_setup_ref(q->setup);

	rewrite_route(setup->rewrite, arena, sender, addr, ret);
	ret->transport = arena_strdup(arena, ret->transport);
	ret->nexthop = arena_strdup(arena, ret->nexthop);
	qmgr_setup_unref(&setup);
}

void
qmgr_schedule_route(struct qmgr *q, const struct qmgr_message *m, uint32_t rcpt,
    struct arena *arena, struct rewrite_route *ret)
{
	struct span addr = span_str(m->envelope->rcpts[rcpt].addr);
	struct span filter = queue_envelope_attr(m->envelope, "content_filter");
	struct span nexthop;

	/* A probe asks about its recipient, not the filter. */
	if (filter.len == 0 || m->probe) {
		qmgr_schedule_ask(q, arena, m->envelope->sender, addr, ret);
		return;
	}
	nexthop = span_from(filter, span_find(filter, ':') + 1);
	if (nexthop.len == 0)
		nexthop = span_from(addr, span_find_last(addr, '@') + 1);
	*ret = (struct rewrite_route){
	    .transport = arena_dup(arena, span_head(filter, span_find(filter, ':'))),
	    .nexthop = arena_dup(arena, nexthop),
	};
}

/* defer_transports holds back what nobody has flushed. */
static bool
qmgr_is_held_back(
    const struct qmgr *q, const struct sched_transport *t, const struct qmgr_message *m)
{
	/* What was deferred after the flush is not due before this time. */
	int64_t until =
	    m->shard->flushed_all + conf_time(q->service->conf, CONF_minimal_backoff_time);

	return t->deferred && !(m->claimed->from_deferred && clock_real_us() < until);
}

/* A recipient whose transport does not deliver (now). True: it has an outcome. */
static bool
qmgr_schedule_refuse(struct qmgr *q, struct sched_transport *t, const char *nexthop,
    struct qmgr_message *m, uint32_t rcpt)
{
	/* Postfix's retry service is its error program under another name. */
	struct qmgr_outcome o = {
	    .program = t->builtin == SCHED_RETRY ? "error" : t->name,
	    .transport = t->name,
	    .nexthop = nexthop,
	};

	if (t->builtin != SCHED_AGENT) {
		qmgr_builtin_outcome(t, nexthop, &o);
		qmgr_outcome_add(q, m, rcpt, &o);
		return true;
	}
	if (qmgr_is_held_back(q, t, m)) {
		qmgr_dead_defer(q, m, rcpt, t->name, nexthop, "4.3.2", "deferred transport");
		return true;
	}
	if (t->unknown && !t->failure.on)
		qmgr_dead_transport(q, t, "No such file or directory");
	if (t->failure.on)
		qmgr_dead_defer(q, m, rcpt, t->name, nexthop, t->failure.dsn, t->failure.reason);
	return t->failure.on;
}

/* ---- recipients to entries --------------------------------------------------------------------------------------- */

/* What it takes in a request (service/delivery.c), about. */
static size_t
qmgr_schedule_bytes(const struct queue_rcpt *r)
{
	return 64 + strlen(r->addr) + (r->orig_addr != NULL ? strlen(r->orig_addr) : 0) +
	       (r->dsn_orcpt != NULL ? strlen(r->dsn_orcpt) : 0);
}

void
qmgr_schedule_rcpt_to(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const char *transport,
    const char *nexthop)
{
	struct sched_job_owner owner = {
	    .message = m,
	    .jobs = &m->jobs,
	    .queued = m->activated,
	    .unread = qmgr_message_unread(m),
	    .singly = queue_envelope_attr(m->envelope, "verp").len != 0,
	    .bytes = qmgr_schedule_bytes(&m->envelope->rcpts[rcpt]),
	};
	struct sched_transport *t = qmgr_transport_get(q, transport);
	struct sched_destination *d;

	if (qmgr_schedule_refuse(q, t, nexthop, m, rcpt))
		return;
	d = qmgr_destination_get(q, t, nexthop, m->envelope->rcpts[rcpt].addr);
	if (d->failure.on)
		return qmgr_dead_defer_for(q, d, m, rcpt);
	m->transport = t;
	sched_job_add(d, &owner, rcpt);
	qmgr_clog_check(q, d);
}

void
qmgr_schedule_rcpt(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;

	if (qmgr_outcome_known(q, m, rcpt))
		return;
	if (queue_lease_is_lost(m->claimed->lease))
		return qmgr_schedule_lost(q, m, rcpt);
	if (qmgr_doubt_hold(q, m, rcpt))
		return;
	qmgr_schedule_route(q, m, rcpt, &arena, &route);
	qmgr_schedule_rcpt_to(q, m, rcpt, route.transport, route.nexthop);
}

static void
qmgr_schedule_slice(struct qmgr *q, struct qmgr_message *m, uint32_t end)
{
	while (m->resolved < end)
		qmgr_schedule_rcpt(q, m, m->resolved++);
}

struct qmgr_resolve {
	struct qmgr *qmgr;
	struct qmgr_message *message; /* held */
};

/* The rest of a large list, with pauses for the others. */
static void
qmgr_resolve_run(void *arg)
{
	struct qmgr_resolve *r = arg;
	struct qmgr_message *m = r->message;
	uint32_t count = (uint32_t)m->envelope->rcpt_count;

	while (m->resolved < count) {
		/* Leaving: what is not resolved stays leased, as what waits does. */
		if (task_yield() == TASK_CANCELLED)
			break;
		qmgr_schedule_slice(r->qmgr, m, MIN(count, m->resolved + QMGR_RESOLVE_SLICE));
		qmgr_schedule_run(r->qmgr);
	}
	if (list_is_linked(&m->unread))
		task_cond_wake_all(&m->shard->page_wanted);
	qmgr_message_unhold(r->qmgr, m);
	mem_free(r);
}

void
qmgr_schedule_message(struct qmgr *q, struct qmgr_message *m)
{
	uint32_t count = (uint32_t)m->envelope->rcpt_count;
	struct qmgr_resolve *r;

	qmgr_schedule_slice(q, m, MIN(count, QMGR_RESOLVE_SLICE));
	if (m->resolved == count)
		return;
	r = mem_new(struct qmgr_resolve);
	*r = (struct qmgr_resolve){.qmgr = q, .message = m};
	m->holds++;
	if (task_group_start(&q->tasks, "resolve", qmgr_resolve_run, r) != NULL)
		return;
	qmgr_schedule_slice(q, m, count);
	qmgr_message_unhold(q, m);
	mem_free(r);
}

/* ---- entries to agents ------------------------------------------------------------------------------------------- */

/* Drops an entry that waits if its mail is somebody else's by now. */
static bool
qmgr_entry_drop_lost(struct qmgr *q, struct sched_entry *e)
{
	if (!queue_lease_is_lost(e->message->claimed->lease))
		return false;
	sched_job_withdraw(e);
	for (size_t i = 0; i < e->rcpt_count; i++)
		qmgr_schedule_lost(q, e->message, e->rcpts[i]);
	sched_entry_free(&e);
	return true;
}

/* An entry whose shard may not deliver now must not stand in the way of the others (I2). */
static bool
qmgr_entry_park(struct sched_entry *e)
{
	if (qmgr_shard_may_deliver(e->message->shard))
		return false;
	sched_job_withdraw(e);
	qmgr_shard_park(e->message->shard, e);
	return true;
}

/* The next entry goes to a free slot. */
static bool
qmgr_schedule_one(struct qmgr *q, struct sched_transport *t)
{
	struct sched_destination *d = sched_job_next(t);
	struct qmgr_agent *agent;

	if (d == NULL || t->rate_locked)
		return false;
	agent = qmgr_agent_pick(t, d->nexthop);
	if (agent == NULL)
		return false;
	if (qmgr_entry_drop_lost(q, sched_job_first(d)) || qmgr_entry_park(sched_job_first(d)))
		return true;
	if (sched_job_could_preempt(t) && sched_job_preempt(t, clock_real_us()))
		return true; /* and look again who is next */
	t->busy++;
	sched_rate_began(t);
	qmgr_agent_hand_out(agent, sched_job_take(d));
	return true;
}

void
qmgr_schedule_run(struct qmgr *q)
{
	if (q->stopping || !qmgr_shard_any_may_deliver(q)) /* I2 */
		return;
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		while (qmgr_schedule_one(q, t))
			continue;
	}
}

/* ---- ends, pauses ------------------------------------------------------------------------------------------------ */

void
qmgr_schedule_ended(
    struct qmgr *q, struct sched_destination *d, const char *site_error, const char *dsn)
{
	struct sched_transport *t = d->transport;

	MUST(d->busy > 0 && t->busy > 0);
	qmgr_dead_learn(q, d, site_error, dsn);
	d->busy--;
	t->busy--;
	if (t->destination_rate_delay != 0 || t->rate_locked) {
		sched_rate_ended(d, clock_mono_us());
		task_cond_wake_all(&q->pauses_wanted);
	}
	task_cond_wake_all(&q->record_done);
	sched_job_check(d);
}

void
qmgr_schedule_tick(struct qmgr *q)
{
	int64_t now = clock_mono_us();

	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		qmgr_dead_revive(q, t, now);
		if (!list_is_empty(&t->agents))
			t->since = now;
		else if (!list_is_empty(&t->jobs) && now - t->since > QMGR_AGENT_WAIT)
			qmgr_dead_transport(q, t, "Connection refused");
	}
}

void
qmgr_schedule_flushed(struct qmgr_shard *s, int64_t all_at)
{
	struct qmgr *q = s->qmgr;

	if (all_at == s->flushed_all)
		return qmgr_dead_revive_flushed(s);
	s->flushed_all = all_at;
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node)
		qmgr_dead_revive(q, t, CLOCK_NEVER);
}

void
qmgr_schedule_pauses_task(void *arg)
{
	struct qmgr *q = arg;
	int64_t next;

	do {
		int64_t now = clock_mono_us();

		next = CLOCK_NEVER;
		LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
			int64_t at = sched_rate_release(t, now);

			next = MIN(next, at);
		}
		qmgr_schedule_run(q);
	} while (task_cond_wait(&q->pauses_wanted, next) != TASK_CANCELLED);
}

/* ---- what waits, of one message or of all -------------------------------------------------------------------------- */

/* Frees the entry, and with its last one its peer and job. */
static void
qmgr_schedule_collect(struct sched_entry *e, struct buf *rcpts)
{
	sched_job_withdraw(e);
	buf_add(rcpts, e->rcpts, e->rcpt_count * sizeof(*e->rcpts));
	sched_entry_free(&e);
}

void
qmgr_schedule_take_waiting(struct qmgr *q, struct qmgr_message *m,
    void (*fn)(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg), void *arg)
{
	struct buf rcpts CLEANUP(buf_done) = {0};
	struct sched_job *job;

	/* All are taken before the first fn(), which may queue recipients again. */
	while ((job = LIST_FIRST(&m->jobs, struct sched_job, siblings)) != NULL) {
		struct sched_peer *peer =
		    CONTAINER_OF(job->peers.next, struct sched_peer, by_job); /* J3 */

		qmgr_schedule_collect(
		    CONTAINER_OF(peer->entries.next, struct sched_entry, node), &rcpts);
	}
	for (size_t at = 0; at < rcpts.len; at += sizeof(uint32_t)) {
		uint32_t rcpt;

		memcpy(&rcpt, rcpts.ptr + at, sizeof(rcpt));
		fn(q, m, rcpt, arg);
	}
}

static void
qmgr_schedule_give_up(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg UNUSED)
{
	qmgr_schedule_lost(q, m, rcpt);
}

void
qmgr_schedule_drop_lost(struct qmgr *q)
{
	LIST_FOREACH (m, &q->messages, struct qmgr_message, node) {
		if (queue_lease_is_lost(m->claimed->lease))
			qmgr_schedule_take_waiting(q, m, qmgr_schedule_give_up, NULL);
	}
}

static void
qmgr_schedule_again(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg UNUSED)
{
	qmgr_schedule_rcpt(q, m, rcpt);
}

void
qmgr_schedule_recheck(struct qmgr *q, struct qmgr_message *m)
{
	m->holds++;
	qmgr_schedule_take_waiting(q, m, qmgr_schedule_again, NULL);
	qmgr_message_unhold(q, m);
}
