/*
 * queue_settle.c - outcomes of any kind in one transaction.
 *
 * Each result has a plan: RING, its recipient is under a lease of ours; ROW, it is a row of `deferred`; FACT, a `sent` whose
 * lease is not ours (any more); DROP, fenced, nothing to do. Plans change as the locks show what is true.
 */
#include "queue/queue_settle.h"

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_history.h"
#include "queue/queue_int.h"
#include "queue/queue_large.h"

enum plan {
	PLAN_RING,
	PLAN_ROW,
	PLAN_FACT,
	PLAN_DROP,
};

struct settle {
	struct queue_desk *desk;
	int64_t epoch; /* the desk's as we begin: it may get another one while we wait */
	struct db_conn *conn;
	int64_t deadline;
	struct err *err;
	struct queue_result *const *results;
	size_t count;
	enum plan *plans; /* of each result */
	bool *repeated; /* its result row was there: it counts for the lease, but nothing is done */
};

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
static struct queue_set_sql sql_messages = {.name = "settle_messages",
    .sql =
	"INSERT INTO mailq.deferred_message (msg_id, arrival, size, content_id, recipients, "
	"expires_at, warn_at, forced_expire, sender, attrs, content) SELECT i.msg_id, "
	"i.arrival, i.size, i.content_id, i.recipients, coalesce(e, 'infinity'), w, " QUEUE_SQL_EXPIRING(
	    "m") ", i.sender, i.attrs, i.content "
		 "FROM unnest($1::int8[], $2::timestamptz[], $3::timestamptz[]) u(m, e, w) "
		 "JOIN mailq.incoming_%K i ON i.msg_id = m ON CONFLICT DO NOTHING"};
/* $3 epoch. The lease goes when all recipients are accounted for, and only then. */
static struct queue_set_sql sql_finish = {.name = "settle_finish",
    .sql = "DELETE FROM mailq.active_%K a USING unnest($1::int8[], $2::int4[]) u(b, s) "
	   "WHERE a.batch_id = b AND a.owner = $3 AND a.recipients = s RETURNING a.batch_id"};

static const struct db_statement sql_due = {
    "settle_due", "SELECT mailq.destination_due($1, $2, $3)"};
static const struct db_statement sql_defer = {"settle_defer",
    "INSERT INTO mailq.deferred (msg_id, rcpt_no, destination, next_attempt, attempts, dsn_notify, "
    "addr, orig_addr, dsn_orcpt, dsn, reason, remote_mta, diagnostic) SELECT m, r, "
    "mailq.destination_id(t, h), w, a, y, d, o, c, s, x, nullif(b, ''), nullif(g, '') "
    "FROM unnest($1::int8[], $2::int4[], $3::text[], $4::text[], $5::timestamptz[], "
    "$6::int4[], $7::int4[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], "
    "$13::text[], $14::text[]) u(m, r, t, h, w, a, y, d, o, c, s, x, b, g) "
    "ON CONFLICT DO NOTHING"};
/* $1 epoch; rows by number */
static const struct db_statement sql_again = {"settle_again",
    "UPDATE mailq.deferred d SET owner = NULL, destination = mailq.destination_id(t, h), "
    "next_attempt = w, attempts = attempts + a, dsn = s, reason = x, remote_mta = nullif(b, ''), "
    "diagnostic = nullif(g, '') FROM unnest($2::int8[], $3::int4[], $4::text[], $5::text[], "
    "$6::timestamptz[], $7::int4[], $8::text[], $9::text[], $10::text[], $11::text[]) "
    "WITH ORDINALITY u(m, r, t, h, w, a, s, x, b, g, n) WHERE d.msg_id = m AND d.rcpt_no = r "
    "AND d.owner = $1 RETURNING n"};
/* What came to `deferred` without a scheduler having said how long it may stay. */
static const struct db_statement sql_lifetime = {"settle_lifetime",
    "UPDATE mailq.deferred_message SET expires_at = coalesce(e, 'infinity'), warn_at = w "
    "FROM unnest($1::int8[], $2::timestamptz[], $3::timestamptz[]) u(m, e, w) "
    "WHERE msg_id = m AND expires_at = 'infinity'"};
