/*
 * queue_upload.h - contents too large for a batch: stored in chunks beside the ring while they arrive, so that a session
 * needs the memory of one chunk (rule 5a.2). An upload is nobody's mail until the message that names it is stored; one
 * whose front end died is removed by the reaper.
 */
#ifndef QUEUE_QUEUE_UPLOAD_H
#define QUEUE_QUEUE_UPLOAD_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"

struct queue_front;
struct queue_upload;

/* Begins one; writes nothing yet. Never waits. */
struct queue_upload *queue_upload_new(struct queue_front *f);

/* Adds bytes; waits whenever a chunk is full. */
bool queue_upload_add(
    struct queue_upload *u, struct span bytes, int64_t deadline, struct err *err) MUST_CHECK;

/* Writes the last chunk: the upload may now be given to queue_front_store(). Waits. */
bool queue_upload_finish(struct queue_upload *u, int64_t deadline, struct err *err) MUST_CHECK;

uint64_t queue_upload_size(const struct queue_upload *u);
int64_t queue_upload_content_id(const struct queue_upload *u);

/*
 * Releases it. Unless its message was stored the chunks are dropped in the background. Never waits. Accepts NULL.
 */
void queue_upload_free(struct queue_upload **u);

#endif
