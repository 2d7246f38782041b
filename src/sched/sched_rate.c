/*
 * sched_rate.c - see sched_rate.h. All destinations of a transport pause equally long, so the one that began first ends first.
 */
#include "sched/sched_rate.h"

#include "base/clock.h"
#include "sched/sched_job.h"

void
sched_rate_began(struct sched_transport *t)
{
	if (t->transport_rate_delay == 0)
		return;
	t->rate_locked = true;
	t->rate_until = 0;
}

void
sched_rate_ended(struct sched_destination *d, int64_t now)
{
	struct sched_transport *t = d->transport;

	if (t->rate_locked && t->busy == 0)
		t->rate_until = now + t->transport_rate_delay;
	if (t->destination_rate_delay == 0 || d->failure.on || list_is_linked(&d->suspended))
		return;
	d->suspended_until = now + t->destination_rate_delay;
	list_add(&t->suspended, &d->suspended);
	sched_job_check(d);
}

int64_t
sched_rate_release(struct sched_transport *t, int64_t now)
{
	int64_t next = CLOCK_NEVER;

	if (t->rate_locked && t->rate_until != 0) {
		if (t->rate_until <= now)
			t->rate_locked = false;
		else
			next = t->rate_until;
	}
	while (!list_is_empty(&t->suspended)) {
		struct sched_destination *d =
		    LIST_FIRST(&t->suspended, struct sched_destination, suspended);

		if (d->suspended_until > now)
			return MIN(next, d->suspended_until);
		list_remove(&d->suspended);
		sched_job_check(d);
	}
	return next;
}
