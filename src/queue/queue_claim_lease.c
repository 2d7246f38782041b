/*
 * queue_claim_lease.c - leases that change hands or form: those of dead nodes (rule 5a.8), those that we hold without
 * knowing, and those so old that they become rows of `deferred` (rule 5a.5).
 */
#include "base/buf.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_claim.h"
#include "queue/queue_claimed.h"
#include "queue/queue_int.h"

#define SLICE      20   /* leases taken over at a time, so that survivors share */
#define SLICE_ROWS 2000 /* rows of `deferred` made free at a time */
#define STRAGGLER  2    /* rotations after which a lease is moved */

/*
 * Is epoch `owner` dead, and is its mail ours ($1) to take? Another scheduler that runs under the same name comes first, for a while: the
 * agents of that node may know better than the queue what was delivered.
 */
#define FIRST_RIGHT "interval '20 s'"
#define IS_OURS_TO_TAKE(owner)                                                                     \
	"NOT EXISTS (SELECT FROM mailq.node n WHERE n.epoch = " owner " AND (n.state <> 'dead' "   \
	"OR n.changed > now() - " FIRST_RIGHT " AND EXISTS (SELECT FROM mailq.node s "             \
	"WHERE s.name = n.name AND s.state <> 'dead' AND s.epoch <> $1)))"

/* $1 epoch, $2 slice. The lock sees to it that each lease is taken once; the owner is looked at again under it. */
static struct queue_set_sql sql_takeover = {.name = "takeover",
    .sql = "UPDATE mailq.active_%K SET owner = $1, claimed = now() WHERE batch_id = ANY (ARRAY("
	   "SELECT batch_id FROM mailq.active_%K a WHERE " IS_OURS_TO_TAKE(
	       "a.owner") " AND EXISTS (SELECT FROM mailq.node "
			  "WHERE epoch = $1 AND state <> 'dead') ORDER BY batch_id LIMIT $2 "
			  "FOR UPDATE SKIP LOCKED)) RETURNING batch_id"};

/* $1 epoch, $2 batches, $3 inline, $4 page. A statement after the takeover: it sees all results stored before. */
#define LEASE_COLUMNS                                                                               \
	"SELECT " QUEUE_CLAIMED_COLUMNS("i.size <= $3",                                             \
	    "$4") ", ARRAY(SELECT rcpt_no "                                                         \
		  "FROM mailq.result_%K r WHERE r.batch_id = b.batch_id AND r.msg_id = i.msg_id), " \
		  "(SELECT count(*) FROM mailq.result_%K r WHERE r.batch_id = b.batch_id)::int4 "   \
		  "FROM mailq.active_%K b JOIN mailq.incoming_%K i ON i.msg_id = ANY (b.msg_ids) "  \
		  "WHERE b.owner = $1 AND "
static struct queue_set_sql sql_read_these = {
    .name = "lease_read", .sql = LEASE_COLUMNS "b.batch_id = ANY ($2) ORDER BY b.batch_id"};
static struct queue_set_sql sql_read_others = {
    .name = "lease_read_others", .sql = LEASE_COLUMNS "b.batch_id <> ALL ($2) ORDER BY b.batch_id"};

/* $1 epoch */
static struct queue_set_sql sql_mine = {
    .name = "lease_mine", .sql = "SELECT batch_id FROM mailq.active_%K WHERE owner = $1"};

/* $1 epoch, $2 slice. Their destinations are due, under the lock of each. */
static const struct db_statement sql_free_deferred = {"free_deferred",
    "WITH f AS (SELECT msg_id, rcpt_no FROM mailq.deferred WHERE owner = ANY (ARRAY(SELECT d.epoch "
    "FROM mailq.node d WHERE " IS_OURS_TO_TAKE(
	"d.epoch") ")) LIMIT $2 FOR UPDATE SKIP LOCKED), "
		   "u AS (UPDATE mailq.deferred d SET owner = NULL FROM f WHERE d.msg_id = f.msg_id "
		   "AND d.rcpt_no = f.rcpt_no RETURNING d.destination), "
		   "l AS (SELECT destination_id FROM mailq.destination WHERE destination_id IN "
		   "(SELECT destination FROM u) ORDER BY destination_id FOR UPDATE), "
		   "w AS (UPDATE mailq.destination t SET next_due = least(next_due, now()) FROM l "
		   "WHERE t.destination_id = l.destination_id) SELECT count(*) FROM u"};

