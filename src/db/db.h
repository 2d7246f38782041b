/*
 * db.h - the only door to libpq: asynchronous connections, a pool, prepared statements, pipelines, transactions. Every
 * call that talks to the server suspends only the running task. All database trouble is ERR_TEMP to the outside.
 *
 * Parameters and results are binary or text by PostgreSQL's rules; helpers below encode what the queue needs. A statement is
 * a static struct: prepared once per connection on first use, or sent unprepared with its parameters where a transaction
 * pooler forbids prepared statements (`pooler`).
 */
#ifndef DB_DB_H
#define DB_DB_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct db_pool;
struct db_conn;
struct db_result;

struct db_settings {
	const char *conninfo; /* URI or keyword string; several hosts allowed; copied */
	/* SET ROLE to this at connect, as a startup option; NULL: none. Not behind a pooler. */
	const char *role;
	const char *application_name; /* "rowpost/smtpd" */
	/* Behind a transaction pooler: no session state, no named statements, no LISTEN. */
	bool pooler;
	/* What texts are written in, both ways; NULL: UTF8. */
	const char *encoding;
	/* Further startup settings, "-c name=value ..."; NULL: none. Not behind a pooler. */
	const char *options;
	size_t connections;        /* most at once */
	int64_t connect_timeout;   /* us, for each address; 0: 10 s */
	int64_t statement_timeout; /* us: how long a client waits for an answer before it cancels */
	int64_t backoff_min;       /* reconnect back-off, us; 0: 0.2 s up to 10 s */
	int64_t backoff_max;
	/*
	 * Called on each new connection before it is used, in a task of the pool; false closes it (schema version
	 * check). May be NULL.
	 */
	bool (*on_connect)(struct db_conn *c, void *arg, struct err *err);
	void *on_connect_arg;
};

/* ---- pool -------------------------------------------------------------------------------------------------- */

/*
 * Connects on demand; needs dns_init() for host names. A bad connection string shows at the first db_pool_take(). Behind
 * a pooler the login user must be the role: nothing is set at the start of a session.
 */
struct db_pool *db_pool_new(const struct db_settings *settings);
/* Closes what is idle; connections still out are closed when they are given back. */
void db_pool_free(struct db_pool **p);

/*
 * A connection for the caller alone, open and outside any transaction. While the server is away this fails at once during
 * the back-off pause (ERR_TEMP, "database is away: reason"), so that a front end can answer 451 quickly. Waits.
 */
struct db_conn *db_pool_take(struct db_pool *p, int64_t deadline, struct err *err);

/* Gives it back; one that is broken or in a transaction is closed. *c becomes NULL. */
void db_pool_give(struct db_pool *p, struct db_conn **c);

/* Closes the connections that nobody uses now; others are opened when they are wanted. Never waits. */
void db_pool_close_idle(struct db_pool *p);

/* True while the last attempt to connect or to use a connection succeeded. Never waits. */
bool db_pool_is_up(const struct db_pool *p);

/* ---- statements -------------------------------------------------------------------------------------------- */

struct db_statement {
	const char *name; /* unique (a bug is reported otherwise); the name it is prepared under */
	const char *sql;
};

/* One parameter, at most 64 to a statement, only borrowed for the call. value NULL = SQL NULL. */
struct db_param {
	const char *value;
	int len;     /* bytes, for binary */
	bool binary; /* else a C string in text form */
};

#define DB_PARAM_TEXT(s)      ((struct db_param){(s), 0, false})
#define DB_PARAM_BINARY(p, n) ((struct db_param){(p), (int)(n), true})
#define DB_PARAM_BUF(b)       ((struct db_param){buf_str(b), (int)(b)->len, true})
#define DB_PARAM_NULL         ((struct db_param){NULL, 0, false})

/*
 * Runs one statement and waits for its result, which is binary. False: *ret untouched, err filled; err->dsn is "4.3.0",
 * and db_error_sqlstate(c) gives the SQLSTATE ("" when the connection was lost). Waits until `deadline` (or the
 * settings' statement_timeout, if that is earlier), then cancels, and for at most two seconds more. Outside a transaction
 * the statement commits by itself: false also when its wait for the synchronous standby was cancelled (SQLSTATE 01000).
 */
bool db_exec(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, struct db_result **ret, struct err *err) MUST_CHECK;

/* The same without wanting rows; *ret_rows (may be NULL) = rows hit. */
bool db_command(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, uint64_t *ret_rows, struct err *err) MUST_CHECK;

/* Plain SQL without parameters, perhaps several statements: migrations, SET, LISTEN. */
bool db_script(struct db_conn *c, const char *sql, int64_t deadline, struct err *err) MUST_CHECK;

/*
 * SQL of somebody else, out of a configuration file: sent as it is, unprepared, perhaps several statements. *ret is the
 * result of the last one, in text form (db_result_span()); it has no columns when that was none that gives rows. Errors as
 * for db_exec(). Waits.
 */
