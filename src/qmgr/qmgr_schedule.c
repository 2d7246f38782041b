/*
 * qmgr_schedule.c - see qmgr_schedule.h. The states of a destination:
 *
 *	idle     nothing to do                  ready    work and room: in transport->ready
 *	full     work, window in use            dead     its site failed: nothing waits here, new work is deferred at once
 */
#include "qmgr/qmgr_schedule.h"

#include <stdio.h>

#include "base/mem.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_transport.h"

/* How long mail waits for an agent of its transport before it is deferred (Postfix: the connect fails at once). */
#define QMGR_AGENT_WAIT (10 * CLOCK_SECOND)

void
qmgr_entry_free(struct qmgr_entry **e)
{
	if (*e == NULL)
		return;
	MUST(!list_is_linked(&(*e)->node));
	mem_free((*e)->rcpts);
	mem_free(*e);
	*e = NULL;
}

/* Puts a destination into or out of the line of its transport: ready means work and room. */
static void
qmgr_destination_line_up(struct qmgr_destination *d)
{
	bool ready = !d->dead && !list_is_empty(&d->todo) && d->busy < d->window.window;

	if (d->transport->limits.limit == 0)
		ready = !d->dead && !list_is_empty(&d->todo);
	if (ready && !list_is_linked(&d->ready))
		list_add(&d->transport->ready, &d->ready);
	else if (!ready)
		list_remove(&d->ready);
}

/* The entry of this message that waits last in the list and has room for one more recipient; else a new one. */
static struct qmgr_entry *
qmgr_entry_for(struct qmgr_destination *d, struct qmgr_message *m)
{
	struct qmgr_entry *last =
	    list_is_empty(&d->todo) ? NULL : CONTAINER_OF(d->todo.prev, struct qmgr_entry, node);
	struct qmgr_entry *e;

	if (last != NULL && last->message == m &&
	    last->rcpt_count < (size_t)d->transport->recipient_limit)
		return last;
	e = mem_new(struct qmgr_entry);
	e->destination = d;
	e->message = m;
	list_add(&d->todo, &e->node);
	d->todo_count++;
	return e;
}

static void
qmgr_entry_add(struct qmgr_entry *e, uint32_t rcpt)
{
	/* Grown by doubling: entries of large lists reach the recipient limit one by one. */
	if ((e->rcpt_count & (e->rcpt_count - 1)) == 0)
		e->rcpts = mem_resize(
		    e->rcpts, e->rcpt_count != 0 ? e->rcpt_count * 2 : 1, sizeof(*e->rcpts));
	e->rcpts[e->rcpt_count++] = rcpt;
}

/* "5.1.1 text" or "text": what error: and retry: carry as their nexthop. */
static void
qmgr_builtin_outcome(struct qmgr_transport *t, const char *nexthop, struct qmgr_outcome *o)
{
	const char *fallback = t->builtin == QMGR_ERROR   ? "5.0.0"
			       : t->builtin == QMGR_RETRY ? "4.0.0"
							  : "2.0.0";
	int a, b, c, used = 0;

	o->relay = "none";
	(void)snprintf(o->dsn, sizeof(o->dsn), "%s", fallback);
	if (sscanf(nexthop, "%1d.%3d.%3d %n", &a, &b, &c, &used) == 3 && used > 0) {
		(void)snprintf(o->dsn, sizeof(o->dsn), "%c.%d.%d", fallback[0], b, c);
		nexthop += used;
	}
	o->text = nexthop;
	switch (t->builtin) {
	case QMGR_ERROR:
		o->status = DELIVERY_BOUNCED;
		return;
	case QMGR_RETRY:
		o->status = DELIVERY_DEFERRED;
		return;
	case QMGR_DISCARD:
		o->status = DELIVERY_SENT;
		o->discarded = true;
		return;
	case QMGR_AGENT:
		break;
	}
	UNREACHED();
}

static void
qmgr_defer_dead(struct qmgr *q, struct qmgr_destination *d, struct qmgr_message *m, uint32_t rcpt)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct qmgr_outcome o = {
	    .status = DELIVERY_DEFERRED,
	    .relay = "none",
	    .program = "error",
	    .transport = d->transport->name,
	    .nexthop = d->nexthop,
	    .destination_dead = true,
	};

	buf_printf(&text, "delivery temporarily suspended: %s", d->dead_reason);
	o.text = buf_str(&text);
	(void)snprintf(o.dsn, sizeof(o.dsn), "%s", d->dead_dsn[0] != '\0' ? d->dead_dsn : "4.4.1");
	qmgr_outcome_add(q, m, rcpt, &o);
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

void
qmgr_schedule_route(struct qmgr *q, const struct qmgr_message *m, uint32_t rcpt,
    struct arena *arena, struct rewrite_route *ret)
{
	struct span addr = span_str(m->envelope->rcpts[rcpt].addr);
	struct span filter = queue_envelope_attr(m->envelope, "content_filter");
	struct span nexthop;