/*
 * $1 epoch, $2 messages, $3 recipients: those that a claim in doubt took become free again. Such a claim may end only now: who looked at
 * the owner alone would see free rows, and not wait for its lock.
 */
static const struct db_statement sql_free_doubt = {"free_doubt",
    "WITH k AS MATERIALIZED (SELECT d.msg_id, d.rcpt_no, d.owner FROM mailq.deferred d "
    "JOIN unnest($2::int8[], $3::int4[]) x(m, r) ON d.msg_id = m AND d.rcpt_no = r "
    "WHERE d.owner = $1 OR d.owner IS NULL FOR UPDATE OF d), "
    "u AS (UPDATE mailq.deferred d SET owner = NULL FROM k WHERE d.msg_id = k.msg_id "
    "AND d.rcpt_no = k.rcpt_no AND k.owner = $1 RETURNING d.destination), "
    "l AS (SELECT destination_id FROM mailq.destination WHERE destination_id IN "
    "(SELECT destination FROM u) ORDER BY destination_id FOR UPDATE), "
    "w AS (UPDATE mailq.destination t SET next_due = least(next_due, now()) FROM l "
    "WHERE t.destination_id = l.destination_id) SELECT count(*) FROM u"};

/* ---- promotion: $1 epoch, $2 batches ------------------------------------------------------------------------------ */

static struct queue_set_sql sql_promote_lock = {.name = "promote_lock",
    .sql = "SELECT batch_id FROM mailq.active_%K WHERE batch_id = ANY ($2) AND owner = $1 "
	   "ORDER BY batch_id FOR UPDATE"};
static struct queue_set_sql sql_promote_messages = {.name = "promote_messages",
    .sql = "INSERT INTO mailq.deferred_message (msg_id, arrival, size, content_id, recipients, "
	   "expires_at, sender, attrs, content) SELECT i.msg_id, i.arrival, i.size, i.content_id, "
	   "i.recipients, 'infinity', i.sender, i.attrs, i.content FROM mailq.active_%K a "
	   "JOIN mailq.incoming_%K i ON i.msg_id = ANY (a.msg_ids) WHERE a.batch_id = ANY ($2) "
	   "AND a.owner = $1 AND i.recipients > (SELECT count(*) FROM mailq.result_%K r "
	   "WHERE r.batch_id = a.batch_id AND r.msg_id = i.msg_id) ON CONFLICT DO NOTHING"};
static struct queue_set_sql sql_promote_rcpts = {.name = "promote_rcpts",
    .sql = "INSERT INTO mailq.deferred (msg_id, destination, next_attempt, owner, rcpt_no, "
	   "attempts, dsn_notify, addr, orig_addr, dsn_orcpt, dsn, reason) SELECT i.msg_id, "
	   "mailq.destination_id('', ''), now(), $1, x.rcpt_no, 0, x.dsn_notify, x.addr, "
	   "x.orig_addr, x.dsn_orcpt, '', '' FROM mailq.active_%K a JOIN mailq.incoming_%K i "
	   "ON i.msg_id = ANY (a.msg_ids), mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, "
	   "i.dsn_notifies) x WHERE a.batch_id = ANY ($2) AND a.owner = $1 AND ("
	   "SELECT true FROM mailq.result_%K r WHERE r.batch_id = a.batch_id "
	   "AND r.msg_id = i.msg_id AND r.rcpt_no = x.rcpt_no) IS NULL ON CONFLICT DO NOTHING"};
