/*
 * qmgr_limit.h - deliveries to a destination that may run at once in the whole cluster
 * (*_cluster_destination_concurrency_limit): this node's part of them, asked for once a second (cluster/cluster_limit.h).
 * Destinations of transports without such a limit cost nothing.
 */
#ifndef QMGR_QMGR_LIMIT_H
#define QMGR_QMGR_LIMIT_H

struct qmgr;

/* A task of the process. */
void qmgr_limit_task(void *arg);

/* A new epoch: what was given to the old one counts no more. */
void qmgr_limit_forget(struct qmgr *q);

#endif
