/*
 * qmgr_order.c - see qmgr_order.h.
 */
#include "qmgr/qmgr_order.h"

#include "base/crash.h"
#include "base/mem.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_shard.h"

struct qmgr_order_ids {
	int64_t *ids; /* owned */
	size_t count;
};

/* What the verb makes of a recipient that is not under way. */
static void
qmgr_order_apply(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg)
{
	const struct queue_order *order = arg;
	struct qmgr_outcome o = {
	    .status = DELIVERY_DEFERRED, .dsn = "4.3.0", .relay = "none", .order = order->verb};

	if (order->rcpt_no >= 0 && m->envelope->rcpts[rcpt].rcpt_no != order->rcpt_no)
		return qmgr_schedule_rcpt(q, m, rcpt);
	o.text = queue_verb_name(order->verb);
	qmgr_outcome_add(q, m, rcpt, &o);
}

enum queue_verb
qmgr_order_of(const struct qmgr_message *m, int32_t rcpt_no)
{
	return m->order != 0 && (m->order_rcpt < 0 || m->order_rcpt == rcpt_no) ? m->order : 0;
}

void
qmgr_order_rcpt_untried(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt)
{
	struct queue_order order = {
	    .rcpt_no = -1, .verb = qmgr_order_of(m, m->envelope->rcpts[rcpt].rcpt_no)};

	if (order.verb == 0 || queue_lease_is_lost(m->claimed->lease))
		qmgr_schedule_rcpt(q, m, rcpt);
	else
		qmgr_order_apply(q, m, rcpt, &order);
}

/* One part of a message in our hands. */
static void
qmgr_order_obey_part(struct qmgr *q, struct qmgr_message *m, const struct queue_order *order)
{
	m->holds++;
	/* Once: what is under way is asked to end, whatever it is waiting for. */
	if (m->order_id != order->order_id && order->verb != QUEUE_VERB_REQUEUE)
		qmgr_agent_cancel(q, m->shard, m);
	m->shard->ordered = true;
	m->order = order->verb;
	m->order_rcpt = order->rcpt_no;
	m->order_id = order->order_id;
	qmgr_schedule_take_waiting(q, m, qmgr_order_apply, (void *)(uintptr_t)order);
	qmgr_message_unhold(q, m);
}

/* True when the order is obeyed, or will be with no further look at it. */
static bool
qmgr_order_obey(struct qmgr *q, const struct queue_order *order)
{
	struct qmgr_message *m = qmgr_message_find(q, order->msg_id);

	if (m == NULL)
		return true; /* no longer ours: whoever holds it next reads the order in the database */
	if (order->verb == QUEUE_VERB_FLUSH || order->verb == QUEUE_VERB_RELEASE)
		return true; /* it is being delivered */
	/* A part that nothing is left of waits for its next page: it is freed elsewhere, not here. */
	for (struct qmgr_message *older; m != NULL; m = older) {
		older = m->older;
		qmgr_order_obey_part(q, m, order);
	}
	/* Recipients under way stay pending until their outcome; the next look finds the message gone. */
	return false;
}

/* What was ordered may have been taken back: only what is pending still holds. */
static void
qmgr_order_forget(struct qmgr_shard *s)
{
	if (!s->ordered)
		return;
	s->ordered = false;
	LIST_FOREACH (m, &s->qmgr->messages, struct qmgr_message, node) {
		if (m->shard == s)
			m->order = 0;
	}
}

static void
qmgr_order_finish(struct qmgr_shard *s, const struct qmgr_order_ids *done)
{
	struct err err;

	if (done->count == 0)
		return;
	if (!queue_order_done(s->desk, done->ids, done->count,
		clock_deadline(conf_time(s->qmgr->service->conf, CONF_queue_database_timeout)),
		&err))
		qmgr_shard_trouble(s, &err);
}

void
qmgr_order_run(struct qmgr_shard *s)
{
	struct qmgr_order_ids done = {0};
	struct queue_order *orders = NULL;
	size_t count = 0;
	bool flush = false;
	struct err err;

	if (!queue_order_poll(s->desk,
		clock_deadline(conf_time(s->qmgr->service->conf, CONF_queue_database_timeout)),
		&orders, &count, &flush, &err))
		return qmgr_shard_trouble(s, &err);
	if (count != 0)
		CRASH_POINT("order-read");
	if (flush)
		qmgr_schedule_flushed(s, queue_order_flushed_all(s->desk));
	qmgr_order_forget(s);
	done.ids = mem_alloc(count * sizeof(*done.ids));
	for (size_t i = 0; i < count; i++)
		if (qmgr_order_obey(s->qmgr, &orders[i]))
			done.ids[done.count++] = orders[i].order_id;
	if (count != 0)
		CRASH_POINT("order-obeyed");
	qmgr_order_finish(s, &done);
	mem_free(done.ids);
	mem_free(orders);
	qmgr_schedule_run(s->qmgr);
}
