/*
 * queue_settle.c - outcomes of any kind in one transaction: its steps, what follows from them, and what they all need.
 */
#include "queue/queue_settle_int.h"

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_large.h"

/* ---- for all steps ------------------------------------------------------------------------------------------------ */

bool
queue_settle_run(struct queue_settle *s, const struct db_statement *st,
    const struct db_param *first, struct queue_columns *cols, struct db_result **ret)
{
	struct db_param params[QUEUE_COLUMNS_MAX + 1];
	size_t count = 0;
	struct db_result *r = NULL;
	bool ok = true;

	if (first != NULL)
		params[count++] = *first;
	if (cols->rows > 0) {
		queue_columns_params(cols, params + count);
		ok = db_exec(s->conn, st, params, count + cols->count, s->deadline, &r, s->err);
	}
	queue_columns_done(cols);
	if (ret != NULL)
		*ret = r;
	else
		db_result_free(&r);
	return ok;
}

bool
queue_settle_is_final(const struct queue_result *r)
{
	return r->outcome != QUEUE_DEFERRED && r->outcome != QUEUE_HELD;
}

enum queue_plan
queue_settle_lost_plan(const struct queue_result *r)
{
	return r->outcome == QUEUE_SENT && r->forward_count == 0 ? QUEUE_PLAN_FACT
								 : QUEUE_PLAN_DROP;
}

bool
queue_settle_is_valid(const struct queue_settle *s, size_t i)
{
	return s->plans[i] == QUEUE_PLAN_RING || s->plans[i] == QUEUE_PLAN_ROW;
}

bool
queue_settle_is_ring(const struct queue_settle *s, size_t i, int16_t set)
{
	const struct queue_lease *l = s->results[i]->lease;

	return !l->deferred && l->set == set;
}

bool
queue_settle_each_set(struct queue_settle *s, bool (*fn)(struct queue_settle *s, int16_t set))
{
	for (size_t set = 0; set < s->desk->set_count; set++) {
		bool used = false;

		for (size_t i = 0; i < s->count && !used; i++)
			used = queue_settle_is_ring(s, i, (int16_t)set);
		if (used && !fn(s, (int16_t)set))
			return false;
	}
	return true;
}

/* ---- what follows from it ----------------------------------------------------------------------------------------- */

/* A large content goes beside the ring (rule 2). */
static bool
add_forward(struct queue_settle *s, struct queue_store *store, const struct queue_message *m)
{
	struct queue_message large = *m;

	/* Aliases made nobody of all its recipients. */
	if (m->envelope.rcpt_count == 0)
		return true;
	if (m->content.len > QUEUE_LARGE_MIN) {
		large.content = (struct span){0};
		if (!queue_large_store(s->conn, m->envelope.msg_id, m->content, s->deadline,
			&large.content_id, s->err))
			return false;
	}
	queue_store_add(store, &large);
	return true;
}

static bool
store_forwards(struct queue_settle *s)
{
	struct queue_store store = {0};
	bool ok = true;

	for (size_t i = 0; i < s->count && ok; i++)
		if (queue_settle_is_valid(s, i))
			for (size_t k = 0; k < s->results[i]->forward_count && ok; k++)
				ok = add_forward(s, &store, &s->results[i]->forwards[k]);
	if (ok && store.count > 0) {
		ok = queue_store_run(
		    &store, s->conn, queue_desk_open_set(s->desk), s->deadline, s->err);
		CRASH_POINT("forward-stored");
	}
	queue_store_done(&store);
	return ok;
}

/* The messages of results that `want` selects, each once in a row of equals at least. */
static size_t
message_ids(const struct queue_settle *s, bool (*want)(const struct queue_settle *s, size_t i),
    int64_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++) {
		int64_t id = s->results[i]->envelope->msg_id;

		if (want(s, i) && (n == 0 || ret[n - 1] != id))
			ret[n++] = id;
	}
	return n;
}

static bool
is_last(const struct queue_settle *s, size_t i)
{
	return s->results[i]->last && queue_settle_is_valid(s, i);
}

