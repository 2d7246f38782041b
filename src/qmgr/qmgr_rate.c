/*
 * qmgr_rate.c - see qmgr_rate.h. All destinations of a transport pause equally long, so the one that began first ends first.
 */
#include "qmgr/qmgr_rate.h"

#include "base/clock.h"
#include "qmgr/qmgr_job.h"

void
qmgr_rate_began(struct qmgr_transport *t)
{
	if (t->transport_rate_delay == 0)
		return;
	t->rate_locked = true;
	t->rate_until = 0;
}

void
qmgr_rate_ended(struct qmgr_destination *d, int64_t now)
{
	struct qmgr_transport *t = d->transport;

	if (t->rate_locked && t->busy == 0)
		t->rate_until = now + t->transport_rate_delay;
	if (t->destination_rate_delay == 0 || d->failure.on || list_is_linked(&d->suspended))
		return;
	d->suspended_until = now + t->destination_rate_delay;
	list_add(&t->suspended, &d->suspended);
	qmgr_job_check(d);
}

int64_t
qmgr_rate_release(struct qmgr_transport *t, int64_t now)
{
	int64_t next = CLOCK_NEVER;

	if (t->rate_locked && t->rate_until != 0) {
		if (t->rate_until <= now)
			t->rate_locked = false;
		else
			next = t->rate_until;
	}
	while (!list_is_empty(&t->suspended)) {
		struct qmgr_destination *d =
		    LIST_FIRST(&t->suspended, struct qmgr_destination, suspended);

		if (d->suspended_until > now)
			return MIN(next, d->suspended_until);
		list_remove(&d->suspended);
		qmgr_job_check(d);
	}
	return next;
}
