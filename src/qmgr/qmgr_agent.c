/*
 * qmgr_agent.c - see qmgr_agent.h. When an agent dies or its link breaks, what it held is scheduled again if nothing can have been
 * sent; otherwise it is deferred, since the peer may have the message: only the agent's own report could tell.
 */
#include "qmgr/qmgr_agent.h"

#include <stdio.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_verp.h"
#include "qmgr/qmgr_content.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_forward.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_notice.h"
#include "qmgr/qmgr_order.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_receipt.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_transport.h"

#define QMGR_HELLO_WAIT (10 * CLOCK_SECOND)
/* Most slots that one agent process may claim to have. */
#define QMGR_SLOTS_MAX  100000

struct qmgr_agent *
qmgr_agent_pick(struct sched_transport *t, const char *nexthop)
{
	struct qmgr_agent *best = NULL;

	LIST_FOREACH (a, &t->agents, struct qmgr_agent, node) {
		if (a->leaving || a->busy >= a->slots)
			continue;
		if (hmap_get(&a->idle, span_str(nexthop)) != NULL)
			return a;
		if (best == NULL || a->busy * best->slots < best->busy * a->slots)
			best = a;
	}
	return best;
}

bool
qmgr_agent_busy(const struct qmgr *q)
{
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		if (t->busy != 0)
			return true;
	}
	return q->doubts_held != 0;
}

static void
qmgr_agent_send_lease(
    struct qmgr_agent *a, const struct qmgr_shard *s, int64_t epoch, int64_t until)
{
	const struct delivery_lease lease = {
	    .shard = (uint32_t)s->number, .epoch = epoch, .until = until};

	delivery_write_lease(link_send_begin(a->link, DELIVERY_LEASE, 0), &lease);
	link_send_end(a->link);
}

void
qmgr_agent_tell_lease(const struct qmgr_shard *s, int64_t epoch, int64_t until)
{
	LIST_FOREACH (t, &s->qmgr->transport_list, struct sched_transport, node) {
		LIST_FOREACH (a, &t->agents, struct qmgr_agent, node) {
			qmgr_agent_send_lease(a, s, epoch, until);
		}
	}
}

static void
qmgr_agent_cancel_of(struct qmgr_agent *a, const struct qmgr_shard *s, const struct qmgr_message *m)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&a->entries, &cursor, &key, &value)) {
		const struct sched_entry *e = value;

		if (e->message->shard != s || (m != NULL && e->message != m))
			continue;
		(void)link_send_begin(a->link, DELIVERY_CANCEL, e->delivery);
		link_send_end(a->link);
	}
}

void
qmgr_agent_cancel(struct qmgr *q, const struct qmgr_shard *s, const struct qmgr_message *m)
{
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		LIST_FOREACH (a, &t->agents, struct qmgr_agent, node) {
			qmgr_agent_cancel_of(a, s, m);
		}
	}
}

static void
qmgr_agent_fill_rcpts(const struct sched_entry *e, struct delivery_rcpt *out)
{
	for (size_t i = 0; i < e->rcpt_count; i++) {
		const struct queue_rcpt *r = &e->message->envelope->rcpts[e->rcpts[i]];

		out[i] = (struct delivery_rcpt){
		    .rcpt_no = (uint32_t)r->rcpt_no,
		    .addr = span_str(r->addr),
		    .orig_addr = span_str(r->orig_addr),
		    .dsn_orcpt = span_str(r->dsn_orcpt),
		    .dsn_notify = r->dsn_notify,
		};
	}
}

/*
 * The sender as this recipient's replies are to find it (VERP): "user-rcptuser=rcptdomain@domain" with delimiters "-=". NULL: the
 * message's own. Such a message has one recipient a delivery.
 */
