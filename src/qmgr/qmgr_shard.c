/*
 * qmgr_shard.c - see qmgr_shard.h.
 */
#include "qmgr/qmgr_shard.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_claim.h"
#include "qmgr/qmgr_dead.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_limit.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_page.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_setup.h"
#include "service/service_queue.h"
#include "task/task.h"

#define QMGR_TROUBLE_EVERY (10 * CLOCK_SECOND)

void
qmgr_shard_trouble(struct qmgr_shard *s, const struct err *err)
{
	int64_t now = clock_mono_us();

	/* Our own end cuts waits short: no trouble. */
	if (task_is_cancelled())
		return;
	if (s->trouble_logged != 0 && now - s->trouble_logged < QMGR_TROUBLE_EVERY)
		return;
	s->trouble_logged = now;
	if (s->qmgr->shard_count == 1)
		log_warn("queue database: %s", err->text);
	else
		log_warn("queue database %zu of %zu: %s", s->number + 1, s->qmgr->shard_count,
		    err->text);
}

static struct db_pool *
qmgr_shard_open_pool(const struct qmgr_shard *s)
{
	const struct service *service = s->qmgr->service;

	return service_queue_pool(service, s->number,
	    conf_size(service->conf, CONF_queue_database_scheduler_connections));
}

/* Bytes of a message that are read for a bounce at least. */
#define QMGR_BOUNCE_MIN ((size_t)65536)

static size_t
qmgr_compose(void *arg, const struct queue_bounce *b, const int64_t *ids, struct queue_message *ret,
    size_t max, struct arena *arena)
{
	const struct qmgr_shard *s = arg;
	struct qmgr_setup *setup = qmgr_setup_ref(s->qmgr->setup);
	size_t count = bounce_compose(&setup->bounce, b, ids, ret, max, arena);

	qmgr_setup_unref(&setup);
	return count;
}

static struct queue_desk *
qmgr_shard_open_desk(struct qmgr_shard *s)
{
	const struct conf *conf = s->qmgr->service->conf;

	return queue_desk_new(&(struct queue_desk_settings){
	    .pool = s->pool,
	    .node = conf_str(conf, CONF_node_name),
	    .shard = s->number,
	    .shards = s->qmgr->shard_count,
	    .claim_batches = conf_size(conf, CONF_queue_claim_batch_limit),
	    .claim_inline = conf_size(conf, CONF_queue_claim_inline_limit),
	    .claim_page = conf_size(conf, CONF_queue_claim_recipient_limit),
	    .poll_min = conf_time(conf, CONF_queue_poll_min_time),
	    .poll_max = conf_time(conf, CONF_queue_poll_max_time),
	    .poll_closed = conf_time(conf, CONF_ring_idle_poll_time),
	    .rotate = conf_time(conf, CONF_ring_rotate_time),
	    .set_limit = conf_size(conf, CONF_ring_set_limit),
	    .history = conf_time(conf, CONF_queue_history_time),
	    .upload_timeout = conf_time(conf, CONF_queue_upload_timeout),
	    /* The header section goes into it whatever the limit is. */
	    .bounce_bytes = MAX(conf_size(conf, CONF_bounce_size_limit), QMGR_BOUNCE_MIN),
	    .bounce_singly_with = conf_bool(conf, CONF_disable_verp_bounces) ? NULL : "verp",
	    .compose = qmgr_compose,
	    .compose_arg = s,
	});
}

/* ---- the lease ---- */

bool
qmgr_shard_may_deliver(const struct qmgr_shard *s)
{
	return cluster_node_may_begin(s->node) && !qmgr_outcome_is_behind(s);
}

bool
qmgr_shard_any_may_deliver(const struct qmgr *q)
{
	for (size_t i = 0; i < q->shard_count; i++)
		if (qmgr_shard_may_deliver(q->shards[i]))
			return true;
	return false;
}

void
qmgr_shard_park(struct qmgr_shard *s, struct sched_entry *e)
{
	list_add(&s->parked, &e->node);
}

/* What was parked is looked at anew: it goes to its destination, or is somebody else's by now. */
static void
qmgr_shard_unpark(struct qmgr_shard *s)
{
	struct list parked;
	struct sched_entry *e;

	list_init(&parked);
	while ((e = LIST_FIRST(&s->parked, struct sched_entry, node)) != NULL) {
		list_remove(&e->node);
		list_add(&parked, &e->node);
	}
	while ((e = LIST_FIRST(&parked, struct sched_entry, node)) != NULL) {
		struct qmgr_message *m = e->message;

		list_remove(&e->node);
		m->holds++;
		for (size_t i = 0; i < e->rcpt_count; i++)
			qmgr_schedule_rcpt(s->qmgr, m, e->rcpts[i]);
		qmgr_message_unhold(s->qmgr, m);
		sched_entry_free(&e);
	}
}

void
qmgr_shard_recorded(struct qmgr_shard *s)
{
	if (!list_is_empty(&s->parked) && qmgr_shard_may_deliver(s))
		qmgr_shard_unpark(s);
	qmgr_schedule_run(s->qmgr);
}

