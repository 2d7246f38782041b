/*
 * qmgr_message.c - see qmgr_message.h.
 */
#include "qmgr/qmgr_message.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "mail/mail_log.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_shard.h"

/* After trouble with the database. */
#define QMGR_REMOVED_RETRY (200 * CLOCK_MILLI)

static void
qmgr_message_log_active(const struct qmgr_message *m)
{
	struct buf line CLEANUP(buf_done) = {0};

	size_t total = (size_t)MAX(m->claimed->total, 0);

	mail_log_active(&line, m->queue_id, m->envelope->sender, m->envelope->size,
	    MAX(total, m->envelope->rcpt_count));
	log_info("%s", buf_str(&line));
}

void
qmgr_message_log_expired(const struct qmgr_message *m)
{
	struct buf line CLEANUP(buf_done) = {0};

	mail_log_expired(&line, m->queue_id, m->envelope->sender, false);
	log_info("%s", buf_str(&line));
}

/*
 * The attributes in the words of the delivery format: same bytes, no copies. Those that say what recipients expanded to are for our
 * reports, and may be more than a request can hold.
 */
static void
qmgr_message_attrs(struct qmgr_message *m)
{
	const struct queue_envelope *e = m->envelope;

	m->attrs = arena_alloc(&m->claimed->arena, e->attr_count * sizeof(*m->attrs));
	for (size_t i = 0; i < e->attr_count; i++)
		if (!span_equal_str(e->attrs[i].name, "expanded"))
			m->attrs[m->attr_count++] =
			    (struct delivery_attr){e->attrs[i].name, e->attrs[i].value};
}

/* ---- parts of one message ---------------------------------------------------------------------------------------- */

struct qmgr_message *
qmgr_message_find(const struct qmgr *q, int64_t msg_id)
{
	return hmap_get(&q->messages_by_id, HMAP_KEY(msg_id));
}

static void
qmgr_message_link(struct qmgr *q, struct qmgr_message *m)
{
	m->older = hmap_put(&q->messages_by_id, HMAP_KEY(m->envelope->msg_id), m);
	if (m->older != NULL)
		m->older->newer = m;
}

static void
qmgr_message_unlink(struct qmgr *q, struct qmgr_message *m)
{
	if (m->older != NULL) {
		m->older->newer = m->newer;
		m->older->notified |= m->notified;
	}
	if (m->newer != NULL) {
		m->newer->older = m->older;
		m->newer->notified |= m->notified;
	} else if (m->older != NULL)
		(void)hmap_put(&q->messages_by_id, HMAP_KEY(m->envelope->msg_id), m->older);
	else
		(void)hmap_remove(&q->messages_by_id, HMAP_KEY(m->envelope->msg_id));
}

static bool
qmgr_message_is_done(const struct qmgr_message *m)
{
	return m->in_batch == m->open && m->claimed->next_rcpt < 0;
}

bool
qmgr_message_is_last(const struct qmgr_message *m)
{
	bool done = qmgr_message_is_done(m);

	for (const struct qmgr_message *p = m->older; p != NULL && done; p = p->older)
		done = qmgr_message_is_done(p);
	for (const struct qmgr_message *p = m->newer; p != NULL && done; p = p->newer)
		done = qmgr_message_is_done(p);
	return done;
}

bool
qmgr_message_is_notified(const struct qmgr_message *m)
{
	bool notified = m->notified;

	for (const struct qmgr_message *p = m->older; p != NULL; p = p->older)
		notified |= p->notified;
	for (const struct qmgr_message *p = m->newer; p != NULL; p = p->newer)
		notified |= p->notified;
	return notified;
}

