/*
 * db_flight.c - sending statements together and reading their answers: see db_int.h.
 *
 * Invariants
 *	1. At most one flight is open on a connection; it ends with its sync answered, or with the connection broken.
 *	2. steps[i].result is the i-th statement's own result or NULL; errors are kept in flight.err, the first one only.
 *	3. A name is in `prepared` only after the server said that it prepared it.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "db/db_int.h"

#define PARAMS_MAX 64

/* libpq gives NULL between the results of two statements; more in a row means that it lost count. */
#define NULLS_MAX 8

/* ---- queueing -------------------------------------------------------------------------------------------------- */

struct param_arrays {
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX];
	int formats[PARAMS_MAX];
};

static void
param_arrays_fill(struct param_arrays *a, const struct db_param *params, size_t count)
{
	MUST(count <= PARAMS_MAX);
	for (size_t i = 0; i < count; i++) {
		a->values[i] = params[i].value;
		a->lengths[i] = params[i].len;
		a->formats[i] = params[i].binary;
	}
}

static void
flight_push(struct db_flight *f, const struct db_statement *st, enum db_step_kind kind)
{
	if (f->count == f->size) {
		f->size = f->size == 0 ? 8 : 2 * f->size;
		f->steps = mem_resize(f->steps, f->size, sizeof(*f->steps));
	}
	f->steps[f->count++] = (struct db_step){.st = st, .kind = kind};
}

/* True if this flight prepares `st` already. */
static bool
flight_prepares(const struct db_flight *f, const struct db_statement *st)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->steps[i].kind == DB_STEP_PREPARE &&
		    strcmp(f->steps[i].st->name, st->name) == 0)
			return true;
	return false;
}

static bool
flight_prepare(struct db_conn *c, const struct db_statement *st)
{
	const struct db_statement *known = hmap_get(&c->prepared, span_str(st->name));

	/* Two statements under one name would run each other's SQL. */
	MUST(known == NULL || known == st || strcmp(known->sql, st->sql) == 0);
	if (known != NULL || flight_prepares(&c->flight, st))
		return true;
	if (PQsendPrepare(c->pg, st->name, st->sql, 0, NULL) != 1)
		return false;
	flight_push(&c->flight, st, DB_STEP_PREPARE);
	return true;
}

bool
db_flight_add(struct db_conn *c, const struct db_statement *st, enum db_step_kind kind,
    const struct db_param *params, size_t count)
{
	struct db_flight *f = &c->flight;
	struct param_arrays a;
	int sent;

	if (!f->open) {
		db_flight_clear(c);
		f->open = true;
	}
	param_arrays_fill(&a, params, count);
	if (c->broken || PQstatus(c->pg) != CONNECTION_OK) {
		sent = 0;
	} else if (c->pooler) {
		sent = PQsendQueryParams(
		    c->pg, st->sql, (int)count, NULL, a.values, a.lengths, a.formats, 1);
	} else {
		sent = flight_prepare(c, st) && PQsendQueryPrepared(c->pg, st->name, (int)count,
						    a.values, a.lengths, a.formats, 1);
	}
	if (sent != 1) {
		c->broken = true;
		return false;
	}
	flight_push(f, st, kind);
	return true;
}

/* ---- errors and notices ---------------------------------------------------------------------------------------- */

static const char *
field(const PGresult *r, int code)
{
	const char *text = PQresultErrorField(r, code);

	return text != NULL ? text : "";
}

/* Keeps the first error of the flight; those after it only follow from it. */
static void
flight_note_error(struct db_conn *c, const PGresult *r)
{
	struct db_flight *f = &c->flight;
	const char *name = f->at < f->count ? f->steps[f->at].st->name : "commit";
	const char *code = field(r, PG_DIAG_SQLSTATE);
	char reason[256];

	if (f->refused)
		return;
	f->refused = true;
	f->failed = f->at;
	(void)snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", code);
	if (*code == '\0') {
		db_connect_error_text(c->pg, reason, sizeof(reason));
		(void)err_set(&f->err, ERR_TEMP, "4.3.0", "database, %s: %s", name, reason);
		return;
	}
	(void)err_set(&f->err, ERR_TEMP, "4.3.0", "database, %s: %s (%s)", name,
	    field(r, PG_DIAG_MESSAGE_PRIMARY), code);
	log_debug("database, %s: %s: %s; %s", name, code, field(r, PG_DIAG_MESSAGE_DETAIL),
	    field(r, PG_DIAG_CONTEXT));
}

/*
 * The one WARNING that matters: COMMIT gave up waiting for the synchronous standby (src/backend/replication/syncrep.c).
 * Its text is translated by lc_messages, which only a superuser may set; the name of the function that raised it is not.
 * A server that does not say names: then every warning that comes where the commit is counts.
 */
