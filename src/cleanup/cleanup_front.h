/*
 * cleanup_front.h - a front end's way to the queue: connections to each queue database (shard), the group commits, and the poke that
 * wakes the scheduler of this node. The same for smtpd, qmqpd and pickup.
 *
 * Messages go to the shards in turn; while one takes nothing, its turn is the next one's.
 */
#ifndef CLEANUP_CLEANUP_FRONT_H
#define CLEANUP_CLEANUP_FRONT_H

#include "base/base.h"
#include "base/err.h"
#include "service/poke.h"

struct service;
struct queue_front;
struct db_pool;

struct cleanup_shard {
	struct db_pool *pool;      /* owned */
	struct queue_front *front; /* owned */
};

struct cleanup_front {
	struct cleanup_shard *shards; /* owned, in the order of queue_databases */
	size_t shard_count;
	size_t turn;            /* counts the messages */
	struct db_pool *tables; /* owned; for tables of the cluster */
	struct poke poke;
};

/* Opens it for this process; needs dns_init() before. `f` must stay where it is. Does not wait for the databases. */
void cleanup_front_open(struct cleanup_front *f, const struct service *s);

/*
 * The front that would take a message now; all of the message, from its id on, must go through it. NULL: none, and `err` says why (of
 * the shard whose turn it is). Never waits.
 */
struct queue_front *cleanup_front_pick(struct cleanup_front *f, struct err *err);

/* The front that minted this id, however ready it is: what has begun under it goes on there. */
struct queue_front *cleanup_front_of(const struct cleanup_front *f, int64_t msg_id);

/* Waits until one of them is ready, at most until `deadline`. */
bool cleanup_front_wait_ready(
    struct cleanup_front *f, int64_t deadline, struct err *err) MUST_CHECK;

/* Ends it after the commits in flight. Nobody may use it any more. Waits. */
void cleanup_front_close(struct cleanup_front *f);

#endif
