/*
 * qmgr_shard.h - one queue database, with all that this scheduler has for it alone: connections, desk, lease, claims, outcomes. While
 * it is away, or its lease in doubt, the mail of the others goes on.
 */
#ifndef QMGR_QMGR_SHARD_H
#define QMGR_QMGR_SHARD_H

#include "base/base.h"
#include "base/err.h"

struct qmgr;
struct qmgr_shard;
struct sched_entry;

/* Opens queue database number `number` and starts its tasks. */
struct qmgr_shard *qmgr_shard_open(struct qmgr *q, size_t number);

/* Says goodbye to all of them at once, by `deadline`. Waits. */
void qmgr_shard_leave_all(struct qmgr *q, int64_t deadline);

/* A database error: logged, but not more often than every 10 s. */
void qmgr_shard_trouble(struct qmgr_shard *s, const struct err *err);

/*
 * May mail of this shard, or of any, be handed out now (I2)? Not while the lease is in doubt, or outcomes wait that cannot be recorded
 * (qmgr_outcome_is_behind()): whoever takes the mail over would deliver it a second time.
 */
bool qmgr_shard_may_deliver(const struct qmgr_shard *s);
bool qmgr_shard_any_may_deliver(const struct qmgr *q);

/* Takes over an entry that was withdrawn because the shard's lease is in doubt; it waits again when that is over. */
void qmgr_shard_park(struct qmgr_shard *s, struct sched_entry *e);

/* Outcomes were recorded: if that was what it waited for, it goes on. */
void qmgr_shard_recorded(struct qmgr_shard *s);

#endif
