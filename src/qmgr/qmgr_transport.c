/*
 * qmgr_transport.c - see qmgr_transport.h.
 */
#include "qmgr/qmgr_transport.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/master_cf.h"
#include "qmgr/qmgr_int.h"

/* Destinations per transport that may stay in memory with nothing to do. */
#define QMGR_DESTINATION_IDLE_MAX 10000

static enum sched_builtin
qmgr_transport_builtin(const char *name)
{
	if (strcmp(name, "error") == 0)
		return SCHED_ERROR;
	if (strcmp(name, "retry") == 0)
		return SCHED_RETRY;
	if (strcmp(name, "discard") == 0)
		return SCHED_DISCARD;
	return SCHED_AGENT;
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

/* NAME_destination_..., else the default; a value that does not parse is reported and `fallback` counts. */
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

static size_t
qmgr_transport_size(struct qmgr *q, const char *name, enum conf_param p, int fallback)
{
	int value = qmgr_transport_int(q, name, p, fallback);

	return value > 0 ? (size_t)value : 0;
}

static int64_t
qmgr_transport_time(struct qmgr *q, const char *name, enum conf_param p, int64_t fallback)
{
	struct err err;
	int64_t value;

	if (conf_service_time(q->service->conf, name, p, &value, &err))
		return value;
	log_warn("%s", err.text);
	return fallback;
}

static void
qmgr_transport_feedback(
    struct qmgr *q, const char *name, enum conf_param p, struct sched_feedback *ret)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	if (conf_service_str(q->service->conf, name, p, &text, &err) &&
	    sched_feedback_parse(buf_span(&text), ret, &err))
		return;
	log_warn("%s: ignoring %s", name, err.text);
	*ret = (struct sched_feedback){.base = 1};
}

static void
qmgr_transport_configure_window(struct qmgr *q, struct sched_transport *t)
{
	const char *name = t->name;
	struct sched_window_limits *l = &t->limits;

	l->initial = qmgr_transport_int(q, name, CONF_transport_initial_destination_concurrency, 5);
	l->limit = qmgr_transport_int(q, name, CONF_transport_destination_concurrency_limit, 20);
	t->cluster_limit =
	    qmgr_transport_int(q, name, CONF_transport_cluster_destination_concurrency_limit, 0);
	l->failed_cohort_limit = qmgr_transport_int(
	    q, name, CONF_transport_destination_concurrency_failed_cohort_limit, 1);
	qmgr_transport_feedback(
	    q, name, CONF_transport_destination_concurrency_positive_feedback, &l->positive);
	qmgr_transport_feedback(
	    q, name, CONF_transport_destination_concurrency_negative_feedback, &l->negative);
	t->destination_rate_delay =
	    qmgr_transport_time(q, name, CONF_transport_destination_rate_delay, 0);
	t->transport_rate_delay =
	    qmgr_transport_time(q, name, CONF_transport_transport_rate_delay, 0);
	/* With a pause after each delivery there is only one at a time. */
	if (t->destination_rate_delay > 0)
		l->limit = 1;
}

static void
qmgr_transport_configure(struct qmgr *q, struct sched_transport *t)
{
	const struct conf *conf = q->service->conf;
	const char *name = t->name;

	qmgr_transport_configure_window(q, t);
	t->recipient_limit =
	    qmgr_transport_size(q, name, CONF_transport_destination_recipient_limit, 50);
	t->slots = (struct sched_slots){
	    .cost = qmgr_transport_int(q, name, CONF_transport_delivery_slot_cost, 5),
	    .loan = qmgr_transport_int(q, name, CONF_transport_delivery_slot_loan, 3),
	    .discount = qmgr_transport_int(q, name, CONF_transport_delivery_slot_discount, 50),
	    .minimum = qmgr_transport_int(q, name, CONF_transport_minimum_delivery_slots, 3),
	};
	t->pool = (struct sched_pool){
	    .limit = qmgr_transport_size(q, name, CONF_transport_recipient_limit, 20000),
	    .extra = qmgr_transport_size(q, name, CONF_transport_extra_recipient_limit, 1000),
	    .refill_limit =
		qmgr_transport_size(q, name, CONF_transport_recipient_refill_limit, 100),
	    .refill_delay = qmgr_transport_time(
		q, name, CONF_transport_recipient_refill_delay, 5 * CLOCK_SECOND),
	};
	t->deferred = conf_has(conf, CONF_defer_transports, name);
	t->unknown = t->builtin == SCHED_AGENT && q->services.count != 0 &&
		     hmap_get(&q->services, span_str(name)) == NULL;
}

/* The services of master.cf that agents could be; none, if it cannot be read: then every name may be one. */
static void
qmgr_transport_read_services(struct qmgr *q)
{
	struct master_cf m = {0};
	struct err err;

	hmap_done(&q->services);
	if (!master_cf_load(q->service->conf_dir, &m, &err))
		return log_warn("%s", err.text);
	for (size_t i = 0; i < m.count; i++) {
		if (m.services[i].type == MASTER_CF_UNIX)
			(void)hmap_put(
			    &q->services, span_str(m.services[i].fields[MASTER_CF_FIELD_NAME]), q);
	}
	master_cf_done(&m);
}