/* $1 epoch; f 1: a fact, whoever owns the row */
static const struct db_statement sql_remove = {"settle_remove",
    "DELETE FROM mailq.deferred d USING unnest($2::int8[], $3::int4[], $4::int4[]) WITH ORDINALITY "
    "u(m, r, f, n) WHERE d.msg_id = m AND d.rcpt_no = r AND (f = 1 OR d.owner = $1) RETURNING n"};
static const struct db_statement sql_suppress = {"settle_suppress",
    "DELETE FROM mailq.notification x USING unnest($1::int8[], $2::int4[]) u(m, r) "
    "WHERE x.msg_id = m AND x.rcpt_no = r AND x.kind <> 2"};
static const struct db_statement sql_hold = {"settle_hold",
    "INSERT INTO mailq.held (msg_id, rcpt_no, destination, attempts, dsn_notify, addr, orig_addr, "
    "dsn_orcpt, dsn, reason, why) SELECT m, r, mailq.destination_id(t, h), a, y, d, o, c, s, '', x "
    "FROM unnest($1::int8[], $2::int4[], $3::text[], $4::text[], $5::int4[], $6::int4[], "
    "$7::text[], $8::text[], $9::text[], $10::text[], $11::text[]) "
    "u(m, r, t, h, a, y, d, o, c, s, x) ON CONFLICT DO NOTHING"};
static const struct db_statement sql_notify = {"settle_notify",
    "INSERT INTO mailq.notification (msg_id, rcpt_no, kind, dsn_notify, at, action, addr, "
    "orig_addr, dsn_orcpt, dsn, reason, remote_mta, diagnostic) SELECT * FROM unnest($1::int8[], "
    "$2::int4[], $3::int4[], $4::int4[], $5::timestamptz[], $6::text[], $7::text[], $8::text[], "
    "$9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) ON CONFLICT DO NOTHING"};
static const struct db_statement sql_large_dead = {"settle_large_dead",
    "UPDATE mailq.large l SET state = 'dead' FROM unnest($1::int8[], $2::int8[]) u(id, m) "
    "WHERE l.content_id = id AND NOT EXISTS (SELECT FROM mailq.deferred_message x "
    "WHERE x.msg_id = m)"};

/* ---- running statements over the results ------------------------------------------------------------------------ */

/* Runs a statement with `first` (may be NULL) before the columns; nothing for no rows. Ends the columns. */
static bool
run_columns(struct settle *s, const struct db_statement *st, const struct db_param *first,
    struct queue_columns *cols, struct db_result **ret)
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

static bool
is_final(const struct queue_result *r)
{
	return r->outcome != QUEUE_DEFERRED && r->outcome != QUEUE_HELD;
}

/* Does the message have to outlive its set for this result? */
static bool
needs_message(const struct queue_result *r)
{
	return !is_final(r) || r->notify != 0 || r->notice_count != 0;
}

/* Without the lease only what was sent counts; mail that goes on in new messages is sent when they are stored. */
static enum plan
lost_plan(const struct queue_result *r)
{
	return r->outcome == QUEUE_SENT && r->forward_count == 0 ? PLAN_FACT : PLAN_DROP;
}

/* Is this result about to be stored? */
static bool
is_valid(const struct settle *s, size_t i)
{
	return s->plans[i] == PLAN_RING || s->plans[i] == PLAN_ROW;
}

static bool
is_ring(const struct settle *s, size_t i, int16_t set)
{
	const struct queue_lease *l = s->results[i]->lease;

	return !l->deferred && l->set == set;
}

/* Calls fn for each set that results are in. */
static bool
each_set(struct settle *s, bool (*fn)(struct settle *s, int16_t set))
{
	for (size_t set = 0; set < s->desk->set_count; set++) {
		bool used = false;

		for (size_t i = 0; i < s->count && !used; i++)
			used = is_ring(s, i, (int16_t)set);
		if (used && !fn(s, (int16_t)set))
			return false;
	}
	return true;
}

/*
 * Statements with RETURNING n number their rows from 1: which[n - 1] is the result. A row that was not returned is gone, or another's:
 * by a try of ours whose commit was in doubt, or because we are fenced. Then nothing may follow from it a second time.
 */
