/*
 * queue_expire.c - expiry and delay warnings, by message (rule 5a.7).
 *
 * One transaction a slice: the messages are locked, their free recipients become notifications, and the DSN is composed;
 * a crash leaves everything as it was.
 */
#include "queue/queue_expire.h"

#include "base/crash.h"
#include "base/mem.h"
#include "queue/queue_int.h"

#define SLICE 50

/*
 * Something of message m is due and its destination alive: somebody will try it in a moment. So it was when the whole relay was
 * down beyond the end of its life: it gets its attempt before it is returned, as Postfix makes one.
 */
#define WILL_BE_TRIED                                                                              \
	"EXISTS (SELECT FROM mailq.deferred d JOIN mailq.destination t "                           \
	"ON t.destination_id = d.destination WHERE d.msg_id = m.msg_id AND d.owner IS NULL "       \
	"AND d.next_attempt <= now() AND coalesce(t.dead_until, now()) <= now())"

/* Out of the way of the others; the attempt ends it. */
static const struct db_statement sql_postpone = {"expire_postpone",
    "UPDATE mailq.deferred_message SET expires_at = now() + interval '5 min' WHERE msg_id = ANY "
    "(ARRAY(SELECT msg_id FROM mailq.deferred_message m WHERE expires_at <= now() "
    "AND NOT forced_expire AND " WILL_BE_TRIED " ORDER BY expires_at LIMIT 10000 "
    "FOR UPDATE SKIP LOCKED))"};

/*
 * $1 most. A message whose expiry was ordered is returned as a whole, with one bounce: while somebody has recipients of it in
 * his hands it waits, behind the others.
 */
static const struct db_statement sql_expired = {"expire_lock",
    "WITH s AS MATERIALIZED (SELECT msg_id, sender, forced_expire FROM mailq.deferred_message m "
    "WHERE expires_at <= now() AND (forced_expire OR NOT " WILL_BE_TRIED ") "
    "AND EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id AND owner IS NULL) "
    "ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED), "
    "busy AS MATERIALIZED (SELECT mailq.leased(f.ids) AS id FROM (SELECT array_agg(msg_id) AS ids "
    "FROM s WHERE forced_expire) f WHERE f.ids IS NOT NULL UNION SELECT d.msg_id FROM s "
    "JOIN mailq.deferred d ON d.msg_id = s.msg_id WHERE s.forced_expire AND d.owner IS NOT NULL), "
    "later AS (UPDATE mailq.deferred_message m SET expires_at = now() + interval '1 s' FROM busy "
    "WHERE m.msg_id = busy.id) "
    "SELECT msg_id, sender, forced_expire FROM s WHERE msg_id NOT IN (SELECT id FROM busy)"};
static const struct db_statement sql_late = {"warn_lock",
    "SELECT msg_id, sender FROM mailq.deferred_message WHERE warn_at <= now() "
    "ORDER BY warn_at LIMIT $1 FOR UPDATE SKIP LOCKED"};

