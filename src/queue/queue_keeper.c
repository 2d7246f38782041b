/*
 * queue_keeper.c - housekeeping, a little of everything once a second. Each statement takes what nobody else has locked, and can
 * be repeated.
 */
#include "queue/queue_keeper.h"

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_history.h"
#include "queue/queue_int.h"
#include "queue/queue_ring.h"

#define HISTORY_PAUSE (600 * CLOCK_SECOND)
#define NOTICE_PAUSE  (10 * CLOCK_SECOND)
#define REAP_PAUSE    (30 * CLOCK_SECOND)
#define DROP_PAUSE    CLOCK_SECOND
#define DROP_SLICE    5                  /* large contents removed by one statement */
#define DROP_TIME     (CLOCK_SECOND / 5) /* spent on them in one round */
#define REPAIR_PAUSE  (10 * CLOCK_SECOND)
#define REPAIR_SLICE  1000 /* destinations looked at in one round */
#define SLICE         50

/* Notifications that nobody composed for a while: who recorded them died, or had no message ids. */
static const struct db_statement sql_left = {"keeper_left",
    "SELECT DISTINCT msg_id FROM (SELECT msg_id FROM mailq.notification "
    "WHERE at < now() - interval '60 s' ORDER BY at LIMIT 500) n LIMIT $1"};

/* ---- uploads and what is long over ------------------------------------------------------------------------------ */

/* $1 us. Uploads whose front end's registration is over. */
static const struct db_statement sql_abandoned = {"keeper_abandoned",
    "UPDATE mailq.large l SET state = 'dead' WHERE state = 'uploading' "
    "AND started < now() - $1::int8 * interval '1 microsecond' AND NOT EXISTS (SELECT FROM "
    "mailq.process p WHERE p.epoch = l.front_epoch AND p.renewed > now() - interval '90 s')"};
/* $1 us. Queued, but no message has it: its last recipient was settled by a late report. */
static const struct db_statement sql_orphans = {"keeper_orphans",
    "UPDATE mailq.large l SET state = 'dead' WHERE state = 'queued' "
    "AND started < now() - $1::int8 * interval '1 microsecond' "
    "AND NOT EXISTS (SELECT FROM mailq.deferred_message m WHERE m.msg_id = l.msg_id) "
    "AND NOT EXISTS (SELECT FROM mailq.incoming i WHERE i.msg_id = l.msg_id)"};
/* $1 contents at a time; chunks before the row, so that a crash leaves the row to find them by. */
static const struct db_statement sql_drop = {"keeper_drop",
    "WITH l AS (SELECT content_id FROM mailq.large WHERE state = 'dead' LIMIT $1 "
    "FOR UPDATE SKIP LOCKED), c AS (DELETE FROM mailq.large_chunk USING l "
    "WHERE large_chunk.content_id = l.content_id) "
    "DELETE FROM mailq.large USING l WHERE large.content_id = l.content_id"};
static const struct db_statement sql_nodes = {"keeper_nodes",
    "DELETE FROM mailq.node n WHERE state = 'dead' AND changed < now() - interval '1 hour' "
    "AND NOT EXISTS (SELECT FROM mailq.active a WHERE a.owner = n.epoch) "
    "AND NOT EXISTS (SELECT FROM mailq.deferred d WHERE d.owner = n.epoch)"};
/* $1 us */
static const struct db_statement sql_orders = {"keeper_orders",
    "DELETE FROM mailq.queue_order WHERE done IS NOT NULL "
    "AND given < now() - $1::int8 * interval '1 microsecond'"};

/* ---- repairs: second nets ------------------------------------------------------------------------------------------- */

/* On hold nothing expires. */
static const struct db_statement sql_hold_age = {"keeper_hold_age",
    "UPDATE mailq.deferred_message m SET expires_at = 'infinity' WHERE expires_at <= now() "
    "AND NOT EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id) "
    "AND EXISTS (SELECT FROM mailq.held h WHERE h.msg_id = m.msg_id)"};
/* Under the lock of each destination: a claim or a deferral comes before or after, and is seen. */
static const struct db_statement sql_lock_dests = {"keeper_lock_dests",
    "SELECT destination_id FROM mailq.destination WHERE destination_id > $1 ORDER BY 1 LIMIT $2 "
    "FOR UPDATE SKIP LOCKED"};
static const struct db_statement sql_fix_dests = {"keeper_fix_dests",
    "UPDATE mailq.destination t SET next_due = x.due FROM (SELECT destination_id AS id, "
    "(SELECT next_attempt FROM mailq.deferred d WHERE d.destination = e.destination_id "
    "AND owner IS NULL ORDER BY next_attempt LIMIT 1) AS due FROM mailq.destination e "
    "WHERE destination_id = ANY ($1)) x "
    "WHERE destination_id = x.id AND next_due IS DISTINCT FROM x.due"};
/* Long unused. The lock of the row and the second look at it keep out who is about to use it. */
static const struct db_statement sql_old_dests = {"keeper_old_dests",
    "DELETE FROM mailq.destination t WHERE next_due IS NULL AND (dead_until IS NULL "
    "OR dead_until < now()) AND changed < now() - interval '1 day' AND transport <> '' "
    "AND NOT EXISTS (SELECT FROM mailq.deferred d WHERE d.destination = t.destination_id "
    "AND owner IS NULL) AND destination_id NOT IN (SELECT destination FROM mailq.deferred "
    "WHERE owner IS NOT NULL UNION ALL SELECT destination FROM mailq.held)"};

struct round {
	struct queue_desk *desk;
	struct db_conn *conn;
	int64_t deadline;
	struct err *err;
	bool failed;
};

