/*
 * qmgr_dead.c - see qmgr_dead.h.
 */
#include "qmgr/qmgr_dead.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_shard.h"
#include "queue/queue_destination.h"

/* News that wait to be told to a shard. */
#define QMGR_NEWS_MAX 10000

void
qmgr_dead_defer(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const char *transport,
    const char *nexthop, const char *dsn, const char *reason)
{
	struct qmgr_outcome o = {
	    .status = DELIVERY_DEFERRED,
	    .relay = "none",
	    .program = "error",
	    .transport = transport,
	    .nexthop = nexthop,
	    .text = reason,
	    .destination_dead = true,
	};

	(void)snprintf(o.dsn, sizeof(o.dsn), "%s", dsn[0] != '\0' ? dsn : "4.4.1");
	qmgr_outcome_add(q, m, rcpt, &o);
}

void
qmgr_dead_defer_for(
    struct qmgr *q, struct sched_destination *d, struct qmgr_message *m, uint32_t rcpt)
{
	const struct sched_failure *f = d->failure.on ? &d->failure : &d->transport->failure;

	qmgr_dead_defer(q, m, rcpt, d->transport->name, d->nexthop, f->dsn, f->reason);
}

static void
qmgr_failure_begin(struct sched_failure *f, int64_t pause, const char *reason, const char *dsn)
{
	mem_free(f->reason);
	f->on = true;
	f->until = clock_deadline(pause);
	f->reason = mem_strdup(reason);
	(void)snprintf(f->dsn, sizeof(f->dsn), "%s", dsn);
}

/* Everything that waits for a destination that cannot be served is deferred. */
static void
qmgr_destination_flush(struct qmgr *q, struct sched_destination *d)
{
	struct sched_entry *e;

	while ((e = sched_job_first(d)) != NULL) {
		sched_job_withdraw(e);
		for (size_t i = 0; i < e->rcpt_count; i++)
			qmgr_dead_defer_for(q, d, e->message, e->rcpts[i]);
		sched_entry_free(&e);
	}
}

/* A piece of news for a shard. */
struct qmgr_news {
	struct list node; /* in shard->news */
	const char *transport;
	char *nexthop; /* owned, as below */
	char *reason;
	int64_t until; /* real us; 0: it lives again */
};

static void
qmgr_news_free(struct qmgr_shard *s, struct qmgr_news *n)
{
	list_remove(&n->node);
	s->news_count--;
	mem_free(n->nexthop);
	mem_free(n->reason);
	mem_free(n);
}

static void
qmgr_news_add(struct qmgr_shard *s, const struct sched_destination *d, int64_t until)
{
	struct qmgr_news *n = mem_new(struct qmgr_news);

	n->transport = d->transport->name;
	n->nexthop = mem_strdup(d->nexthop);
	n->reason = mem_strdup(until != 0 ? d->failure.reason : "");
	n->until = until;
	list_add(&s->news, &n->node);
	/* While the database is away the oldest news are forgotten: each node finds out by itself. */
	if (++s->news_count > QMGR_NEWS_MAX)
		qmgr_news_free(s, CONTAINER_OF(s->news.next, struct qmgr_news, node));
	task_cond_wake_all(&s->news_wanted);
}

/* The other nodes are to know; not about a recipient's own destination: mail in the queue waits by nexthop. */
static void
qmgr_dead_news(struct qmgr *q, struct sched_destination *d, bool dead)
{
	int64_t until = dead ? clock_real_us() + d->failure.until - clock_mono_us() : 0;

	if (strcmp(d->name, d->nexthop) != 0)
		return;
	d->told_dead = dead;
	for (size_t i = 0; i < q->shard_count; i++)
		qmgr_news_add(q->shards[i], d, until);
}

static void
qmgr_destination_die(
    struct qmgr *q, struct sched_destination *d, const char *reason, const char *dsn)
{
	int64_t pause = conf_time(q->service->conf, CONF_minimal_backoff_time);
	struct buf text CLEANUP(buf_done) = {0};

	MUST(!d->failure.on);
	buf_printf(&text, "delivery temporarily suspended: %s", reason);
	qmgr_failure_begin(&d->failure, pause, buf_str(&text), dsn);
	q->dead_destinations++;
	list_add(&d->transport->dead, &d->dead);
	list_remove(&d->suspended);
	sched_job_check(d);
	qmgr_dead_news(q, d, true);
	qmgr_destination_flush(q, d);
}

static void
qmgr_destination_revive(struct qmgr *q, struct sched_destination *d)
{
	q->dead_destinations--;
	d->failure.on = false;
	list_remove(&d->dead);
	sched_window_revive(&d->window, &d->transport->limits, d->busy);
	sched_job_check(d);
}

static void
qmgr_log_window(const struct qmgr *q, const struct sched_destination *d, double feedback)
{
	const struct sched_window *w = &d->window;

	if (!conf_bool(q->service->conf, CONF_destination_concurrency_feedback_debug))
		return;
	log_info("%s: feedback %g", d->transport->name, feedback);
	log_info("%s: queue %s: limit %d window %d success %g failure %g fail_cohorts %g",
	    d->transport->name, d->name, d->transport->limits.limit, d->failure.on ? 0 : w->window,
	    w->success, w->failure, w->fail_cohorts);
}

