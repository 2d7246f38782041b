/*
 * db_script.c - SQL text sent as it is: scripts, and the queries that an operator wrote into a table's configuration. What
 * they say about themselves comes over the simple protocol, outside libpq's pipeline mode, where one text may hold several
 * statements.
 */
#include <string.h>

#include "base/mem.h"
#include "db/db_int.h"

static void
script_note_error(struct db_conn *c, const PGresult *r, struct err *err)
{
	const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);

	(void)db_exec_broken(c, err);
	if (code == NULL || text == NULL)
		return;
	(void)memcpy(c->sqlstate, code, sizeof(c->sqlstate));
	(void)err_set(err, ERR_TEMP, "4.3.0", "database: %s (%s)", text, code);
}

/* A copy wants more of a conversation than anybody here has, and libpq would speak of nothing else. */
static bool
script_is_copy(const PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Reads all answers; `keep` (may be NULL) gets the last one that is none of trouble. */
static bool
script_read(struct db_conn *c, int64_t deadline, PGresult **keep, struct err *err)
{
	bool done = true;

	for (;;) {
		PGresult *r;

		while (PQisBusy(c->pg) && PQstatus(c->pg) == CONNECTION_OK) {
			enum db_outcome o = db_connect_wait(c, PQflush(c->pg) > 0, deadline);

			if (o != DB_OUTCOME_DONE)
				return db_exec_outcome(c, o, err);
			(void)PQconsumeInput(c->pg);
		}
		r = PQgetResult(c->pg);
		if (r == NULL)
			return done;
		if (script_is_copy(r)) {
			PQclear(r);
			c->broken = true;
			return err_set(err, ERR_TEMP, "4.3.0", "database: COPY is not a query");
		}
		if (PQresultStatus(r) == PGRES_FATAL_ERROR && done) {
			script_note_error(c, r, err);
			done = false;
		} else if (keep != NULL && done) {
			PQclear(*keep);
			*keep = r;
			continue;
		}
		PQclear(r);
	}
}

static bool
script_run(struct db_conn *c, const char *sql, int64_t deadline, PGresult **keep, struct err *err)
{
	bool done;

	MUST(!c->flight.open || c->broken);
	c->sqlstate[0] = '\0';
	db_flight_clear(c);
	/* Several statements in one string are possible only outside the pipeline mode. */
	if (c->broken || PQexitPipelineMode(c->pg) != 1 || PQsendQuery(c->pg, sql) != 1) {
		c->broken = true;
		return db_exec_broken(c, err);
	}
	/* Counts warnings as for a flight. */
	c->flight.open = true;
	done = script_read(c, db_connect_deadline(c, deadline), keep, err);
	if (PQstatus(c->pg) != CONNECTION_OK || PQenterPipelineMode(c->pg) != 1)
		c->broken = true;
	c->flight.open = false;
	return done && db_exec_outcome(c, DB_OUTCOME_DONE, err);
}

bool
db_script(struct db_conn *c, const char *sql, int64_t deadline, struct err *err)
{
	return script_run(c, sql, deadline, NULL, err);
}

bool
db_query(
    struct db_conn *c, const char *sql, int64_t deadline, struct db_result **ret, struct err *err)
{
	PGresult *last = NULL;

	if (!script_run(c, sql, deadline, &last, err)) {
		PQclear(last);
		return false;
	}
	if (last == NULL)
		return err_set(err, ERR_TEMP, "4.3.0", "database: no answer");
	*ret = (struct db_result *)last;
	return true;
}

bool
db_quote(struct db_conn *c, struct span text, struct buf *out)
{
	int wrong = 0;
	size_t len;

	if (span_find(text, '\0') < text.len)
		return false;
	/* At most each byte twice, and a NUL. */
	len =
	    PQescapeStringConn(c->pg, buf_room(out, 2 * text.len + 1), text.ptr, text.len, &wrong);
	if (wrong != 0)
		return false;
	buf_added(out, len);
	return true;
}
