/*
 * qmgr_transport.h - transports and destinations: their settings from main.cf, found or made by name.
 */
#ifndef QMGR_QMGR_TRANSPORT_H
#define QMGR_QMGR_TRANSPORT_H

#include "base/base.h"
#include "base/span.h"

struct qmgr;
struct sched_transport;
struct sched_destination;

/*
 * The transport, made on first use. Never NULL: one that master.cf does not know (t->unknown) and one whose agents do not come
 * never deliver.
 */
struct sched_transport *qmgr_transport_get(struct qmgr *q, const char *name);

/*
 * The destination of a recipient, made on first use; one idle for long is forgotten by qmgr_transport_sweep(). Its name is the
 * nexthop; where a delivery has one recipient only, it is the recipient: user@nexthop, without an address extension, so that
 * limits count by recipient.
 */
struct sched_destination *qmgr_destination_get(
    struct qmgr *q, struct sched_transport *t, const char *nexthop, const char *rcpt);

/* Reads main.cf and master.cf anew (start, reload); waiting mail keeps its place. */
void qmgr_transport_configure_all(struct qmgr *q);

/* Forgets destinations with nothing to do and nothing to remember. */
void qmgr_transport_sweep(struct qmgr *q);

/* Releases everything; for the end of the process. */
void qmgr_transport_free_all(struct qmgr *q);

#endif
