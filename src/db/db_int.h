/*
 * db_int.h - what the files of this room share: a connection, the flight of statements under way on it, the addresses a
 * connection string names, and cancelling.
 *
 * The connection stays in libpq's pipeline mode. Everything sent is a flight: some statements and one sync at the end,
 * handed to the kernel together; then one result per statement comes back, then that of the sync. After an error the server
 * skips up to the sync, so a flight is always drained to it, whatever happened, or the connection is closed.
 */
#ifndef DB_DB_INT_H
#define DB_DB_INT_H

#include <libpq-fe.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/list.h"
#include "db/db.h"

struct task_fd;

/* ---- db_cancel.c: a CancelRequest of our own, because PQcancel() blocks -------------------------------------- */

struct db_cancel_key {
	struct sockaddr_storage addr; /* where the server was reached */
	socklen_t addr_len;           /* 0: no key is known, cancelling does nothing */
	uint32_t pid;
	uint32_t secret;
};

/* Asks the server to cancel what the connection of `key` is doing; true when the server has taken the request. Waits. */
bool db_cancel_send(const struct db_cancel_key *key, int64_t deadline);

/* The same in a task of its own, nobody waiting for it. */
void db_cancel_start(const struct db_cancel_key *key);

/* Finds pid and secret in what PQtrace() wrote of the connection's start. */
bool db_cancel_key_parse(const char *trace, uint32_t *ret_pid, uint32_t *ret_secret);

/* ---- db_conninfo.c: from a connection string to addresses --------------------------------------------------- */

struct db_host {
	char *
	    name; /* owned; as written: for certificates and password files; a path for a UNIX socket */
	char *addr; /* owned; numeric; "" for a UNIX socket */
	char *port; /* owned; "" = libpq's default */
};

struct db_conninfo {
	PQconninfoOption
	    *options;          /* owned; with service file, environment and defaults merged in */
	struct db_host *hosts; /* owned; in the order to be tried */
	size_t count;
};

/*
 * Reads `text`, a URI or keywords, and resolves its host names. Names that do not resolve are left out if others do.
 * False: malformed, or no host left. Waits.
 */
bool db_conninfo_read(
    const char *text, int64_t deadline, struct db_conninfo *ret, struct err *err) MUST_CHECK;
void db_conninfo_done(struct db_conninfo *info);
/* The value of option `keyword`, "" if it has none. Borrowed. */
const char *db_conninfo_get(const struct db_conninfo *info, const char *keyword);

/* ---- db_flight.c: statements under way ----------------------------------------------------------------------- */

enum db_step_kind {
	DB_STEP_PREPARE,
	DB_STEP_RUN,
	DB_STEP_COMMIT, /* the COMMIT that ends an explicit transaction */
};

struct db_step {
	const struct db_statement *st; /* borrowed, static */
	enum db_step_kind kind;
	PGresult *result; /* owned; NULL until it came, or when it is an error */
};

enum db_outcome {
	DB_OUTCOME_DONE,      /* every statement succeeded, the sync was answered */
	DB_OUTCOME_REFUSED,   /* a statement failed; the rest of the flight was skipped */
	DB_OUTCOME_LOST,      /* the connection broke */
	DB_OUTCOME_TIMEOUT,   /* still under way; may be taken up again */
	DB_OUTCOME_CANCELLED, /* the same, the task having been cancelled */
};

struct db_flight {
	struct db_step *steps; /* owned */
	size_t count;
	size_t size;
	size_t at;           /* the step whose results are being read; == count: the sync's */
	bool open;           /* something was queued that was not yet drained */
	bool sent;           /* all of it was handed to the kernel */
	bool refused;        /* a statement failed: `failed` says which, `err` why */
	size_t failed;       /* index into steps; == count: the sync */
	bool unsafe;         /* a wait for the synchronous standby was cancelled */
	char unsafe_code[6]; /* SQLSTATE of the warning that said so */
	struct err err;
};

struct db_conn {
	struct list link;     /* in the pool's idle list while it is idle */
	struct db_pool *pool; /* borrowed */
	PGconn *pg;           /* owned */
	int fd; /* owned: a duplicate of libpq's socket, which libpq may close at any time */
	struct task_fd *watch; /* owned */
	struct hmap prepared;  /* name -> struct db_statement */
	struct db_cancel_key cancel;
	struct db_flight flight;
	bool pooler;
	bool broken;               /* only to be closed */
	int64_t statement_timeout; /* us; CLOCK_NEVER: none */
	char sqlstate[6];
};

/*
 * Queues a statement (and its preparation, where it is the first use on this connection). False: the connection is
 * broken, and nothing of this statement was sent.
 */
bool db_flight_add(struct db_conn *c, const struct db_statement *st, enum db_step_kind kind,
    const struct db_param *params, size_t count) MUST_CHECK;

/* Ends the flight with a sync, sends, and reads all answers. Waits. Not to be used after false from db_flight_add(). */
enum db_outcome db_flight_run(struct db_conn *c, int64_t deadline);

/* Goes on after DB_OUTCOME_TIMEOUT. Waits. */
enum db_outcome db_flight_resume(struct db_conn *c, int64_t deadline);

/* Forgets the flight and its results, for the next one. */
void db_flight_clear(struct db_conn *c);

/* The same, the flight's memory too. */
void db_flight_done(struct db_conn *c);

/* libpq's notice receiver: `arg` is the connection. */
void db_flight_on_notice(void *arg, const PGresult *notice);

/* ---- db_exec.c: what became of a flight ----------------------------------------------------------------------- */

/* Fills `err` for a flight that is over; false unless all went well. */
bool db_exec_outcome(struct db_conn *c, enum db_outcome o, struct err *err);

/* The connection is of no use: fills `err` with libpq's reason; false. */
bool db_exec_broken(struct db_conn *c, struct err *err);

/* ---- db_connect.c: a connection's life ------------------------------------------------------------------------ */

/*
 * Connects to the first host of the settings that will have us, beginning with `*preferred` (may be NULL), where the last
 * attempt succeeded; then runs on_connect. NULL on failure. Waits.
 */
struct db_conn *db_connect_open(
    const struct db_settings *settings, char **preferred, struct err *err);
void db_connect_close(struct db_conn **c);

/*
 * Waits until the kernel may have something to read (or room to write, when `write`), or the connection is over. Spurious
 * wake-ups are possible.
 */
enum db_outcome db_connect_wait(struct db_conn *c, bool write, int64_t deadline);

/* True while an idle connection still has its server; reads what the server may have said meanwhile. Never waits. */
bool db_connect_is_alive(struct db_conn *c);

/* libpq's last error in one line, without trailing white space; never empty. */
void db_connect_error_text(const PGconn *pg, char *out, size_t size);

/* The time by which a statement with this deadline of its caller has to be answered. */
int64_t db_connect_deadline(const struct db_conn *c, int64_t deadline);

#endif
