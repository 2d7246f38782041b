/*
 * queue_settle_rows.c - see queue_settle_int.h. One statement a step, over the results that it concerns.
 */
#include "base/mem.h"
#include "queue/queue_history.h"
#include "queue/queue_settle_int.h"

static struct queue_set_sql sql_messages = {.name = "settle_messages",
    .sql =
	"INSERT INTO mailq.deferred_message (msg_id, arrival, size, content_id, recipients, "
	"expires_at, warn_at, forced_expire, sender, attrs, content) SELECT i.msg_id, "
	"i.arrival, i.size, i.content_id, i.recipients, coalesce(e, 'infinity'), w, " QUEUE_SQL_EXPIRING(
	    "m") ", i.sender, i.attrs, i.content "
		 "FROM unnest($1::int8[], $2::timestamptz[], $3::timestamptz[]) u(m, e, w) "
		 "JOIN mailq.incoming_%K i ON i.msg_id = m ON CONFLICT DO NOTHING"};
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

/* A row that was not returned is gone, or another's: nothing may follow from it a second time. */
static void
drop_missing(struct queue_settle *s, const size_t *which, size_t rows, const struct db_result *r)
{
	bool *hit = mem_zalloc(rows + 1);

	for (size_t i = 0; r != NULL && i < db_result_rows(r); i++)
		hit[db_result_int(r, i, 0) - 1] = true;
	for (size_t i = 0; i < rows; i++)
		if (!hit[i])
			s->plans[which[i]] = queue_settle_lost_plan(s->results[which[i]]);
	mem_free(hit);
}

/*
 * A statement of the rows that we own, $1 epoch, with RETURNING n: it numbers its rows from 1, which[n - 1] is the result. Rows can be
 * missing by a try of ours whose commit was in doubt, or because we are fenced.
 */
static bool
run_numbered(struct queue_settle *s, const struct db_statement *st, struct queue_columns *cols,
    const size_t *which, size_t rows)
{
	char n[DB_INT_SIZE];
	struct db_param epoch = db_param_int8(n, s->epoch);
	struct db_result *r = NULL;
	bool ok = queue_settle_run(s, st, &epoch, cols, &r);

	if (ok)
		drop_missing(s, which, rows, r);
	db_result_free(&r);
	return ok;
}

/* ---- columns ------------------------------------------------------------------------------------------------------ */

static void
add_key(struct queue_columns *cols, const struct queue_result *r)
{
	queue_columns_int(cols, r->envelope->msg_id);
	queue_columns_int(cols, r->rcpt->rcpt_no);
}

static void
add_route(struct queue_columns *cols, const struct queue_result *r)
{
	queue_columns_clean(cols, r->transport);
	queue_columns_clean(cols, r->nexthop);
}

static void
add_rcpt(struct queue_columns *cols, const struct queue_rcpt *rcpt)
{
	queue_columns_int(cols, rcpt->dsn_notify);
	queue_columns_str(cols, rcpt->addr);
	queue_columns_str(cols, rcpt->orig_addr);
	queue_columns_str(cols, rcpt->dsn_orcpt);
}

static void
add_reason(struct queue_columns *cols, const struct queue_result *r)
{
	queue_columns_clean(cols, r->dsn);
	queue_columns_clean(cols, r->text);
	queue_columns_clean(cols, r->remote_mta);
	queue_columns_clean(cols, r->diagnostic);
}

/* ---- deferral ----------------------------------------------------------------------------------------------------- */

/* What is put on hold has a destination too, to be found at its release; nothing is due there. */
static bool
mark_due(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "ttz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!queue_settle_is_valid(s, i) || queue_settle_is_final(r))
			continue;
		add_route(&cols, r);
		queue_columns_time(&cols, r->outcome == QUEUE_DEFERRED ? r->next_attempt : 0);
	}
	return queue_settle_run(s, &sql_due, NULL, &cols, NULL);
}

/* Does the message have to outlive its set for this result? */
static bool
needs_message(const struct queue_result *r)
{
	return !queue_settle_is_final(r) || r->notify != 0 || r->notice_count != 0;
}

static bool
keep_messages(struct queue_settle *s, int16_t set)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qzz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!queue_settle_is_ring(s, i, set) || s->plans[i] != QUEUE_PLAN_RING ||
		    !needs_message(r))
			continue;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_time(&cols, r->expires_at);
		queue_columns_time(&cols, r->warn_at);
	}
	return queue_settle_run(s, queue_set_statement(&sql_messages, set), NULL, &cols, NULL);
}

