/*
 * queue_large.h - contents above the inline limit that come into being in the scheduler: into their chunks beside the ring, in the
 * transaction that stores their message.
 */
#ifndef QUEUE_QUEUE_LARGE_H
#define QUEUE_QUEUE_LARGE_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"

/* Contents up to this size go with the message. */
#define QUEUE_LARGE_MIN (1u << 20)

/* Stores the content of message `msg_id`, in the caller's transaction. Waits. */
bool queue_large_store(struct db_conn *c, int64_t msg_id, struct span content, int64_t deadline,
    int64_t *ret_content_id, struct err *err) MUST_CHECK;

#endif
