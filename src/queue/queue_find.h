/*
 * queue_find.h - where messages are, many at once: for orders that concern only mail in certain places.
 */
#ifndef QUEUE_QUEUE_FIND_H
#define QUEUE_QUEUE_FIND_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_types.h"

struct queue_finding {
	unsigned
	    places; /* bits 1u << enum queue_place, of recipients that are still to be settled; 0: none */
	bool forced_expire;
};

/* One finding for each of `count` messages, in their order. Waits. */
bool queue_find_messages(struct db_conn *c, const int64_t *msg_ids, size_t count, int64_t deadline,
    struct queue_finding *ret, struct err *err) MUST_CHECK;

#endif
