/*
 * queue_destination.h - what schedulers tell each other about destinations: which are dead, and until when. What waits in `deferred` for a
 * dead one is not claimed, by any node, until then or until somebody flushes it.
 */
#ifndef QUEUE_QUEUE_DESTINATION_H
#define QUEUE_QUEUE_DESTINATION_H

#include "base/base.h"
#include "base/err.h"
#include "queue/queue_desk.h"

/*
 * Tells how a destination fares, for its due rows and for rowpost.destination: dead until then (real us), or (0) alive
 * again. Waits.
 */
bool queue_destination_tell(struct queue_desk *d, const char *transport, const char *nexthop,
    int64_t dead_until, const char *reason, int64_t deadline, struct err *err) MUST_CHECK;

/*
 * Which of these destinations are dead for the cluster: after a flush, those that were not flushed. ret_dead has room for
 * `count`. Waits.
 */
bool queue_destination_ask(struct queue_desk *d, const char *const *transports,
    const char *const *nexthops, size_t count, bool *ret_dead, int64_t deadline,
    struct err *err) MUST_CHECK;

#endif
