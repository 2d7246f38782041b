/*
 * queue_record.c - recording outcomes. Most of them are plain `sent` for leases of ours: those go in one round trip, one
 * transaction for all. Everything else goes through queue_settle.c. What the server refuses as a whole is tried one by one
 * (rules 5a.12, 5a.13).
 */
#include "queue/queue_record.h"

#include <string.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "queue/queue_history.h"
#include "queue/queue_int.h"
#include "queue/queue_settle.h"

struct flush {
	struct queue_desk *desk;
	struct db_conn *conn;
	int64_t epoch;
	int64_t deadline;
	struct err *err;
	struct queue_result **results; /* those to be done now */
	size_t count;
};

/* $3 epoch */
static struct queue_set_sql sql_finish = {.name = "record_finish",
    .sql = "DELETE FROM mailq.active_%K a USING unnest($1::int8[], $2::int4[]) u(b, s) "
	   "WHERE a.batch_id = b AND a.owner = $3 AND a.recipients = s RETURNING a.batch_id"};
/* $6 epoch, $7 batches. Under the lock of the lease, while it is ours. */
static struct queue_set_sql sql_partial = {.name = "record_partial",
    .sql = "WITH l AS MATERIALIZED (SELECT batch_id FROM mailq.active_%K WHERE batch_id = ANY ($7) "
	   "AND owner = $6 ORDER BY batch_id FOR UPDATE) INSERT INTO mailq.result_%K (batch_id, "
	   "part, msg_id, rcpt_no, outcome, at) SELECT b, %K, m, r, o, t FROM unnest($1::int8[], "
	   "$2::int8[], $3::int4[], $4::text[], $5::timestamptz[]) u(b, m, r, o, t) "
	   "JOIN l ON l.batch_id = b ON CONFLICT DO NOTHING RETURNING batch_id"};

const char *
queue_outcome_name(enum queue_outcome o)
{
	switch (o) {
	case QUEUE_SENT:
		return "sent";
	case QUEUE_DISCARDED:
		return "discarded";
	case QUEUE_DEFERRED:
		return "deferred";
	case QUEUE_BOUNCED:
		return "bounced";
	case QUEUE_EXPIRED:
		return "expired";
	case QUEUE_HELD:
		return "held";
	case QUEUE_DELETED:
		return "deleted";
	}
	UNREACHED();
}

/* ---- the short way ------------------------------------------------------------------------------------------------ */

static bool
is_plain(const struct queue_result *r)
{
	return (r->outcome == QUEUE_SENT || r->outcome == QUEUE_DISCARDED) && r->notify == 0 &&
	       r->notice_count == 0 && !(r->last && r->notified) && r->forward_count == 0 &&
	       !r->lease->lost && !r->lease->deferred && r->lease->content_id == 0;
}

/* Moves the results whose lease has only plain ones to the front; returns their number. */
static size_t
partition_plain(struct queue_result **results, size_t count)
{
	size_t plain = 0;

	for (size_t i = 0; i < count; i++)
		results[i]->lease->mine = true;
	for (size_t i = 0; i < count; i++)
		if (!is_plain(results[i]))
			results[i]->lease->mine = false;
	for (size_t i = 0; i < count; i++) {
		struct queue_result *r = results[i];

		if (!r->lease->mine)
			continue;
		results[i] = results[plain];
		results[plain++] = r;
	}
	return plain;
}

static bool
is_complete(const struct queue_lease *l)
{
	return l->settled + l->now == l->recipients;
}

struct set_columns {
	struct queue_columns finish;
	struct queue_columns partial;
	struct queue_columns batches; /* of partial */
	size_t finish_at;             /* which statement of the batch */
	size_t partial_at;
};

/* The columns of one set; `there` of a lease says that it was added. */
static void
fill_set(struct flush *f, int16_t set, struct set_columns *c)
{
	queue_columns_begin(&c->finish, "qi");
	queue_columns_begin(&c->partial, "qqitz");
	queue_columns_begin(&c->batches, "q");
	for (size_t i = 0; i < f->count; i++) {
		const struct queue_result *r = f->results[i];
		struct queue_lease *l = r->lease;

		if (l->set != set)
			continue;
		if (!is_complete(l)) {
			queue_columns_int(&c->partial, l->batch_id);
			queue_columns_int(&c->partial, r->envelope->msg_id);
			queue_columns_int(&c->partial, r->rcpt->rcpt_no);
			queue_columns_str(&c->partial, queue_outcome_name(r->outcome));
			queue_columns_time(&c->partial, r->at);
		}
		if (l->there)
			continue;
		l->there = true;
		if (is_complete(l)) {
			queue_columns_int(&c->finish, l->batch_id);
			queue_columns_int(&c->finish, l->recipients);
		} else {
			queue_columns_int(&c->batches, l->batch_id);
		}
	}
}

