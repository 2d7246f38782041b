/*
 * qmgr_transport.c - see qmgr_transport.h.
 */
#include "qmgr/qmgr_transport.h"

#include "base/log.h"
#include "base/mem.h"
#include "qmgr/qmgr_int.h"

/* Destinations per transport that may stay in memory with nothing to do. */
#define QMGR_DESTINATION_IDLE_MAX 10000

static enum qmgr_builtin
qmgr_transport_builtin(const char *name)
{
	if (strcmp(name, "error") == 0)
		return QMGR_ERROR;
	if (strcmp(name, "retry") == 0)
		return QMGR_RETRY;
	if (strcmp(name, "discard") == 0)
		return QMGR_DISCARD;
	return QMGR_AGENT;
}

/* NAME_destination_..., else the default; a value that does not parse is reported and the default stays. */
static int
qmgr_transport_int(struct qmgr *q, const char *name, enum conf_param p, int fallback)
{
	struct err err;
	int value;

	if (conf_service_int(q->service->conf, name, p, &value, &err))
		return value;
	log_warn("%s", err.text);
	return fallback;
}

static void
qmgr_transport_feedback(
    struct qmgr *q, const char *name, enum conf_param p, struct qmgr_feedback *ret)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	*ret = (struct qmgr_feedback){.base = 1};
	if (!conf_service_str(q->service->conf, name, p, &text, &err) ||
	    !qmgr_feedback_parse(buf_span(&text), ret, &err)) {
		log_warn("%s: %s, using 1", name, err.text);
		*ret = (struct qmgr_feedback){.base = 1};
	}
}

void
qmgr_transport_configure(struct qmgr *q, struct qmgr_transport *t)
{
	const char *name = t->name;
	struct qmgr_window_limits *l = &t->limits;

	l->initial = qmgr_transport_int(q, name, CONF_transport_initial_destination_concurrency, 5);
	l->limit = qmgr_transport_int(q, name, CONF_transport_destination_concurrency_limit, 20);
	l->failed_cohort_limit = qmgr_transport_int(
	    q, name, CONF_transport_destination_concurrency_failed_cohort_limit, 1);
	t->recipient_limit =
	    qmgr_transport_int(q, name, CONF_transport_destination_recipient_limit, 50);
	if (t->recipient_limit < 1)
		t->recipient_limit = 1;
	qmgr_transport_feedback(
	    q, name, CONF_transport_destination_concurrency_positive_feedback, &l->positive);
	qmgr_transport_feedback(
	    q, name, CONF_transport_destination_concurrency_negative_feedback, &l->negative);
}

struct qmgr_transport *
qmgr_transport_get(struct qmgr *q, const char *name)
{
	struct qmgr_transport *t = hmap_get(&q->transports, span_str(name));

	if (t != NULL)
		return t;
	t = mem_new(struct qmgr_transport);
	t->name = mem_strdup(name);
	t->builtin = qmgr_transport_builtin(name);
	t->since = clock_mono_us();
	list_init(&t->ready);
	list_init(&t->agents);
	list_add(&q->transport_list, &t->node);
	qmgr_transport_configure(q, t);
	(void)hmap_put(&q->transports, span_str(name), t);
	return t;
}

struct qmgr_destination *
qmgr_destination_get(struct qmgr_transport *t, const char *nexthop)
{
	struct qmgr_destination *d = hmap_get(&t->destinations, span_str(nexthop));

	if (d != NULL)
		return d;
	d = mem_new(struct qmgr_destination);
	d->transport = t;
	d->nexthop = mem_strdup(nexthop);
	list_init(&d->todo);
	qmgr_window_init(&d->window, &t->limits);
	(void)hmap_put(&t->destinations, span_str(nexthop), d);
	return d;
}

static void
qmgr_destination_free(struct qmgr_destination *d)
{
	MUST(list_is_empty(&d->todo) && d->busy == 0);
	list_remove(&d->ready);
	(void)hmap_remove(&d->transport->destinations, span_str(d->nexthop));
	mem_free(d->dead_reason);
	mem_free(d->nexthop);
	mem_free(d);
}

static void
qmgr_transport_sweep_one(struct qmgr_transport *t)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	if (t->destinations.count <= QMGR_DESTINATION_IDLE_MAX)
		return;
	while (hmap_next(&t->destinations, &cursor, &key, &value)) {
		struct qmgr_destination *d = value;

		if (d->busy == 0 && list_is_empty(&d->todo) && !d->dead)
			qmgr_destination_free(d);
	}
}

void
qmgr_transport_sweep(struct qmgr *q)
{
	LIST_FOREACH (t, &q->transport_list, struct qmgr_transport, node) {
		qmgr_transport_sweep_one(t);
	}
}

static void
qmgr_transport_free(struct qmgr_transport *t)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&t->destinations, &cursor, &key, &value))
		qmgr_destination_free(value);
	hmap_done(&t->destinations);
	list_remove(&t->node);
	mem_free(t->name);
	mem_free(t);
}

void
qmgr_transport_free_all(struct qmgr *q)
{
	LIST_FOREACH_SAFE (t, &q->transport_list, struct qmgr_transport, node) {
		qmgr_transport_free(t);
	}
	hmap_done(&q->transports);
}
