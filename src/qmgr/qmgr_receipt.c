/*
 * qmgr_receipt.c - see qmgr_receipt.h.
 */
#include "qmgr/qmgr_receipt.h"

#include "base/crash.h"
#include "base/mem.h"
#include "qmgr/qmgr_int.h"

/* Numbers that gather at most before they are sent. */
#define QMGR_RECEIPTS_MAX 256

struct qmgr_receipt {
	struct qmgr_agent *agent; /* NULL: it is gone */
	struct list node;         /* in agent->receipts */
	uint32_t delivery;
	uint32_t refs;
};

struct qmgr_receipt *
qmgr_receipt_new(struct qmgr_agent *a, uint32_t delivery)
{
	struct qmgr_receipt *r = mem_new(struct qmgr_receipt);

	r->agent = a;
	r->delivery = delivery;
	r->refs = 1;
	list_add(&a->receipts, &r->node);
	return r;
}

struct qmgr_receipt *
qmgr_receipt_ref(struct qmgr_receipt *r)
{
	if (r != NULL)
		r->refs++;
	return r;
}

void
qmgr_receipt_send(struct qmgr_agent *a)
{
	if (a->recorded.len == 0)
		return;
	(void)link_send(a->link, DELIVERY_RECORDED, 0, buf_span(&a->recorded));
	buf_clear(&a->recorded);
	CRASH_POINT("receipt-sent");
}

/* An agent that is to end waits for it. */
static void
qmgr_receipt_gather(struct qmgr_agent *a, uint32_t delivery)
{
	delivery_add_recorded(&a->recorded, delivery);
	if (a->leaving || a->recorded.len >= QMGR_RECEIPTS_MAX * sizeof(delivery))
		qmgr_receipt_send(a);
}

void
qmgr_receipt_drop(struct qmgr_receipt **rr)
{
	struct qmgr_receipt *r = *rr;

	*rr = NULL;
	if (r == NULL || --r->refs > 0)
		return;
	if (r->agent != NULL) {
		list_remove(&r->node);
		qmgr_receipt_gather(r->agent, r->delivery);
	}
	mem_free(r);
}

void
qmgr_receipt_send_all(struct qmgr *q)
{
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		LIST_FOREACH (a, &t->agents, struct qmgr_agent, node) {
			qmgr_receipt_send(a);
		}
	}
}

void
qmgr_receipt_agent_gone(struct qmgr_agent *a)
{
	LIST_FOREACH_SAFE (r, &a->receipts, struct qmgr_receipt, node) {
		list_remove(&r->node);
		r->agent = NULL;
	}
	buf_done(&a->recorded);
}
