/*
 * qmgr_message.c - see qmgr_message.h.
 */
#include "qmgr/qmgr_message.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_schedule.h"

static void
qmgr_message_log_active(const struct qmgr_message *m)
{
	struct buf line CLEANUP(buf_done) = {0};

	mail_log_active(
	    &line, m->queue_id, m->envelope->sender, m->envelope->size, m->envelope->rcpt_count);
	log_info("%s", buf_str(&line));
}

void
qmgr_message_log_expired(const struct qmgr_message *m)
{
	struct buf line CLEANUP(buf_done) = {0};

	mail_log_expired(&line, m->queue_id, m->envelope->sender, false);
	log_info("%s", buf_str(&line));
}

/* The attributes in the words of the delivery format: same bytes, no copies. */
static void
qmgr_message_attrs(struct qmgr_message *m)
{
	const struct queue_envelope *e = m->envelope;

	m->attrs = arena_alloc(&m->claimed->arena, e->attr_count * sizeof(*m->attrs));
	for (size_t i = 0; i < e->attr_count; i++)
		m->attrs[i] = (struct delivery_attr){e->attrs[i].name, e->attrs[i].value};
}

void
qmgr_message_take(struct qmgr *q, struct queue_claimed *claimed, bool stays)
{
	struct qmgr_message *m = mem_new(struct qmgr_message);

	m->claimed = claimed;
	m->envelope = &claimed->envelope;
	m->activated = clock_real_us();
	m->stays = stays;
	list_init(&m->jobs);
	m->open = m->undecided = m->envelope->rcpt_count;
	mail_queue_id_format(m->envelope->msg_id, m->queue_id);
	qmgr_message_attrs(m);
	list_add(&q->messages, &m->node);
	(void)hmap_put(&q->messages_by_id, HMAP_KEY(m->envelope->msg_id), m);
	q->message_count++;
	q->rcpt_count += m->envelope->rcpt_count;
	q->content_bytes += claimed->content.len;
	qmgr_message_log_active(m);
	m->holds++;
	qmgr_schedule_message(q, m);
	qmgr_message_unhold(q, m);
}

static void
qmgr_message_free(struct qmgr *q, struct qmgr_message *m)
{
	MUST(m->undecided == 0 && list_is_empty(&m->jobs));
	list_remove(&m->node);
	if (hmap_get(&q->messages_by_id, HMAP_KEY(m->envelope->msg_id)) == m)
		(void)hmap_remove(&q->messages_by_id, HMAP_KEY(m->envelope->msg_id));
	q->message_count--;
	q->rcpt_count -= m->envelope->rcpt_count;
	q->content_bytes -= m->claimed->content.len;
	queue_claimed_free(&m->claimed);
	mem_free(m);
	if (q->claim_blocked)
		task_cond_wake_all(&q->claim_wanted);
}

static void
qmgr_message_finish(struct qmgr *q, struct qmgr_message *m)
{
	struct buf line CLEANUP(buf_done) = {0};

	if (m->claimed->next_rcpt >= 0 && !queue_lease_is_lost(m->claimed->lease)) {
		q->paging = true;
		task_cond_wake_all(&q->page_wanted);
		return;
	}
	if (!m->stays) {
		mail_log_removed(&line, m->queue_id);
		log_info("%s", buf_str(&line));
	}
	qmgr_message_free(q, m);
}

void
qmgr_message_settled(struct qmgr *q, struct qmgr_message *m)
{
	MUST(m->open > 0);
	m->open--;
	if (m->open == 0 && m->holds == 0)
		qmgr_message_finish(q, m);
}

void
qmgr_message_unhold(struct qmgr *q, struct qmgr_message *m)
{
	MUST(m->holds > 0);
	m->holds--;
	if (m->open == 0 && m->holds == 0)
		qmgr_message_finish(q, m);
}

size_t
qmgr_message_unread(const struct qmgr_message *m)
{
	return m->claimed->next_rcpt >= 0 ? m->envelope->rcpt_count : 0;
}

bool
qmgr_message_budget(const struct qmgr *q, struct queue_budget *ret)
{
	const struct conf *conf = q->service->conf;
	size_t messages = conf_size(conf, CONF_qmgr_message_active_limit);
	size_t rcpts = conf_size(conf, CONF_qmgr_message_recipient_limit);
	size_t bytes = conf_size(conf, CONF_qmgr_content_memory_limit);

	if (q->message_count >= messages || q->rcpt_count >= rcpts || q->content_bytes >= bytes)
		return false;
	*ret = (struct queue_budget){
	    .messages = messages - q->message_count,
	    .rcpts = rcpts - q->rcpt_count,
	    .bytes = bytes - q->content_bytes,
	};
	return true;
}
