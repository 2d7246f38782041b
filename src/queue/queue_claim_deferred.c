/*
 * queue_claim_deferred.c - claims of deferred mail by destination (rule 5a.5): the due destinations are locked for the length
 * of the transaction only, in which their due rows get our epoch as owner. Others may serve the same destinations at
 * the same time; a dead destination costs one row however much it owns.
 */
#include "base/crash.h"
#include "queue/queue_claim.h"
#include "queue/queue_claimed.h"
#include "queue/queue_int.h"

#define DESTINATIONS 50 /* looked at in one claim */
#define SHARE_MIN    10 /* rows of one destination, at least */

/* Without a lock: is there anything to do at all? */
static const struct db_statement sql_look = {"deferred_look",
    "SELECT 1 FROM mailq.destination WHERE next_due IS NOT NULL "
    "AND greatest(next_due, dead_until) <= now() LIMIT 1"};

/* $1 epoch, $2 most */
static const struct db_statement sql_lock = {"deferred_lock",
    "SELECT destination_id FROM mailq.destination WHERE next_due IS NOT NULL "
    "AND greatest(next_due, dead_until) <= now() AND EXISTS (SELECT FROM mailq.node "
    "WHERE epoch = $1 AND state <> 'dead') ORDER BY greatest(next_due, dead_until) LIMIT $2 "
    "FOR UPDATE SKIP LOCKED"};

/*
 * From rows `u` to what queue_claimed_from_deferred() wants. Content and attributes come with the first row of a message: these may be
 * as long as a list of recipients.
 */
#define FIRST_OF_MESSAGE "row_number() OVER (PARTITION BY u.msg_id ORDER BY u.rcpt_no) = 1"
#define TAKEN_COLUMNS(inline)                                                                                                              \
	"SELECT m.msg_id, m.arrival, m.size, m.content_id, m.sender, CASE WHEN " FIRST_OF_MESSAGE                                          \
	" THEN m.attrs END, CASE WHEN m.size <= " inline " AND " FIRST_OF_MESSAGE                                                          \
							 " THEN m.content END, u.rcpt_no, u.attempts, u.dsn_notify, u.addr, u.orig_addr, " \
							 "u.dsn_orcpt FROM u JOIN mailq.deferred_message m ON m.msg_id = u.msg_id "        \
							 "ORDER BY u.msg_id, u.rcpt_no"

/*
 * $1 epoch, $2 destinations, $3 rows of each, $4 rows in all, $5 inline. A statement after the lock: it sees every row whose
 * insert had locked the destination before. What an operator wants to expire is not tried again: queue_expire.c returns it.
 */
static const struct db_statement sql_take = {"deferred_take",
    "WITH t AS MATERIALIZED (SELECT x.msg_id, x.rcpt_no FROM unnest($2::int8[]) w(id) "
    "CROSS JOIN LATERAL (SELECT msg_id, rcpt_no FROM mailq.deferred d WHERE d.destination = w.id "
    "AND d.owner IS NULL AND d.next_attempt <= now() AND NOT EXISTS (SELECT FROM "
    "mailq.deferred_message f WHERE f.msg_id = d.msg_id AND f.forced_expire) "
    "ORDER BY d.next_attempt LIMIT $3 FOR UPDATE OF d SKIP LOCKED) x LIMIT $4), "
    "u AS (UPDATE mailq.deferred d SET owner = $1 FROM t WHERE d.msg_id = t.msg_id "
    "AND d.rcpt_no = t.rcpt_no RETURNING d.*) " TAKEN_COLUMNS("$5")};

/* $1 epoch, $2 messages, $3 recipients, $4 inline. Rows of dead owners only. */
static const struct db_statement sql_adopt = {"deferred_adopt",
    "WITH u AS (UPDATE mailq.deferred d SET owner = $1 FROM unnest($2::int8[], $3::int4[]) x(m, r) "
    "WHERE d.msg_id = m AND d.rcpt_no = r AND d.owner IN (SELECT epoch FROM mailq.node "
    "WHERE state = 'dead') AND EXISTS (SELECT FROM mailq.node WHERE epoch = $1 "
    "AND state <> 'dead') RETURNING d.*) " TAKEN_COLUMNS("$4")};

