/*
 * queue_order.c - operators' orders (rule 5a.13). What an order does to mail that is free, and whether anything of it is left to
 * somebody, is decided by mailq.order_give() and mailq.order_try() in schema/0002-operators.sql; here is who calls them, for
 * which messages, and how many at a time.
 */
#include "queue/queue_order.h"

#include "base/hmap.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "queue/queue_int.h"

#define SLICE 200 /* messages to a transaction: outcomes wait no longer than that takes */
#define TRIES 5   /* of a slice that met somebody's lock */

/* $1 verb, $2 messages, $3 who, $4 why: a row for each message, in their order */
static const struct db_statement sql_give = {"order_give",
    "WITH g AS MATERIALIZED (SELECT id, state FROM mailq.order_give($1::text, $2::int8[], "
    "$3::text, $4::text)) SELECT coalesce(g.state, 'not_found') FROM unnest($2::int8[]) "
    "WITH ORDINALITY u(id, n) LEFT JOIN g ON g.id = u.id ORDER BY n"};

/* $1 domain */
static const struct db_statement sql_flush_site = {
    "order_flush_site", "SELECT mailq.flush_site($1::text)"};
static const struct db_statement sql_is_obeyed = {
    "order_is_obeyed", "SELECT EXISTS (SELECT FROM mailq.node WHERE state <> 'dead')"};
/* $1 message after which it goes on, $2 most */
static const struct db_statement sql_flush_slice = {
    "order_flush_slice", "SELECT last, coalesce(n, 0) FROM mailq.flush_slice($1, $2)"};

/* $1 order after which it goes on, $2 most */
static const struct db_statement sql_look = {"order_look",
    "SELECT CASE WHEN isfinite(at) THEN at ELSE to_timestamp(0) END, ARRAY(SELECT order_id "
    "FROM mailq.queue_order WHERE done IS NULL AND order_id > $1 ORDER BY order_id LIMIT $2), "
    "CASE WHEN isfinite(all_at) THEN all_at ELSE to_timestamp(0) END FROM mailq.flush"};
/* $1 orders */
static const struct db_statement sql_try = {"order_try", "SELECT mailq.order_try($1)"};
/* $1 epoch. Orders to reroute and to expire wait until the mail is free: an attempt under way is not taken back. */
static const struct db_statement sql_mine = {"order_mine",
    "WITH p AS MATERIALIZED (SELECT order_id, msg_id, rcpt_no, verb FROM mailq.queue_order "
    "WHERE done IS NULL AND verb NOT IN ('reroute', 'expire', 'bounce') ORDER BY order_id LIMIT 10000), "
    "l AS MATERIALIZED (SELECT m FROM mailq.active a, unnest(a.msg_ids) m WHERE a.owner = $1) "
    "SELECT order_id, msg_id, rcpt_no, verb FROM p WHERE msg_id IN (SELECT m FROM l) "
    "OR EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = p.msg_id AND d.owner = $1) "
    "ORDER BY order_id"};

const char *
queue_verb_name(enum queue_verb v)
{
	switch (v) {
	case QUEUE_VERB_HOLD:
		return "hold";
	case QUEUE_VERB_RELEASE:
		return "release";
	case QUEUE_VERB_REQUEUE:
		return "requeue";
	case QUEUE_VERB_DELETE:
		return "delete";
	case QUEUE_VERB_EXPIRE:
		return "expire";
	case QUEUE_VERB_BOUNCE:
		return "bounce";
	case QUEUE_VERB_FLUSH:
		return "flush";
	}
	UNREACHED();
}

static enum queue_verb
verb_of(struct span name)
{
	for (enum queue_verb v = QUEUE_VERB_HOLD; v <= QUEUE_VERB_FLUSH; v++)
		if (span_equal_str(name, queue_verb_name(v)))
			return v;
	UNREACHED(); /* the table checks them */
}

