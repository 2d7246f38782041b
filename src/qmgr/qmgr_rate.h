/*
 * qmgr_rate.h - pauses between deliveries: *_destination_rate_delay holds a destination back for a while after each delivery,
 * *_transport_rate_delay a whole transport. Per node: n nodes send at n times the rate. Pure: the time is an argument.
 */
#ifndef QMGR_QMGR_RATE_H
#define QMGR_QMGR_RATE_H

#include "base/base.h"

struct qmgr_destination;
struct qmgr_transport;

/* A delivery began / ended at `now` (mono us). */
void qmgr_rate_began(struct qmgr_transport *t);
void qmgr_rate_ended(struct qmgr_destination *d, int64_t now);

/* Ends the pauses that are over at `now`; the time at which the next one will be, or CLOCK_NEVER. */
int64_t qmgr_rate_release(struct qmgr_transport *t, int64_t now);

#endif