void
qmgr_transport_configure_all(struct qmgr *q)
{
	qmgr_transport_read_services(q);
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		struct hmap_cursor cursor = {0};
		struct span key;
		void *value;

		qmgr_transport_configure(q, t);
		while (hmap_next(&t->destinations, &cursor, &key, &value)) {
			struct sched_destination *d = value;

			sched_window_limit(&d->window, &t->limits);
			if (t->cluster_limit == 0)
				d->cluster_slots = -1;
			else if (d->cluster_slots < 0)
				d->cluster_slots = 0;
			sched_job_check(d);
		}
	}
}

/* ---- by name ----------------------------------------------------------------------------------------------------- */

struct sched_transport *
qmgr_transport_get(struct qmgr *q, const char *name)
{
	struct sched_transport *t = hmap_get(&q->transports, span_str(name));

	if (t != NULL)
		return t;
	t = mem_new(struct sched_transport);
	t->name = mem_strdup(name);
	t->builtin = qmgr_transport_builtin(name);
	t->since = clock_mono_us();
	sched_job_init_transport(t);
	list_add(&q->transport_list, &t->node);
	qmgr_transport_configure(q, t);
	(void)hmap_put(&q->transports, span_str(name), t);
	return t;
}

/* Length of the local part without its extension ("user+folder"). */
static size_t
qmgr_base_length(const char *delimiters, struct span local)
{
	if (span_equal_nocase_str(local, "mailer-daemon") ||
	    span_equal_nocase_str(local, "double-bounce"))
		return local.len;
	for (size_t i = 1; i < local.len; i++)
		if (strchr(delimiters, local.ptr[i]) != NULL)
			return i;
	return local.len;
}

static void
qmgr_destination_name(struct qmgr *q, const char *nexthop, const char *rcpt, struct buf *ret)
{
	const char *at = strrchr(rcpt, '@');
	struct span local = span_of(rcpt, at != NULL ? (size_t)(at - rcpt) : strlen(rcpt));

	local.len = qmgr_base_length(conf_str(q->service->conf, CONF_recipient_delimiter), local);
	buf_printf(ret, "%.*s@%s", SPAN_ARG(local), nexthop);
}

struct sched_destination *
qmgr_destination_get(
    struct qmgr *q, struct sched_transport *t, const char *nexthop, const char *rcpt)
{
	struct buf own CLEANUP(buf_done) = {0};
	struct span name = span_str(nexthop);
	struct sched_destination *d;

	if (t->recipient_limit == 1) {
		qmgr_destination_name(q, nexthop, rcpt, &own);
		name = buf_span(&own);
	}
	d = hmap_get(&t->destinations, name);
	if (d != NULL)
		return d;
	d = mem_new(struct sched_destination);
	d->name = span_dup(name);
	d->nexthop = mem_strdup(nexthop);
	sched_job_init_destination(d, t);
	(void)hmap_put(&t->destinations, name, d);
	return d;
}

static void
qmgr_destination_free(struct sched_destination *d)
{
	MUST(list_is_empty(&d->peers) && d->busy == 0 && d->ready_at == 0);
	list_remove(&d->dead);
	list_remove(&d->suspended);
	(void)hmap_remove(&d->transport->destinations, span_str(d->name));
	mem_free(d->failure.reason);
	mem_free(d->nexthop);
	mem_free(d->name);
	mem_free(d);
}

static void
qmgr_transport_sweep_one(struct sched_transport *t)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	if (t->destinations.count <= QMGR_DESTINATION_IDLE_MAX)
		return;
	while (hmap_next(&t->destinations, &cursor, &key, &value)) {
		struct sched_destination *d = value;

		if (d->busy == 0 && list_is_empty(&d->peers) && !d->failure.on &&
		    d->cluster_slots <= 0 && !d->cluster_asked && !list_is_linked(&d->suspended))
			qmgr_destination_free(d);
	}
}

void
qmgr_transport_sweep(struct qmgr *q)
{
	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		qmgr_transport_sweep_one(t);
	}
}

static void
qmgr_transport_free(struct sched_transport *t)
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&t->destinations, &cursor, &key, &value))
		qmgr_destination_free(value);
	hmap_done(&t->destinations);
	sched_job_done_transport(t);
	list_remove(&t->node);
	mem_free(t->failure.reason);
	mem_free(t->name);
	mem_free(t);
}

void
qmgr_transport_free_all(struct qmgr *q)
{
	LIST_FOREACH_SAFE (t, &q->transport_list, struct sched_transport, node) {
		qmgr_transport_free(t);
	}
	hmap_done(&q->transports);
	hmap_done(&q->services);
}
