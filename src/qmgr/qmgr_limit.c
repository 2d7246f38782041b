/*
 * qmgr_limit.c - see qmgr_limit.h. A destination's cluster_slots is what it may run; while we ask it is what runs, so that
 * nothing is started that the answer does not know of.
 */
#include "qmgr/qmgr_limit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/mem.h"
#include "cluster/cluster_limit.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_shard.h"

#define QMGR_LIMIT_PAUSE CLOCK_SECOND
/* So soon is asked for a destination that has work and no slot. */
#define QMGR_LIMIT_HURRY (CLOCK_SECOND / 10)

/* The destinations asked for, in the order of the questions. */
struct qmgr_limit_round {
	struct buf destinations; /* struct sched_destination * */
	struct buf questions;    /* struct cluster_limit */
	size_t count;
};

static void
qmgr_limit_round_done(struct qmgr_limit_round *r)
{
	for (size_t i = 0; i < r->count; i++)
		mem_free(
		    (void *)(uintptr_t)((struct cluster_limit *)(void *)r->questions.ptr)[i].name);
	buf_done(&r->destinations);
	buf_done(&r->questions);
}

static void
qmgr_limit_add(struct qmgr_limit_round *r, struct sched_destination *d)
{
	struct cluster_limit l = {
	    .name = mem_printf("%s:%s", d->transport->name, d->name),
	    .limit = d->transport->cluster_limit,
	    .used = d->busy,
	    .want = d->busy + (int32_t)MIN(d->todo_count, (size_t)d->transport->cluster_limit),
	};

	buf_add(&r->destinations, &d, sizeof(struct sched_destination *));
	buf_add(&r->questions, &l, sizeof(l));
	r->count++;
}

static bool
qmgr_limit_is_used(const struct sched_destination *d)
{
	return d->busy > 0 || d->todo_count > 0 || d->cluster_slots > 0;
}

/* True when `fn` says so of a destination under a limit. */
static bool
qmgr_limit_any(struct qmgr *q, bool (*fn)(struct sched_destination *d, void *arg), void *arg)
{
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		struct hmap_cursor at = {0};
		struct span key;
		void *d;

		while (t->cluster_limit > 0 && hmap_next(&t->destinations, &at, &key, &d))
			if (fn(d, arg))
				return true;
	}
	return false;
}

static bool
qmgr_limit_gather(struct sched_destination *d, void *arg)
{
	if (!qmgr_limit_is_used(d))
		return false;
	qmgr_limit_add(arg, d);
	d->cluster_slots = d->busy;
	d->cluster_asked = true;
	sched_job_check(d);
	return false;
}

static bool
qmgr_limit_is_starved(struct sched_destination *d, void *arg UNUSED)
{
	return d->todo_count > 0 && d->cluster_slots == 0;
}

static bool
qmgr_limit_drop(struct sched_destination *d, void *arg UNUSED)
{
	d->cluster_slots = 0;
	sched_job_check(d);
	return false;
}

void
qmgr_limit_forget(struct qmgr *q)
{
	(void)qmgr_limit_any(q, qmgr_limit_drop, NULL);
}

static bool
qmgr_limit_ask(struct qmgr *q, struct qmgr_limit_round *r, int64_t epoch, struct err *err)
{
	const struct conf *conf = q->service->conf;
	int64_t deadline = clock_deadline(conf_time(conf, CONF_queue_database_timeout));
	int64_t lease = conf_time(conf, CONF_node_lease_time);
	struct db_conn *c = db_pool_take(q->shards[0]->pool, deadline, err);
	bool ok;

	if (c == NULL)
		return false;
	ok = cluster_limit_lease(c, epoch, lease, (struct cluster_limit *)(void *)r->questions.ptr,
	    r->count, deadline, err);
	CRASH_POINT("limit-leased");
	db_pool_give(q->shards[0]->pool, &c);
	return ok;
}

static void
qmgr_limit_round(struct qmgr *q)
{
	struct qmgr_limit_round r = {0};
	int64_t epoch = cluster_node_epoch(q->shards[0]->node);
	struct err err;
	bool ok;

	(void)qmgr_limit_any(q, qmgr_limit_gather, &r);
	if (r.count == 0)
		return;
	ok = epoch != 0 && qmgr_limit_ask(q, &r, epoch, &err);
	if (!ok && epoch != 0 && err.kind != ERR_GONE)
		qmgr_shard_trouble(q->shards[0], &err);
	for (size_t i = 0; i < r.count; i++) {
		struct sched_destination *d =
		    ((struct sched_destination **)(void *)r.destinations.ptr)[i];

		d->cluster_asked = false;
		if (!ok || epoch != cluster_node_epoch(q->shards[0]->node) || d->cluster_slots < 0)
			continue;
		d->cluster_slots = ((struct cluster_limit *)(void *)r.questions.ptr)[i].slots;
		sched_job_check(d);
	}
	qmgr_limit_round_done(&r);
	qmgr_schedule_run(q);
}

void
qmgr_limit_task(void *arg)
{
	struct qmgr *q = arg;
	int64_t next = 0;

	do {
		if (clock_mono_us() < next && !qmgr_limit_any(q, qmgr_limit_is_starved, NULL))
			continue;
		next = clock_deadline(QMGR_LIMIT_PAUSE);
		qmgr_limit_round(q);
	} while (task_sleep_until(clock_deadline(QMGR_LIMIT_HURRY)) != TASK_CANCELLED);
}