static void
send_set(
    struct flush *f, int16_t set, struct set_columns *c, struct db_batch *b, size_t *statements)
{
	struct db_param params[7];
	char n[DB_INT_SIZE];

	if (c->finish.rows > 0) {
		queue_columns_params(&c->finish, params);
		params[2] = db_param_int8(n, f->epoch);
		db_batch_add(b, queue_set_statement(&sql_finish, set), params, 3);
		c->finish_at = (*statements)++;
	}
	if (c->partial.rows > 0) {
		queue_columns_params(&c->partial, params);
		params[5] = db_param_int8(n, f->epoch);
		queue_columns_params(&c->batches, params + 6);
		db_batch_add(b, queue_set_statement(&sql_partial, set), params, 7);
		c->partial_at = (*statements)++;
	}
}

static void
done_set(struct set_columns *c)
{
	queue_columns_done(&c->finish);
	queue_columns_done(&c->partial);
	queue_columns_done(&c->batches);
}

static void
send_history(struct flush *f, struct db_batch *b)
{
	struct queue_columns history = {0};

	for (size_t i = 0; i < f->count; i++)
		if (queue_history_wants(f->desk, f->results[i]->outcome))
			queue_history_add(&history, f->results[i]);
	queue_history_send(&history, b);
	queue_columns_done(&history);
}

/* `there` from here on: the database did what we asked for this lease. */
static void
note_finished(struct flush *f, int16_t set, const struct db_result *r)
{
	for (size_t row = 0; row < db_result_rows(r); row++) {
		int64_t batch_id = db_result_int(r, row, 0);

		for (size_t i = 0; i < f->count; i++)
			if (f->results[i]->lease->set == set &&
			    f->results[i]->lease->batch_id == batch_id)
				f->results[i]->lease->there = true;
	}
}

static void
note_set(struct flush *f, int16_t set, const struct set_columns *c, struct db_result **results)
{
	if (c->finish.rows > 0)
		note_finished(f, set, results[c->finish_at]);
	/* All or nothing: if one of them was fenced or there before, the long way finds out which. */
	if (c->partial.rows > 0 && db_result_rows(results[c->partial_at]) == c->partial.rows)
		note_finished(f, set, results[c->partial_at]);
}

/* Marks what is stored; the others are left for the long way. */
static void
note_plain(struct flush *f)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->results[i]->lease->there)
			f->results[i]->recorded = QUEUE_RECORD_STORED;
	for (size_t i = 0; i < f->count; i++) {
		struct queue_lease *l = f->results[i]->lease;

		if (!l->there)
			continue;
		l->settled += l->now;
		l->now = 0;
		if (l->settled == l->recipients)
			queue_lease_close(l);
	}
}

static enum queue_settled
commit_plain(struct flush *f, struct set_columns *sets, size_t set_count)
{
	struct db_result **results = mem_zalloc((2 * set_count + 1) * sizeof(results[0]));
	size_t statements = 0;
	enum db_commit done;
	struct db_batch b;

	db_batch_begin(&b, f->conn);
	for (size_t i = 0; i < set_count; i++)
		send_set(f, (int16_t)i, &sets[i], &b, &statements);
	send_history(f, &b);
	CRASH_POINT("record-plain-before-commit");
	done = db_batch_commit(&b, f->deadline, results, NULL, f->err);
	CRASH_POINT("record-plain-after-commit");
	for (size_t i = 0; i < f->count; i++)
		f->results[i]->lease->there = false;
	if (done == DB_COMMITTED || done == DB_COMMIT_UNSAFE) {
		for (size_t i = 0; i < set_count; i++)
			note_set(f, (int16_t)i, &sets[i], results);
		note_plain(f);
	}
	for (size_t i = 0; i < 2 * set_count + 1; i++)
		db_result_free(&results[i]);
	mem_free(results);
	if (done == DB_COMMIT_FAILED)
		return QUEUE_SETTLE_REFUSED;
	return done == DB_COMMIT_IN_DOUBT ? QUEUE_SETTLE_AWAY : QUEUE_SETTLED;
}

static enum queue_settled
record_plain(struct flush *f)
{
	size_t set_count = f->desk->set_count;
	struct set_columns *sets;
	enum queue_settled done;

	if (f->count == 0)
		return QUEUE_SETTLED;
	for (size_t i = 0; i < f->count; i++) {
		f->results[i]->lease->now = 0;
		f->results[i]->lease->there = false;
	}
	for (size_t i = 0; i < f->count; i++)
		f->results[i]->lease->now++;
	sets = mem_zalloc(set_count * sizeof(*sets));
	for (size_t i = 0; i < set_count; i++)
		fill_set(f, (int16_t)i, &sets[i]);
	done = commit_plain(f, sets, set_count);
	for (size_t i = 0; i < set_count; i++)
		done_set(&sets[i]);
	mem_free(sets);
	return done;
}

