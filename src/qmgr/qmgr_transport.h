/*
 * qmgr_transport.h - transports and destinations: their limits from main.cf, found or made by name.
 */
#ifndef QMGR_QMGR_TRANSPORT_H
#define QMGR_QMGR_TRANSPORT_H

#include "base/base.h"
#include "base/span.h"

struct qmgr;
struct qmgr_transport;
struct qmgr_destination;

/* The transport, made on first use. Never NULL: one that no master.cf line serves simply never gets an agent. */
struct qmgr_transport *qmgr_transport_get(struct qmgr *q, const char *name);

/* The destination of a transport, made on first use; a small one idle for long is forgotten by qmgr_transport_sweep(). */
struct qmgr_destination *qmgr_destination_get(struct qmgr_transport *t, const char *nexthop);

/* Reads the limits anew (reload). */
void qmgr_transport_configure(struct qmgr *q, struct qmgr_transport *t);

/* Forgets destinations with nothing to do and nothing to remember. */
void qmgr_transport_sweep(struct qmgr *q);

/* Releases everything; for the end of the process. */
void qmgr_transport_free_all(struct qmgr *q);

#endif
