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
/* Tasks that use the pool: the front waits for them before it is gone. */
struct task_group *queue_front_group(struct queue_front *f);

/* ---- the desk (queue_desk.c) ------------------------------------------------------------------------------------ */

struct queue_lease {
	int refs;                  /* messages, and the desk's list */
	struct list node;          /* in desk->leases, while it is a row of `active` */
	struct queue_lease *under; /* counted: the desk's `deferred`, once it was promoted */
	int64_t epoch;
	int64_t batch_id;
	int64_t content_id; /* a large content of one of its messages; 0: none has one */
	int32_t recipients; /* of the lease row */
	int32_t settled;    /* with a result row */
	int32_t now;        /* scratch of a flush: outcomes in it */
	int16_t set;
	bool deferred; /* no row of its own: the owner in rows of `deferred` */
	bool lost;     /* or the lease that it is held under by now: queue_lease_is_lost() */
	bool doubtful; /* its promotion may have been committed */
	bool mine;     /* scratch of a flush: its row was seen to be ours */
	bool there;    /* scratch of a flush: its row was seen */
};

/* What we know of a set of the ring. */
struct queue_set {
	bool known;
	bool open;
	bool draining;
	int64_t since; /* mono us of the last change of state, as far as we know */
	int64_t mark;  /* batches up to here are claimed, as of a second ago */
	int64_t next_mark;
	int64_t next_mark_at;
	int64_t seen;        /* highest batch claimed */
	bool filled;         /* the last look found batches that it did not take */
	int64_t truncate_at; /* mono us of the next try, and the pause after that */
	int64_t truncate_pause;
};

struct queue_doubt_row {
	int64_t msg_id;
	int32_t rcpt_no;
};

/*
 * Our leases are compared this often without a reason: a claim in doubt that the network held back may come to the server after we
 * asked what had become of it, and then nobody else would take its mail.
 */
#define QUEUE_REREAD_PAUSE (60 * CLOCK_SECOND)

struct queue_desk {
	struct queue_desk_settings settings;
	char *node;
	struct queue_process *process; /* owned */
	int64_t epoch;
	struct list leases;           /* rows of `active` that are ours */
	struct queue_lease *deferred; /* what all our rows of `deferred` are held under; counted */
	struct task_lock claiming;    /* claims and re-reading: taken before `settling` */
	struct task_lock settling;    /* records, promotions and re-reading: one at a time */
	struct queue_set *sets;       /* owned */
	size_t set_count;
	int64_t sets_known;   /* mono us; 0: never */
	int64_t full_look_at; /* mono us of the next look without marks */
	int64_t closed_at;    /* mono us of the next look into closed sets */
	int64_t open_at;      /* ... the open set */
	int64_t pause;        /* between looks into the open set */
	int64_t deferred_at;  /* mono us of the next look for deferred mail */
	int64_t reread_at;    /* mono us of the next comparison of our leases with the database's */
	bool doubt;           /* a claim may have been committed without our knowing */
	struct buf
	    doubt_msgs; /* int8[]/int4[] elements: rows of `deferred` that such a claim took */
	size_t doubt_count;
	int64_t orders_after; /* where order_retry goes on */
	int64_t flushed;      /* real us of the last flush we know of */
	int64_t flushed_all;  /* ... of all mail */
	int64_t history_at;   /* mono us of the next rounds of the keeper */
	int64_t repair_at;
	int64_t repair_after; /* destination where the next repair goes on */
	int64_t reap_at;
	int64_t drop_at;
	int64_t notices_at;
};

struct queue_lease *queue_lease_new(
    struct queue_desk *d, int16_t set, int64_t batch_id, int32_t recipients);
void queue_lease_ref(struct queue_lease *l);
void queue_lease_unref(struct queue_lease **l);
/* All its recipients are settled, or it is lost: no row of ours any more. */
void queue_lease_close(struct queue_lease *l);
/* It became rows of `deferred`, and goes with what else we hold there. */
void queue_lease_to_deferred(struct queue_desk *d, struct queue_lease *l);