static bool
defer_new(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qittziittttttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != QUEUE_PLAN_RING || r->outcome != QUEUE_DEFERRED)
			continue;
		add_key(&cols, r);
		add_route(&cols, r);
		queue_columns_time(&cols, r->next_attempt);
		queue_columns_int(&cols, r->rcpt->attempts + (r->no_attempt ? 0 : 1));
		add_rcpt(&cols, r->rcpt);
		add_reason(&cols, r);
	}
	return queue_settle_run(s, &sql_defer, NULL, &cols, NULL);
}

static bool
defer_again(struct queue_settle *s)
{
	size_t *which = mem_zalloc(s->count * sizeof(*which));
	struct queue_columns cols;
	size_t rows = 0;
	bool ok;

	queue_columns_begin(&cols, "qittzitttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != QUEUE_PLAN_ROW || r->outcome != QUEUE_DEFERRED)
			continue;
		which[rows++] = i;
		add_key(&cols, r);
		add_route(&cols, r);
		queue_columns_time(&cols, r->next_attempt);
		queue_columns_int(&cols, r->no_attempt ? 0 : 1);
		add_reason(&cols, r);
	}
	ok = run_numbered(s, &sql_again, &cols, which, rows);
	mem_free(which);
	return ok;
}

static bool
set_lifetimes(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qzz");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != QUEUE_PLAN_ROW || r->outcome != QUEUE_DEFERRED ||
		    r->expires_at == 0)
			continue;
		queue_columns_int(&cols, r->envelope->msg_id);
		queue_columns_time(&cols, r->expires_at);
		queue_columns_time(&cols, r->warn_at);
	}
	return queue_settle_run(s, &sql_lifetime, NULL, &cols, NULL);
}

bool
queue_settle_rows_defer(struct queue_settle *s)
{
	return mark_due(s) && queue_settle_each_set(s, keep_messages) && defer_new(s) &&
	       defer_again(s) && set_lifetimes(s);
}

/* ---- ends --------------------------------------------------------------------------------------------------------- */

static bool
remove_rows(struct queue_settle *s)
{
	size_t *which = mem_zalloc(s->count * sizeof(*which));
	struct queue_columns cols;
	size_t rows = 0;
	bool ok;

	queue_columns_begin(&cols, "qii");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (s->plans[i] != QUEUE_PLAN_FACT &&
		    (s->plans[i] != QUEUE_PLAN_ROW || r->outcome == QUEUE_DEFERRED))
			continue;
		which[rows++] = i;
		add_key(&cols, r);
		queue_columns_int(&cols, queue_settle_lost_plan(r) == QUEUE_PLAN_FACT);
	}
	ok = run_numbered(s, &sql_remove, &cols, which, rows);
	mem_free(which);
	return ok;
}

/* A fact unsays what another scheduler was about to tell the sender. */
static bool
suppress(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qi");
	for (size_t i = 0; i < s->count; i++) {
		if (s->plans[i] != QUEUE_PLAN_FACT)
			continue;
		add_key(&cols, s->results[i]);
	}
	return queue_settle_run(s, &sql_suppress, NULL, &cols, NULL);
}

static bool
hold(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qittiittttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!queue_settle_is_valid(s, i) || r->outcome != QUEUE_HELD)
			continue;
		add_key(&cols, r);
		add_route(&cols, r);
		queue_columns_int(&cols, r->rcpt->attempts);
		add_rcpt(&cols, r->rcpt);
		queue_columns_clean(&cols, r->dsn);
		queue_columns_clean(&cols, r->text);
	}
	return queue_settle_run(s, &sql_hold, NULL, &cols, NULL);
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
notify(struct queue_settle *s)
{
	struct queue_columns cols;

	queue_columns_begin(&cols, "qiiiztttttttt");
	for (size_t i = 0; i < s->count; i++) {
		const struct queue_result *r = s->results[i];

		if (!queue_settle_is_valid(s, i))
			continue;
		if (r->notify != 0)
			add_own_notice(&cols, r);
		for (size_t k = 0; k < r->notice_count; k++)
			add_notice(&cols, r->envelope->msg_id, &r->notices[k]);
	}
	return queue_settle_run(s, &sql_notify, NULL, &cols, NULL);
}

static bool
write_history(struct queue_settle *s)
{
	struct queue_columns cols = {0};
	bool ok;

	for (size_t i = 0; i < s->count; i++)
		if (s->plans[i] != QUEUE_PLAN_DROP &&
		    queue_history_wants(s->desk, s->results[i]->outcome))
			queue_history_add(&cols, s->results[i]);
	ok = queue_history_run(&cols, s->conn, s->deadline, s->err);
	queue_columns_done(&cols);
	return ok;
}

bool
queue_settle_rows_end(struct queue_settle *s)
{
	return remove_rows(s) && suppress(s) && hold(s) && notify(s) && write_history(s);
}