void
db_flight_on_notice(void *arg, const PGresult *notice)
{
	struct db_conn *c = arg;
	struct db_flight *f = &c->flight;
	const char *function = field(notice, PG_DIAG_SOURCE_FUNCTION);
	bool warning = strcmp(field(notice, PG_DIAG_SEVERITY_NONLOCALIZED), "WARNING") == 0;
	bool at_commit = f->at + 1 >= f->count;

	log_debug("database notice: %s: %s", field(notice, PG_DIAG_SQLSTATE),
	    field(notice, PG_DIAG_MESSAGE_PRIMARY));
	if (!warning || !f->open)
		return;
	if (strcmp(function, "SyncRepWaitForLSN") != 0 && (*function != '\0' || !at_commit))
		return;
	f->unsafe = true;
	(void)snprintf(
	    f->unsafe_code, sizeof(f->unsafe_code), "%s", field(notice, PG_DIAG_SQLSTATE));
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Waits until PQgetResult() will not block. */
static enum db_outcome
flight_await(struct db_conn *c, int64_t deadline)
{
	/* After the end of the connection PQgetResult() says so at once. */
	while (PQisBusy(c->pg) && PQstatus(c->pg) == CONNECTION_OK) {
		enum db_outcome o = db_connect_wait(c, false, deadline);

		if (o != DB_OUTCOME_DONE)
			return o;
		if (PQconsumeInput(c->pg) == 0)
			break;
		/* What is left of a TLS record lies in libpq's TLS layer, where poll() does not see it. */
		if (PQsslInUse(c->pg) && PQconsumeInput(c->pg) != 0)
			(void)PQconsumeInput(c->pg);
	}
	return DB_OUTCOME_DONE;
}

static void
flight_keep(struct db_conn *c, PGresult *r)
{
	struct db_flight *f = &c->flight;
	struct db_step *step = f->at < f->count ? &f->steps[f->at] : NULL;

	if (step == NULL || step->result != NULL || f->refused) {
		PQclear(r);
		return;
	}
	step->result = r;
	if (step->kind == DB_STEP_PREPARE)
		(void)hmap_put(&c->prepared, span_str(step->st->name), (void *)(uintptr_t)step->st);
}

/* Takes in one result of the present step. */
static void
flight_take(struct db_conn *c, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
		flight_keep(c, r);
		return;
	}
	if (status != PGRES_PIPELINE_ABORTED && status != PGRES_EMPTY_QUERY)
		flight_note_error(c, r);
	PQclear(r);
}

/* Reads the results of step `at`, then those of the next ones. */
static enum db_outcome
flight_read_steps(struct db_conn *c, int64_t deadline)
{
	struct db_flight *f = &c->flight;

	while (f->at < f->count) {
		enum db_outcome o = flight_await(c, deadline);
		PGresult *r;

		if (o != DB_OUTCOME_DONE)
			return o;
		r = PQgetResult(c->pg);
		if (r != NULL)
			flight_take(c, r);
		else
			f->at++;
		if (PQstatus(c->pg) != CONNECTION_OK && r == NULL && f->refused)
			return DB_OUTCOME_LOST;
	}
	return DB_OUTCOME_DONE;
}

static enum db_outcome
flight_read_sync(struct db_conn *c, int64_t deadline)
{
	struct db_flight *f = &c->flight;

	for (int nulls = 0; nulls < NULLS_MAX;) {
		enum db_outcome o = flight_await(c, deadline);
		PGresult *r;

		if (o != DB_OUTCOME_DONE)
			return o;
		r = PQgetResult(c->pg);
		if (r == NULL) {
			nulls++;
		} else if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			f->open = false;
			/* The NULL after it brings libpq back to its idle state. */
			PQclear(PQgetResult(c->pg));
			return f->refused ? DB_OUTCOME_REFUSED : DB_OUTCOME_DONE;
		} else {
			flight_take(c, r);
		}
	}
	return DB_OUTCOME_LOST;
}

static enum db_outcome
flight_send(struct db_conn *c, int64_t deadline)
{
	for (;;) {
		int left = PQflush(c->pg);
		enum db_outcome o;

		if (left < 0)
			return DB_OUTCOME_LOST;
		if (left == 0)
			break;
		o = db_connect_wait(c, true, deadline);
		if (o != DB_OUTCOME_DONE)
			return o;
		/* The server may be waiting for us to read before it reads on. */
		if (PQconsumeInput(c->pg) == 0)
			break;
	}
	c->flight.sent = true;
	return DB_OUTCOME_DONE;
}

enum db_outcome
db_flight_resume(struct db_conn *c, int64_t deadline)
{
	enum db_outcome o = DB_OUTCOME_DONE;

	if (!c->flight.sent)
		o = flight_send(c, deadline);
	if (o == DB_OUTCOME_DONE)
		o = flight_read_steps(c, deadline);
	if (o == DB_OUTCOME_DONE)
		o = flight_read_sync(c, deadline);
	if (o == DB_OUTCOME_LOST) {
		struct db_flight *f = &c->flight;
		char reason[256];

		c->broken = true;
		db_connect_error_text(c->pg, reason, sizeof(reason));
		if (!f->refused)
			(void)err_set(&f->err, ERR_TEMP, "4.3.0", "database: %s", reason);
		c->sqlstate[0] = '\0';
	}
	return o;
}

enum db_outcome
db_flight_run(struct db_conn *c, int64_t deadline)
{
	MUST(c->flight.open);
	c->sqlstate[0] = '\0';
	if (PQpipelineSync(c->pg) != 1)
		c->broken = true;
	return db_flight_resume(c, deadline);
}

void
db_flight_clear(struct db_conn *c)
{
	struct db_flight *f = &c->flight;

	for (size_t i = 0; i < f->count; i++)
		PQclear(f->steps[i].result);
	*f = (struct db_flight){.steps = f->steps, .size = f->size};
}

void
db_flight_done(struct db_conn *c)
{
	db_flight_clear(c);
	mem_free(c->flight.steps);
	c->flight = (struct db_flight){0};
}