static struct queue_set_sql sql_promote_end = {.name = "promote_end",
    .sql = "DELETE FROM mailq.active_%K WHERE batch_id = ANY ($2) AND owner = $1"};

/* ---- reading leases ------------------------------------------------------------------------------------------------ */

/* Runs one of the promotion statements, whose parameters are the epoch and batches. */
static bool
run_on_batches(struct queue_desk *d, struct db_conn *c, const struct db_statement *st,
    struct buf *batches, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n, d->epoch), DB_PARAM_BUF(batches)};

	return db_command(c, st, params, ARRAY_LEN(params), deadline, ret_rows, err);
}

/* Leases of which nothing is open (a late `sent` settled the last recipient): their rows go. */
static bool
drop_settled(
    struct queue_desk *d, struct db_conn *c, int16_t set, int64_t deadline, struct err *err)
{
	struct buf batches = {0};
	size_t count = 0;
	bool ok;

	db_array_begin(&batches, DB_INT8);
	LIST_FOREACH_SAFE (l, &d->leases, struct queue_lease, node) {
		if (l->set != set || l->settled < l->recipients)
			continue;
		db_array_add_int(&batches, DB_INT8, l->batch_id);
		queue_lease_close(l);
		count++;
	}
	db_array_end(&batches);
	ok = count == 0 || run_on_batches(d, c, queue_set_statement(&sql_promote_end, set),
			       &batches, deadline, NULL, err);
	buf_done(&batches);
	return ok;
}

/* The messages of these batches of a set, or of all others of ours; without settled recipients. */
static bool
read_leases(struct queue_desk *d, struct db_conn *c, int16_t set, bool others, struct buf *batches,
    int64_t deadline, struct queue_claims *ret, struct err *err)
{
	int64_t epoch = d->epoch;
	char n[3][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], epoch),
	    DB_PARAM_BUF(batches),
	    db_param_int8(n[1], (int64_t)d->settings.claim_inline),
	    db_param_int8(n[2], (int64_t)d->settings.claim_page),
	};
	struct queue_set_sql *sql = others ? &sql_read_others : &sql_read_these;
	struct db_result *r = NULL;
	bool ok;

	if (!db_exec(
		c, queue_set_statement(sql, set), params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	if (d->epoch == epoch)
		ok = queue_claim_rows(
		    d, c, set, r, true, d->settings.claim_page, deadline, ret, err);
	else
		ok = err_set(err, ERR_GONE, "4.3.0", "the epoch is over");
	db_result_free(&r);
	return ok && drop_settled(d, c, set, deadline, err);
}

/* ---- takeover ------------------------------------------------------------------------------------------------------ */

/* One slice of one set; *ret_taken batches. */
static bool
take_over_set(struct queue_desk *d, struct db_conn *c, int16_t set, int64_t deadline,
    struct queue_claims *ret, size_t *ret_taken, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n[0], d->epoch), db_param_int8(n[1], SLICE)};
	struct db_result *r[1] = {NULL};
	struct buf batches = {0};
	enum db_commit done;
	struct db_batch b;
	bool ok;

	db_batch_begin(&b, c);
	db_batch_add(&b, queue_set_statement(&sql_takeover, set), params, ARRAY_LEN(params));
	CRASH_POINT("takeover-before-commit");
	done = db_batch_commit(&b, deadline, r, NULL, err);
	CRASH_POINT("takeover-after-commit");
	if (done != DB_COMMITTED) {
		d->doubt |= done != DB_COMMIT_FAILED;
		db_result_free(&r[0]);
		return false;
	}
	*ret_taken = db_result_rows(r[0]);
	db_array_begin(&batches, DB_INT8);
	for (size_t i = 0; i < *ret_taken; i++)
		db_array_add_int(&batches, DB_INT8, db_result_int(r[0], i, 0));
	db_array_end(&batches);
	db_result_free(&r[0]);
	ok = *ret_taken == 0 || read_leases(d, c, set, false, &batches, deadline, ret, err);
	d->doubt |= !ok;
	buf_done(&batches);
	return ok;
}