static char *
qmgr_agent_verp(const struct sched_entry *e)
{
	const struct queue_envelope *env = e->message->envelope;
	struct span delims = queue_envelope_attr(env, "verp");
	const struct queue_rcpt *rcpt = &env->rcpts[e->rcpts[0]];
	struct buf out CLEANUP(buf_done) = {0};

	if (e->rcpt_count != 1 ||
	    !mail_verp_write(&out, delims, span_str(env->sender),
		span_str(rcpt->orig_addr != NULL ? rcpt->orig_addr : rcpt->addr)))
		return NULL;
	return mem_strdup(buf_str(&out));
}

static uint32_t
qmgr_agent_number(struct qmgr_agent *a)
{
	return a->next_delivery++ & ~DELIVERY_STRANGER;
}

static bool
qmgr_agent_is_partly(const struct sched_entry *e)
{
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (qmgr_forward_waits(e->message, e->rcpts[i]))
			return true;
	return false;
}

void
qmgr_agent_hand_out(struct qmgr_agent *a, struct sched_entry *e)
{
	const struct qmgr_message *m = e->message;
	struct delivery_rcpt *rcpts = mem_alloc(e->rcpt_count * sizeof(*rcpts));
	char *verp CLEANUP(mem_free_str) = qmgr_agent_verp(e);
	struct delivery_request request = {
	    .msg_id = m->envelope->msg_id,
	    .epoch = queue_lease_epoch(m->claimed->lease),
	    .queue_id = span_str(m->queue_id),
	    .transport = span_str(a->transport->name),
	    .nexthop = span_str(e->destination->nexthop),
	    .sender = span_str(verp != NULL ? verp : m->envelope->sender),
	    .arrival = m->envelope->arrival,
	    .activated = m->activated,
	    .size = m->envelope->size,
	    .content_inline = m->claimed->content_here,
	    .content = m->claimed->content,
	    .attrs = m->attrs,
	    .attr_count = m->attr_count,
	    .rcpts = rcpts,
	    .rcpt_count = e->rcpt_count,
	    .verify_only = m->probe,
	    .partly = qmgr_agent_is_partly(e),
	};

	qmgr_agent_fill_rcpts(e, rcpts);
	CRASH_POINT("handout-before");
	e->agent = a;
	e->delivery = qmgr_agent_number(a);
	e->handed = clock_mono_us();
	a->busy++;
	(void)hmap_put(&a->entries, HMAP_KEY(e->delivery), e);
	qmgr_receipt_send(a);
	delivery_write_request(link_send_begin(a->link, DELIVERY_REQUEST, e->delivery), &request);
	link_send_end(a->link);
	CRASH_POINT("handout-after");
	mem_free(rcpts);
}

static struct sched_entry *
qmgr_agent_take_entry(struct qmgr_agent *a, uint32_t delivery)
{
	struct sched_entry *e = hmap_remove(&a->entries, HMAP_KEY(delivery));

	if (e != NULL)
		a->busy--;
	return e;
}

/* The index within the message of recipient number `rcpt_no`, if this delivery holds it and it has no outcome yet. */
static bool
qmgr_entry_claim_rcpt(struct sched_entry *e, uint32_t rcpt_no, uint32_t *ret_index)
{
	for (size_t i = 0; i < e->rcpt_count; i++) {
		if ((uint32_t)e->message->envelope->rcpts[e->rcpts[i]].rcpt_no != rcpt_no)
			continue;
		*ret_index = e->rcpts[i];
		e->rcpts[i] = e->rcpts[--e->rcpt_count];
		return true;
	}
	return false;
}

static void
qmgr_agent_outcome(struct qmgr *q, struct sched_entry *e, const struct delivery_outcome *in,
    struct qmgr_receipt *receipt)
{
	struct qmgr_outcome o;
	uint32_t index;

