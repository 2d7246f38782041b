/*
 * queue_desk.h - a scheduler's desk at one shard: its epoch there, the leases it holds, and what all its statements share.
 * queue_claim.h puts mail on it, queue_record.h takes it off; both are serialised here where they must be.
 */
#ifndef QUEUE_QUEUE_DESK_H
#define QUEUE_QUEUE_DESK_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_types.h"

struct queue_desk;

/* What a bounce is about: one recipient's notification row. */
struct queue_notice {
	int32_t rcpt_no;
	unsigned kind;      /* QUEUE_NOTIFY_FAILURE, _DELAY or _SUCCESS */
	const char *action; /* "failed", "delayed", "delivered", "relayed", "expanded" */
	const char *addr;
	const char *orig_addr; /* NULL: same; "": it is not told */
	const char *dsn_orcpt; /* NULL: none */
	unsigned dsn_notify;
	const char *dsn; /* "5.1.1" */
	const char *text;
	const char *remote_mta; /* "" if none */
	const char *diagnostic; /* "" if none */
	int64_t at;             /* real us */
	int64_t expires_at;     /* of the message, real us: Will-Retry-Until */
};

/* All notices of one message and kind; everything is borrowed for the call. */
struct queue_bounce {
	const struct queue_envelope
	    *envelope;       /* of the message that is reported; without recipients */
	struct span content; /* the first bytes of the content, at most bounce_bytes of it */
	bool content_is_all;
	unsigned kind;
	const char *owner; /* who is told instead of the sender; NULL: nobody */
	const struct queue_notice *notices;
	size_t notice_count;
};

struct queue_desk_settings {
	struct db_pool *
	    pool; /* borrowed; QUEUE_SESSION_SCHEDULER, on_connect = queue_schema_check, at least 3 connections */
	const char *node; /* node_name; copied */
	size_t shard;
	size_t shards;
	size_t claim_batches; /* queue_claim_batch_limit: 8 */
	size_t
	    claim_inline; /* queue_claim_inline_limit: 64 KB; contents up to this come with the claim */
	size_t claim_page;      /* recipients of one message read at a time: 5000 */
	int64_t poll_min;       /* queue_poll_min_time, us: 2 ms */
	int64_t poll_max;       /* queue_poll_max_time, us: 50 ms */
	int64_t poll_closed;    /* ring_idle_poll_time, us: 100 ms */
	int64_t poll_deferred;  /* us: 500 ms */
	int64_t rotate;         /* ring_rotate_time, us: 30 s */
	size_t set_limit;       /* ring_set_limit: 64 */
	size_t set_bytes;       /* rotate early when the open set has grown to this: 1 GB */
	int64_t history;        /* queue_history_time, us: 30 d; negative: keep none */
	int64_t upload_timeout; /* queue_upload_timeout, us: 1 h */
	size_t bounce_bytes;    /* bounce_size_limit: 50000 */
	/* A message with this attribute has one bounce for each recipient: "verp"; NULL: none has */
	const char *bounce_singly_with;
	/*
	 * Composes what a bounce becomes: fills up to `max` messages in ret (in `arena`; msg_id from `ids`, which has `max`
	 * fresh ones) and returns their number; 0: nobody is to be told. Called inside a transaction: may wait for tables, not
	 * for this queue.
	 */
	size_t (*compose)(void *arg, const struct queue_bounce *b, const int64_t *ids,
	    struct queue_message *ret, size_t max, struct arena *arena);
	void *compose_arg;
};

#define QUEUE_COMPOSE_MAX 4

/* Starts the task that keeps the process number of this scheduler. */
struct queue_desk *queue_desk_new(const struct queue_desk_settings *settings);

/* All leases must have been released (queue_claimed_free). Waits. */
void queue_desk_free(struct queue_desk **d);

/*
 * The epoch under which everything is claimed and recorded from now on; 0: none, claims and records fail. Leases taken under
 * another epoch are lost at once (queue_lease_is_lost).
 */
void queue_desk_set_epoch(struct queue_desk *d, int64_t epoch);
int64_t queue_desk_epoch(const struct queue_desk *d);

/* A fresh message id, for forwarded messages; as queue_front_mint(). Never waits. */
bool queue_desk_mint(struct queue_desk *d, int64_t *ret_msg_id, struct err *err) MUST_CHECK;

/* Puts a message of the scheduler's own into the queue, as new mail. False: it is not there, or nobody knows. Waits. */
bool queue_desk_store(struct queue_desk *d, const struct queue_message *m, int64_t deadline,
    struct err *err) MUST_CHECK;

/* ---- leases ------------------------------------------------------------------------------------------------ */

/* What a claimed message is held under: a lease row of its batch, or the owner in its rows of `deferred`. Counted. */
struct queue_lease;

/* Taken over by another scheduler, or of an epoch that is over: start nothing more for it, record only `sent`. */
bool queue_lease_is_lost(const struct queue_lease *l);
int64_t queue_lease_epoch(const struct queue_lease *l);

#endif