/* Rows of `deferred` of dead nodes become free: whoever looks next claims them. */
static bool
free_deferred(
    struct queue_desk *d, struct db_conn *c, int64_t deadline, bool *ret_more, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n[0], d->epoch), db_param_int8(n[1], SLICE_ROWS)};
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_free_deferred, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	CRASH_POINT("takeover-deferred");
	*ret_more |= db_result_int(r, 0, 0) == SLICE_ROWS;
	db_result_free(&r);
	return true;
}

bool
queue_claim_takeover(struct queue_desk *d, const struct queue_budget *budget, int64_t deadline,
    struct queue_claims *ret, bool *ret_more, struct err *err)
{
	struct db_conn *c;
	size_t taken = 0;
	bool ok;

	*ret = (struct queue_claims){0};
	*ret_more = false;
	c = queue_claim_begin(d, deadline, err);
	if (c == NULL)
		return false;
	ok = queue_desk_know_ring(d, c, deadline, err) &&
	     free_deferred(d, c, deadline, ret_more, err);
	for (size_t i = 0; ok && i < d->set_count && ret->count < budget->messages; i++) {
		ok = take_over_set(d, c, (int16_t)i, deadline, ret, &taken, err);
		*ret_more |= taken == SLICE;
	}
	*ret_more |= ret->count >= budget->messages;
	queue_claim_end(d, &c);
	if (!ok) {
		d->doubt |= ret->count > 0;
		queue_claims_done(ret);
	}
	return ok;
}

/* ---- re-reading ------------------------------------------------------------------------------------------------------ */

static void
known_batches(struct queue_desk *d, int16_t set, struct buf *ret)
{
	db_array_begin(ret, DB_INT8);
	LIST_FOREACH (l, &d->leases, struct queue_lease, node)
		if (l->set == set)
			db_array_add_int(ret, DB_INT8, l->batch_id);
	db_array_end(ret);
}

/* Marks lost what the database does not show as ours. */
static bool
check_known(struct queue_desk *d, struct db_conn *c, int16_t set, int64_t deadline, struct err *err)
{
	int64_t epoch = d->epoch;
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, epoch);
	struct db_result *r = NULL;

	if (!db_exec(c, queue_set_statement(&sql_mine, set), &param, 1, deadline, &r, err))
		return false;
	if (d->epoch != epoch) {
		db_result_free(&r);
		return err_set(err, ERR_GONE, "4.3.0", "the epoch is over");
	}
	LIST_FOREACH (l, &d->leases, struct queue_lease, node)
		l->there = false;
	for (size_t i = 0; i < db_result_rows(r); i++)
		LIST_FOREACH (l, &d->leases, struct queue_lease, node)
			if (l->batch_id == db_result_int(r, i, 0))
				l->there = true;
	db_result_free(&r);
	LIST_FOREACH_SAFE (l, &d->leases, struct queue_lease, node) {
		if (l->set != set || l->there)
			continue;
		l->lost = true;
		queue_lease_close(l);
	}
	return true;
}

static bool
reread_set(struct queue_desk *d, struct db_conn *c, int16_t set, int64_t deadline,
    struct queue_claims *ret, struct err *err)
{
	struct buf known = {0};
	bool ok;

	known_batches(d, set, &known);
	ok = check_known(d, c, set, deadline, err) &&
	     read_leases(d, c, set, true, &known, deadline, ret, err);
	buf_done(&known);
	return ok;
}