/* Reads the ring's states when they are older than a second. Waits. */
bool queue_desk_know_ring(
    struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err) MUST_CHECK;
/* The open set as of then. */
int16_t queue_desk_open_set(const struct queue_desk *d);
/* A connection, when there is an epoch; else ERR_GONE. Waits. */
struct db_conn *queue_desk_take(struct queue_desk *d, int64_t deadline, struct err *err);
void queue_desk_give(struct queue_desk *d, struct db_conn **c);

/* A connection for one claim at a time, and the end of it. Waits. */
struct db_conn *queue_claim_begin(struct queue_desk *d, int64_t deadline, struct err *err);
void queue_claim_end(struct queue_desk *d, struct db_conn **c);

/* Messages from rows of QUEUE_CLAIMED_COLUMNS, with their leases; `page` as in that statement. Waits. */
bool queue_claim_rows(struct queue_desk *d, struct db_conn *c, int16_t set,
    const struct db_result *r, bool settled, size_t page, int64_t deadline,
    struct queue_claims *ret, struct err *err) MUST_CHECK;

/* Finds out which doubtful promotions were committed; under the lock `settling`. Waits. */
bool queue_claim_resolve(
    struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err) MUST_CHECK;

/*
 * Inside a transaction: composes and stores what is to be told about these messages, where nobody has recipients of them in
 * his hands, and removes the notifications (queue_bounce.c). Waits.
 */
bool queue_bounce_compose(struct queue_desk *d, struct db_conn *c, const int64_t *msg_ids,
    size_t count, int64_t deadline, struct err *err) MUST_CHECK;
/* Inside a transaction: mailq.collect(). Waits. */
bool queue_bounce_collect(struct db_conn *c, const int64_t *msg_ids, size_t count, int64_t deadline,
    struct err *err) MUST_CHECK;

/* ---- parameters and errors --------------------------------------------------------------------------------------- */

/* Appends an element: text cleaned for the database, one line, at most `max` bytes; NULL: "". */
void queue_param_add_clean(struct buf *array, struct span text, size_t max);
/* Appends a C string as it is; NULL: an SQL NULL. */
void queue_param_add_str(struct buf *array, const char *s);

/*
 * Rows as columns: one array parameter for each column, filled row by row from left to right. `types`: a letter for each:
 * i int4, q int8, t text, z timestamptz.
 */
/* Is the expiry of a message ordered, which nobody has carried out yet? */
#define QUEUE_SQL_EXPIRING(msg_id)                                                                 \
	"EXISTS (SELECT FROM mailq.queue_order o WHERE o.msg_id = " msg_id                         \
	" AND o.done IS NULL AND o.verb IN ('expire', 'bounce'))"

#define QUEUE_COLUMNS_MAX 16
struct queue_columns {
	struct buf cols[QUEUE_COLUMNS_MAX];
	const char *types;
	size_t count;
	size_t at; /* column of the next value */
	size_t rows;
	bool ended;
};
void queue_columns_begin(struct queue_columns *c, const char *types);
void queue_columns_int(struct queue_columns *c, int64_t v);
void queue_columns_time(struct queue_columns *c, int64_t real_us);   /* 0: NULL */
void queue_columns_str(struct queue_columns *c, const char *s);      /* as it is; NULL: NULL */
void queue_columns_clean(struct queue_columns *c, const char *text); /* cleaned; NULL: "" */
/* The parameters, `count` of them from `ret` on. */
void queue_columns_params(struct queue_columns *c, struct db_param *ret);
void queue_columns_done(struct queue_columns *c);

/* Did the statement fail with this SQLSTATE (or class, when two characters are given)? */
bool queue_error_is(const struct db_conn *c, const char *sqlstate);

#endif
