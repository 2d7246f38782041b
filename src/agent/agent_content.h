/*
 * agent_content.h - the content of a delivery, piece by piece: at hand when it came with the request, or on the node's shelf (service/shelf.h),
 * else pulled from the scheduler with at most AGENT_CONTENT_CREDIT bytes under way.
 */
#ifndef AGENT_AGENT_CONTENT_H
#define AGENT_AGENT_CONTENT_H

#include "base/base.h"
#include "base/span.h"
#include "service/delivery.h"

struct agent_job;

#define AGENT_CONTENT_CREDIT 65536u

/* Starts at the front again: for the next host. */
void agent_content_rewind(struct agent_job *job);

/*
 * The next piece, valid until the next call; *ret_last: nothing follows (the piece may be empty). False: the scheduler cannot give
 * it (it is gone, or the database is), or the deadline passed. Waits.
 */
bool agent_content_next(
    struct agent_job *job, int64_t deadline, struct span *ret_piece, bool *ret_last);

/* A CONTENT frame came in. */
void agent_content_arrived(struct agent_job *job, const struct delivery_content *piece);

/* The link broke: whoever waits gets false. */
void agent_content_lost(struct agent_job *job);

void agent_content_free(struct agent_job *job);

#endif
