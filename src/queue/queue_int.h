/*
 * queue_int.h - what the files of this room share: embedded migrations, statements per set of the ring, the desk and
 * its leases, the registered process, and small helpers for parameters.
 */
#ifndef QUEUE_QUEUE_INT_H
#define QUEUE_QUEUE_INT_H

#include "base/buf.h"
#include "base/list.h"
#include "db/db.h"
#include "queue/queue_claim.h"
#include "queue/queue_desk.h"
#include "queue/queue_types.h"
#include "task/task.h"

/* ---- schema/NNNN-name.sql, built in ------------------------------------------------------------------------- */

struct queue_migration {
	int version;
	const char *name;
	const char *sql;
};
extern const struct queue_migration queue_migrations[];
extern const size_t queue_migration_count;

/* ---- statements per set -------------------------------------------------------------------------------------- */

/* SQL for one set of the ring, "%K" standing for its number; made and kept for each set on first use. */
struct queue_set_sql {
	const char *name; /* "claim": prepared as "claim_3" */
	const char *sql;
	struct db_statement **made; /* by set; owned for the life of the process */
	size_t made_count;
};
const struct db_statement *queue_set_statement(struct queue_set_sql *t, int16_t set);

/* ---- the process number (queue_process.c) --------------------------------------------------------------------- */

struct queue_process;

struct queue_process_settings {
	struct db_pool *pool; /* borrowed */
	const char *node;     /* copied, as program */
	const char *program;
	size_t shard;
	size_t shards;
};

/* Starts the task that registers and renews. */
struct queue_process *queue_process_new(const struct queue_process_settings *settings);
/* Gives the number back, if the database can be reached soon. Waits. */
void queue_process_free(struct queue_process **p);
/* See queue_front_mint(). */
bool queue_process_mint(struct queue_process *p, int64_t *ret_msg_id, struct err *err) MUST_CHECK;
bool queue_process_is_registered(const struct queue_process *p);
int64_t queue_process_epoch(const struct queue_process *p);
/* Waits for the registration. */
bool queue_process_wait(struct queue_process *p, int64_t deadline, struct err *err) MUST_CHECK;
/* A small synchronous write that must commit without a warning (rule 5a.10). Waits. */
enum db_commit queue_process_touch(
    struct queue_process *p, struct db_conn *c, int64_t deadline, struct err *err);

/* ---- storing messages (queue_store.c) -------------------------------------------------------------------------- */

/* Messages on their way into one set (or on hold), as parameters of one statement. Zero-filled is empty. */
struct queue_store {
	size_t count;
	int64_t rcpts;
	int64_t bytes; /* of contents that are not uploads */
	struct buf ids, arrivals, sizes, content_ids, rcpt_counts, senders, attrs, rcpts_text,
	    origs, orcpts, notifies, contents, holds;
	bool begun;
};
void queue_store_add(struct queue_store *s, const struct queue_message *m);
void queue_store_clear(struct queue_store *s);
void queue_store_done(struct queue_store *s);
/* The statement that stores what was added, as one batch of set `set`; or on hold. Not for an empty store. */
void queue_store_send(struct queue_store *s, struct db_batch *b, int16_t set);
void queue_store_send_held(struct queue_store *s, struct db_batch *b);
/* The same inside a transaction that is open on `c`. Waits. */
bool queue_store_run(struct queue_store *s, struct db_conn *c, int16_t set, int64_t deadline,
    struct err *err) MUST_CHECK;

/* The set that is open, from a row of the ring. Waits. */
bool queue_ring_open_set(
    struct db_conn *c, int64_t deadline, int16_t *ret_set, struct err *err) MUST_CHECK;

/* ---- uploads --------------------------------------------------------------------------------------------------- */

/* Its message is stored: the chunks belong to the queue now. */
void queue_upload_stored(struct queue_upload *u);
int64_t queue_upload_front_epoch(const struct queue_upload *u);
/* What the front's tasks need of each other. */
struct queue_front;
struct db_pool *queue_front_pool(const struct queue_front *f);
struct queue_process *queue_front_process(const struct queue_front *f);
size_t queue_front_chunk_size(const struct queue_front *f);

/* ---- parameters and errors --------------------------------------------------------------------------------------- */

/* Appends an element: text cleaned for the database, one line, at most `max` bytes; NULL: "". */
void queue_param_add_clean(struct buf *array, struct span text, size_t max);
/* Appends a C string as it is; NULL: an SQL NULL. */
void queue_param_add_str(struct buf *array, const char *s);

/* Did the statement fail with this SQLSTATE (or class, when two characters are given)? */
bool queue_error_is(const struct db_conn *c, const char *sqlstate);

#endif
