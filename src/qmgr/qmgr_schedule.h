/*
 * qmgr_schedule.h - recipients become entries of jobs, entries become deliveries: whenever a slot of an agent is free, the entry that
 * Postfix's preemptive scheduler would choose (sched_job.h) gets it. Nothing here waits, except the task.
 */
#ifndef QMGR_QMGR_SCHEDULE_H
#define QMGR_QMGR_SCHEDULE_H

#include "base/base.h"

struct arena;
struct rewrite_route;
struct qmgr;
struct qmgr_message;
struct sched_destination;
struct sched_entry;
struct qmgr_shard;
struct delivery_result;

/* Resolves the recipients of a message just claimed, and queues them by destination; those of a large list little by little. */
void qmgr_schedule_message(struct qmgr *q, struct qmgr_message *m);

/* Queues one recipient again (its agent died, or said that it tried nothing). */
void qmgr_schedule_rcpt(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt);

/* The same, but to this transport: a local agent wants it so. */
void qmgr_schedule_rcpt_to(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt,
    const char *transport, const char *nexthop);

/* Where a recipient goes: what the message says (a filter, an operator) before what the tables say. In `arena`. */
void qmgr_schedule_route(struct qmgr *q, const struct qmgr_message *m, uint32_t rcpt,
    struct arena *arena, struct rewrite_route *ret);

/* Hands out what can be handed out. Called whenever something changed: new work, a free slot, a new agent. */
void qmgr_schedule_run(struct qmgr *q);

/* A delivery ended; the window of its destination learns. `site_error` NULL: no trouble of the site. */
void qmgr_schedule_ended(
    struct qmgr *q, struct sched_destination *d, const char *site_error, const char *dsn);

/* Wakes dead destinations whose pause is over, and defers what waits for transports that nobody serves. */
void qmgr_schedule_tick(struct qmgr *q);

/* Takes every waiting recipient of `m` out of its line and gives it to fn(); those under way stay where they are. */
void qmgr_schedule_take_waiting(struct qmgr *q, struct qmgr_message *m,
    void (*fn)(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, void *arg), void *arg);

/* After the lease was lost: everything that waits is somebody else's now. */
void qmgr_schedule_drop_lost(struct qmgr *q);

/* Looks anew where the waiting recipients of `m` go, and whether they were delivered meanwhile. */
void qmgr_schedule_recheck(struct qmgr *q, struct qmgr_message *m);

/*
 * Operators flushed mail of `s`; all of it when `all_at` (real us) has changed. Destinations of what was flushed live again, and transports of
 * defer_transports deliver what waited when all was flushed. Waits.
 */
void qmgr_schedule_flushed(struct qmgr_shard *s, int64_t all_at);

/* The task that ends the pauses between deliveries (sched_rate.h), to the end of the process. */
void qmgr_schedule_pauses_task(void *qmgr);

#endif