/* $1 messages, $2 history wanted. NOTIFY: 1 never, 4 failure; 0 is the default, failure. */
static const struct db_statement sql_expire = {"expire",
    "WITH f AS (SELECT msg_id, rcpt_no FROM mailq.deferred WHERE msg_id = ANY ($1) "
    "AND owner IS NULL FOR UPDATE SKIP LOCKED), "
    "x AS (DELETE FROM mailq.deferred d USING f WHERE d.msg_id = f.msg_id "
    "AND d.rcpt_no = f.rcpt_no RETURNING d.*), "
    /* Who never had an attempt has no reason yet. */
    "g AS (SELECT x.msg_id, x.rcpt_no, x.destination, x.attempts, x.dsn_notify, x.addr, "
    "x.orig_addr, x.dsn_orcpt, x.remote_mta, x.diagnostic, coalesce(nullif(x.dsn, ''), "
    "CASE WHEN m.forced_expire THEN '4.7.0' ELSE '4.4.7' END) AS dsn, "
    "coalesce(nullif(x.reason, ''), CASE WHEN m.forced_expire THEN "
    "'message is administratively expired' ELSE 'message expired' END) AS reason "
    "FROM x JOIN mailq.deferred_message m ON m.msg_id = x.msg_id), "
    "n AS (INSERT INTO mailq.notification (msg_id, rcpt_no, kind, dsn_notify, at, action, addr, "
    "orig_addr, dsn_orcpt, dsn, reason, remote_mta, diagnostic) SELECT msg_id, rcpt_no, 4, "
    "dsn_notify, now(), 'failed', addr, orig_addr, dsn_orcpt, dsn, reason, "
    "coalesce(remote_mta, ''), coalesce(diagnostic, '') FROM g WHERE dsn_notify = 0 OR dsn_notify & 4 <> 0 ON CONFLICT DO NOTHING) "
    "INSERT INTO mailq.history (at, arrival, msg_id, size, rcpt_no, attempts, outcome, dsn, "
    "sender, recipient, transport, relay, reason) SELECT clock_timestamp(), m.arrival, g.msg_id, "
    "m.size, g.rcpt_no, g.attempts, 'expired', g.dsn, m.sender, g.addr, coalesce(t.transport, ''), "
    "'', g.reason FROM g JOIN mailq.deferred_message m ON m.msg_id = g.msg_id "
    "LEFT JOIN mailq.destination t ON t.destination_id = g.destination WHERE $2 = 1"};

/* $1 messages. NOTIFY: 8 delay. */
static const struct db_statement sql_warn = {"warn",
    "WITH n AS (INSERT INTO mailq.notification (msg_id, rcpt_no, kind, dsn_notify, at, action, "
    "addr, orig_addr, dsn_orcpt, dsn, reason, remote_mta, diagnostic) SELECT msg_id, rcpt_no, 8, "
    "dsn_notify, now(), 'delayed', addr, orig_addr, dsn_orcpt, dsn, reason, "
    "coalesce(remote_mta, ''), coalesce(diagnostic, '') FROM mailq.deferred WHERE msg_id = ANY ($1) AND attempts > 0 "
    "AND (dsn_notify = 0 OR dsn_notify & 8 <> 0) ON CONFLICT DO NOTHING) "
    "UPDATE mailq.deferred_message SET warn_at = NULL WHERE msg_id = ANY ($1)"};

/* $1 messages: the numbers of those of which nothing is left, in the order given. */
static const struct db_statement sql_gone = {"expire_gone",
    "SELECT n FROM unnest($1::int8[]) WITH ORDINALITY u(id, n) WHERE NOT EXISTS (SELECT FROM "
    "mailq.deferred_message m WHERE m.msg_id = id) AND id NOT IN (SELECT mailq.leased($1))"};

/* The messages of one slice. */
struct slice {
	struct db_result *rows;
	int64_t *ids;
	bool *gone; /* of each */
	size_t count;
};

static bool
lock_slice(struct db_conn *c, const struct db_statement *st, int64_t deadline, struct slice *ret,
    struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, SLICE);

	if (!db_exec(c, st, &param, 1, deadline, &ret->rows, err))
		return false;
	ret->count = db_result_rows(ret->rows);
	ret->ids = mem_zalloc(ret->count * sizeof(ret->ids[0]));
	ret->gone = mem_zalloc(ret->count * sizeof(ret->gone[0]));
	for (size_t i = 0; i < ret->count; i++)
		ret->ids[i] = db_result_int(ret->rows, i, 0);
	return true;
}

static void
slice_done(struct slice *s)
{
	db_result_free(&s->rows);
	mem_free(s->ids);
	mem_free(s->gone);
	*s = (struct slice){0};
}

static bool
run_on_slice(struct db_conn *c, const struct db_statement *st, const struct slice *s,
    const struct db_param *second, int64_t deadline, struct db_result **ret, struct err *err)
{
	struct db_result *r = NULL;
	struct buf ids = {0};
	struct db_param params[2];
	bool ok;

	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < s->count; i++)
		db_array_add_int(&ids, DB_INT8, s->ids[i]);
	db_array_end(&ids);
	params[0] = DB_PARAM_BUF(&ids);
	if (second != NULL)
		params[1] = *second;
	ok = db_exec(c, st, params, second != NULL ? 2 : 1, deadline, &r, err);
	buf_done(&ids);
	if (ret != NULL)
		*ret = r;
	else
		db_result_free(&r);
	return ok;
}