static bool
free_doubt(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	struct buf msgs = {0};
	struct buf rcpts = {0};
	char n[DB_INT_SIZE];
	struct db_param params[3];
	const struct queue_doubt_row *rows = (const void *)buf_str(&d->doubt_msgs);
	bool ok;

	if (d->doubt_count == 0)
		return true;
	db_array_begin(&msgs, DB_INT8);
	db_array_begin(&rcpts, DB_INT4);
	for (size_t i = 0; i < d->doubt_count; i++) {
		db_array_add_int(&msgs, DB_INT8, rows[i].msg_id);
		db_array_add_int(&rcpts, DB_INT4, rows[i].rcpt_no);
	}
	db_array_end(&msgs);
	db_array_end(&rcpts);
	params[0] = db_param_int8(n, d->epoch);
	params[1] = DB_PARAM_BUF(&msgs);
	params[2] = DB_PARAM_BUF(&rcpts);
	ok = db_command(c, &sql_free_doubt, params, 3, deadline, NULL, err);
	buf_done(&msgs);
	buf_done(&rcpts);
	if (!ok)
		return false;
	d->doubt_count = 0;
	buf_clear(&d->doubt_msgs);
	return true;
}

/* Leases that nobody has messages of: what was to be read after the claim, or a part of what a look brought, did not come. */
static void
forget_empty(struct queue_desk *d)
{
	LIST_FOREACH_SAFE (l, &d->leases, struct queue_lease, node)
		if (l->refs == 1)
			queue_lease_close(l);
}

static bool
reread(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct queue_claims *ret,
    struct err *err)
{
	/* A claim that the standby had not confirmed is firm when a later write is (rule 5a.9). */
	if (queue_process_touch(d->process, c, deadline, err) != DB_COMMITTED)
		return false;
	d->sets_known = 0;
	if (!queue_desk_know_ring(d, c, deadline, err) ||
	    !queue_claim_resolve(d, c, deadline, err) || !free_doubt(d, c, deadline, err))
		return false;
	forget_empty(d);
	for (size_t i = 0; i < d->set_count; i++)
		if (!reread_set(d, c, (int16_t)i, deadline, ret, err))
			return false;
	return true;
}

bool
queue_claim_reread(
    struct queue_desk *d, int64_t deadline, struct queue_claims *ret, struct err *err)
{
	struct db_conn *c;
	bool ok;

	*ret = (struct queue_claims){0};
	c = queue_claim_begin(d, deadline, err);
	if (c == NULL)
		return false;
	if (task_lock_take(&d->settling, deadline) == TASK_READY) {
		ok = reread(d, c, deadline, ret, err);
		task_lock_give(&d->settling);
	} else {
		ok = err_set(err, ERR_TEMP, "4.3.0", "queue database is slow");
	}
	queue_claim_end(d, &c);
	d->doubt = !ok;
	d->reread_at = clock_deadline(QUEUE_REREAD_PAUSE);
	if (!ok)
		queue_claims_done(ret);
	return ok;
}

/* ---- stragglers -------------------------------------------------------------------------------------------------------- */

static struct queue_lease *
first_doubtful(struct queue_desk *d)
{
	LIST_FOREACH (l, &d->leases, struct queue_lease, node)
		if (l->doubtful)
			return l;
	return NULL;
}

/* Fills `one`, the array of its batch, for the statements. *ret_rows 0: it is not ours, or gone. */
static bool
lock_to_promote(struct queue_desk *d, struct db_conn *c, const struct queue_lease *l,
    struct buf *one, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	db_array_begin(one, DB_INT8);
	db_array_add_int(one, DB_INT8, l->batch_id);
	db_array_end(one);
	return run_on_batches(
	    d, c, queue_set_statement(&sql_promote_lock, l->set), one, deadline, ret_rows, err);
}

/* Was its promotion committed? Nobody but us removes a lease of ours while our epoch lives. */
static bool
resolve_one(struct queue_desk *d, struct db_conn *c, struct queue_lease *l, int64_t deadline,
    struct err *err)
{
	struct buf one CLEANUP(buf_done) = {0};
	uint64_t rows = 0;