static void
drop_missing(struct settle *s, const size_t *which, size_t rows, const struct db_result *r)
{
	bool *hit = mem_zalloc(rows + 1);

	for (size_t i = 0; r != NULL && i < db_result_rows(r); i++)
		hit[db_result_int(r, i, 0) - 1] = true;
	for (size_t i = 0; i < rows; i++)
		if (!hit[i])
			s->plans[which[i]] = lost_plan(s->results[which[i]]);
	mem_free(hit);
}

/* ---- 1: leases --------------------------------------------------------------------------------------------------- */

static void
first_plans(struct settle *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct queue_result *r = s->results[i];
		struct queue_lease *l = r->lease;

		l->mine = l->there = false;
		if (!l->lost)
			s->plans[i] = l->deferred ? PLAN_ROW : PLAN_RING;
		else
			s->plans[i] = lost_plan(r);
	}
}

static void
note_lease(struct settle *s, int16_t set, int64_t batch_id, int64_t owner)
{
	for (size_t i = 0; i < s->count; i++) {
		struct queue_lease *l = s->results[i]->lease;

		if (is_ring(s, i, set) && l->batch_id == batch_id) {
			l->there = true;
			l->mine = owner == l->epoch && !l->lost;
		}
	}
}

static bool
lock_leases(struct settle *s, int16_t set)
{
	struct queue_columns cols;
	struct db_result *r = NULL;

	queue_columns_begin(&cols, "q");
	for (size_t i = 0; i < s->count; i++)
		if (is_ring(s, i, set))
			queue_columns_int(&cols, s->results[i]->lease->batch_id);
	if (!run_columns(s, queue_set_statement(&sql_lock, set), NULL, &cols, &r))
		return false;
	for (size_t i = 0; i < db_result_rows(r); i++)
		note_lease(s, set, db_result_int(r, i, 0), db_result_int(r, i, 1));
	db_result_free(&r);
	for (size_t i = 0; i < s->count; i++)
		if (is_ring(s, i, set) && s->plans[i] == PLAN_RING && !s->results[i]->lease->mine)
			s->plans[i] = lost_plan(s->results[i]);
	return true;
}

/* What has a result row was settled before: by a try in doubt, or by a late `sent` of the former owner. */
static bool
find_settled(struct settle *s, int16_t set)
{
	struct queue_columns cols;
	struct db_result *r = NULL;
	size_t *which = mem_zalloc(s->count * sizeof(*which));
	size_t rows = 0;
	bool ok;

	queue_columns_begin(&cols, "qqi");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *x = s->results[i];

		if (!is_ring(s, i, set) || s->plans[i] != PLAN_RING)
			continue;
		which[rows++] = i;
		queue_columns_int(&cols, x->lease->batch_id);
		queue_columns_int(&cols, x->envelope->msg_id);
		queue_columns_int(&cols, x->rcpt->rcpt_no);
	}
	ok = run_columns(s, queue_set_statement(&sql_seen, set), NULL, &cols, &r);
	for (size_t i = 0; ok && r != NULL && i < db_result_rows(r); i++) {
		size_t at = which[db_result_int(r, i, 0) - 1];

		s->plans[at] = PLAN_DROP;
		s->repeated[at] = true;
	}
	db_result_free(&r);
	mem_free(which);
	return ok;
}

/* ---- 2: deferral ---------------------------------------------------------------------------------------------------- */

static bool
mark_due(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "ttz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!is_valid(s, i) || r->outcome != QUEUE_DEFERRED)
			continue;
		queue_columns_clean(&cols, r->transport);
		queue_columns_clean(&cols, r->nexthop);
		queue_columns_time(&cols, r->next_attempt);
	}
	return run_columns(s, &sql_due, NULL, &cols, NULL);
}

static bool
keep_messages(struct settle *s, int16_t set)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qzz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!is_ring(s, i, set) || s->plans[i] != PLAN_RING || !needs_message(r))
			continue;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_time(&cols, r->expires_at);
		queue_columns_time(&cols, r->warn_at);
	}
	return run_columns(s, queue_set_statement(&sql_messages, set), NULL, &cols, NULL);
}

