/*
 * qmgr_page.c - see qmgr_page.h.
 */
#include "qmgr/qmgr_page.h"

#include "base/clock.h"
#include "base/crash.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_shard.h"
#include "queue/queue_claim.h"

/* After trouble with the database. */
#define QMGR_PAGE_RETRY (200 * CLOCK_MILLI)
/* Room is looked for this often without a reason: refill delays are not shorter. */
#define QMGR_PAGE_LOOK  CLOCK_SECOND

size_t
qmgr_page_size(const struct sched_pool *pool, const struct qmgr_page_state *s)
{
	size_t limit = pool->limit + (s->overtook ? pool->extra : 0);
	/* Settled recipients keep their memory until all of their page are: there may be some pages with stragglers. */
	size_t used = MAX(MAX(s->waiting, s->open), s->here / 4);
	size_t room = limit > used ? limit - used : 0;

	if (s->open == 0) /* it must go on, whatever there is room for */
		room = MAX(room, s->minimum);
	else if (room < pool->refill_limit && s->elapsed < pool->refill_delay)
		return 0;
	return MIN(room, s->most);
}

/* Where most recipients of the message go, as far as we know; NULL: to nowhere yet. */
static const struct sched_transport *
qmgr_page_transport(const struct qmgr_message *m)
{
	while (m != NULL && m->transport == NULL)
		m = m->older;
	return m != NULL ? m->transport : NULL;
}

static bool
qmgr_page_overtook(const struct qmgr_message *m)
{
	LIST_FOREACH (job, &m->jobs, struct sched_job, siblings) {
		if (job->parent != NULL)
			return true;
	}
	return false;
}

static size_t
qmgr_page_wanted(const struct qmgr_shard *shard, const struct qmgr_message *m)
{
	const struct sched_transport *t = qmgr_page_transport(m);
	const struct conf *conf = shard->qmgr->service->conf;
	struct qmgr_page_state s = {
	    .waiting = t != NULL ? t->waiting : 0,
	    .elapsed = clock_mono_us() - m->read,
	    .minimum = conf_size(conf, CONF_qmgr_message_recipient_minimum),
	    .most = conf_size(conf, CONF_queue_claim_recipient_limit),
	};
	const struct sched_pool none = {.limit = s.most};

	if (queue_lease_is_lost(m->claimed->lease))
		return s.minimum; /* to find out that there is nothing to be read */
	/* Recipients whose destination is not looked up yet do not count as waiting: first things first. */
	if (m->resolved < m->envelope->rcpt_count)
		return 0;
	for (const struct qmgr_message *p = m; p != NULL; p = p->older) {
		s.here += p->envelope->rcpt_count;
		s.open += p->open;
		s.overtook |= qmgr_page_overtook(p);
	}
	return qmgr_page_size(t != NULL ? &t->pool : &none, &s);
}

/* The oldest message with room for more recipients; NULL: none. */
static struct qmgr_message *
qmgr_page_next(const struct qmgr_shard *s, size_t *ret_size)
{
	LIST_FOREACH (m, &s->unread, struct qmgr_message, unread) {
		*ret_size = qmgr_page_wanted(s, m);
		if (*ret_size != 0)
			return m;
	}
	return NULL;
}

static bool
qmgr_page_read(struct qmgr_shard *s, struct qmgr_message *m, size_t size, struct err *err)
{
	int64_t deadline =
	    clock_deadline(conf_time(s->qmgr->service->conf, CONF_queue_database_timeout));
	struct queue_claimed *page = NULL;
	bool ok;

	m->holds++;
	ok = queue_lease_is_lost(m->claimed->lease) ||
	     queue_claim_page(s->desk, m->claimed, size, deadline, &page, err);
	CRASH_POINT("page-read");
	if (ok)
		qmgr_message_is_read(m);
	if (page != NULL)
		qmgr_message_take(s, page);
	qmgr_message_unhold(s->qmgr, m);
	qmgr_schedule_run(s->qmgr);
	return ok;
}

void
qmgr_page_task(void *arg)
{
	struct qmgr_shard *s = arg;
	struct err err;

	while (!s->qmgr->stopping) {
		size_t size = 0;
		struct qmgr_message *m = qmgr_page_next(s, &size);
		int64_t until =
		    list_is_empty(&s->unread) ? CLOCK_NEVER : clock_deadline(QMGR_PAGE_LOOK);

		if (m != NULL && qmgr_page_read(s, m, size, &err))
			continue;
		if (m != NULL) {
			qmgr_shard_trouble(s, &err);
			until = clock_deadline(QMGR_PAGE_RETRY);
		}
		if (task_cond_wait(&s->page_wanted, until) == TASK_CANCELLED)
			return;
	}
}
