/*
 * queue_claim.c - claims of new mail, batch by batch, from the sets of the ring (rules 5a.1, 5a.9, 5a.11, 5a.14).
 *
 * A claim is one statement and one transaction: batch rows become lease rows of our epoch, and their messages come back. If its
 * outcome is in doubt the desk notes that, and the next claim re-reads the leases first.
 */
#include "queue/queue_claim.h"

#include <string.h>

#include "base/crash.h"
#include "base/mem.h"
#include "mail/mail_queue_id.h"
#include "queue/queue_claimed.h"
#include "queue/queue_int.h"

#define MARK_LAG  CLOCK_SECOND       /* how old a mark is: later commits may have lower batch ids */
#define FULL_LOOK (5 * CLOCK_SECOND) /* between looks without marks */

/*
 * $1 epoch, $2 mark, $3 batches, $4 messages, $5 recipients, $6 bytes, $7 inline, $8 page; $9 id, $10 size, $11 process numbers:
 * see queue_budget.elsewhere. Taken are the first batches that are not locked, as many as fit, at least one. A scheduler that was declared dead gets nothing.
 */
static struct queue_set_sql sql_claim = {.name = "claim",
    .sql =
	"WITH l AS MATERIALIZED (SELECT batch_id, cardinality(msg_ids) AS messages, recipients, "
	"bytes FROM mailq.batch_%K WHERE batch_id > $2 AND EXISTS (SELECT FROM mailq.node "
	"WHERE epoch = $1 AND state <> 'dead') ORDER BY batch_id LIMIT $3 FOR UPDATE SKIP LOCKED), "
	"t AS MATERIALIZED (SELECT batch_id, row_number() OVER w AS n, sum(messages) OVER w AS m, "
	"sum(recipients) OVER w AS r, sum(bytes) OVER w AS s FROM l WINDOW w AS (ORDER BY batch_id)), "
	"b AS (DELETE FROM mailq.batch_%K WHERE batch_id = ANY (ARRAY(SELECT batch_id FROM t "
	"WHERE n = 1 OR (m <= $4::int8 AND r <= $5::int8 AND s <= $6::int8))) "
	"RETURNING batch_id, msg_ids, recipients, bytes), "
	"a AS (INSERT INTO mailq.active_%K (batch_id, part, msg_ids, recipients, bytes, owner) "
	"SELECT batch_id, %K, msg_ids, recipients, bytes, $1 FROM b) "
	"SELECT " QUEUE_CLAIMED_COLUMNS("i.size <= $7 AND (i.size < $10 OR i.msg_id < $9 "
					"OR (i.msg_id & 4095) <> ALL ($11::int4[]))",
	    "$8") " FROM b JOIN mailq.incoming_%K i "
		  "ON i.msg_id = ANY (b.msg_ids)"};

/* $1 message, $2 first recipient, $3 page, $4 batch. Results one by one: see README.md. */
static struct queue_set_sql sql_page = {.name = "page",
    .sql = "SELECT " QUEUE_CLAIMED_RCPT_COLUMNS " FROM (SELECT x.rcpt_no, 0 AS attempts, "
	   "x.dsn_notify, x.addr, x.orig_addr, x.dsn_orcpt FROM mailq.incoming_%K i, "
	   "mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) x "
	   "WHERE i.msg_id = $1 AND x.rcpt_no >= $2 AND (SELECT true FROM mailq.result_%K r "
	   "WHERE r.batch_id = $4 AND r.msg_id = $1 AND r.rcpt_no = x.rcpt_no) IS NULL) p "
	   "ORDER BY rcpt_no LIMIT $3"};

static const struct db_statement sql_page_deferred = {"page_deferred",
    "SELECT " QUEUE_CLAIMED_RCPT_COLUMNS " FROM mailq.deferred WHERE msg_id = $1 AND rcpt_no >= $2 "
    "AND owner = $4 ORDER BY rcpt_no LIMIT $3"};

/* ---- pages of recipients --------------------------------------------------------------------------------------- */

