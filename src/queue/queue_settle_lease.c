/*
 * queue_settle_lease.c - see queue_settle_int.h. Whoever records for a batch locks its lease first; the lease goes when all its
 * recipients are accounted for.
 */
#include "base/mem.h"
#include "queue/queue_settle_int.h"

/* $1 batches */
static struct queue_set_sql sql_lock = {.name = "settle_lock",
    .sql =
	"SELECT batch_id, owner FROM mailq.active_%K WHERE batch_id = ANY ($1) ORDER BY batch_id "
	"FOR UPDATE"};
/* The results that are stored already, by number. */
static struct queue_set_sql sql_seen = {.name = "settle_seen",
    .sql = "SELECT n FROM unnest($1::int8[], $2::int8[], $3::int4[]) WITH ORDINALITY u(b, m, r, n) "
	   "JOIN mailq.result_%K x ON x.batch_id = b AND x.msg_id = m AND x.rcpt_no = r"};
static struct queue_set_sql sql_results = {.name = "settle_results",
    .sql = "INSERT INTO mailq.result_%K (batch_id, part, msg_id, rcpt_no, outcome, at) "
	   "SELECT b, %K, m, r, o, t FROM unnest($1::int8[], $2::int8[], $3::int4[], $4::text[], "
	   "$5::timestamptz[]) u(b, m, r, o, t) ON CONFLICT DO NOTHING"};
/* $3 epoch. The lease goes when all recipients are accounted for, and only then. */
static struct queue_set_sql sql_finish = {.name = "settle_finish",
    .sql = "DELETE FROM mailq.active_%K a USING unnest($1::int8[], $2::int4[]) u(b, s) "
	   "WHERE a.batch_id = b AND a.owner = $3 AND a.recipients = s RETURNING a.batch_id"};
/* Whose content it is its row says: forwards with large contents share a lease. Of several contents the keeper finds the others. */
static const struct db_statement sql_large_dead = {"settle_large_dead",
    "UPDATE mailq.large l SET state = 'dead' WHERE content_id = ANY ($1) AND NOT EXISTS "
    "(SELECT FROM mailq.deferred_message x WHERE x.msg_id = l.msg_id)"};

/* ---- at the beginning ------------------------------------------------------------------------------------------- */

static void
first_plans(struct queue_settle *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct queue_result *r = s->results[i];
		struct queue_lease *l = r->lease;

		l->mine = l->there = false;
		if (!queue_lease_is_lost(l))
			s->plans[i] = l->deferred ? QUEUE_PLAN_ROW : QUEUE_PLAN_RING;
		else
			s->plans[i] = queue_settle_lost_plan(r);
	}
}

static void
note_lease(struct queue_settle *s, int16_t set, int64_t batch_id, int64_t owner)
{
	for (size_t i = 0; i < s->count; i++) {
		struct queue_lease *l = s->results[i]->lease;

		if (queue_settle_is_ring(s, i, set) && l->batch_id == batch_id) {
			l->there = true;
			l->mine = owner == l->epoch && !l->lost;
		}
	}
}

static bool
lock_leases(struct queue_settle *s, int16_t set)
{
	struct queue_columns cols;
	struct db_result *r = NULL;

	queue_columns_begin(&cols, "q");
	for (size_t i = 0; i < s->count; i++)
		if (queue_settle_is_ring(s, i, set))
			queue_columns_int(&cols, s->results[i]->lease->batch_id);
	if (!queue_settle_run(s, queue_set_statement(&sql_lock, set), NULL, &cols, &r))
		return false;
	for (size_t i = 0; i < db_result_rows(r); i++)
		note_lease(s, set, db_result_int(r, i, 0), db_result_int(r, i, 1));
	db_result_free(&r);
	for (size_t i = 0; i < s->count; i++)
		if (queue_settle_is_ring(s, i, set) && s->plans[i] == QUEUE_PLAN_RING &&
		    !s->results[i]->lease->mine)
			s->plans[i] = queue_settle_lost_plan(s->results[i]);
	return true;
}