/* Runs one statement with at most one int8; trouble is noted, the round goes on. */
static void
run(struct round *k, const struct db_statement *st, const int64_t *number)
{
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, number != NULL ? *number : 0);
	struct err err;

	if (k->failed && *db_error_sqlstate(k->conn) == '\0')
		return; /* the connection is gone */
	if (db_command(k->conn, st, &param, number != NULL, k->deadline, NULL, &err))
		return;
	if (!k->failed)
		*k->err = err;
	k->failed = true;
}

static bool
is_due(int64_t *at, int64_t pause)
{
	if (clock_mono_us() < *at)
		return false;
	*at = clock_deadline(pause);
	return true;
}

static void
reap(struct round *k)
{
	int64_t timeout = k->desk->settings.upload_timeout;
	int64_t history = MAX(k->desk->settings.history, 86400 * CLOCK_SECOND);

	CRASH_POINT("keeper-reap");
	run(k, &sql_abandoned, &timeout);
	run(k, &sql_orphans, &timeout);
	run(k, &sql_nodes, NULL);
	run(k, &sql_orders, &history);
}

/* Contents that are delivered, or were never finished: as fast as they come, but the other upkeep must not wait for them. */
static void
drop_dead(struct round *k)
{
	int64_t until = clock_deadline(DROP_TIME);
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, DROP_SLICE);
	uint64_t rows = DROP_SLICE;

	while (rows >= DROP_SLICE && clock_mono_us() < until) {
		CRASH_POINT("keeper-drop");
		rows = 0;
		if (!db_command(k->conn, &sql_drop, &param, 1, k->deadline, &rows, k->err))
			k->failed = true;
	}
}

static bool
fix_destinations(struct round *k, int64_t *after)
{
	char n[2][DB_INT_SIZE];
	struct db_param slice[] = {db_param_int8(n[0], *after), db_param_int8(n[1], REPAIR_SLICE)};
	struct db_result *r = NULL;
	struct buf ids = {0};
	struct db_param param;
	bool ok;

	if (!db_exec(k->conn, &sql_lock_dests, slice, 2, k->deadline, &r, k->err))
		return false;
	*after = INT64_MIN;
	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < db_result_rows(r); i++) {
		db_array_add_int(&ids, DB_INT8, db_result_int(r, i, 0));
		if (i + 1 == REPAIR_SLICE)
			*after = db_result_int(r, i, 0);
	}
	db_array_end(&ids);
	db_result_free(&r);
	param = DB_PARAM_BUF(&ids);
	ok = db_command(k->conn, &sql_fix_dests, &param, 1, k->deadline, NULL, k->err);
	buf_done(&ids);
	return ok;
}

static void
repair(struct round *k)
{
	run(k, &sql_hold_age, NULL);
	run(k, &sql_old_dests, NULL);
	if (k->failed)
		return;
	if (!db_begin(k->conn, k->deadline, k->err)) {
		k->failed = true;
		return;
	}
	if (fix_destinations(k, &k->desk->repair_after)) {
		CRASH_POINT("keeper-repair");
		k->failed = db_commit(k->conn, k->deadline, k->err) != DB_COMMITTED;
		return;
	}
	db_rollback(k->conn);
	k->failed = true;
}

/* ---- left-over notifications (rule 5a.6) ------------------------------------------------------------------------------ */

static bool
compose_left(struct round *k, const int64_t *ids, size_t count)
{
	if (!db_begin(k->conn, k->deadline, k->err))
		return false;
	if (!queue_bounce_compose(k->desk, k->conn, ids, count, k->deadline, k->err) ||
	    !queue_bounce_collect(k->conn, ids, count, k->deadline, k->err)) {
		db_rollback(k->conn);
		return false;
	}
	CRASH_POINT("keeper-compose");
	return db_commit(k->conn, k->deadline, k->err) == DB_COMMITTED;
}

static void
tell_left(struct round *k)
{
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, SLICE);
	struct db_result *r = NULL;
	int64_t *ids;
	size_t count;

	if (!db_exec(k->conn, &sql_left, &param, 1, k->deadline, &r, k->err)) {
		k->failed = true;
		return;
	}
	count = db_result_rows(r);
	ids = mem_zalloc(count * sizeof(*ids));
	for (size_t i = 0; i < count; i++)
		ids[i] = db_result_int(r, i, 0);
	db_result_free(&r);
	k->failed |= count > 0 && !compose_left(k, ids, count);
	mem_free(ids);
}

bool
queue_keeper_run(struct queue_desk *d, int64_t deadline, struct err *err)
{
	struct round k = {.desk = d, .deadline = deadline, .err = err};

	k.conn = queue_desk_take(d, deadline, err);
	if (k.conn == NULL)
		return false;
	k.failed = !queue_ring_keep(d, k.conn, deadline, err);
	if (!k.failed && is_due(&d->notices_at, NOTICE_PAUSE))
		tell_left(&k);
	if (!k.failed && d->settings.history > 0 && is_due(&d->history_at, HISTORY_PAUSE)) {
		k.failed = !queue_history_keep(k.conn, d->settings.history, deadline, err);
		CRASH_POINT("keeper-history");
	}
	if (!k.failed && is_due(&d->reap_at, REAP_PAUSE))
		reap(&k);
	if (!k.failed && is_due(&d->drop_at, DROP_PAUSE))
		drop_dead(&k);
	if (!k.failed && is_due(&d->repair_at, REPAIR_PAUSE))
		repair(&k);
	queue_desk_give(d, &k.conn);
	return !k.failed;
}
