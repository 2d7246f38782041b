/*
 * qmgr_doubt.c - see qmgr_doubt.h. A doubt lives from the frame that names it to the result that settles it, or to the end of the
 * agent's link. It may be about a recipient that is not here (yet).
 */
#include "qmgr/qmgr_doubt.h"

#include "base/crash.h"
#include "base/mem.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_schedule.h"

struct qmgr_doubt_key {
	int64_t msg_id;
	int64_t rcpt_no;
};

struct qmgr_doubt {
	struct qmgr_doubt_key key;
	struct qmgr_message *
	    message; /* that it keeps a recipient of; NULL: not here. The open recipient keeps it alive */
	uint32_t rcpt;    /* index in the message */
	struct list node; /* in agent->doubts */
};

static void
qmgr_doubt_free(struct qmgr *q, struct qmgr_doubt *d)
{
	(void)hmap_remove(&q->doubts, HMAP_KEY(d->key));
	list_remove(&d->node);
	mem_free(d);
}

void
qmgr_doubt_add(struct qmgr *q, struct qmgr_agent *a, const struct delivery_doubt *doubt)
{
	for (size_t i = 0; i < doubt->rcpt_count; i++) {
		struct qmgr_doubt_key key = {doubt->msg_id, doubt->rcpt_nos[i]};
		struct qmgr_doubt *d = hmap_get(&q->doubts, HMAP_KEY(key));

		if (d != NULL)
			continue;
		d = mem_new(struct qmgr_doubt);
		d->key = key;
		list_add(&a->doubts, &d->node);
		(void)hmap_put(&q->doubts, HMAP_KEY(key), d);
	}
}

bool
qmgr_doubt_hold(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt)
{
	struct qmgr_doubt_key key = {m->envelope->msg_id, m->envelope->rcpts[rcpt].rcpt_no};
	struct qmgr_doubt *d;

	if (q->doubts.count == 0)
		return false;
	d = hmap_get(&q->doubts, HMAP_KEY(key));
	if (d == NULL || d->message != NULL)
		return false;
	d->message = m;
	d->rcpt = rcpt;
	q->doubts_held++;
	CRASH_POINT("doubt-held");
	return true;
}

/* Lets go of the recipient that it keeps. False: none. */
static bool
qmgr_doubt_let_go(
    struct qmgr *q, struct qmgr_doubt *d, struct qmgr_message **ret_message, uint32_t *ret_rcpt)
{
	if (d->message == NULL)
		return false;
	*ret_message = d->message;
	*ret_rcpt = d->rcpt;
	d->message = NULL;
	q->doubts_held--;
	return true;
}

bool
qmgr_doubt_end(struct qmgr *q, int64_t msg_id, uint32_t rcpt_no, struct qmgr_message **ret_message,
    uint32_t *ret_rcpt)
{
	struct qmgr_doubt_key key = {msg_id, rcpt_no};
	struct qmgr_doubt *d;
	bool held;

	if (q->doubts.count == 0)
		return false;
	d = hmap_get(&q->doubts, HMAP_KEY(key));
	if (d == NULL)
		return false;
	held = qmgr_doubt_let_go(q, d, ret_message, ret_rcpt);
	qmgr_doubt_free(q, d);
	return held;
}

void
qmgr_doubt_agent_gone(struct qmgr *q, struct qmgr_agent *a)
{
	LIST_FOREACH_SAFE (d, &a->doubts, struct qmgr_doubt, node) {
		struct qmgr_message *m;
		uint32_t rcpt;

		if (qmgr_doubt_let_go(q, d, &m, &rcpt))
			qmgr_outcome_unreported(q, m, rcpt, a->transport->name, QMGR_AGENT_ENDED);
		qmgr_doubt_free(q, d);
	}
}

void
qmgr_doubt_drop_lost(struct qmgr *q)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&q->doubts, &cursor, &key, &value)) {
		struct qmgr_doubt *d = value;
		struct qmgr_message *m;
		uint32_t rcpt;

		if (d->message == NULL || !queue_lease_is_lost(d->message->claimed->lease))
			continue;
		if (qmgr_doubt_let_go(q, d, &m, &rcpt))
			qmgr_schedule_rcpt(q, m, rcpt);
	}
}

size_t
qmgr_doubt_list(const struct qmgr *q, int64_t *ret_msg_ids, int32_t *ret_rcpt_nos)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	size_t count = 0;
	void *value;

	while (hmap_next(&q->doubts, &cursor, &key, &value)) {
		const struct qmgr_doubt *d = value;

		ret_msg_ids[count] = d->key.msg_id;
		ret_rcpt_nos[count++] = (int32_t)d->key.rcpt_no;
	}
	return count;
}