static bool
defer_new(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qittziittttttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != PLAN_RING || r->outcome != QUEUE_DEFERRED)
			continue;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_int(&cols, r->rcpt->rcpt_no);
		queue_columns_clean(&cols, r->transport);
		queue_columns_clean(&cols, r->nexthop);
		queue_columns_time(&cols, r->next_attempt);
		queue_columns_int(&cols, r->rcpt->attempts + (r->no_attempt ? 0 : 1));
		queue_columns_int(&cols, r->rcpt->dsn_notify);
		queue_columns_str(&cols, r->rcpt->addr);
		queue_columns_str(&cols, r->rcpt->orig_addr);
		queue_columns_str(&cols, r->rcpt->dsn_orcpt);
		queue_columns_clean(&cols, r->dsn);
		queue_columns_clean(&cols, r->text);
		queue_columns_clean(&cols, r->remote_mta);
		queue_columns_clean(&cols, r->diagnostic);
	}
	return run_columns(s, &sql_defer, NULL, &cols, NULL);
}

static bool
defer_again(struct settle *s)
{
	char n[DB_INT_SIZE];
	struct db_param epoch = db_param_int8(n, s->epoch);
	size_t *which = mem_zalloc(s->count * sizeof(*which));
	struct db_result *result = NULL;
	struct queue_columns cols;
	size_t rows = 0;
	bool ok;

	queue_columns_begin(&cols, "qittzitttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != PLAN_ROW || r->outcome != QUEUE_DEFERRED)
			continue;
		which[rows++] = i;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_int(&cols, r->rcpt->rcpt_no);
		queue_columns_clean(&cols, r->transport);
		queue_columns_clean(&cols, r->nexthop);
		queue_columns_time(&cols, r->next_attempt);
		queue_columns_int(&cols, r->no_attempt ? 0 : 1);
		queue_columns_clean(&cols, r->dsn);
		queue_columns_clean(&cols, r->text);
		queue_columns_clean(&cols, r->remote_mta);
		queue_columns_clean(&cols, r->diagnostic);
	}
	ok = run_columns(s, &sql_again, &epoch, &cols, &result);
	if (ok)
		drop_missing(s, which, rows, result);
	db_result_free(&result);
	mem_free(which);
	return ok;
}

static bool
set_lifetimes(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qzz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != PLAN_ROW || r->outcome != QUEUE_DEFERRED || r->expires_at == 0)
			continue;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_time(&cols, r->expires_at);
		queue_columns_time(&cols, r->warn_at);
	}
	return run_columns(s, &sql_lifetime, NULL, &cols, NULL);
}

/* ---- 3: ends ---------------------------------------------------------------------------------------------------------- */

static bool
remove_rows(struct settle *s)
{
	char n[DB_INT_SIZE];
	struct db_param epoch = db_param_int8(n, s->epoch);
	size_t *which = mem_zalloc(s->count * sizeof(*which));
	struct db_result *result = NULL;
	struct queue_columns cols;
	size_t rows = 0;
	bool ok;

	queue_columns_begin(&cols, "qii");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != PLAN_FACT &&
		    (s->plans[i] != PLAN_ROW || r->outcome == QUEUE_DEFERRED))
			continue;
		which[rows++] = i;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_int(&cols, r->rcpt->rcpt_no);
		queue_columns_int(&cols, lost_plan(r) == PLAN_FACT);
	}
	ok = run_columns(s, &sql_remove, &epoch, &cols, &result);
	if (ok)
		drop_missing(s, which, rows, result);
	db_result_free(&result);
	mem_free(which);
	return ok;
}

/* A fact unsays what another scheduler was about to tell the sender. */
static bool
suppress(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qi");
	for (size_t i = 0; i < s->count; i++) {
		if (s->plans[i] != PLAN_FACT)
			continue;
		queue_columns_int(&cols, s->results[i]->envelope->msg_id);
		queue_columns_int(&cols, s->results[i]->rcpt->rcpt_no);
	}
	return run_columns(s, &sql_suppress, NULL, &cols, NULL);
}

