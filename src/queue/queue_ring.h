/*
 * queue_ring.h - the ring's upkeep: opening the next set, emptying what is drained, growing (rule 5a.14).
 */
#ifndef QUEUE_QUEUE_RING_H
#define QUEUE_QUEUE_RING_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"

struct queue_desk;

/*
 * One round: opens the next set when the open one is old or large enough, and empties one drained set. Waits, but for
 * nobody's lock: a set that somebody uses is tried again after 1 to 30 s.
 */
bool queue_ring_keep(
    struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err) MUST_CHECK;

#endif
