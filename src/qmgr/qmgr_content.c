/*
 * qmgr_content.c - see qmgr_content.h. A pull asks for at most its credit, so what is in memory here is bounded by the number of
 * deliveries under way times the credit.
 */
#include "qmgr/qmgr_content.h"

#include "base/crash.h"
#include "base/mem.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_shard.h"
#include "queue/queue_content.h"
#include "service/shelf.h"

/* Most bytes for one pull, whatever the agent asks for. */
#define QMGR_PULL_MAX 262144u

struct qmgr_pull {
	struct qmgr *qmgr;
	struct sched_transport *transport;
	struct qmgr_message *message; /* held */
	uint32_t delivery;
	int64_t agent_pid;
	uint64_t offset;
	uint32_t credit;
};

bool
qmgr_content_read(struct qmgr *q, const struct qmgr_message *m, uint64_t offset, size_t len,
    struct buf *ret, struct err *err)
{
	const struct queue_content_ref ref = {
	    .msg_id = m->envelope->msg_id,
	    .content_id = m->claimed->content_id,
	    .set = m->claimed->set,
	};

	return shelf_read(q->service->shelf, ref.msg_id, m->envelope->size, offset, len, ret) ||
	       queue_content_read(m->shard->pool, &ref, offset, len,
		   clock_deadline(conf_time(q->service->conf, CONF_queue_database_timeout)), ret,
		   err);
}

/* The agent may have gone while the database was asked: it is looked up again. */
static struct qmgr_agent *
qmgr_pull_agent(const struct qmgr_pull *p)
{
	LIST_FOREACH (a, &p->transport->agents, struct qmgr_agent, node) {
		if (a->pid == p->agent_pid && hmap_get(&a->entries, HMAP_KEY(p->delivery)) != NULL)
			return a;
	}
	return NULL;
}

static void
qmgr_pull_run(void *arg)
{
	struct qmgr_pull *p = arg;
	struct qmgr *q = p->qmgr;
	struct delivery_content piece = {.offset = p->offset};
	struct buf bytes CLEANUP(buf_done) = {0};
	struct qmgr_agent *a;
	struct err err;

	if (!qmgr_content_read(q, p->message, p->offset, p->credit, &bytes, &err)) {
		piece.failed = true;
		qmgr_shard_trouble(p->message->shard, &err);
	}
	CRASH_POINT("content-read");
	piece.bytes = buf_span(&bytes);
	piece.last = p->offset + bytes.len >= p->message->envelope->size;
	a = qmgr_pull_agent(p);
	if (a != NULL) {
		delivery_write_content(
		    link_send_begin(a->link, DELIVERY_CONTENT, p->delivery), &piece);
		link_send_end(a->link);
	}
	qmgr_message_unhold(q, p->message);
	mem_free(p);
}

void
qmgr_content_pull(
    struct qmgr *q, struct qmgr_agent *a, struct sched_entry *e, const struct delivery_pull *pull)
{
	struct qmgr_pull *p = mem_new(struct qmgr_pull);

	*p = (struct qmgr_pull){
	    .qmgr = q,
	    .transport = a->transport,
	    .message = e->message,
	    .delivery = e->delivery,
	    .agent_pid = a->pid,
	    .offset = pull->offset,
	    .credit = MIN(pull->credit, QMGR_PULL_MAX),
	};
	e->message->holds++;
	if (task_group_start(&q->tasks, "content", qmgr_pull_run, p) == NULL) {
		const struct delivery_content failed = {.offset = pull->offset, .failed = true};

		qmgr_message_unhold(q, e->message);
		mem_free(p);
		delivery_write_content(
		    link_send_begin(a->link, DELIVERY_CONTENT, e->delivery), &failed);
		link_send_end(a->link);
	}
}