	if (filter.len == 0) {
		rewrite_resolve(q->rewrite, arena, addr, ret);
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

void
qmgr_schedule_rcpt(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;
	struct qmgr_transport *t;
	struct qmgr_destination *d;

	if (qmgr_outcome_known(q, m, rcpt))
		return;
	if (queue_lease_is_lost(m->claimed->lease))
		return qmgr_schedule_lost(q, m, rcpt);
	if (qmgr_doubt_hold(q, m, rcpt))
		return;
	qmgr_schedule_route(q, m, rcpt, &arena, &route);
	t = qmgr_transport_get(q, route.transport);
	if (t->builtin != QMGR_AGENT) {
		struct qmgr_outcome o = {
		    .program = t->name, .transport = t->name, .nexthop = route.nexthop};

		qmgr_builtin_outcome(t, route.nexthop, &o);
		qmgr_outcome_add(q, m, rcpt, &o);
		return;
	}
	d = qmgr_destination_get(t, route.nexthop);
	if (d->dead)
		return qmgr_defer_dead(q, d, m, rcpt);
	qmgr_entry_add(qmgr_entry_for(d, m), rcpt);
	qmgr_destination_line_up(d);
}

void
qmgr_schedule_message(struct qmgr *q, struct qmgr_message *m)
{
	for (uint32_t i = 0; i < m->envelope->rcpt_count; i++)
		qmgr_schedule_rcpt(q, m, i);
}

/* Takes an entry that waits out of its list. */
static void
qmgr_entry_unlink(struct qmgr_entry *e)
{
	list_remove(&e->node);
	e->destination->todo_count--;
}

/* Drops an entry that waits if its mail is somebody else's by now. */
static bool
qmgr_entry_drop_lost(struct qmgr *q, struct qmgr_entry *e)
{
	if (!queue_lease_is_lost(e->message->claimed->lease))
		return false;
	qmgr_entry_unlink(e);
	for (size_t i = 0; i < e->rcpt_count; i++)
		qmgr_schedule_lost(q, e->message, e->rcpts[i]);
	qmgr_entry_free(&e);
	return true;
}

/* One entry of the destination at the front of the line goes to a slot; the destination then joins the end of the line. */
static bool
qmgr_schedule_one(struct qmgr *q, struct qmgr_transport *t)
{
	struct qmgr_destination *d = LIST_FIRST(&t->ready, struct qmgr_destination, ready);
	struct qmgr_agent *agent;
	struct qmgr_entry *e;

	if (d == NULL)
		return false;
	agent = qmgr_agent_pick(t, d->nexthop);
	if (agent == NULL)
		return false;
	e = LIST_FIRST(&d->todo, struct qmgr_entry, node);
	MUST(e != NULL);
	if (qmgr_entry_drop_lost(q, e)) {
		qmgr_destination_line_up(d);
		return true;
	}
	qmgr_entry_unlink(e);
	d->busy++;
	t->busy++;
	list_remove(&d->ready);
	qmgr_destination_line_up(d);
	qmgr_agent_hand_out(agent, e);
	return true;
}

void
qmgr_schedule_run(struct qmgr *q)
{
	if (q->stopping || !cluster_node_may_deliver(q->node)) /* I2 */
		return;
	LIST_FOREACH (t, &q->transport_list, struct qmgr_transport, node) {
		while (qmgr_schedule_one(q, t))
			continue;
	}
}

/* Everything that waits for a destination that just died is deferred. */
static void
qmgr_destination_flush_dead(struct qmgr *q, struct qmgr_destination *d)
{
	while (!list_is_empty(&d->todo)) {
		struct qmgr_entry *e = LIST_FIRST(&d->todo, struct qmgr_entry, node);

		list_remove(&e->node);
		d->todo_count--;
		for (size_t i = 0; i < e->rcpt_count; i++)
			qmgr_defer_dead(q, d, e->message, e->rcpts[i]);
		qmgr_entry_free(&e);
	}
}

static void
qmgr_destination_die(
    struct qmgr *q, struct qmgr_destination *d, const char *reason, const char *dsn)
{
	mem_free(d->dead_reason);
	d->dead_reason = mem_strdup(reason);
	(void)snprintf(d->dead_dsn, sizeof(d->dead_dsn), "%s", dsn);
	q->dead_destinations += !d->dead;
	d->dead = true;
	d->dead_until = clock_deadline(conf_time(q->service->conf, CONF_minimal_backoff_time));
	qmgr_destination_line_up(d);
	qmgr_destination_flush_dead(q, d);
}

static void
qmgr_destination_revive(struct qmgr *q, struct qmgr_destination *d)
{
	q->dead_destinations--;
	d->dead = false;
	qmgr_window_revive(&d->window, &d->transport->limits, d->busy);
	qmgr_destination_line_up(d);
}

void
qmgr_schedule_ended(
    struct qmgr *q, struct qmgr_destination *d, const char *site_error, const char *dsn)
{
	struct qmgr_transport *t = d->transport;

	MUST(d->busy > 0 && t->busy > 0);
	if (site_error == NULL)
		qmgr_window_success(&d->window, &t->limits, d->busy);
	else if (!d->dead && qmgr_window_failure(&d->window, &t->limits))
		qmgr_destination_die(q, d, site_error, dsn);
	d->busy--;
	t->busy--;
	task_cond_wake_all(&q->record_done);
	qmgr_destination_line_up(d);
}

static void
qmgr_transport_revive(struct qmgr *q, struct qmgr_transport *t, int64_t now)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&t->destinations, &cursor, &key, &value)) {
		struct qmgr_destination *d = value;

		if (d->dead && d->dead_until <= now)
			qmgr_destination_revive(q, d);
	}
}

