/*
 * queue_known.h - is a message in the queue, or was it? For a front end that keeps the message until it is stored, and died
 * in between (rule 5a.10, after a crash).
 */
#ifndef QUEUE_QUEUE_KNOWN_H
#define QUEUE_QUEUE_KNOWN_H

#include "base/base.h"
#include "base/err.h"

struct queue_front;

/*
 * Tells whether `msg_id` was ever stored at the front's shard; history answers for what has left, so it forgets after
 * queue_history_time. Waits for who is just storing it. True: safely, so that it need not be kept any more. ERR_TEMP: the database is
 * away, or its standby. Waits.
 */
bool queue_known_ask(
    struct queue_front *f, int64_t msg_id, int64_t deadline, bool *ret, struct err *err) MUST_CHECK;

#endif