static bool
read_page(struct db_conn *c, const struct queue_claimed *m, size_t page, int64_t deadline,
    struct queue_claimed **ret, struct err *err)
{
	const struct queue_lease *l = m->lease;
	char n[4][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], m->envelope.msg_id),
	    db_param_int4(n[1], m->next_rcpt),
	    db_param_int8(n[2], (int64_t)page),
	    db_param_int8(n[3], l->deferred ? l->epoch : l->batch_id),
	};
	const struct db_statement *st =
	    l->deferred ? &sql_page_deferred : queue_set_statement(&sql_page, l->set);
	struct db_result *r = NULL;

	if (!db_exec(c, st, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	*ret = db_result_rows(r) > 0 ? queue_claimed_from_page(m, r, page) : NULL;
	db_result_free(&r);
	return true;
}

bool
queue_claim_page(struct queue_desk *d, const struct queue_claimed *m, size_t page, int64_t deadline,
    struct queue_claimed **ret, struct err *err)
{
	struct db_conn *c;
	bool ok;

	MUST(m->next_rcpt >= 0 && page > 0);
	if (queue_lease_is_lost(m->lease))
		return err_set(err, ERR_GONE, "4.3.0", "the lease is lost");
	c = queue_desk_take(d, deadline, err);
	if (c == NULL)
		return false;
	ok = read_page(c, m, page, deadline, ret, err);
	queue_desk_give(d, &c);
	return ok;
}

/* ---- rows of the ring to messages -------------------------------------------------------------------------------- */

/* The lease of a row: one of those that this result made, which are behind `before` in the list, or a new one. */
static struct queue_lease *
lease_of_row(struct queue_desk *d, int16_t set, const struct list *before,
    const struct db_result *r, size_t row)
{
	int64_t batch_id = db_result_int(r, row, 0);

	for (struct list *at = d->leases.prev; at != before; at = at->prev) {
		struct queue_lease *l = CONTAINER_OF(at, struct queue_lease, node);

		if (l->batch_id == batch_id)
			return l;
	}
	return queue_lease_new(d, set, batch_id, (int32_t)db_result_int(r, row, 1));
}

/* A message too large for one page comes with its first page. */
static bool
first_page(
    struct db_conn *c, struct queue_claimed **m, size_t size, int64_t deadline, struct err *err)
{
	struct queue_claimed *page = NULL;

	if ((*m)->next_rcpt != 0)
		return true;
	if (!read_page(c, *m, size, deadline, &page, err))
		return false;
	queue_claimed_free(m);
	*m = page;
	return true;
}

/* Without a wait, so that nobody changes the list of leases meanwhile. */
static void
make_messages(struct queue_desk *d, int16_t set, const struct db_result *r, bool settled,
    struct queue_claims *ret)
{
	const struct list *before = d->leases.prev;

	for (size_t row = 0; row < db_result_rows(r); row++) {
		struct queue_lease *l = lease_of_row(d, set, before, r, row);
		struct queue_claimed *m = queue_claimed_from_ring(l, r, row, settled);

		if (settled)
			l->settled = (int32_t)db_result_int(r, row, QUEUE_CLAIMED_SETTLED + 1);
		if (m != NULL)
			queue_claims_add(ret, m);
	}
}

bool
queue_claim_rows(struct queue_desk *d, struct db_conn *c, int16_t set, const struct db_result *r,
    bool settled, size_t page, int64_t deadline, struct queue_claims *ret, struct err *err)
{
	size_t i = ret->count;

	make_messages(d, set, r, settled, ret);
	while (i < ret->count) {
		if (!first_page(c, &ret->items[i], page, deadline, err)) {
			d->doubt = true;
			return false;
		}
		if (ret->items[i] == NULL) /* every recipient is settled */
			ret->items[i] = ret->items[--ret->count];
		else
			i++;
	}
	return true;
}

/* ---- one look into one set ----------------------------------------------------------------------------------------- */

/* Moves the mark to what had been seen a second ago. */
static void
move_mark(struct queue_set *s, int64_t now)
{
	if (now - s->next_mark_at < MARK_LAG)
		return;
	s->mark = s->next_mark;
	s->next_mark = s->seen;
	s->next_mark_at = now;
}

static void
note_seen(struct queue_set *s, const struct db_result *r)
{
	for (size_t row = 0; row < db_result_rows(r); row++)
		s->seen = MAX(s->seen, db_result_int(r, row, 0));
}

_Static_assert(MAIL_QUEUE_ID_PROCESS == 4096, "in sql_claim");

static struct db_param
numbers_param(struct buf *array, struct span numbers)
{
	int32_t number;

	db_array_begin(array, DB_INT4);
	for (; numbers.len >= sizeof(number); numbers = span_from(numbers, sizeof(number))) {
		memcpy(&number, numbers.ptr, sizeof(number));
		db_array_add_int(array, DB_INT4, number);
	}
	db_array_end(array);
	return DB_PARAM_BUF(array);
}

static bool
claim_set(struct queue_desk *d, struct db_conn *c, int16_t set, bool full,
    const struct queue_budget *budget, int64_t deadline, struct queue_claims *ret, struct err *err)
{
	struct queue_set *s = &d->sets[set];
	size_t page = budget->page != 0 ? budget->page : d->settings.claim_page;
	int64_t epoch = d->epoch;
	char n[10][DB_INT_SIZE];
	struct buf elsewhere CLEANUP(buf_done) = {0};
	struct db_param params[] = {
	    db_param_int8(n[0], epoch),
	    db_param_int8(n[1], full ? 0 : s->mark),
	    db_param_int8(n[2], (int64_t)d->settings.claim_batches),
	    db_param_int8(n[3], (int64_t)budget->messages),
	    db_param_int8(n[4], (int64_t)budget->rcpts),
	    db_param_int8(n[5], (int64_t)budget->bytes),
	    db_param_int8(n[6], (int64_t)d->settings.claim_inline),
	    db_param_int8(n[7], (int64_t)page),
	    db_param_int8(n[8], budget->elsewhere_from),
	    db_param_int8(n[9], (int64_t)budget->elsewhere_size),
	    {0},
	};
	struct db_result *r[1] = {NULL};
	enum db_commit done;
	struct db_batch b;
	bool ok;

	params[10] = numbers_param(&elsewhere, budget->elsewhere);
	move_mark(s, clock_mono_us());
	db_batch_begin(&b, c);
	db_batch_add(&b, queue_set_statement(&sql_claim, set), params, ARRAY_LEN(params));
	CRASH_POINT("claim-before-commit");
	done = db_batch_commit(&b, deadline, r, NULL, err);
	CRASH_POINT("claim-after-commit");
	/* A claim that the standby did not confirm may be undone by a failover: hand nothing out (rule 5a.9). */
	if (done != DB_COMMITTED) {
		d->doubt |= done != DB_COMMIT_FAILED;
		db_result_free(&r[0]);
		return false;
	}
	note_seen(&d->sets[set], r[0]);
	if (d->epoch != epoch) { /* we were fenced meanwhile: these leases are another's already */
		db_result_free(&r[0]);
		return err_set(err, ERR_GONE, "4.3.0", "the epoch is over");
	}
	ok = queue_claim_rows(d, c, set, r[0], false, page, deadline, ret, err);
	db_result_free(&r[0]);
	return ok;
}

/* ---- which sets ------------------------------------------------------------------------------------------------------ */

/* "SELECT ARRAY[EXISTS (SELECT FROM mailq.batch_0 WHERE batch_id > $1[1]), ...]" for as many sets as there are. */
static const struct db_statement *
peek_statement(size_t sets)
{
	static struct db_statement *made[4096];
	struct buf sql = {0};

	MUST(sets < ARRAY_LEN(made));
	if (made[sets] != NULL)
		return made[sets];
	buf_add_str(&sql, "SELECT ARRAY[");
	for (size_t i = 0; i < sets; i++)
		buf_printf(&sql,
		    "%sEXISTS (SELECT FROM mailq.batch_%zu WHERE batch_id > ($1::int8[])[%zu])",
		    i > 0 ? ", " : "", i, i + 1);
	buf_add_str(&sql, "]");
	made[sets] = mem_new(struct db_statement);
	made[sets]->name = mem_printf("peek_%zu", sets);
	made[sets]->sql = buf_take(&sql);
	return made[sets];
}

/* Looks into all sets at once: which have batches? */
static bool
peek(struct queue_desk *d, struct db_conn *c, bool full, int64_t deadline, struct err *err)
{
	struct buf marks = {0};
	struct db_param param;
	struct db_result *r = NULL;
	struct db_array_reader a;
	struct span element;
	bool ok;

	db_array_begin(&marks, DB_INT8);
	for (size_t i = 0; i < d->set_count; i++) {
		move_mark(&d->sets[i], clock_mono_us());
		db_array_add_int(&marks, DB_INT8, full ? 0 : d->sets[i].mark);
	}
	db_array_end(&marks);
	param = DB_PARAM_BUF(&marks);
	ok = db_exec(c, peek_statement(d->set_count), &param, 1, deadline, &r, err);
	buf_done(&marks);
	if (!ok)
		return false;
	if (db_result_array(r, 0, 0, &a))
		for (size_t i = 0; i < d->set_count && db_array_next(&a, &element); i++)
			d->sets[i].filled = element.len == 1 && element.ptr[0] != 0;
	db_result_free(&r);
	return true;
}

/* Old sets first: what is in them waits longest, and keeps them from being emptied. */
static bool
claim_closed(struct queue_desk *d, struct db_conn *c, const struct queue_budget *budget,
    int64_t deadline, struct queue_claims *ret, struct err *err)
{
	int64_t now = clock_mono_us();
	bool full = now >= d->full_look_at;

	if (now < d->closed_at)
		return true;
	if (!peek(d, c, full, deadline, err))
		return false;
	for (size_t i = 0; i < d->set_count && ret->count == 0; i++)
		if (d->sets[i].filled && (!d->sets[i].open || full) &&
		    !claim_set(d, c, (int16_t)i, full, budget, deadline, ret, err))
			return false;
	if (ret->count > 0)
		return true; /* there may be more: look again at once */
	d->closed_at = clock_mono_us() + d->settings.poll_closed;
	if (full)
		d->full_look_at = clock_mono_us() + FULL_LOOK;
	return true;
}

static bool
claim_open(struct queue_desk *d, struct db_conn *c, const struct queue_budget *budget,
    int64_t deadline, struct queue_claims *ret, struct err *err)
{
	if (clock_mono_us() < d->open_at)
		return true;
	if (!claim_set(d, c, queue_desk_open_set(d), false, budget, deadline, ret, err))
		return false;
	if (ret->count > 0) {
		d->pause = d->settings.poll_min;
		d->open_at = 0;
	} else {
		d->pause = MIN(2 * d->pause, d->settings.poll_max);
		d->open_at = clock_mono_us() + d->pause;
	}
	return true;
}

struct db_conn *
queue_claim_begin(struct queue_desk *d, int64_t deadline, struct err *err)
{
	struct db_conn *c;

	if (task_lock_take(&d->claiming, deadline) != TASK_READY) {
		err_set(err, ERR_TEMP, "4.3.0", "queue database is slow");
		return NULL;
	}
	c = queue_desk_take(d, deadline, err);
	if (c == NULL)
		task_lock_give(&d->claiming);
	return c;
}

void
queue_claim_end(struct queue_desk *d, struct db_conn **c)
{
	queue_desk_give(d, c);
	task_lock_give(&d->claiming);
}

bool
queue_claim_incoming(struct queue_desk *d, const struct queue_budget *budget, int64_t deadline,
    struct queue_claims *ret, struct err *err)
{
	struct db_conn *c;
	bool ok;

	*ret = (struct queue_claims){0};
	if (d->doubt || clock_mono_us() >= d->reread_at)
		return queue_claim_reread(d, deadline, ret, err);
	c = queue_claim_begin(d, deadline, err);
	if (c == NULL)
		return false;
	ok = queue_desk_know_ring(d, c, deadline, err) &&
	     claim_closed(d, c, budget, deadline, ret, err) &&
	     (ret->count > 0 || claim_open(d, c, budget, deadline, ret, err));
	queue_claim_end(d, &c);
	if (!ok) {
		/* What came before the failure is ours, but not in the caller's hands. */
		d->doubt |= ret->count > 0;
		queue_claims_done(ret);
	}
	return ok;
}

int64_t
queue_claim_incoming_due(const struct queue_desk *d)
{
	return MIN(d->open_at, d->closed_at);
}

void
queue_claim_poke(struct queue_desk *d)
{
	d->open_at = 0;
	d->pause = d->settings.poll_min;
}