/* What has a result row was settled before: by a try in doubt, or by a late `sent` of the former owner. */
static bool
find_settled(struct queue_settle *s, int16_t set)
{
	struct queue_columns cols;
	struct db_result *r = NULL;
	size_t *which = mem_zalloc(s->count * sizeof(*which));
	size_t rows = 0;
	bool ok;

	queue_columns_begin(&cols, "qqi");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *x = s->results[i];

		if (!queue_settle_is_ring(s, i, set) || s->plans[i] != QUEUE_PLAN_RING)
			continue;
		which[rows++] = i;
		queue_columns_int(&cols, x->lease->batch_id);
		queue_columns_int(&cols, x->envelope->msg_id);
		queue_columns_int(&cols, x->rcpt->rcpt_no);
	}
	ok = queue_settle_run(s, queue_set_statement(&sql_seen, set), NULL, &cols, &r);
	for (size_t i = 0; ok && r != NULL && i < db_result_rows(r); i++) {
		size_t at = which[db_result_int(r, i, 0) - 1];

		s->plans[at] = QUEUE_PLAN_DROP;
		s->repeated[at] = true;
	}
	db_result_free(&r);
	mem_free(which);
	return ok;
}

bool
queue_settle_lease_lock(struct queue_settle *s)
{
	first_plans(s);
	return queue_settle_each_set(s, lock_leases) && queue_settle_each_set(s, find_settled);
}

/* ---- at the end --------------------------------------------------------------------------------------------------- */

/* How many recipients of each lease are settled when this is committed. */
static void
count_leases(struct queue_settle *s)
{
	for (size_t i = 0; i < s->count; i++)
		s->results[i]->lease->now = 0;
	for (size_t i = 0; i < s->count; i++)
		if (s->plans[i] == QUEUE_PLAN_RING || s->repeated[i])
			s->results[i]->lease->now++;
}

static bool
is_complete(const struct queue_lease *l)
{
	return !l->deferred && l->mine && l->settled + l->now == l->recipients;
}

static bool
write_results(struct queue_settle *s, int16_t set)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qqitz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];
		const struct queue_lease *l = r->lease;

		/* A lease that goes takes its results with it; one that is gone has none. */
		if (!queue_settle_is_ring(s, i, set) || s->plans[i] == QUEUE_PLAN_DROP ||
		    !l->there || is_complete(l))
			continue;
		queue_columns_int(&cols, l->batch_id);
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_int(&cols, r->rcpt->rcpt_no);
		queue_columns_str(&cols, queue_outcome_name(r->outcome));
		queue_columns_time(&cols, r->at);
	}
	return queue_settle_run(s, queue_set_statement(&sql_results, set), NULL, &cols, NULL);
}

/* Is result `i` the first of its lease? */
static bool
is_first_of_lease(const struct queue_settle *s, size_t i)
{
	for (size_t k = i; k-- > 0;)
		if (s->results[k]->lease == s->results[i]->lease)
			return false;
	return true;
}

static bool
finish_leases(struct queue_settle *s, int16_t set)
{
	char n[DB_INT_SIZE];
	struct queue_columns cols;
	struct db_param params[3];
	struct db_result *r = NULL;
	bool ok = true;

	queue_columns_begin(&cols, "qi");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_lease *l = s->results[i]->lease;

		if (!queue_settle_is_ring(s, i, set) || !is_complete(l) || !is_first_of_lease(s, i))
			continue;
		queue_columns_int(&cols, l->batch_id);
		queue_columns_int(&cols, l->recipients);
	}
	queue_columns_params(&cols, params);
	params[2] = db_param_int8(n, s->epoch);
	if (cols.rows > 0)
		ok = db_exec(s->conn, queue_set_statement(&sql_finish, set), params, 3, s->deadline,
		    &r, s->err);
	/* Each row is locked and ours, so only a wrong count could keep it: then mail would be forgotten. */
	MUST(!ok || r == NULL || db_result_rows(r) == cols.rows);
	db_result_free(&r);
	queue_columns_done(&cols);
	return ok;
}

bool
queue_settle_lease_finish(struct queue_settle *s)
{
	count_leases(s);
	return queue_settle_each_set(s, write_results) && queue_settle_each_set(s, finish_leases);
}

bool
queue_settle_lease_end_large(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "q");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_lease *l = s->results[i]->lease;

		if (l->content_id == 0 || !is_complete(l) || !is_first_of_lease(s, i))
			continue;
		queue_columns_int(&cols, l->content_id);
	}
	return queue_settle_run(s, &sql_large_dead, NULL, &cols, NULL);
}
