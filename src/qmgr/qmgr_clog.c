/*
 * qmgr_clog.c - see qmgr_clog.h. The words are those of Postfix.
 */
#include "qmgr/qmgr_clog.h"

#include "base/clock.h"
#include "base/log.h"
#include "qmgr/qmgr_int.h"

/* Entries that wait or run, for all destinations. */
static size_t
qmgr_clog_entries(const struct qmgr *q)
{
	size_t count = 0;

	LIST_FOREACH (t, &q->transport_list, struct sched_transport, node) {
		count += t->busy;
		LIST_FOREACH (job, &t->jobs, struct sched_job, node)
			count += job->entries - job->selected;
	}
	return count;
}

static void
qmgr_clog_warn(const struct qmgr *q, const struct sched_destination *d)
{
	const struct sched_transport *t = d->transport;

	log_warn("mail for %s is using up %zu of %zu active queue entries", d->nexthop,
	    d->todo_count + (size_t)d->busy, qmgr_clog_entries(q));
	log_warn("this may slow down other mail deliveries");
	log_warn("you may need to increase the main.cf %s_destination_concurrency_limit from %d",
	    t->name, t->limits.limit);
	log_warn("you may need a separate master.cf transport for %s", d->nexthop);
	log_warn("please avoid flushing the whole queue when you have");
	log_warn("lots of deferred mail, that is bad for performance");
}

void
qmgr_clog_check(struct qmgr *q, struct sched_destination *d)
{
	const struct conf *conf = q->service->conf;
	int64_t pause;
	int64_t now;

	if (d->todo_count <= conf_size(conf, CONF_qmgr_message_active_limit) / 5)
		return;
	pause = conf_time(conf, CONF_qmgr_clog_warn_time);
	now = clock_mono_us();
	if (pause == 0 || !conf_bool(conf, CONF_helpful_warnings) || now < d->clog_silent_until)
		return;
	d->clog_silent_until = now + pause;
	qmgr_clog_warn(q, d);
}