	if (!lock_to_promote(d, c, l, &one, deadline, &rows, err))
		return false;
	l->doubtful = false;
	if (rows == 0 && !l->lost)
		queue_lease_to_deferred(d, l);
	return true;
}

bool
queue_claim_resolve(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	struct queue_lease *l;
	bool ok = true;

	/* From the start each time: the list may be another one after a wait. */
	while (ok && (l = first_doubtful(d)) != NULL) {
		queue_lease_ref(l);
		ok = resolve_one(d, c, l, deadline, err);
		queue_lease_unref(&l);
	}
	return ok;
}

static bool
promote_in_transaction(struct queue_desk *d, struct db_conn *c, const struct queue_lease *l,
    int64_t deadline, struct err *err)
{
	struct queue_set_sql *steps[] = {
	    &sql_promote_messages, &sql_promote_rcpts, &sql_promote_end};
	struct buf one CLEANUP(buf_done) = {0};
	uint64_t rows = 0;
	bool ok = lock_to_promote(d, c, l, &one, deadline, &rows, err);

	if (ok && rows == 0)
		ok = err_set(err, ERR_GONE, "4.3.0", "the lease is lost");
	for (size_t i = 0; ok && i < ARRAY_LEN(steps); i++) {
		ok = run_on_batches(
		    d, c, queue_set_statement(steps[i], l->set), &one, deadline, NULL, err);
		CRASH_POINT("promote-step");
	}
	return ok;
}

static bool
promote(struct queue_desk *d, struct db_conn *c, struct queue_lease *l, int64_t deadline,
    struct err *err)
{
	enum db_commit done;

	if (!db_begin(c, deadline, err))
		return false;
	if (!promote_in_transaction(d, c, l, deadline, err)) {
		db_rollback(c);
		return false;
	}
	done = db_commit(c, deadline, err);
	CRASH_POINT("promote-after-commit");
	if (l->lost)
		return true; /* a new epoch came meanwhile */
	if (done == DB_COMMITTED || done == DB_COMMIT_UNSAFE)
		queue_lease_to_deferred(d, l);
	else
		l->doubtful = done == DB_COMMIT_IN_DOUBT;
	return done == DB_COMMITTED || done == DB_COMMIT_UNSAFE;
}

static bool
is_straggler(const struct queue_desk *d, const struct queue_lease *l)
{
	const struct queue_set *s = &d->sets[l->set];

	/* `since` of a closed set is when it was closed, one rotation after it was opened. */
	return !s->open && clock_mono_us() - s->since > (STRAGGLER - 1) * d->settings.rotate;
}

static struct queue_lease *
first_straggler(struct queue_desk *d)
{
	LIST_FOREACH (l, &d->leases, struct queue_lease, node)
		if ((size_t)l->set < d->set_count && is_straggler(d, l))
			return l;
	return NULL;
}

static bool
promote_stragglers(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	struct queue_lease *l;
	bool ok = true;

	if (!queue_desk_know_ring(d, c, deadline, err) || !queue_claim_resolve(d, c, deadline, err))
		return false;
	/* From the start each time, as above. */
	while (ok && (l = first_straggler(d)) != NULL) {
		queue_lease_ref(l);
		ok = promote(d, c, l, deadline, err);
		queue_lease_unref(&l);
	}
	return ok;
}

bool
queue_claim_promote_stragglers(struct queue_desk *d, int64_t deadline, struct err *err)
{
	struct db_conn *c;
	bool ok;

	if (list_is_empty(&d->leases))
		return true;
	if (task_lock_take(&d->settling, deadline) != TASK_READY)
		return err_set(err, ERR_TEMP, "4.3.0", "queue database is slow");
	c = queue_desk_take(d, deadline, err);
	ok = c != NULL && promote_stragglers(d, c, deadline, err);
	if (c != NULL)
		queue_desk_give(d, &c);
	task_lock_give(&d->settling);
	return ok;
}