void
qmgr_dead_learn(
    struct qmgr *q, struct sched_destination *d, const char *site_error, const char *dsn)
{
	const struct sched_window_limits *l = &d->transport->limits;
	int window = d->window.window;

	if (site_error == NULL) {
		sched_window_success(&d->window, l, d->busy);
		if (d->told_dead)
			qmgr_dead_news(q, d, false);
		return qmgr_log_window(q, d, sched_feedback_value(&l->positive, window));
	}
	if (d->failure.on)
		return;
	if (sched_window_failure(&d->window, l))
		qmgr_destination_die(q, d, site_error, dsn);
	qmgr_log_window(q, d, -sched_feedback_value(&l->negative, window));
}

void
qmgr_dead_transport(struct qmgr *q, struct sched_transport *t, const char *why)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	log_warn("connect to transport private/%s: %s", t->name, why);
	qmgr_failure_begin(&t->failure, conf_time(q->service->conf, CONF_transport_retry_time),
	    "mail transport unavailable", "4.3.0");
	while (hmap_next(&t->destinations, &cursor, &key, &value))
		qmgr_destination_flush(q, value);
}

void
qmgr_dead_revive(struct qmgr *q, struct sched_transport *t, int64_t now)
{
	if (t->failure.on && (t->failure.until <= now || !list_is_empty(&t->agents)))
		t->failure.on = false;
	/* The one that died first revives first. */
	while (!list_is_empty(&t->dead)) {
		struct sched_destination *d = LIST_FIRST(&t->dead, struct sched_destination, dead);

		if (d->failure.until > now)
			break;
		qmgr_destination_revive(q, d);
	}
}

/* ---- what the cluster knows -------------------------------------------------------------------------------------- */

static int64_t
qmgr_dead_deadline(const struct qmgr_shard *s)
{
	return clock_deadline(conf_time(s->qmgr->service->conf, CONF_queue_database_timeout));
}

static bool
qmgr_dead_tell(struct qmgr_shard *s, struct qmgr_news *n)
{
	struct err err;
	bool ok;

	/* Out of the list, which may be shortened while we wait. */
	list_remove(&n->node);
	ok = queue_destination_tell(
	    s->desk, n->transport, n->nexthop, n->until, n->reason, qmgr_dead_deadline(s), &err);
	if (!ok)
		qmgr_shard_trouble(s, &err);
	qmgr_news_free(s, n);
	return ok;
}

void
qmgr_dead_news_task(void *arg)
{
	struct qmgr_shard *s = arg;

	while (!s->qmgr->stopping) {
		struct qmgr_news *n = LIST_FIRST(&s->news, struct qmgr_news, node);
		int64_t pause = CLOCK_NEVER;

		if (n != NULL && qmgr_dead_tell(s, n))
			continue;
		if (n != NULL)
			pause = clock_deadline(CLOCK_SECOND);
		if (task_cond_wait(&s->news_wanted, pause) == TASK_CANCELLED)
			return;
	}
}

/* The dead destinations of this process, by name. */
struct qmgr_dead_list {
	struct arena arena;
	const char **transports;
	const char **nexthops;
	const char **names;
	bool *dead; /* for the cluster */
	size_t count;
};

static void
qmgr_dead_collect(struct qmgr *q, struct qmgr_dead_list *ret)
{
	size_t room = q->dead_destinations;

	ret->transports = arena_alloc(&ret->arena, room * sizeof(char *));
	ret->nexthops = arena_alloc(&ret->arena, room * sizeof(char *));
	ret->names = arena_alloc(&ret->arena, room * sizeof(char *));
	ret->dead = arena_alloc(&ret->arena, room * sizeof(bool));
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		LIST_FOREACH (d, &t->dead, struct sched_destination, dead) {
			MUST(ret->count < room);
			ret->transports[ret->count] = t->name;
			ret->nexthops[ret->count] = arena_strdup(&ret->arena, d->nexthop);
			ret->names[ret->count++] = arena_strdup(&ret->arena, d->name);
		}
	}
}

void
qmgr_dead_revive_flushed(struct qmgr_shard *s)
{
	struct qmgr *q = s->qmgr;
	struct qmgr_dead_list list = {0};
	struct err err;

	if (q->dead_destinations == 0)
		return;
	qmgr_dead_collect(q, &list);
	if (!queue_destination_ask(s->desk, list.transports, list.nexthops, list.count, list.dead,
		qmgr_dead_deadline(s), &err)) {
		qmgr_shard_trouble(s, &err);
		memset(list.dead, 0, list.count * sizeof(bool));
	}
	for (size_t i = 0; i < list.count; i++) {
		struct sched_transport *t = hmap_get(&q->transports, span_str(list.transports[i]));
		struct sched_destination *d = hmap_get(&t->destinations, span_str(list.names[i]));

		if (!list.dead[i] && d != NULL && d->failure.on)
			qmgr_destination_revive(q, d);
	}
	arena_done(&list.arena);
}
