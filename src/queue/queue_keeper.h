/*
 * queue_keeper.h - the housekeeping of a shard, done by whichever scheduler comes first: rotation, truncation and growth
 * of the ring (rule 5a.14), day partitions of the history, dead uploads, left-over notifications, repair of due times.
 * Each piece guards itself in the database, so that all schedulers may run it.
 */
#ifndef QUEUE_QUEUE_KEEPER_H
#define QUEUE_QUEUE_KEEPER_H

#include "base/base.h"
#include "base/err.h"
#include "queue/queue_desk.h"

/*
 * One round: does what is due and returns. Call it about once a second. A piece that fails does not keep the others from
 * being done; err tells of the first. Waits.
 */
bool queue_keeper_run(struct queue_desk *d, int64_t deadline, struct err *err);

#endif
