/*
 * queue_content.h - reading the content of a queued message, piece by piece, wherever it is: in the ring, with a
 * promoted message, or uploaded in chunks.
 */
#ifndef QUEUE_QUEUE_CONTENT_H
#define QUEUE_QUEUE_CONTENT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"

/* As a claimed message has them; set -1: not known (commands). */
struct queue_content_ref {
	int64_t msg_id;
	int64_t content_id; /* 0: not uploaded */
	int16_t set;
};

/*
 * Appends up to `len` bytes from `offset` on; fewer only at the end. ERR_GONE: there is no such message any more. Waits.
 */
bool queue_content_read(struct db_pool *pool, const struct queue_content_ref *ref, uint64_t offset,
    size_t len, int64_t deadline, struct buf *ret, struct err *err) MUST_CHECK;

#endif