/* $1 destinations. What is left of their free rows says when to look again. */
static const struct db_statement sql_next = {"deferred_next",
    "UPDATE mailq.destination t SET next_due = (SELECT next_attempt FROM mailq.deferred d "
    "WHERE d.destination = t.destination_id AND owner IS NULL ORDER BY next_attempt LIMIT 1) "
    "WHERE destination_id = ANY ($1)"};

static bool
look(struct db_conn *c, int64_t deadline, bool *ret_found, struct err *err)
{
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_look, NULL, 0, deadline, &r, err))
		return false;
	*ret_found = db_result_rows(r) > 0;
	db_result_free(&r);
	return true;
}

static bool
lock_destinations(int64_t epoch, struct db_conn *c, int64_t deadline, struct buf *ret,
    size_t *ret_count, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n[0], epoch), db_param_int8(n[1], DESTINATIONS)};
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_lock, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	*ret_count = db_result_rows(r);
	db_array_begin(ret, DB_INT8);
	for (size_t i = 0; i < *ret_count; i++)
		db_array_add_int(ret, DB_INT8, db_result_int(r, i, 0));
	db_array_end(ret);
	db_result_free(&r);
	return true;
}

static bool
take_rows(struct queue_desk *d, struct db_conn *c, int64_t epoch, struct buf *destinations,
    size_t count, const struct queue_budget *budget, int64_t deadline, struct db_result **ret,
    struct err *err)
{
	char n[4][DB_INT_SIZE];
	size_t share = MAX(budget->rcpts / count, (size_t)SHARE_MIN);
	/* A row's content is at most claim_inline, so this many fit for sure. */
	size_t fit = MAX(budget->bytes / d->settings.claim_inline, (size_t)SHARE_MIN);
	struct db_param params[] = {
	    db_param_int8(n[0], epoch),
	    DB_PARAM_BUF(destinations),
	    db_param_int8(n[1], (int64_t)share),
	    db_param_int8(n[2], (int64_t)MAX(MIN(budget->rcpts, fit), (size_t)1)),
	    db_param_int8(n[3], (int64_t)d->settings.claim_inline),
	};

	return db_exec(c, &sql_take, params, ARRAY_LEN(params), deadline, ret, err);
}

/* Remembers the rows for the case that the commit is in doubt. */
static void
note_doubt(struct queue_desk *d, const struct db_result *r)
{
	for (size_t i = 0; i < db_result_rows(r); i++) {
		struct queue_doubt_row row = {
		    .msg_id = db_result_int(r, i, 0),
		    .rcpt_no = (int32_t)db_result_int(r, i, 7),
		};

		buf_add(&d->doubt_msgs, &row, sizeof(row));
		d->doubt_count++;
	}
	d->doubt = true;
}

static bool
claim_in_transaction(struct queue_desk *d, struct db_conn *c, int64_t epoch,
    const struct queue_budget *budget, int64_t deadline, struct db_result **ret, struct err *err)
{
	struct buf destinations = {0};
	struct db_param param;
	size_t count = 0;
	bool ok;

	ok = lock_destinations(epoch, c, deadline, &destinations, &count, err);
	if (ok && count > 0) {
		param = DB_PARAM_BUF(&destinations);
		ok = take_rows(d, c, epoch, &destinations, count, budget, deadline, ret, err) &&
		     db_command(c, &sql_next, &param, 1, deadline, NULL, err);
	}
	buf_done(&destinations);
	return ok;
}

/* The end of a transaction that took the rows `*rows` (NULL: none). False: they are not in our hands, and freed again if need be. */
static bool
commit_rows(struct queue_desk *d, struct db_conn *c, int64_t epoch, int64_t deadline,
    struct db_result **rows, struct err *err)
{
	enum db_commit done;

	CRASH_POINT("claim-deferred-before-commit");
	done = db_commit(c, deadline, err);
	CRASH_POINT("claim-deferred-after-commit");
	if (done == DB_COMMITTED)
		return true;
	if (*rows != NULL && done != DB_COMMIT_FAILED && epoch == d->epoch)
		note_doubt(d, *rows);
	db_result_free(rows);
	if (done == DB_COMMIT_UNSAFE)
		err_set(err, ERR_TEMP, "4.3.0", "no confirmation from the standby");
	return false;
}