	if (!qmgr_entry_claim_rcpt(e, in->rcpt_no, &index)) {
		log_warn("%s: agent %s reported recipient %u twice or unasked",
		    e->message->queue_id, e->destination->transport->name, in->rcpt_no);
		return;
	}
	if (in->status == DELIVERY_UNTRIED)
		return qmgr_order_rcpt_untried(q, e->message, index);
	if (qmgr_forward_takes(q, e->message, index, in, e->destination->transport->name,
		e->destination->nexthop, receipt))
		return;
	qmgr_outcome_from_agent(e, in, &o);
	o.receipt = qmgr_receipt_ref(receipt);
	qmgr_outcome_add(q, e->message, index, &o);
	qmgr_outcome_done(&o);
}

/* The agent is gone or confused: what it held was perhaps sent. */
static void
qmgr_agent_defer_rest(struct qmgr *q, struct sched_entry *e, const char *why)
{
	for (size_t i = 0; i < e->rcpt_count; i++)
		qmgr_outcome_unreported(
		    q, e->message, e->rcpts[i], e->destination->transport->name, why);
	e->rcpt_count = 0;
}

static bool
qmgr_agent_result(struct qmgr *q, struct qmgr_agent *a, uint32_t delivery, struct span payload)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct delivery_result result;
	struct qmgr_receipt *receipt;
	struct sched_entry *e;
	char *site_error CLEANUP(mem_free_str) = NULL;
	char dsn[12];

	if (!delivery_parse_result(payload, &arena, &result))
		return false;
	e = qmgr_agent_take_entry(a, delivery);
	receipt = delivery_result_counts(&result) ? qmgr_receipt_new(a, delivery) : NULL;
	if (e == NULL) {
		qmgr_outcome_of_stranger(q, &result, receipt);
		qmgr_receipt_drop(&receipt);
		return true;
	}
	e->message->holds++;
	for (size_t i = 0; i < result.outcome_count; i++)
		qmgr_agent_outcome(q, e, &result.outcomes[i], receipt);
	qmgr_receipt_drop(&receipt);
	qmgr_agent_defer_rest(q, e, "the delivery agent gave no outcome");
	qmgr_message_unhold(q, e->message);
	site_error = result.site_error.len != 0 ? span_dup(result.site_error) : NULL;
	(void)snprintf(dsn, sizeof(dsn), "%.*s", SPAN_ARG(result.site_error_dsn));
	qmgr_schedule_ended(q, e->destination, site_error, dsn);
	sched_entry_free(&e);
	qmgr_schedule_run(q);
	return true;
}

static bool
qmgr_agent_pull(struct qmgr *q, struct qmgr_agent *a, uint32_t delivery, struct span payload)
{
	struct sched_entry *e = hmap_get(&a->entries, HMAP_KEY(delivery));
	struct delivery_pull pull;

	if (!delivery_parse_pull(payload, &pull))
		return false;
	if (e != NULL)
		qmgr_content_pull(q, a, e, &pull);
	return true;
}

static bool
qmgr_agent_idle(struct qmgr_agent *a, struct span payload)
{
	struct delivery_idle idle;

	if (!delivery_parse_idle(payload, &idle))
		return false;
	if (idle.count != 0)
		(void)hmap_put(&a->idle, idle.nexthop, a);
	else
		(void)hmap_remove(&a->idle, idle.nexthop);
	return true;
}

static bool
qmgr_agent_doubt(struct qmgr *q, struct qmgr_agent *a, struct span payload)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct delivery_doubt doubt;

	if (!delivery_parse_doubt(payload, &arena, &doubt))
		return false;
	qmgr_doubt_add(q, a, &doubt);
	return true;
}

static bool
qmgr_agent_notice(struct qmgr *q, struct span payload)
{
	struct delivery_notice notice;

	if (!delivery_parse_notice(payload, &notice))
		return false;
	qmgr_notice(q, &notice);
	return true;
}