static bool
hold(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qittiittttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!is_valid(s, i) || r->outcome != QUEUE_HELD)
			continue;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_int(&cols, r->rcpt->rcpt_no);
		queue_columns_clean(&cols, r->transport);
		queue_columns_clean(&cols, r->nexthop);
		queue_columns_int(&cols, r->rcpt->attempts);
		queue_columns_int(&cols, r->rcpt->dsn_notify);
		queue_columns_str(&cols, r->rcpt->addr);
		queue_columns_str(&cols, r->rcpt->orig_addr);
		queue_columns_str(&cols, r->rcpt->dsn_orcpt);
		queue_columns_clean(&cols, r->dsn);
		queue_columns_clean(&cols, r->text);
	}
	return run_columns(s, &sql_hold, NULL, &cols, NULL);
}

static void
add_notice(struct queue_columns *cols, int64_t msg_id, const struct queue_notice *n)
{
	queue_columns_int(cols, msg_id);
	queue_columns_int(cols, n->rcpt_no);
	queue_columns_int(cols, n->kind);
	queue_columns_int(cols, n->dsn_notify);
	queue_columns_time(cols, n->at);
	queue_columns_clean(cols, n->action);
	queue_columns_str(cols, n->addr);
	queue_columns_str(cols, n->orig_addr);
	queue_columns_str(cols, n->dsn_orcpt);
	queue_columns_clean(cols, n->dsn);
	queue_columns_clean(cols, n->text);
	queue_columns_clean(cols, n->remote_mta);
	queue_columns_clean(cols, n->diagnostic);
}

/* The notice of the outcome itself. A report of success names who took the mail, as Postfix's does. */
static void
add_own_notice(struct queue_columns *cols, const struct queue_result *r)
{
	const struct queue_rcpt *rcpt = r->rcpt;
	struct buf text CLEANUP(buf_done) = {0};

	if (r->notify == QUEUE_NOTIFY_SUCCESS && r->relay != NULL && r->relay[0] != '\0' &&
	    r->outcome == QUEUE_SENT)
		buf_printf(&text, "delivery via %s: ", r->relay);
	buf_add_str(&text, r->text != NULL ? r->text : "");
	add_notice(cols, r->envelope->msg_id,
	    &(struct queue_notice){
		.rcpt_no = rcpt->rcpt_no,
		.kind = r->notify,
		.action = r->action,
		.addr = rcpt->addr,
		.orig_addr = rcpt->orig_addr,
		.dsn_orcpt = rcpt->dsn_orcpt,
		.dsn_notify = rcpt->dsn_notify,
		.dsn = r->dsn,
		.text = buf_str(&text),
		.remote_mta = r->remote_mta,
		.diagnostic = r->diagnostic,
		.at = r->at,
	    });
}

static bool
notify(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qiiiztttttttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!is_valid(s, i))
			continue;
		if (r->notify != 0)
			add_own_notice(&cols, r);
		for (size_t k = 0; k < r->notice_count; k++)
			add_notice(&cols, r->envelope->msg_id, &r->notices[k]);
	}
	return run_columns(s, &sql_notify, NULL, &cols, NULL);
}

static bool
write_history(struct settle *s)
{
	struct queue_columns cols = {0};
	bool ok;

	for (size_t i = 0; i < s->count; i++)
		if (s->plans[i] != PLAN_DROP &&
		    queue_history_wants(s->desk, s->results[i]->outcome))
			queue_history_add(&cols, s->results[i]);
	ok = queue_history_run(&cols, s->conn, s->deadline, s->err);
	queue_columns_done(&cols);
	return ok;
}

/* ---- 4: results, and the end of leases ---------------------------------------------------------------------------- */

/* How many recipients of each lease are settled when this is committed. */
static void
count_leases(struct settle *s)
{
	for (size_t i = 0; i < s->count; i++)
		s->results[i]->lease->now = 0;
	for (size_t i = 0; i < s->count; i++)
		if (s->plans[i] == PLAN_RING || s->repeated[i])
			s->results[i]->lease->now++;
}

static bool
is_complete(const struct queue_lease *l)
{
	return !l->deferred && l->mine && l->settled + l->now == l->recipients;
}