/* *ret NULL: nothing was due, or others have it. */
static bool
claim_rows(struct queue_desk *d, struct db_conn *c, int64_t epoch,
    const struct queue_budget *budget, int64_t deadline, struct db_result **ret, struct err *err)
{
	if (!db_begin(c, deadline, err))
		return false;
	if (claim_in_transaction(d, c, epoch, budget, deadline, ret, err))
		return commit_rows(d, c, epoch, deadline, ret, err);
	db_rollback(c);
	db_result_free(ret);
	return false;
}

static bool
adopt_rows(struct queue_desk *d, struct db_conn *c, int64_t epoch, const int64_t *msg_ids,
    const int32_t *rcpt_nos, size_t count, int64_t deadline, struct db_result **ret,
    struct err *err)
{
	struct buf msgs CLEANUP(buf_done) = {0};
	struct buf rcpts CLEANUP(buf_done) = {0};
	char n[2][DB_INT_SIZE];

	db_array_begin(&msgs, DB_INT8);
	db_array_begin(&rcpts, DB_INT4);
	for (size_t i = 0; i < count; i++) {
		db_array_add_int(&msgs, DB_INT8, msg_ids[i]);
		db_array_add_int(&rcpts, DB_INT4, rcpt_nos[i]);
	}
	db_array_end(&msgs);
	db_array_end(&rcpts);
	struct db_param params[] = {
	    db_param_int8(n[0], epoch),
	    DB_PARAM_BUF(&msgs),
	    DB_PARAM_BUF(&rcpts),
	    db_param_int8(n[1], (int64_t)d->settings.claim_inline),
	};

	if (!db_begin(c, deadline, err))
		return false;
	if (db_exec(c, &sql_adopt, params, ARRAY_LEN(params), deadline, ret, err))
		return commit_rows(d, c, epoch, deadline, ret, err);
	db_rollback(c);
	return false;
}

bool
queue_claim_adopt(struct queue_desk *d, const int64_t *msg_ids, const int32_t *rcpt_nos,
    size_t count, int64_t deadline, struct queue_claims *ret, struct err *err)
{
	struct queue_lease *lease;
	struct db_result *r = NULL;
	struct db_conn *c;
	bool ok;

	*ret = (struct queue_claims){0};
	c = queue_claim_begin(d, deadline, err);
	if (c == NULL)
		return false;
	lease = d->deferred;
	queue_lease_ref(lease);
	ok = adopt_rows(d, c, lease->epoch, msg_ids, rcpt_nos, count, deadline, &r, err);
	queue_claim_end(d, &c);
	for (size_t at = 0; r != NULL && at < db_result_rows(r);)
		queue_claims_add(ret, queue_claimed_from_deferred(lease, r, &at));
	db_result_free(&r);
	queue_lease_unref(&lease);
	return ok;
}

bool
queue_claim_deferred(struct queue_desk *d, const struct queue_budget *budget, int64_t deadline,
    struct queue_claims *ret, struct err *err)
{
	struct queue_lease *lease;
	struct db_result *r = NULL;
	struct db_conn *c;
	bool found = false;
	bool ok;

	*ret = (struct queue_claims){0};
	if (d->doubt)
		return queue_claim_reread(d, deadline, ret, err);
	c = queue_claim_begin(d, deadline, err);
	if (c == NULL)
		return false;
	lease = d->deferred;
	queue_lease_ref(lease); /* a new epoch may come while we wait */
	ok = look(c, deadline, &found, err) &&
	     (!found || claim_rows(d, c, lease->epoch, budget, deadline, &r, err));
	queue_claim_end(d, &c);
	for (size_t at = 0; r != NULL && at < db_result_rows(r);)
		queue_claims_add(ret, queue_claimed_from_deferred(lease, r, &at));
	db_result_free(&r);
	queue_lease_unref(&lease);
	d->deferred_at = ret->count > 0 ? 0 : clock_deadline(d->settings.poll_deferred);
	return ok;
}

int64_t
queue_claim_deferred_due(const struct queue_desk *d)
{
	return d->deferred_at;
}
