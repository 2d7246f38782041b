/*
 * qmgr_dead.h - sites and agents that fail. A destination is dead for minimal_backoff_time when enough cohorts of deliveries could not
 * even begin; a transport for transport_retry_time when its agents cannot be reached or master.cf does not know it. What waits
 * for them is deferred, with the reason, and so is at once what comes meanwhile. Nothing here waits unless it says so.
 */
#ifndef QMGR_QMGR_DEAD_H
#define QMGR_QMGR_DEAD_H

#include "base/base.h"

struct qmgr;
struct sched_destination;
struct qmgr_message;
struct qmgr_shard;
struct sched_transport;

/* Defers a recipient that was not tried. */
void qmgr_dead_defer(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const char *transport,
    const char *nexthop, const char *dsn, const char *reason);

/* The same because `d` or its transport is dead. */
void qmgr_dead_defer_for(
    struct qmgr *q, struct sched_destination *d, struct qmgr_message *m, uint32_t rcpt);

/* A delivery ended, d->busy still counts it: the window learns. `site_error` NULL: no trouble of the site. */
void qmgr_dead_learn(
    struct qmgr *q, struct sched_destination *d, const char *site_error, const char *dsn);

/* The agents of `t` cannot be reached; `why` is for the log. */
void qmgr_dead_transport(struct qmgr *q, struct sched_transport *t, const char *why);

/* The task that tells a shard, and so the other nodes, about destinations that died, and that live again. */
void qmgr_dead_news_task(void *shard);

/* Some mail of `s` was flushed (postqueue -i, -s): its destinations live again. Waits. */
void qmgr_dead_revive_flushed(struct qmgr_shard *s);

/* Ends what is over at `now` (mono us; CLOCK_NEVER: everything). */
void qmgr_dead_revive(struct qmgr *q, struct sched_transport *t, int64_t now);

#endif