/* Somebody's lock was in the way, or somebody's commit: the same again will do. */
static bool
is_passing(const struct db_conn *c)
{
	return queue_error_is(c, "40") || queue_error_is(c, "55P03") || queue_error_is(c, "23503");
}

/* As often as TRIES, while what is in the way passes. */
static bool
exec_often(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, struct db_result **ret, struct err *err)
{
	for (int tries = 1; !db_exec(c, st, params, count, deadline, ret, err); tries++)
		if (tries == TRIES || !is_passing(c))
			return false;
	return true;
}

/* ---- giving ------------------------------------------------------------------------------------------------------- */

static void
count_states(const struct db_result *r, bool *ret_found, struct queue_answer *ret)
{
	for (size_t i = 0; i < db_result_rows(r); i++) {
		struct span state = db_result_span(r, i, 0);
		bool found = !span_equal_str(state, "not_found");

		if (!found)
			ret->not_found++;
		else if (span_equal_str(state, "pending"))
			ret->pending++;
		else
			ret->done++;
		if (ret_found != NULL)
			ret_found[i] = found;
	}
}

/* `params`: verb, room for the messages, who, why. */
static bool
give_slice(struct db_conn *c, struct db_param params[4], const int64_t *msg_ids, size_t count,
    int64_t deadline, bool *ret_found, struct queue_answer *ret, struct err *err)
{
	struct buf ids CLEANUP(buf_done) = {0};
	struct db_result *r = NULL;

	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, msg_ids[i]);
	db_array_end(&ids);
	params[1] = DB_PARAM_BUF(&ids);
	if (!exec_often(c, &sql_give, params, 4, deadline, &r, err))
		return false;
	MUST(db_result_rows(r) == count);
	count_states(r, ret_found, ret);
	db_result_free(&r);
	return true;
}

bool
queue_order_give(struct db_conn *c, enum queue_verb verb, const int64_t *msg_ids, size_t count,
    const char *who, const char *why, bool *ret_found, int64_t deadline, struct queue_answer *ret,
    struct err *err)
{
	struct buf clean_who CLEANUP(buf_done) = {0};
	struct buf clean_why CLEANUP(buf_done) = {0};
	struct db_param params[4] = {DB_PARAM_TEXT(queue_verb_name(verb))};

	*ret = (struct queue_answer){0};
	utf8_add_clean(&clean_who, span_str(who), QUEUE_TEXT_MAX);
	utf8_add_clean(&clean_why, span_str(why), QUEUE_TEXT_MAX);
	params[2] = DB_PARAM_BUF(&clean_who);
	params[3] = DB_PARAM_BUF(&clean_why);
	for (size_t at = 0; at < count; at += SLICE) {
		bool *found = ret_found != NULL ? ret_found + at : NULL;

		if (!give_slice(c, params, msg_ids + at, MIN(count - at, (size_t)SLICE), deadline,
			found, ret, err))
			return false;
	}
	return true;
}

/* ---- giving to all ------------------------------------------------------------------------------------------------ */

/*
 * Where messages are found, in the order in which mail moves, so that none is passed by: $1 key after which it goes on,
 * $2 the last key. Rows: key, message (NULL: none for this key). Keys of the ring are batches, others are messages.
 */