bool db_query(struct db_conn *c, const char *sql, int64_t deadline, struct db_result **ret,
    struct err *err) MUST_CHECK;

/*
 * Appends `text` so that it means itself between the quotes of an SQL literal on this connection. False, and nothing
 * appended: it is no text in the connection's encoding, or has a NUL.
 */
bool db_quote(struct db_conn *c, struct span text, struct buf *out) MUST_CHECK;

const char *db_error_sqlstate(const struct db_conn *c);

/* ---- transactions ------------------------------------------------------------------------------------------ */

enum db_commit {
	DB_COMMITTED,
	DB_COMMIT_FAILED, /* the server said no: nothing was stored */
	DB_COMMIT_IN_DOUBT, /* the connection or the deadline was lost on the way: stored or not, nobody knows */
	DB_COMMIT_UNSAFE, /* stored here, but the wait for the synchronous standby was cancelled (a WARNING said so) */
};

/*
 * A pipeline: statements queued without waiting, sent in one piece, run by the server as one transaction
 * (BEGIN and COMMIT are added, also around a single statement: then it is certain what an error belongs to). The results
 * come back in order. Parameters may be changed as soon as db_batch_add() returns. A batch that is not committed spoils
 * its connection, which is closed when given back.
 */
struct db_batch {
	struct db_conn *conn; /* borrowed */
	size_t queued;
	bool failed; /* sticky: a statement could not be queued */
};
void db_batch_begin(struct db_batch *b, struct db_conn *c);
void db_batch_add(
    struct db_batch *b, const struct db_statement *st, const struct db_param *params, size_t count);
/*
 * Sends everything with COMMIT and waits. `results` (room for `queued`; may be NULL) gets one result per statement added,
 * fresh; all are NULL unless DB_COMMITTED or DB_COMMIT_UNSAFE. err tells of the first failure; *ret_failed (may be NULL)
 * which statement; db_error_sqlstate() stays that of the failure. At the deadline: DB_COMMIT_IN_DOUBT, and the server is
 * told to cancel. No statements at all: DB_COMMITTED.
 */
enum db_commit db_batch_commit(struct db_batch *b, int64_t deadline, struct db_result **results,
    size_t *ret_failed, struct err *err);

/* For transactions that decide between statements: db_begin, db_exec..., db_commit or db_rollback. */
bool db_begin(struct db_conn *c, int64_t deadline, struct err *err) MUST_CHECK;
enum db_commit db_commit(struct db_conn *c, int64_t deadline, struct err *err);
void db_rollback(struct db_conn *c);

/* ---- results (binary format) ------------------------------------------------------------------------------- */

void db_result_free(struct db_result **r);
size_t db_result_rows(const struct db_result *r);
size_t db_result_columns(const struct db_result *r);
uint64_t db_result_affected(const struct db_result *r);
bool db_result_is_null(const struct db_result *r, size_t row, size_t column);
struct span db_result_span(
    const struct db_result *r, size_t row, size_t column); /* text, bytea: borrowed */
int64_t db_result_int(
    const struct db_result *r, size_t row, size_t column); /* int2, int4, int8 by width */
bool db_result_bool(const struct db_result *r, size_t row, size_t column);
int64_t db_result_time(
    const struct db_result *r, size_t row, size_t column); /* timestamptz -> us since 1970 */
char *db_result_dup(
    const struct db_result *r, size_t row, size_t column); /* fresh string; NULL for NULL */

/* One-dimensional arrays in a column: count, then elements one by one. */
struct db_array_reader {
	struct span rest;
	size_t left;
};
bool db_result_array(
    const struct db_result *r, size_t row, size_t column, struct db_array_reader *ret) MUST_CHECK;
/* False at the end. A NULL element gives ptr NULL. */
bool db_array_next(struct db_array_reader *a, struct span *ret_element);
int64_t db_span_int(struct span element);

/* ---- building binary parameters ---------------------------------------------------------------------------- */

/* Arrays: begin, add elements, end. The buffer then is one parameter (DB_PARAM_BUF). */
enum db_type {
	DB_INT2 = 21,
	DB_INT4 = 23,
	DB_INT8 = 20,
	DB_TEXT = 25,
	DB_BYTEA = 17,
	DB_BOOL = 16,
	DB_TIMESTAMPTZ = 1184
};
void db_array_begin(struct buf *b, enum db_type type);
void db_array_add_int(struct buf *b, enum db_type type, int64_t v);
void db_array_add_time(struct buf *b, int64_t real_us);
void db_array_add_bytes(struct buf *b, struct span bytes); /* text or bytea */
void db_array_add_null(struct buf *b);
void db_array_end(struct buf *b); /* patches the count */

#define DB_INT_SIZE 8
/* `out` gets the 8 bytes of an int8 / timestamptz parameter. */
struct db_param db_param_int8(char out[DB_INT_SIZE], int64_t v);
struct db_param db_param_int4(char out[DB_INT_SIZE], int32_t v);
struct db_param db_param_time(char out[DB_INT_SIZE], int64_t real_us);

#endif