void
qmgr_message_is_read(struct qmgr_message *m)
{
	m->claimed->next_rcpt = -1;
	list_remove(&m->unread);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static void
qmgr_message_count(const struct qmgr_message *m, bool more)
{
	struct qmgr_shard *s = m->shard;
	size_t rcpts = m->envelope->rcpt_count;
	size_t bytes = m->claimed->content.len;

	if (!more) {
		rcpts = -rcpts;
		bytes = -bytes;
	}
	s->message_count += more ? 1 : (size_t)-1;
	s->rcpt_count += rcpts;
	s->content_bytes += bytes;
	if (m->claimed->from_deferred)
		s->deferred_rcpt_count += rcpts;
}

static int
qmgr_message_compare(const void *a, const void *b)
{
	const struct queue_rcpt *x = a;
	const struct queue_rcpt *y = b;
	int order = mail_addr_compare(x->addr, y->addr);

	return order != 0 ? order : (x->rcpt_no > y->rcpt_no) - (x->rcpt_no < y->rcpt_no);
}

/* Which recipients of a list go together, and in what order, is as with Postfix. Nothing has an index of them yet. */
static void
qmgr_message_sort(struct queue_claimed *claimed)
{
	struct queue_rcpt *rcpts = (struct queue_rcpt *)(uintptr_t)claimed->envelope.rcpts;

	if (claimed->envelope.rcpt_count > 1)
		qsort(rcpts, claimed->envelope.rcpt_count, sizeof(*rcpts), qmgr_message_compare);
}

void
qmgr_message_take(struct qmgr_shard *s, struct queue_claimed *claimed)
{
	struct qmgr *q = s->qmgr;
	struct qmgr_message *m = mem_new(struct qmgr_message);

	m->shard = s;
	m->claimed = claimed;
	qmgr_message_sort(claimed);
	m->envelope = &claimed->envelope;
	m->activated = clock_real_us();
	m->probe = span_equal_str(queue_envelope_attr(m->envelope, "trace"), "verify");
	list_init(&m->jobs);
	m->open = m->undecided = m->envelope->rcpt_count;
	mail_queue_id_format(m->envelope->msg_id, m->queue_id);
	qmgr_message_attrs(m);
	list_add(&q->messages, &m->node);
	qmgr_message_link(q, m);
	qmgr_message_count(m, true);
	if (claimed->next_rcpt >= 0) {
		m->read = clock_mono_us();
		list_add(&s->unread, &m->unread);
		task_cond_wake_all(&s->page_wanted);
	}
	if (m->older == NULL)
		qmgr_message_log_active(m);
	m->holds++;
	qmgr_schedule_message(q, m);
	qmgr_message_unhold(q, m);
}

static void
qmgr_message_free(struct qmgr *q, struct qmgr_message *m)
{
	struct qmgr_shard *s = m->shard;

	MUST(m->undecided == 0 && list_is_empty(&m->jobs));
	list_remove(&m->node);
	list_remove(&m->unread);
	qmgr_message_unlink(q, m);
	qmgr_message_count(m, false);
	queue_claimed_free(&m->claimed);
	mem_free(m);
	if (s->claim_blocked)
		task_cond_wake_all(&s->claim_wanted);
}

static void
qmgr_message_log_removed(const char *queue_id)
{
	struct buf line CLEANUP(buf_done) = {0};

	mail_log_removed(&line, queue_id);
	log_info("%s", buf_str(&line));
}

/* Do we know by ourselves that these were all recipients? */
static bool
qmgr_message_was_whole(const struct qmgr_message *m)
{
	return !m->claimed->from_deferred && m->claimed->total > 0 &&
	       (size_t)m->claimed->total == m->envelope->rcpt_count;
}

static void
qmgr_message_removed(const struct qmgr_message *m)
{
	struct qmgr_shard *s = m->shard;

	if (qmgr_message_was_whole(m))
		return qmgr_message_log_removed(m->queue_id);
	buf_add(&s->finished, &m->envelope->msg_id, sizeof(m->envelope->msg_id));
	task_cond_wake_all(&s->finished_wanted);
}

/* Asks about what has gathered; what could not be asked waits. */
static bool
qmgr_message_ask_removed(struct qmgr_shard *s, struct buf *asked, struct err *err)
{
	int64_t timeout = conf_time(s->qmgr->service->conf, CONF_queue_database_timeout);
	const int64_t *ids = (const void *)buf_str(asked);
	size_t count = asked->len / sizeof(*ids);
	bool *gone = mem_alloc(count * sizeof(*gone));
	char queue_id[MAIL_QUEUE_ID_SIZE];
	bool ok = queue_record_gone(s->desk, ids, count, gone, clock_deadline(timeout), err);

	for (size_t i = 0; ok && i < count; i++) {
		if (!gone[i])
			continue;
		mail_queue_id_format(ids[i], queue_id);
		qmgr_message_log_removed(queue_id);
	}
	mem_free(gone);
	return ok;
}

void
qmgr_message_removed_task(void *arg)
{
	struct qmgr_shard *s = arg;
	struct err err;

	for (;;) {
		struct buf asked CLEANUP(buf_done) = {0};

		if (s->finished.len == 0 &&
		    task_cond_wait(&s->finished_wanted, CLOCK_NEVER) == TASK_CANCELLED)
			return;
		if (s->finished.len == 0)
			continue;
		asked = s->finished;
		s->finished = (struct buf){0};
		if (qmgr_message_ask_removed(s, &asked, &err))
			continue;
		qmgr_shard_trouble(s, &err);
		buf_add_span(&s->finished, buf_span(&asked));
		if (task_sleep_until(clock_deadline(QMGR_REMOVED_RETRY)) == TASK_CANCELLED)
			return;
	}
}

/* The last part of a message says that it is removed, if no part knows better. */
static void
qmgr_message_finish(struct qmgr *q, struct qmgr_message *m)
{
	struct qmgr_message *other = m->newer != NULL ? m->newer : m->older;

	if (m->claimed->next_rcpt >= 0 && !queue_lease_is_lost(m->claimed->lease)) {
		task_cond_wake_all(&m->shard->page_wanted);
		return;
	}
	if (other != NULL) {
		other->stays |= m->stays;
	} else if (!m->stays) {
		qmgr_message_removed(m);
	}
	qmgr_message_free(q, m);
}

void
qmgr_message_settled(struct qmgr *q, struct qmgr_message *m)
{
	MUST(m->open > 0);
	m->open--;
	if (!list_is_empty(&m->shard->unread)) /* there may be room for further recipients */
		task_cond_wake_all(&m->shard->page_wanted);
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
	const struct queue_claimed *c = m->claimed;

	if (c->next_rcpt < 0)
		return 0;
	return c->total > c->next_rcpt ? (size_t)(c->total - c->next_rcpt)
				       : m->envelope->rcpt_count;
}

bool
qmgr_message_budget(const struct qmgr_shard *s, bool deferred, struct queue_budget *ret)
{
	const struct conf *conf = s->qmgr->service->conf;
	size_t shards = s->qmgr->shard_count;
	size_t messages = MAX(conf_size(conf, CONF_qmgr_message_active_limit) / shards, (size_t)1);
	size_t rcpts = MAX(conf_size(conf, CONF_qmgr_message_recipient_limit) / shards, (size_t)1);
	size_t bytes = MAX(conf_size(conf, CONF_qmgr_content_memory_limit) / shards, (size_t)1);
	size_t claim = conf_size(conf, CONF_queue_claim_recipient_limit);
	size_t here = deferred ? s->deferred_rcpt_count : s->rcpt_count;
	size_t room = rcpts > here ? rcpts - here : 0;

	if (s->message_count >= messages || s->content_bytes >= bytes || (deferred && room == 0))
		return false;
	*ret = (struct queue_budget){
	    .messages = messages - s->message_count,
	    .rcpts = deferred ? MIN(room, claim) : claim,
	    .bytes = bytes - s->content_bytes,
	    .page = MAX(MIN(room, claim), conf_size(conf, CONF_qmgr_message_recipient_minimum)),
	};
	return true;
}