/* One frame; false: the agent does not speak our language. */
static bool
qmgr_agent_frame(
    struct qmgr *q, struct qmgr_agent *a, uint8_t type, uint32_t delivery, struct span payload)
{
	switch (type) {
	case DELIVERY_RESULT:
		return qmgr_agent_result(q, a, delivery, payload);
	case DELIVERY_PULL:
		return qmgr_agent_pull(q, a, delivery, payload);
	case DELIVERY_IDLE:
		return qmgr_agent_idle(a, payload);
	case DELIVERY_DOUBT:
		return qmgr_agent_doubt(q, a, payload);
	case DELIVERY_NOTICE:
		return qmgr_agent_notice(q, payload);
	case DELIVERY_LEAVING:
		a->leaving = true;
		qmgr_receipt_send(a);
		return true;
	default:
		return false;
	}
}

static bool
qmgr_agent_hello(struct qmgr *q, struct qmgr_agent *a)
{
	struct delivery_hello hello;
	struct span payload;
	uint32_t delivery;
	uint8_t type;
	char *name;

	if (link_receive(a->link, clock_deadline(QMGR_HELLO_WAIT), &type, &delivery, &payload) !=
		STREAM_OK ||
	    type != DELIVERY_HELLO || !delivery_parse_hello(payload, &hello) ||
	    hello.service.len == 0 || hello.slots == 0 || hello.slots > QMGR_SLOTS_MAX)
		return false;
	name = span_dup(hello.service);
	a->transport = qmgr_transport_get(q, name);
	mem_free(name);
	a->pid = hello.pid;
	a->slots = hello.slots;
	return true;
}

static void
qmgr_agent_gone(struct qmgr *q, struct qmgr_agent *a)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	list_remove(&a->node);
	qmgr_doubt_agent_gone(q, a);
	while (hmap_next(&a->entries, &cursor, &key, &value)) {
		struct sched_entry *e = value;

		e->message->holds++;
		qmgr_agent_defer_rest(q, e, QMGR_AGENT_ENDED);
		qmgr_message_unhold(q, e->message);
		qmgr_schedule_ended(q, e->destination, NULL, "");
		sched_entry_free(&e);
	}
	qmgr_receipt_agent_gone(a);
	hmap_done(&a->entries);
	hmap_done(&a->idle);
}

static void
qmgr_agent_run(struct qmgr *q, struct qmgr_agent *a)
{
	enum stream_result r;
	struct span payload;
	uint32_t delivery;
	uint8_t type;

	list_add(&a->transport->agents, &a->node);
	for (size_t i = 0; i < q->shard_count; i++)
		qmgr_agent_send_lease(a, q->shards[i], cluster_node_epoch(q->shards[i]->node),
		    cluster_node_lease_until(q->shards[i]->node));
	log_debug("agent %s pid %lld: %zu slots", a->transport->name, (long long)a->pid, a->slots);
	qmgr_schedule_run(q);
	for (;;) {
		r = link_receive(a->link, CLOCK_NEVER, &type, &delivery, &payload);
		if (r != STREAM_OK)
			break;
		if (!qmgr_agent_frame(q, a, type, delivery, payload)) {
			log_warn("agent %s pid %lld sent a malformed frame of type %u",
			    a->transport->name, (long long)a->pid, type);
			break;
		}
	}
	if (a->busy != 0)
		log_warn("agent %s pid %lld left with %zu deliveries", a->transport->name,
		    (long long)a->pid, a->busy);
	qmgr_agent_gone(q, a);
	qmgr_schedule_run(q);
}

void
qmgr_agent_session(struct stream *stream, const struct net_addr *peer UNUSED, void *arg)
{
	struct qmgr *q = arg;
	struct qmgr_agent *a = mem_new(struct qmgr_agent);

	a->qmgr = q;
	a->link = link_new(stream);
	list_init(&a->doubts);
	list_init(&a->receipts);
	if (qmgr_agent_hello(q, a))
		qmgr_agent_run(q, a);
	link_free(&a->link);
	mem_free(a);
}