static bool
write_results(struct settle *s, int16_t set)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qqitz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];
		const struct queue_lease *l = r->lease;

		/* A lease that goes takes its results with it; one that is gone has none. */
		if (!is_ring(s, i, set) || s->plans[i] == PLAN_DROP || !l->there || is_complete(l))
			continue;
		queue_columns_int(&cols, l->batch_id);
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_int(&cols, r->rcpt->rcpt_no);
		queue_columns_str(&cols, queue_outcome_name(r->outcome));
		queue_columns_time(&cols, r->at);
	}
	return run_columns(s, queue_set_statement(&sql_results, set), NULL, &cols, NULL);
}

/* Is result `i` the first of its lease? */
static bool
is_first_of_lease(const struct settle *s, size_t i)
{
	for (size_t k = i; k-- > 0;)
		if (s->results[k]->lease == s->results[i]->lease)
			return false;
	return true;
}

static bool
finish_leases(struct settle *s, int16_t set)
{
	char n[DB_INT_SIZE];
	struct queue_columns cols;
	struct db_param params[3];
	struct db_result *r = NULL;
	bool ok = true;

	queue_columns_begin(&cols, "qi");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_lease *l = s->results[i]->lease;

		if (!is_ring(s, i, set) || !is_complete(l) || !is_first_of_lease(s, i))
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

/* An uploaded content whose message was never promoted ends with its lease. */
static bool
end_large(struct settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qq");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_lease *l = s->results[i]->lease;

		if (l->content_id == 0 || !is_complete(l) || !is_first_of_lease(s, i))
			continue;
		queue_columns_int(&cols, l->content_id);
		queue_columns_int(&cols, s->results[i]->envelope->msg_id);
	}
	return run_columns(s, &sql_large_dead, NULL, &cols, NULL);
}

/* ---- 5: what follows from it ----------------------------------------------------------------------------------------- */

/* A large content goes beside the ring (rule 2). */
static bool
add_forward(struct settle *s, struct queue_store *store, const struct queue_message *m)
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
store_forwards(struct settle *s)
{
	struct queue_store store = {0};
	bool ok = true;

	for (size_t i = 0; i < s->count && ok; i++)
		if (is_valid(s, i))
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
message_ids(const struct settle *s, bool (*want)(const struct settle *s, size_t i), int64_t *ret)
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
is_last(const struct settle *s, size_t i)
{
	return s->results[i]->last && is_valid(s, i);
}

/* May this leave a message that nothing refers to? */
static bool
may_end_message(const struct settle *s, size_t i)
{
	const struct queue_result *r = s->results[i];

	if (s->plans[i] == PLAN_FACT || r->last)
		return true;
	return is_valid(s, i) && is_final(r) &&
	       (s->plans[i] == PLAN_ROW || r->lease->content_id != 0);
}

static bool
compose_and_collect(struct settle *s)
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
run_steps(struct settle *s)
{
	first_plans(s);
	if (!each_set(s, lock_leases) || !each_set(s, find_settled))
		return false;
	CRASH_POINT("record-locked");
	if (!mark_due(s) || !each_set(s, keep_messages) || !defer_new(s) || !defer_again(s) ||
	    !set_lifetimes(s))
		return false;
	CRASH_POINT("record-deferred");
	if (!remove_rows(s) || !suppress(s) || !hold(s) || !notify(s) || !write_history(s))
		return false;
	count_leases(s);
	if (!each_set(s, write_results) || !each_set(s, finish_leases) || !store_forwards(s))
		return false;
	CRASH_POINT("record-finished");
	return end_large(s) && compose_and_collect(s);
}

static void
note_outcome(struct settle *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct queue_result *r = s->results[i];
		struct queue_lease *l = r->lease;

		r->recorded = s->plans[i] == PLAN_DROP ? QUEUE_RECORD_FENCED : QUEUE_RECORD_STORED;
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
settle_in_transaction(struct settle *s)
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
	struct settle s = {
	    .desk = d,
	    .epoch = d->epoch,
	    .conn = c,
	    .deadline = deadline,
	    .err = err,
	    .results = results,
	    .count = count,
	    .plans = mem_zalloc(count * sizeof(enum plan)),
	    .repeated = mem_zalloc(count * sizeof(bool)),
	};
	enum queue_settled done = settle_in_transaction(&s);

	mem_free(s.plans);
	mem_free(s.repeated);
	return done;
}