static const struct source {
	struct db_statement st;
	bool ring;
	bool everywhere; /* one of those that together find everything */
	enum queue_place place;
} sources[] = {
    {{"order_in_batch",
	 "SELECT batch_id, m FROM (SELECT batch_id, msg_ids FROM mailq.batch WHERE batch_id > $1 "
	 "AND batch_id <= $2 ORDER BY batch_id LIMIT 10) b, unnest(msg_ids) m"},
	true, true, QUEUE_INCOMING},
    {{"order_in_active",
	 "SELECT b.batch_id, i.msg_id FROM (SELECT part, batch_id, msg_ids FROM mailq.active "
	 "WHERE batch_id > $1 AND batch_id <= $2 ORDER BY batch_id LIMIT 10) b "
	 "LEFT JOIN mailq.incoming i ON i.part = b.part AND i.msg_id = ANY (b.msg_ids) "
	 "AND i.recipients > (SELECT count(*) FROM mailq.result x WHERE x.part = b.part "
	 "AND x.batch_id = b.batch_id AND x.msg_id = i.msg_id)"},
	true, true, QUEUE_ACTIVE},
    {{"order_in_owned",
	 "SELECT DISTINCT msg_id, msg_id FROM mailq.deferred WHERE owner IS NOT NULL "
	 "AND msg_id > $1 AND msg_id <= $2 ORDER BY msg_id LIMIT 1000"},
	false, false, QUEUE_ACTIVE},
    {{"order_in_deferred", "SELECT DISTINCT msg_id, msg_id FROM mailq.deferred WHERE owner IS NULL "
			   "AND msg_id > $1 AND msg_id <= $2 ORDER BY msg_id LIMIT 1000"},
	false, false, QUEUE_DEFERRED_PLACE},
    {{"order_in_hold",
	 "SELECT DISTINCT msg_id, msg_id FROM mailq.held WHERE msg_id > $1 AND msg_id <= $2 "
	 "ORDER BY msg_id LIMIT 1000"},
	false, false, QUEUE_HOLD},
    {{"order_in_any",
	 "SELECT msg_id, msg_id FROM mailq.deferred_message m WHERE msg_id > $1 AND msg_id <= $2 "
	 "AND (EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id) OR EXISTS "
	 "(SELECT FROM mailq.held h WHERE h.msg_id = m.msg_id)) ORDER BY msg_id LIMIT 1000"},
	false, true, QUEUE_DEFERRED_PLACE},
};

/* Mail that comes later is not meant: without an end we might never catch up with it. */
static const struct db_statement sql_ring_end = {"order_ring_end",
    "SELECT greatest((SELECT max(batch_id) FROM mailq.batch), "
    "(SELECT max(batch_id) FROM mailq.active), 0)"};
static const struct db_statement sql_message_end = {
    "order_message_end", "SELECT coalesce(max(msg_id), 0) FROM mailq.deferred_message"};

struct all {
	struct db_conn *conn;
	enum queue_verb verb;
	const char *who;
	const char *why;
	void (*on_message)(void *arg, int64_t msg_id);
	void *arg;
	int64_t deadline;
	struct err *err;
	struct hmap
	    seen; /* messages found in the ring: they may come to `deferred` while we go on */
	struct queue_answer answer;
};

static bool
give_page(struct all *a, const int64_t *ids, size_t count)
{
	bool *found = mem_zalloc(count * sizeof(*found));
	struct queue_answer answer;
	bool ok = queue_order_give(
	    a->conn, a->verb, ids, count, a->who, a->why, found, a->deadline, &answer, a->err);

	for (size_t i = 0; ok && i < count; i++)
		if (found[i] && a->on_message != NULL)
			a->on_message(a->arg, ids[i]);
	if (ok) {
		a->answer.done += answer.done;
		a->answer.pending += answer.pending;
		a->answer.not_found += answer.not_found;
	}
	mem_free(found);
	return ok;
}

/* Those of a page that were not seen before; their number. *after moves to the last key. */
static size_t
read_page(
    struct all *a, const struct source *s, const struct db_result *r, int64_t *ids, int64_t *after)
{
	size_t n = 0;

	for (size_t i = 0; i < db_result_rows(r); i++) {
		int64_t key = db_result_int(r, i, 0);
		int64_t id;

		if (key > *after)
			*after = key;
		if (db_result_is_null(r, i, 1))
			continue;
		id = db_result_int(r, i, 1);
		if (hmap_get(&a->seen, HMAP_KEY(id)) != NULL)
			continue;
		if (s->ring)
			(void)hmap_put(&a->seen, HMAP_KEY(id), a);
		ids[n++] = id;
	}
	return n;
}

