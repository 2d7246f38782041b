/*
 * db_exec.c - running statements one at a time, and transactions that decide between statements. A statement outside a
 * transaction commits by itself, so here too a cancelled wait for the synchronous standby is a failure.
 */
#include <string.h>

#include "base/log.h"
#include "db/db_int.h"
#include "task/task.h"

#define CANCEL_PATIENCE                                                                            \
	(1 * CLOCK_SECOND) /* to get a CancelRequest through, then to see its effect */
#define ROLLBACK_PATIENCE (5 * CLOCK_SECOND)

static const struct db_statement statement_begin = {"db_begin", "BEGIN"};
static const struct db_statement statement_commit = {"db_commit", "COMMIT"};
static const struct db_statement statement_rollback = {"db_rollback", "ROLLBACK"};

const char *
db_error_sqlstate(const struct db_conn *c)
{
	return c->sqlstate;
}

/*
 * Errors that stay as long as this connection does: prepared statements that no longer fit the schema or that a pooler
 * lost, and a server that has become read-only (a fail-over; the next connection looks for the new primary).
 */
static void
exec_check_stale(struct db_conn *c)
{
	static const char *const codes[] = {"0A000", "26000", "25006"};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (strcmp(c->sqlstate, codes[i]) == 0)
			c->broken = true;
}

bool
db_exec_outcome(struct db_conn *c, enum db_outcome o, struct err *err)
{
	switch (o) {
	case DB_OUTCOME_DONE:
		break;
	case DB_OUTCOME_REFUSED:
		exec_check_stale(c);
		*err = c->flight.err;
		return false;
	case DB_OUTCOME_LOST:
		*err = c->flight.err;
		return false;
	case DB_OUTCOME_TIMEOUT:
		/* Still under way, it would hold its locks against our next attempt. */
		c->broken = true;
		db_cancel_start(&c->cancel);
		return err_set(err, ERR_TEMP, "4.3.0", "database: no answer in time");
	case DB_OUTCOME_CANCELLED:
		c->broken = true;
		db_cancel_start(&c->cancel);
		return err_set(err, ERR_GONE, "4.3.0", "waiting for the database was cancelled");
	}
	if (!c->flight.unsafe)
		return true;
	(void)memcpy(c->sqlstate, c->flight.unsafe_code, sizeof(c->sqlstate));
	return err_set(err, ERR_TEMP, "4.3.0", "database: stored without its synchronous standby");
}

/* Runs the flight that was queued; after the deadline it is cancelled, and its end awaited a little longer. */
static bool
exec_run(struct db_conn *c, int64_t deadline, struct err *err)
{
	enum db_outcome o = db_flight_run(c, db_connect_deadline(c, deadline));

	if (o == DB_OUTCOME_TIMEOUT) {
		(void)db_cancel_send(&c->cancel, clock_deadline(CANCEL_PATIENCE));
		o = db_flight_resume(c, clock_deadline(CANCEL_PATIENCE));
	}
	return db_exec_outcome(c, o, err);
}

bool
db_exec_broken(struct db_conn *c, struct err *err)
{
	char reason[256];

	c->sqlstate[0] = '\0';
	db_connect_error_text(c->pg, reason, sizeof(reason));
	return err_set(err, ERR_TEMP, "4.3.0", "database: %s", reason);
}

bool
db_exec(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, struct db_result **ret, struct err *err)
{
	struct db_step *last;

	MUST(!c->flight.open || c->broken);
	if (!db_flight_add(c, st, DB_STEP_RUN, params, count))
		return db_exec_broken(c, err);
	if (!exec_run(c, deadline, err))
		return false;
	last = &c->flight.steps[c->flight.count - 1];
	/* struct db_result is libpq's PGresult under our name: see db_result.c. */
	*ret = (struct db_result *)last->result;
	last->result = NULL;
	return true;
}

bool
db_command(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	struct db_result *r CLEANUP(db_result_free) = NULL;

	if (!db_exec(c, st, params, count, deadline, &r, err))
		return false;
	if (ret_rows != NULL)
		*ret_rows = db_result_affected(r);
	return true;
}

/* ---- transactions ---------------------------------------------------------------------------------------------- */

bool
db_begin(struct db_conn *c, int64_t deadline, struct err *err)
{
	return db_command(c, &statement_begin, NULL, 0, deadline, NULL, err);
}

/* What became of a transaction whose flight ended with COMMIT. */
static enum db_commit
commit_result(struct db_conn *c, enum db_outcome o)
{
	struct db_flight *f = &c->flight;
	const PGresult *commit = f->steps[f->count - 1].result;

	/* Even if the connection broke right after it: this answer is the server's word that it is on disk. */
	if (commit != NULL && strcmp(PQcmdStatus((PGresult *)(uintptr_t)commit), "COMMIT") == 0)
		return f->unsafe ? DB_COMMIT_UNSAFE : DB_COMMITTED;
	if (commit != NULL || o == DB_OUTCOME_REFUSED)
		return DB_COMMIT_FAILED;
	return DB_COMMIT_IN_DOUBT;
}