/* May this leave a message that nothing refers to? */
static bool
may_end_message(const struct queue_settle *s, size_t i)
{
	const struct queue_result *r = s->results[i];

	if (s->plans[i] == QUEUE_PLAN_FACT || r->last)
		return true;
	return queue_settle_is_valid(s, i) && queue_settle_is_final(r) &&
	       (s->plans[i] == QUEUE_PLAN_ROW || r->lease->content_id != 0);
}

static bool
compose_and_collect(struct queue_settle *s)
{
	int64_t *ids = mem_zalloc(s->count * sizeof(*ids));
	size_t n = message_ids(s, is_last, ids);
	bool ok = n == 0 || queue_bounce_compose(s->desk, s->conn, ids, n, s->deadline, s->err);

	if (ok) {
		n = message_ids(s, may_end_message, ids);
		ok = n == 0 || queue_bounce_collect(s->conn, ids, n, s->deadline, s->err);
	}
	mem_free(ids);
	return ok;
}

/* ---- the transaction --------------------------------------------------------------------------------------------------- */

static bool
run_steps(struct queue_settle *s)
{
	if (!queue_settle_lease_lock(s))
		return false;
	CRASH_POINT("record-locked");
	if (!queue_settle_rows_defer(s))
		return false;
	CRASH_POINT("record-deferred");
	if (!queue_settle_rows_end(s) || !queue_settle_lease_finish(s) || !store_forwards(s))
		return false;
	CRASH_POINT("record-finished");
	return queue_settle_lease_end_large(s) && compose_and_collect(s);
}

static void
note_outcome(struct queue_settle *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct queue_result *r = s->results[i];
		struct queue_lease *l = r->lease;

		r->recorded =
		    s->plans[i] == QUEUE_PLAN_DROP ? QUEUE_RECORD_FENCED : QUEUE_RECORD_STORED;
		if (!l->deferred && !l->mine)
			l->lost = true;
	}
	for (size_t i = 0; i < s->count; i++) {
		struct queue_lease *l = s->results[i]->lease;

		l->settled += l->now;
		l->now = 0;
		if (!l->deferred && (l->lost || l->settled == l->recipients))
			queue_lease_close(l);
	}
}

/* Why a step failed; to be asked before the rollback. */
static enum queue_settled
refusal(const struct db_conn *c)
{
	if (*db_error_sqlstate(c) == '\0' || queue_error_is(c, "57"))
		return QUEUE_SETTLE_AWAY;
	return queue_error_is(c, "23514") ? QUEUE_SETTLE_NO_DAY : QUEUE_SETTLE_REFUSED;
}

static enum queue_settled
settle_in_transaction(struct queue_settle *s)
{
	enum db_commit done;

	if (!queue_desk_know_ring(s->desk, s->conn, s->deadline, s->err) ||
	    !db_begin(s->conn, s->deadline, s->err))
		return QUEUE_SETTLE_AWAY;
	if (!run_steps(s)) {
		enum queue_settled why = refusal(s->conn);

		db_rollback(s->conn);
		return why;
	}
	CRASH_POINT("record-before-commit");
	done = db_commit(s->conn, s->deadline, s->err);
	CRASH_POINT("record-after-commit");
	if (done == DB_COMMIT_FAILED)
		return QUEUE_SETTLE_REFUSED;
	if (done == DB_COMMIT_IN_DOUBT)
		return QUEUE_SETTLE_AWAY;
	note_outcome(s);
	return QUEUE_SETTLED;
}

enum queue_settled
queue_settle(struct queue_desk *d, struct db_conn *c, struct queue_result *const *results,
    size_t count, int64_t deadline, struct err *err)
{
	struct queue_settle s = {
	    .desk = d,
	    .epoch = d->epoch,
	    .conn = c,
	    .deadline = deadline,
	    .err = err,
	    .results = results,
	    .count = count,
	    .plans = mem_zalloc(count * sizeof(enum queue_plan)),
	    .repeated = mem_zalloc(count * sizeof(bool)),
	};
	enum queue_settled done = settle_in_transaction(&s);

	mem_free(s.plans);
	mem_free(s.repeated);
	return done;
}