/* ---- the long way ----------------------------------------------------------------------------------------------------- */

/* Those not yet recorded: closes the gaps, the last ones of their messages behind all others. */
static size_t
remaining(struct queue_result **results, size_t count)
{
	size_t n = 0;
	struct queue_result **last = mem_zalloc(count * sizeof(*last) + 1);
	size_t lasts = 0;

	for (size_t i = 0; i < count; i++) {
		if (results[i]->recorded != QUEUE_RECORD_NOT_YET)
			continue;
		if (results[i]->last)
			last[lasts++] = results[i];
		else
			results[n++] = results[i];
	}
	for (size_t i = 0; i < lasts; i++)
		results[n++] = last[i];
	mem_free(last);
	return n;
}

static bool
settle_one_by_one(struct flush *f)
{
	for (size_t i = 0; i < f->count; i++) {
		struct err err;
		enum queue_settled done;

		err_clear(&err);
		done = queue_settle(f->desk, f->conn, f->results + i, 1, f->deadline, &err);
		if (done == QUEUE_SETTLE_AWAY) {
			*f->err = err;
			return false;
		}
		/* Somebody's lock, mostly: it is tried again with the next flush. */
		if (done != QUEUE_SETTLED)
			log_warn("result of one recipient is not recorded yet: %s", err.text);
	}
	return true;
}

static bool
record_rest(struct flush *f)
{
	enum queue_settled done;

	f->count = remaining(f->results, f->count);
	if (f->count == 0)
		return true;
	done = queue_settle(f->desk, f->conn, f->results, f->count, f->deadline, f->err);
	if (done == QUEUE_SETTLE_NO_DAY) {
		if (!queue_history_grow(f->conn, f->results[0]->at, f->deadline, f->err))
			return false;
		done = queue_settle(f->desk, f->conn, f->results, f->count, f->deadline, f->err);
	}
	if (done == QUEUE_SETTLE_REFUSED || done == QUEUE_SETTLE_NO_DAY)
		return settle_one_by_one(f);
	return done == QUEUE_SETTLED;
}

static bool
record(struct flush *f)
{
	struct flush plain = *f;

	if (!queue_desk_know_ring(f->desk, f->conn, f->deadline, f->err) ||
	    !queue_claim_resolve(f->desk, f->conn, f->deadline, f->err))
		return false;
	plain.count = partition_plain(f->results, f->count);
	if (record_plain(&plain) == QUEUE_SETTLE_AWAY)
		return false;
	return record_rest(f);
}

bool
queue_record_flush(struct queue_desk *d, struct queue_result *const *results, size_t count,
    int64_t deadline, struct err *err)
{
	struct flush f = {
	    .desk = d,
	    .deadline = deadline,
	    .err = err,
	    .count = count,
	};
	bool ok;

	if (count == 0)
		return true;
	for (size_t i = 0; i < count; i++)
		results[i]->recorded = QUEUE_RECORD_NOT_YET;
	if (task_lock_take(&d->settling, deadline) != TASK_READY)
		return err_set(err, ERR_TEMP, "4.3.0", "queue database is slow");
	f.epoch = d->epoch;
	/* Facts are recorded even while there is no epoch. */
	f.conn = db_pool_take(d->settings.pool, deadline, err);
	f.results = mem_alloc(count * sizeof(f.results[0]));
	for (size_t i = 0; i < count; i++)
		f.results[i] = results[i];
	ok = f.conn != NULL && record(&f);
	if (f.conn != NULL)
		queue_desk_give(d, &f.conn);
	mem_free(f.results);
	task_lock_give(&d->settling);
	return ok;
}

bool
queue_record_gone(struct queue_desk *d, const int64_t *msg_ids, size_t count, bool *ret_gone,
    int64_t deadline, struct err *err)
{
	static const struct db_statement sql = {"record_gone",
	    "SELECT n FROM unnest($1::int8[]) WITH ORDINALITY u(id, n) WHERE NOT EXISTS (SELECT FROM "
	    "mailq.deferred_message m WHERE m.msg_id = id)"};
	struct buf ids CLEANUP(buf_done) = {0};
	struct db_conn *c = db_pool_take(d->settings.pool, deadline, err);
	struct db_result *r = NULL;
	struct db_param param;
	bool ok;

	if (c == NULL)
		return false;
	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, msg_ids[i]);
	db_array_end(&ids);
	param = DB_PARAM_BUF(&ids);
	ok = db_exec(c, &sql, &param, 1, deadline, &r, err);
	queue_desk_give(d, &c);
	if (!ok)
		return false;
	memset(ret_gone, 0, count * sizeof(*ret_gone));
	for (size_t i = 0; i < db_result_rows(r); i++)
		ret_gone[db_result_int(r, i, 0) - 1] = true;
	db_result_free(&r);
	return true;
}