static bool
find_gone(struct db_conn *c, struct slice *s, int64_t deadline, struct err *err)
{
	struct db_result *r = NULL;

	if (!run_on_slice(c, &sql_gone, s, NULL, deadline, &r, err))
		return false;
	for (size_t i = 0; i < db_result_rows(r); i++)
		s->gone[db_result_int(r, i, 0) - 1] = true;
	db_result_free(&r);
	return true;
}

static bool
expire_locked(
    struct queue_desk *d, struct db_conn *c, int64_t deadline, struct slice *s, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param history = db_param_int4(n, d->settings.history > 0);

	if (!db_command(c, &sql_postpone, NULL, 0, deadline, NULL, err) ||
	    !lock_slice(c, &sql_expired, deadline, s, err) || s->count == 0)
		return s->count == 0 && s->rows != NULL;
	CRASH_POINT("expire-locked");
	return run_on_slice(c, &sql_expire, s, &history, deadline, NULL, err) &&
	       queue_bounce_compose(d, c, s->ids, s->count, deadline, err) &&
	       queue_bounce_collect(c, s->ids, s->count, deadline, err) &&
	       find_gone(c, s, deadline, err);
}

static bool
warn_locked(
    struct queue_desk *d, struct db_conn *c, int64_t deadline, struct slice *s, struct err *err)
{
	if (!lock_slice(c, &sql_late, deadline, s, err) || s->count == 0)
		return s->count == 0 && s->rows != NULL;
	return run_on_slice(c, &sql_warn, s, NULL, deadline, NULL, err) &&
	       queue_bounce_compose(d, c, s->ids, s->count, deadline, err);
}

/* One slice in its transaction. Its messages are in *ret when it is committed; none otherwise. */
static bool
run_slice(struct queue_desk *d, struct db_conn *c,
    bool (*fn)(struct queue_desk *, struct db_conn *, int64_t, struct slice *, struct err *),
    int64_t deadline, struct slice *ret, struct err *err)
{
	enum db_commit done;

	if (!queue_desk_know_ring(d, c, deadline, err) || !db_begin(c, deadline, err))
		return false;
	if (!fn(d, c, deadline, ret, err)) {
		db_rollback(c);
		slice_done(ret);
		return false;
	}
	CRASH_POINT("expire-before-commit");
	done = db_commit(c, deadline, err);
	CRASH_POINT("expire-after-commit");
	if (done == DB_COMMITTED || done == DB_COMMIT_UNSAFE)
		return true;
	slice_done(ret);
	return false;
}

static void
tell(const struct queue_expiry *how, const struct slice *s, bool expired)
{
	for (size_t i = 0; i < s->count; i++) {
		char *sender = db_result_dup(s->rows, i, 1);

		if (expired && how->on_expired != NULL)
			how->on_expired(how->arg, s->ids[i], sender, db_result_bool(s->rows, i, 2));
		else if (!expired && how->on_warned != NULL)
			how->on_warned(how->arg, s->ids[i], sender);
		if (s->gone[i] && how->on_removed != NULL)
			how->on_removed(how->arg, s->ids[i]);
		mem_free(sender);
	}
}

bool
queue_expire_run(struct queue_desk *d, const struct queue_expiry *how, int64_t deadline,
    bool *ret_more, struct err *err)
{
	struct db_conn *c = queue_desk_take(d, deadline, err);
	struct slice expired = {0};
	struct slice late = {0};
	bool ok;

	if (c == NULL)
		return false;
	ok = run_slice(d, c, expire_locked, deadline, &expired, err);
	tell(how, &expired, true);
	ok = ok && run_slice(d, c, warn_locked, deadline, &late, err);
	tell(how, &late, false);
	if (ret_more != NULL)
		*ret_more = ok && (expired.count == SLICE || late.count == SLICE);
	slice_done(&expired);
	slice_done(&late);
	queue_desk_give(d, &c);
	return ok;
}
