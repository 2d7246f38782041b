/*
 * cleanup_front.h - a front end's way to the queue: the connections to its shard, the group commit, and the poke that wakes the
 * scheduler of this node. The same for smtpd, qmqpd and pickup.
 */
#ifndef CLEANUP_CLEANUP_FRONT_H
#define CLEANUP_CLEANUP_FRONT_H

#include "base/base.h"
#include "base/err.h"
#include "service/poke.h"

struct service;
struct queue_front;
struct db_pool;

struct cleanup_front {
	struct db_pool *pool; /* owned */
	struct queue_front *front;
	struct poke poke;
};

/* Opens it for this process; needs dns_init() before. `f` must stay where it is. Does not wait for the database. */
void cleanup_front_open(struct cleanup_front *f, const struct service *s);

/* Ends it after the commit in flight. Nobody may use it any more. Waits. */
void cleanup_front_close(struct cleanup_front *f);

#endif
