/*
 * sched_rate.h - pauses between deliveries: *_destination_rate_delay holds a destination back for a while after each delivery,
 * *_transport_rate_delay a whole transport. Per node: n nodes send at n times the rate. Pure: the time is an argument.
 */
#ifndef SCHED_SCHED_RATE_H
#define SCHED_SCHED_RATE_H

#include "base/base.h"

struct sched_destination;
struct sched_transport;

/* A delivery began / ended at `now` (mono us). */
void sched_rate_began(struct sched_transport *t);
void sched_rate_ended(struct sched_destination *d, int64_t now);

/* Ends the pauses that are over at `now`; the time at which the next one will be, or CLOCK_NEVER. */
int64_t sched_rate_release(struct sched_transport *t, int64_t now);

#endif
