/*
 * queue_front.h - the way into the queue of one shard, for one front-end process: its process number, message ids, and
 * the group commit. While one commit is in flight the next batch gathers (rules 5a.1, 5a.10, 5a.17).
 */
#ifndef QUEUE_QUEUE_FRONT_H
#define QUEUE_QUEUE_FRONT_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_types.h"

struct queue_front;

/* Zero in a number means its default. Texts are copied. */
struct queue_front_settings {
	struct db_pool *
	    pool; /* borrowed; QUEUE_SESSION_FRONT, on_connect = queue_schema_check, at least 2 connections */
	const char *node;       /* node_name */
	const char *program;    /* "smtpd" */
	size_t shard;           /* this shard's index in queue_databases ... */
	size_t shards;          /* ... and their number: shards mint from ranges of their own */
	size_t batch_messages;  /* queue_batch_message_limit: 200 */
	size_t batch_bytes;     /* queue_batch_size_limit: 1 MB */
	size_t batch_rcpts;     /* queue_batch_recipient_limit: 5000 */
	int64_t gather;         /* queue_batch_gather_time, us: 1 ms; used above 1000 messages/s */
	size_t inline_max;      /* queue_inline_size_limit: 1 MB */
	size_t chunk_size;      /* queue_chunk_size: 256 KB */
	int64_t commit_timeout; /* queue_database_commit_timeout, us: 60 s */
	int64_t latency_limit;  /* queue_database_latency_limit, us; 0: never refuse */
	int64_t size_limit;     /* database_size_limit, bytes of the whole database; 0: none */
	int64_t upload_timeout; /* queue_upload_timeout, us: 1 h */
	/* For each message, when its content is about to be written; must not wait. May be NULL */
	void (*before_store)(void *arg, const struct queue_message *m);
	void *before_store_arg;
	void (*on_stored)(void *
		arg); /* after each group commit: poke the local scheduler. Must not wait. May be NULL */
	void *on_stored_arg;
};

/* Starts the tasks that register this process, keep its reservation and commit batches. */
struct queue_front *queue_front_new(const struct queue_front_settings *settings);

/* Ends its tasks after the batch in flight; messages still waiting are answered ERR_TEMP. Waits. */
void queue_front_free(struct queue_front **f);

/*
 * Would a message be taken now? False: ERR_TEMP "4.3.0" (451) while the database is away or this process has no number yet,
 * or "4.3.1" (452) while commits take longer than latency_limit, the database is larger than size_limit, or its disk was full a second ago.
 * Never waits: for the reply to MAIL.
 */
bool queue_front_is_ready(struct queue_front *f, struct err *err);

/* Waits until the front is ready, at most until `deadline`; for pickup and tests. */
bool queue_front_wait_ready(struct queue_front *f, int64_t deadline, struct err *err) MUST_CHECK;

/*
 * A fresh message id. Never waits. Ids of one process are strictly increasing over restarts and the reuse of numbers: no
 * id is handed out that the database has not reserved. ERR_TEMP when there is no reservation left (database away).
 */
bool queue_front_mint(struct queue_front *f, int64_t *ret_msg_id, struct err *err) MUST_CHECK;

/*
 * Puts the message into the queue: joins the batch that gathers and waits for its commit. True: it is durable, say 250.
 * False: ERR_TEMP, "4.3.0" (451) or "4.3.1" (452); a commit that stayed in doubt until `deadline` may still turn out to have
 * stored it. ERR_PERM "5.6.0": the database refuses the contents of this message for good (never for lack of a connection).
 * `m` and all it points to stay the caller's and must live until the return, also when the task is cancelled: the wait ends
 * only when the batch no longer uses it. Waits.
 */
bool queue_front_store(struct queue_front *f, const struct queue_message *m, int64_t deadline,
    struct err *err) MUST_CHECK;

/* Contents up to this size go with the message, larger ones by queue_upload.h. */
size_t queue_front_inline_max(const struct queue_front *f);

/* For metrics. */
struct queue_front_stats {
	uint64_t messages; /* stored */
	uint64_t batches;
	uint64_t splits;     /* batches that were retried message by message */
	uint64_t in_doubt;   /* commits whose outcome had to be found out */
	int64_t last_commit; /* us that the last commit took */
};
void queue_front_stats_get(const struct queue_front *f, struct queue_front_stats *ret);

#endif