static bool
qmgr_shard_on_recover(void *arg)
{
	return qmgr_outcome_flush(arg);
}

static bool
qmgr_shard_on_begin(void *arg, int64_t epoch, bool fresh)
{
	struct qmgr_shard *s = arg;

	queue_desk_set_epoch(s->desk, epoch);
	if (fresh && s->number == 0)
		qmgr_limit_forget(s->qmgr);
	if (!fresh && !qmgr_claim_reread(s))
		return false;
	qmgr_schedule_drop_lost(s->qmgr);
	qmgr_doubt_drop_lost(s->qmgr);
	qmgr_shard_unpark(s);
	s->takeover_wanted = true;
	task_cond_wake_all(&s->claim_wanted);
	return true;
}

static void
qmgr_shard_on_lost(void *arg, int64_t epoch)
{
	struct qmgr_shard *s = arg;

	log_warn(
	    "another node has taken over the mail of epoch %lld: starting anew", (long long)epoch);
	queue_desk_set_epoch(s->desk, 0);
	qmgr_agent_cancel(s->qmgr, s, NULL);
	qmgr_schedule_drop_lost(s->qmgr);
	qmgr_doubt_drop_lost(s->qmgr);
	qmgr_shard_unpark(s);
}

static void
qmgr_shard_on_renewed(void *arg, int64_t epoch, int64_t until)
{
	struct qmgr_shard *s = arg;

	qmgr_agent_tell_lease(s, epoch, until);
	qmgr_shard_unpark(s);
	qmgr_schedule_run(s->qmgr);
}

static void
qmgr_shard_on_dead(void *arg, size_t count)
{
	struct qmgr_shard *s = arg;

	log_warn("%zu dead node(s): taking over their mail", count);
	s->takeover_wanted = true;
	qmgr_claim_takeover(s);
}

static struct cluster_node *
qmgr_shard_open_node(struct qmgr_shard *s)
{
	const struct conf *conf = s->qmgr->service->conf;

	return cluster_node_new(&(struct cluster_node_settings){
	    .pool = s->pool,
	    .name = conf_str(conf, CONF_node_name),
	    .heartbeat = conf_time(conf, CONF_node_heartbeat_time),
	    .lease = conf_time(conf, CONF_node_lease_time),
	    .margin = conf_time(conf, CONF_node_lease_margin),
	    .pooler = conf_bool(conf, CONF_queue_database_pooler),
	    .events =
		{
		    .recover = qmgr_shard_on_recover,
		    .begin = qmgr_shard_on_begin,
		    .lost = qmgr_shard_on_lost,
		    .renewed = qmgr_shard_on_renewed,
		    .dead = qmgr_shard_on_dead,
		    .arg = s,
		},
	});
}

/* ---- life ---- */

struct qmgr_shard *
qmgr_shard_open(struct qmgr *q, size_t number)
{
	struct qmgr_shard *s = mem_new(struct qmgr_shard);

	s->qmgr = q;
	s->number = number;
	list_init(&s->records);
	list_init(&s->parked);
	list_init(&s->unread);
	list_init(&s->news);
	s->pool = qmgr_shard_open_pool(s);
	s->desk = qmgr_shard_open_desk(s);
	s->node = qmgr_shard_open_node(s);
	(void)task_group_start(&q->tasks, "record", qmgr_outcome_task, s);
	(void)task_group_start(&q->tasks, "claim incoming", qmgr_claim_incoming_task, s);
	(void)task_group_start(&q->tasks, "claim deferred", qmgr_claim_deferred_task, s);
	(void)task_group_start(&q->tasks, "pages", qmgr_page_task, s);
	(void)task_group_start(&q->tasks, "news", qmgr_dead_news_task, s);
	(void)task_group_start(&q->tasks, "removed", qmgr_message_removed_task, s);
	(void)task_group_start(&q->tasks, "upkeep", qmgr_claim_upkeep_task, s);
	return s;
}

struct qmgr_shard_goodbye {
	struct qmgr_shard *shard;
	int64_t deadline;
};

static void
qmgr_shard_leave(void *arg)
{
	struct qmgr_shard_goodbye *g = arg;
	struct err err;

	if (!cluster_node_leave(g->shard->node, g->deadline, &err))
		qmgr_shard_trouble(g->shard, &err);
	mem_free(g);
}

void
qmgr_shard_leave_all(struct qmgr *q, int64_t deadline)
{
	for (size_t i = 0; i < q->shard_count; i++) {
		struct qmgr_shard_goodbye *g = mem_new(struct qmgr_shard_goodbye);

		*g = (struct qmgr_shard_goodbye){.shard = q->shards[i], .deadline = deadline};
		if (task_group_start(&q->goodbyes, "goodbye", qmgr_shard_leave, g) == NULL)
			qmgr_shard_leave(g);
	}
	(void)task_group_wait(&q->goodbyes, deadline);
}
