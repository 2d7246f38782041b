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
    struct qmgr *q, struct qmgr_destination *d, struct qmgr_message *m, uint32_t rcpt)
{
	const struct qmgr_failure *f = d->failure.on ? &d->failure : &d->transport->failure;

	qmgr_dead_defer(q, m, rcpt, d->transport->name, d->nexthop, f->dsn, f->reason);
}

static void
qmgr_failure_begin(struct qmgr_failure *f, int64_t pause, const char *reason, const char *dsn)
{
	mem_free(f->reason);
	f->on = true;
	f->until = clock_deadline(pause);
	f->reason = mem_strdup(reason);
	(void)snprintf(f->dsn, sizeof(f->dsn), "%s", dsn);
}

/* Everything that waits for a destination that cannot be served is deferred. */
static void
qmgr_destination_flush(struct qmgr *q, struct qmgr_destination *d)
{
	struct qmgr_entry *e;

	while ((e = qmgr_job_first(d)) != NULL) {
		qmgr_job_withdraw(e);
		for (size_t i = 0; i < e->rcpt_count; i++)
			qmgr_dead_defer_for(q, d, e->message, e->rcpts[i]);
		qmgr_entry_free(&e);
	}
}

static void
qmgr_destination_die(
    struct qmgr *q, struct qmgr_destination *d, const char *reason, const char *dsn)
{
	int64_t pause = conf_time(q->service->conf, CONF_minimal_backoff_time);
	struct buf text CLEANUP(buf_done) = {0};

	MUST(!d->failure.on);
	buf_printf(&text, "delivery temporarily suspended: %s", reason);
	qmgr_failure_begin(&d->failure, pause, buf_str(&text), dsn);
	q->dead_destinations++;
	list_add(&d->transport->dead, &d->dead);
	list_remove(&d->suspended);
	qmgr_job_check(d);
	qmgr_destination_flush(q, d);
}

static void
qmgr_destination_revive(struct qmgr *q, struct qmgr_destination *d)
{
	q->dead_destinations--;
	d->failure.on = false;
	list_remove(&d->dead);
	qmgr_window_revive(&d->window, &d->transport->limits, d->busy);
	qmgr_job_check(d);
}

static void
qmgr_log_window(const struct qmgr *q, const struct qmgr_destination *d, double feedback)
{
	const struct qmgr_window *w = &d->window;

	if (!conf_bool(q->service->conf, CONF_destination_concurrency_feedback_debug))
		return;
	log_info("%s: queue %s: feedback %g limit %d window %d success %g failure %g "
		 "fail_cohorts %g",
	    d->transport->name, d->name, feedback, d->transport->limits.limit,
	    d->failure.on ? 0 : w->window, w->success, w->failure, w->fail_cohorts);
}

void
qmgr_dead_learn(struct qmgr *q, struct qmgr_destination *d, const char *site_error, const char *dsn)
{
	const struct qmgr_window_limits *l = &d->transport->limits;
	int window = d->window.window;

	if (site_error == NULL) {
		qmgr_window_success(&d->window, l, d->busy);
		return qmgr_log_window(q, d, qmgr_feedback_value(&l->positive, window));
	}
	if (d->failure.on)
		return;
	if (qmgr_window_failure(&d->window, l))
		qmgr_destination_die(q, d, site_error, dsn);
	qmgr_log_window(q, d, -qmgr_feedback_value(&l->negative, window));
}

void
qmgr_dead_transport(struct qmgr *q, struct qmgr_transport *t, const char *why)
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
qmgr_dead_revive(struct qmgr *q, struct qmgr_transport *t, int64_t now)
{
	if (t->failure.on && (t->failure.until <= now || !list_is_empty(&t->agents)))
		t->failure.on = false;
	/* The one that died first revives first. */
	while (!list_is_empty(&t->dead)) {
		struct qmgr_destination *d = LIST_FIRST(&t->dead, struct qmgr_destination, dead);

		if (d->failure.until > now)
			break;
		qmgr_destination_revive(q, d);
	}
}