/* Sends what is queued, COMMIT being its last statement, and waits. */
static enum db_commit
commit_run(struct db_conn *c, int64_t deadline, struct err *err)
{
	enum db_outcome o = db_flight_run(c, db_connect_deadline(c, deadline));
	enum db_commit result = commit_result(c, o);

	(void)db_exec_outcome(c, o, err);
	switch (result) {
	case DB_COMMITTED:
	case DB_COMMIT_UNSAFE:
		break;
	case DB_COMMIT_FAILED:
		if (!c->flight.refused)
			(void)err_set(err, ERR_TEMP, "4.3.0",
			    "database: the transaction had failed and was rolled back");
		break;
	case DB_COMMIT_IN_DOUBT:
		c->broken = true;
		(void)err_prefix(err, "commit in doubt");
		break;
	}
	return result;
}

enum db_commit
db_commit(struct db_conn *c, int64_t deadline, struct err *err)
{
	MUST(!c->flight.open || c->broken);
	if (!db_flight_add(c, &statement_commit, DB_STEP_COMMIT, NULL, 0)) {
		/* The server rolls back what it never got a COMMIT for. */
		(void)db_exec_broken(c, err);
		return DB_COMMIT_FAILED;
	}
	return commit_run(c, deadline, err);
}

void
db_rollback(struct db_conn *c)
{
	struct err err;

	if (c->broken || PQtransactionStatus(c->pg) == PQTRANS_IDLE)
		return;
	if (!db_command(
		c, &statement_rollback, NULL, 0, clock_deadline(ROLLBACK_PATIENCE), NULL, &err)) {
		log_debug("rollback: %s", err.text);
		c->broken = true;
	}
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

void
db_batch_begin(struct db_batch *b, struct db_conn *c)
{
	MUST(c->broken || (!c->flight.open && PQtransactionStatus(c->pg) == PQTRANS_IDLE));
	*b = (struct db_batch){.conn = c};
}

void
db_batch_add(
    struct db_batch *b, const struct db_statement *st, const struct db_param *params, size_t count)
{
	struct db_conn *c = b->conn;

	if (b->queued++ == 0 && !db_flight_add(c, &statement_begin, DB_STEP_RUN, NULL, 0))
		b->failed = true;
	if (!b->failed && !db_flight_add(c, st, DB_STEP_RUN, params, count))
		b->failed = true;
}

/* The number of the caller's statement that step `at` belongs to. BEGIN counts with the first, COMMIT with the last. */
static size_t
batch_index(const struct db_batch *b, size_t at)
{
	const struct db_flight *f = &b->conn->flight;
	size_t runs = 0;

	for (size_t i = 0; i < at && i < f->count; i++)
		runs += f->steps[i].kind == DB_STEP_RUN;
	/* The first of them was BEGIN. */
	return runs == 0 ? 0 : MIN(runs - 1, b->queued - 1);
}

/* Hands over the results of the caller's statements. */
static void
batch_results(struct db_batch *b, struct db_result **results)
{
	struct db_flight *f = &b->conn->flight;
	size_t runs = 0;

	for (size_t i = 0; i < f->count; i++) {
		struct db_step *step = &f->steps[i];

		if (step->kind != DB_STEP_RUN || runs++ == 0)
			continue;
		results[runs - 2] = (struct db_result *)step->result;
		step->result = NULL;
	}
}

enum db_commit
db_batch_commit(struct db_batch *b, int64_t deadline, struct db_result **results,
    size_t *ret_failed, struct err *err)
{
	struct db_conn *c = b->conn;
	enum db_commit result;
	char sqlstate[sizeof(c->sqlstate)];

	for (size_t i = 0; results != NULL && i < b->queued; i++)
		results[i] = NULL;
	if (b->queued == 0)
		return DB_COMMITTED;
	if (b->failed || !db_flight_add(c, &statement_commit, DB_STEP_COMMIT, NULL, 0)) {
		(void)db_exec_broken(c, err);
		if (ret_failed != NULL)
			*ret_failed = 0;
		return DB_COMMIT_FAILED;
	}
	result = commit_run(c, deadline, err);
	if (result == DB_COMMITTED || result == DB_COMMIT_UNSAFE) {
		if (results != NULL)
			batch_results(b, results);
		return result;
	}
	if (ret_failed != NULL)
		*ret_failed = batch_index(b, c->flight.refused ? c->flight.failed : c->flight.at);
	/* The server skipped our COMMIT and stands in the failed transaction. The caller will ask why it failed. */
	(void)memcpy(sqlstate, c->sqlstate, sizeof(sqlstate));
	db_rollback(c);
	(void)memcpy(c->sqlstate, sqlstate, sizeof(sqlstate));
	return result;
}