static bool
find_end(struct all *a, const struct source *s, int64_t *ret)
{
	const struct db_statement *st = s->ring ? &sql_ring_end : &sql_message_end;
	struct db_result *r = NULL;

	if (!db_exec(a->conn, st, NULL, 0, a->deadline, &r, a->err))
		return false;
	*ret = db_result_int(r, 0, 0);
	db_result_free(&r);
	return true;
}

/* One page behind *after; *ret_end when there was none. */
static bool
give_source_page(struct all *a, const struct source *s, int64_t end, int64_t *after, bool *ret_end)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n[0], *after), db_param_int8(n[1], end)};
	struct db_result *r = NULL;
	int64_t *ids;
	size_t count;
	bool ok;

	if (!db_exec(a->conn, &s->st, params, ARRAY_LEN(params), a->deadline, &r, a->err))
		return false;
	*ret_end = db_result_rows(r) == 0;
	ids = mem_zalloc(db_result_rows(r) * sizeof(*ids));
	count = read_page(a, s, r, ids, after);
	db_result_free(&r);
	ok = count == 0 || give_page(a, ids, count);
	mem_free(ids);
	return ok;
}

static bool
give_source(struct all *a, const struct source *s)
{
	int64_t after = 0;
	int64_t end;
	bool at_end = false;

	if (!find_end(a, s, &end))
		return false;
	while (!at_end)
		if (!give_source_page(a, s, end, &after, &at_end))
			return false;
	return true;
}

bool
queue_order_give_all(struct db_conn *c, enum queue_verb verb, const enum queue_place *place,
    const char *who, const char *why, void (*on_message)(void *arg, int64_t msg_id), void *arg,
    int64_t deadline, struct queue_answer *ret, struct err *err)
{
	struct all a = {
	    .conn = c,
	    .verb = verb,
	    .who = who,
	    .why = why,
	    .on_message = on_message,
	    .arg = arg,
	    .deadline = deadline,
	    .err = err,
	};
	bool ok = true;

	for (size_t i = 0; ok && i < ARRAY_LEN(sources); i++) {
		const struct source *s = &sources[i];
		/* The last one is of all places: it is there for nothing else. */
		bool one_place = i < ARRAY_LEN(sources) - 1;

		if (place == NULL ? s->everywhere : one_place && s->place == *place)
			ok = give_source(&a, s);
	}
	hmap_done(&a.seen);
	*ret = a.answer;
	return ok;
}

/* ---- flushing ----------------------------------------------------------------------------------------------------- */

bool
queue_order_flush_site(
    struct db_conn *c, const char *domain, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	struct buf clean CLEANUP(buf_done) = {0};
	struct db_param param;
	struct db_result *r = NULL;

	utf8_add_clean(&clean, span_str(domain), QUEUE_ADDRESS_MAX);
	param = DB_PARAM_BUF(&clean);
	if (!exec_often(c, &sql_flush_site, &param, 1, deadline, &r, err))
		return false;
	if (ret_rows != NULL)
		*ret_rows = (uint64_t)db_result_int(r, 0, 0);
	db_result_free(&r);
	return true;
}

bool
queue_order_is_obeyed(struct db_conn *c, int64_t deadline, bool *ret, struct err *err)
{
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_is_obeyed, NULL, 0, deadline, &r, err))
		return false;
	*ret = db_result_bool(r, 0, 0);
	db_result_free(&r);
	return true;
}

/* *after becomes 0 at the end. */
static bool
flush_slice(
    struct db_conn *c, int64_t *after, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n[0], *after), db_param_int4(n[1], SLICE)};
	struct db_result *r = NULL;

	if (!exec_often(c, &sql_flush_slice, params, 2, deadline, &r, err))
		return false;
	*after = db_result_is_null(r, 0, 0) ? 0 : db_result_int(r, 0, 0);
	if (ret_rows != NULL)
		*ret_rows += (uint64_t)db_result_int(r, 0, 1);
	db_result_free(&r);
	return true;
}

bool
queue_order_flush_all(struct db_conn *c, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	int64_t after = 0;

	if (ret_rows != NULL)
		*ret_rows = 0;
	do {
		if (!flush_slice(c, &after, deadline, ret_rows, err))
			return false;
	} while (after != 0);
	return true;
}

