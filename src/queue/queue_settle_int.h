/*
 * queue_settle_int.h - the transaction of queue_settle.h, shared by its files: queue_settle.c has the order of the steps and what
 * follows from them, queue_settle_lease.c the ring (leases and results), queue_settle_rows.c what stands beside it (deferred and held
 * recipients, notifications, history).
 *
 * Each result has a plan. Plans change as the locks show what is true.
 */
#ifndef QUEUE_QUEUE_SETTLE_INT_H
#define QUEUE_QUEUE_SETTLE_INT_H

#include "queue/queue_int.h"
#include "queue/queue_settle.h"

enum queue_plan {
	QUEUE_PLAN_RING, /* its recipient is under a lease of ours */
	QUEUE_PLAN_ROW,  /* it is a row of `deferred` */
	QUEUE_PLAN_FACT, /* a `sent` whose lease is not ours (any more) */
	QUEUE_PLAN_DROP, /* fenced: nothing to do */
};

struct queue_settle {
	struct queue_desk *desk;
	int64_t epoch; /* the desk's as we begin: it may get another one while we wait */
	struct db_conn *conn;
	int64_t deadline;
	struct err *err;
	struct queue_result *const *results;
	size_t count;
	enum queue_plan *plans; /* of each result */
	bool *repeated; /* its result row was there: it counts for the lease, but nothing is done */
};

/* Runs a statement with `first` (may be NULL) before the columns; nothing for no rows. Ends the columns. */
bool queue_settle_run(struct queue_settle *s, const struct db_statement *st,
    const struct db_param *first, struct queue_columns *cols, struct db_result **ret) MUST_CHECK;

/* Has the recipient come to an end? */
bool queue_settle_is_final(const struct queue_result *r);

/* Without the lease only what was sent counts; mail that goes on in new messages is sent when they are stored. */
enum queue_plan queue_settle_lost_plan(const struct queue_result *r);

/* Is this result about to be stored? */
bool queue_settle_is_valid(const struct queue_settle *s, size_t i);

/* Is it of a lease in this set of the ring? */
bool queue_settle_is_ring(const struct queue_settle *s, size_t i, int16_t set);

/* Calls fn for each set that results are in. */
bool queue_settle_each_set(
    struct queue_settle *s, bool (*fn)(struct queue_settle *s, int16_t set)) MUST_CHECK;

/* ---- queue_settle_lease.c; each: false on trouble with the database ---- */

/* Locks the leases, and makes the plans. */
bool queue_settle_lease_lock(struct queue_settle *s) MUST_CHECK;
/* Writes the results, and ends the leases that are complete with them. */
bool queue_settle_lease_finish(struct queue_settle *s) MUST_CHECK;
/* An uploaded content whose message was never promoted ends with its lease. */
bool queue_settle_lease_end_large(struct queue_settle *s) MUST_CHECK;

/* ---- queue_settle_rows.c; each: false on trouble with the database ---- */

/* What is to be tried again later, and the messages that have to outlive their set. */
bool queue_settle_rows_defer(struct queue_settle *s) MUST_CHECK;
/* What has come to an end or is held, and who is told. */
bool queue_settle_rows_end(struct queue_settle *s) MUST_CHECK;

#endif