/* Mail for a transport without any agent is deferred, as Postfix does when it cannot reach one. */
static void
qmgr_transport_give_up(struct qmgr *q, struct qmgr_transport *t)
{
	while (!list_is_empty(&t->ready)) {
		struct qmgr_destination *d = LIST_FIRST(&t->ready, struct qmgr_destination, ready);

		qmgr_destination_die(q, d, "mail transport unavailable", "4.3.0");
	}
}

void
qmgr_schedule_tick(struct qmgr *q)
{
	int64_t now = clock_mono_us();

	LIST_FOREACH (t, &q->transport_list, struct qmgr_transport, node) {
		qmgr_transport_revive(q, t, now);
		if (!list_is_empty(&t->agents))
			t->since = now;
		else if (!list_is_empty(&t->ready) && now - t->since > QMGR_AGENT_WAIT)
			qmgr_transport_give_up(q, t);
	}
}

/* Takes all waiting recipients of `m` out of one destination's list and gives them to fn(). */
static void
qmgr_destination_take(struct qmgr *q, struct qmgr_destination *d, struct qmgr_message *m,
    void (*fn)(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg), void *arg)
{
	LIST_FOREACH_SAFE (e, &d->todo, struct qmgr_entry, node) {
		if (e->message != m)
			continue;
		list_remove(&e->node);
		d->todo_count--;
		for (size_t i = 0; i < e->rcpt_count; i++)
			fn(q, m, e->rcpts[i], arg);
		qmgr_entry_free(&e);
	}
	qmgr_destination_line_up(d);
}

void
qmgr_schedule_take_waiting(struct qmgr *q, struct qmgr_message *m,
    void (*fn)(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg), void *arg)
{
	LIST_FOREACH (t, &q->transport_list, struct qmgr_transport, node) {
		struct hmap_cursor cursor = {0};
		struct span key;
		void *value;

		while (hmap_next(&t->destinations, &cursor, &key, &value))
			qmgr_destination_take(q, value, m, fn, arg);
	}
}

static void
qmgr_destination_drop_lost(struct qmgr *q, struct qmgr_destination *d)
{
	LIST_FOREACH_SAFE (e, &d->todo, struct qmgr_entry, node)
		(void)qmgr_entry_drop_lost(q, e);
	qmgr_destination_line_up(d);
}

void
qmgr_schedule_drop_lost(struct qmgr *q)
{
	LIST_FOREACH (t, &q->transport_list, struct qmgr_transport, node) {
		struct hmap_cursor cursor = {0};
		struct span key;
		void *value;

		while (hmap_next(&t->destinations, &cursor, &key, &value))
			qmgr_destination_drop_lost(q, value);
	}
}

static void
qmgr_schedule_again(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg)
{
	struct buf *rcpts = arg;

	(void)q;
	(void)m;
	buf_add(rcpts, &rcpt, sizeof(rcpt));
}

void
qmgr_schedule_recheck(struct qmgr *q, struct qmgr_message *m)
{
	struct buf rcpts CLEANUP(buf_done) = {0};

	m->holds++;
	qmgr_schedule_take_waiting(q, m, qmgr_schedule_again, &rcpts);
	for (size_t at = 0; at < rcpts.len; at += sizeof(uint32_t)) {
		uint32_t rcpt;

		memcpy(&rcpt, rcpts.ptr + at, sizeof(rcpt));
		qmgr_schedule_rcpt(q, m, rcpt);
	}
	qmgr_message_unhold(q, m);
}

void
qmgr_schedule_revive_all(struct qmgr *q)
{
	LIST_FOREACH (t, &q->transport_list, struct qmgr_transport, node) {
		qmgr_transport_revive(q, t, CLOCK_NEVER);
	}
}