/* ---- for schedulers ----------------------------------------------------------------------------------------------- */

/* Locks are left alone: what was not done now is pending still, and comes again. */
static bool
try_orders(struct db_conn *c, const struct db_param *orders, int64_t deadline, struct err *err)
{
	return db_command(c, &sql_try, orders, 1, deadline, NULL, err) || is_passing(c);
}

/* The next slice of pending orders is tried; *ret_pending: there are any at all. */
static bool
retry(struct queue_desk *d, struct db_conn *c, int64_t deadline, bool *ret_flush, bool *ret_pending,
    struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], d->orders_after), db_param_int8(n[1], SLICE)};
	struct db_array_reader orders;
	struct db_result *r = NULL;
	struct db_param slice;
	struct span order;
	int64_t flushed;
	bool ok = true;

	if (!db_exec(c, &sql_look, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	flushed = db_result_time(r, 0, 0);
	*ret_flush = flushed != d->flushed;
	d->flushed = flushed;
	d->flushed_all = db_result_time(r, 0, 2);
	order = db_result_span(r, 0, 1);
	slice = DB_PARAM_BINARY(order.ptr, order.len);
	MUST(db_result_array(r, 0, 1, &orders));
	*ret_pending = orders.left > 0 || d->orders_after > 0;
	if (orders.left > 0)
		ok = try_orders(c, &slice, deadline, err);
	/* Also past a slice that met a lock: it must not keep the others waiting. */
	if (orders.left < SLICE)
		d->orders_after = 0;
	else
		while (db_array_next(&orders, &order))
			d->orders_after = db_span_int(order);
	db_result_free(&r);
	return ok;
}

static bool
read_mine(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct queue_order **ret,
    size_t *ret_count, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param epoch = db_param_int8(n, d->epoch);
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_mine, &epoch, 1, deadline, &r, err))
		return false;
	*ret_count = db_result_rows(r);
	*ret = mem_zalloc(*ret_count * sizeof(**ret));
	for (size_t i = 0; i < *ret_count; i++)
		(*ret)[i] = (struct queue_order){
		    .order_id = db_result_int(r, i, 0),
		    .msg_id = db_result_int(r, i, 1),
		    .rcpt_no = (int32_t)db_result_int(r, i, 2),
		    .verb = verb_of(db_result_span(r, i, 3)),
		};
	db_result_free(&r);
	return true;
}

bool
queue_order_poll(struct queue_desk *d, int64_t deadline, struct queue_order **ret,
    size_t *ret_count, bool *ret_flush, struct err *err)
{
	struct db_conn *c = queue_desk_take(d, deadline, err);
	bool pending = false;
	bool ok;

	*ret = NULL;
	*ret_count = 0;
	*ret_flush = false;
	if (c == NULL)
		return false;
	ok = retry(d, c, deadline, ret_flush, &pending, err) &&
	     (!pending || read_mine(d, c, deadline, ret, ret_count, err));
	queue_desk_give(d, &c);
	return ok;
}

int64_t
queue_order_flushed_all(const struct queue_desk *d)
{
	return d->flushed_all;
}

/*
 * Not simply marked: of the same message somebody else may have recipients in his hands, and what we let go of may lie free,
 * for which the order still has to be done.
 */
bool
queue_order_done(
    struct queue_desk *d, const int64_t *order_ids, size_t count, int64_t deadline, struct err *err)
{
	struct buf ids CLEANUP(buf_done) = {0};
	struct db_param orders;
	struct db_conn *c;
	bool ok;

	if (count == 0)
		return true;
	c = queue_desk_take(d, deadline, err);
	if (c == NULL)
		return false;
	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, order_ids[i]);
	db_array_end(&ids);
	orders = DB_PARAM_BUF(&ids);
	ok = try_orders(c, &orders, deadline, err);
	queue_desk_give(d, &c);
	return ok;
}
