/*
 * queue_order.c - operators' orders. What they do stands in schema/ (mailq.order_apply); here are the commands' and the
 * schedulers' calls.
 */
#include "queue/queue_order.h"

#include "base/crash.h"
#include "base/mem.h"
#include "queue/queue_int.h"

#define SLICE       1000 /* messages of one order */
#define FLUSH_SLICE 5000
#define READ_LIMIT  10000 /* pending orders read at a time */

/* $1 verb, $2 messages, $3 who, $4 why */
static const struct db_statement sql_give = {
    "order_give", "SELECT id, state FROM mailq.order_give($1, $2, $3, $4)"};

/* $1 after, $2 most: the next messages in one place. */
static const struct db_statement sql_new = {"order_new",
    "SELECT DISTINCT m FROM (SELECT unnest(msg_ids) AS m FROM mailq.batch) b WHERE m > $1 "
    "ORDER BY m LIMIT $2"};
static const struct db_statement sql_leased = {"order_leased",
    "SELECT DISTINCT m FROM (SELECT unnest(msg_ids) AS m FROM mailq.active "
    "UNION ALL SELECT msg_id FROM mailq.deferred WHERE owner IS NOT NULL) a WHERE m > $1 "
    "ORDER BY m LIMIT $2"};
static const struct db_statement sql_free = {"order_free",
    "SELECT DISTINCT msg_id FROM mailq.deferred WHERE msg_id > $1 AND owner IS NULL "
    "ORDER BY msg_id LIMIT $2"};
static const struct db_statement sql_held = {"order_held",
    "SELECT DISTINCT msg_id FROM mailq.held WHERE msg_id > $1 ORDER BY msg_id LIMIT $2"};

static const struct db_statement sql_flush_site = {
    "order_flush_site", "SELECT mailq.flush_site($1)"};
static const struct db_statement sql_flush_slice = {
    "order_flush_slice", "SELECT last, n FROM mailq.flush_slice($1, $2)"};

static const struct db_statement sql_retry = {"order_retry", "SELECT mailq.order_retry($1, $2)"};
static const struct db_statement sql_try = {"order_try", "SELECT mailq.order_try($1)"};
/* $1 epoch, $2 most. An order to reroute waits until its mail is free. */
static const struct db_statement sql_pending = {"order_pending",
    "SELECT order_id, msg_id, rcpt_no, verb FROM mailq.queue_order WHERE done IS NULL "
    "AND verb <> 'reroute' AND msg_id IN (SELECT unnest(msg_ids) FROM mailq.active "
    "WHERE owner = $1 UNION ALL SELECT msg_id FROM mailq.deferred WHERE owner = $1) "
    "ORDER BY order_id LIMIT $2"};
static const struct db_statement sql_flushed = {
    "order_flushed", "SELECT at, at = '-infinity' FROM mailq.flush"};

static const struct {
	enum queue_verb verb;
	const char *name;
} verbs[] = {
    {QUEUE_VERB_HOLD, "hold"},
    {QUEUE_VERB_RELEASE, "release"},
    {QUEUE_VERB_REQUEUE, "requeue"},
    {QUEUE_VERB_DELETE, "delete"},
    {QUEUE_VERB_EXPIRE, "expire"},
    {QUEUE_VERB_FLUSH, "flush"},
};

const char *
queue_verb_name(enum queue_verb v)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].verb == v)
			return verbs[i].name;
	UNREACHED();
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void
count_answers(const struct db_result *r, const int64_t *msg_ids, size_t count, bool *ret_found,
    struct queue_answer *ret)
{
	for (size_t i = 0; i < db_result_rows(r); i++) {
		struct span state = db_result_span(r, i, 1);
		int64_t id = db_result_int(r, i, 0);

		if (span_equal_str(state, "not_found")) {
			ret->not_found++;
			continue;
		}
		if (span_equal_str(state, "pending"))
			ret->pending++;
		else
			ret->done++;
		for (size_t k = 0; ret_found != NULL && k < count; k++)
			if (msg_ids[k] == id)
				ret_found[k] = true;
	}
}

static bool
give_ids(struct db_conn *c, enum queue_verb verb, struct buf *ids, const char *who, const char *why,
    int64_t deadline, struct db_result **ret, struct err *err)
{
	struct db_param params[] = {
	    DB_PARAM_TEXT(queue_verb_name(verb)),
	    DB_PARAM_BUF(ids),
	    DB_PARAM_TEXT(who != NULL ? who : ""),
	    DB_PARAM_TEXT(why != NULL ? why : ""),
	};

	return db_exec(c, &sql_give, params, ARRAY_LEN(params), deadline, ret, err);
}

bool
queue_order_give(struct db_conn *c, enum queue_verb verb, const int64_t *msg_ids, size_t count,
    const char *who, const char *why, bool *ret_found, int64_t deadline, struct queue_answer *ret,
    struct err *err)
{
	struct db_result *r = NULL;
	struct buf ids = {0};
	bool ok;

	*ret = (struct queue_answer){0};
	for (size_t i = 0; ret_found != NULL && i < count; i++)
		ret_found[i] = false;
	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, msg_ids[i]);
	db_array_end(&ids);
	ok = give_ids(c, verb, &ids, who, why, deadline, &r, err);
	if (ok)
		count_answers(r, msg_ids, count, ret_found, ret);
	db_result_free(&r);
	buf_done(&ids);
	return ok;
}

/* The messages behind *after in a place, as int8[]; *after moves on. *ret_count 0: that was all. */
static bool
next_slice(struct db_conn *c, const struct db_statement *place, int64_t *after, int64_t deadline,
    struct buf *ret, size_t *ret_count, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {db_param_int8(n[0], *after), db_param_int8(n[1], SLICE)};
	struct db_result *r = NULL;

	if (!db_exec(c, place, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	*ret_count = db_result_rows(r);
	db_array_begin(ret, DB_INT8);
	for (size_t i = 0; i < *ret_count; i++) {
		*after = db_result_int(r, i, 0);
		db_array_add_int(ret, DB_INT8, *after);
	}
	db_array_end(ret);
	db_result_free(&r);
	return true;
}

struct give_all {
	enum queue_verb verb;
	const char *who;
	const char *why;
	void (*on_message)(void *arg, int64_t msg_id);
	void *arg;
	struct queue_answer *answer;
};

static bool
give_slice(
    struct db_conn *c, const struct give_all *g, struct buf *ids, int64_t deadline, struct err *err)
{
	struct db_result *r = NULL;

	if (!give_ids(c, g->verb, ids, g->who, g->why, deadline, &r, err))
		return false;
	count_answers(r, NULL, 0, NULL, g->answer);
	for (size_t i = 0; g->on_message != NULL && i < db_result_rows(r); i++)
		if (!span_equal_str(db_result_span(r, i, 1), "not_found"))
			g->on_message(g->arg, db_result_int(r, i, 0));
	db_result_free(&r);
	return true;
}

static bool
give_place(struct db_conn *c, const struct give_all *g, const struct db_statement *place,
    int64_t deadline, struct err *err)
{
	struct buf ids = {0};
	int64_t after = 0;
	size_t count = 1;
	bool ok = true;

	while (ok && count > 0) {
		ok = next_slice(c, place, &after, deadline, &ids, &count, err) &&
		     (count == 0 || give_slice(c, g, &ids, deadline, err));
	}
	buf_done(&ids);
	return ok;
}

bool
queue_order_give_all(struct db_conn *c, enum queue_verb verb, const enum queue_place *place,
    const char *who, const char *why, void (*on_message)(void *arg, int64_t msg_id), void *arg,
    int64_t deadline, struct queue_answer *ret, struct err *err)
{
	static const struct db_statement *const places[] = {
	    [QUEUE_INCOMING] = &sql_new,
	    [QUEUE_ACTIVE] = &sql_leased,
	    [QUEUE_DEFERRED_PLACE] = &sql_free,
	    [QUEUE_HOLD] = &sql_held,
	};
	struct give_all g = {
	    .verb = verb,
	    .who = who,
	    .why = why,
	    .on_message = on_message,
	    .arg = arg,
	    .answer = ret,
	};

	*ret = (struct queue_answer){0};
	if (place != NULL)
		return give_place(c, &g, places[*place], deadline, err);
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (!give_place(c, &g, places[i], deadline, err))
			return false;
	return true;
}

bool
queue_order_flush_site(
    struct db_conn *c, const char *domain, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	struct db_param param = DB_PARAM_TEXT(domain);
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_flush_site, &param, 1, deadline, &r, err))
		return false;
	if (ret_rows != NULL)
		*ret_rows = (uint64_t)db_result_int(r, 0, 0);
	db_result_free(&r);
	return true;
}

bool
queue_order_flush_all(struct db_conn *c, int64_t deadline, uint64_t *ret_rows, struct err *err)
{
	uint64_t rows = 0;
	int64_t after = 0;
	bool more = true;

	while (more) {
		char n[2][DB_INT_SIZE];
		struct db_param params[] = {
		    db_param_int8(n[0], after),
		    db_param_int4(n[1], FLUSH_SLICE),
		};
		struct db_result *r = NULL;

		if (!db_exec(c, &sql_flush_slice, params, ARRAY_LEN(params), deadline, &r, err))
			return false;
		more = !db_result_is_null(r, 0, 0);
		if (more) {
			after = db_result_int(r, 0, 0);
			rows += (uint64_t)db_result_int(r, 0, 1);
		}
		db_result_free(&r);
	}
	if (ret_rows != NULL)
		*ret_rows = rows;
	return true;
}

/* ---- schedulers -------------------------------------------------------------------------------------------------- */

static bool
retry(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], d->orders_after),
	    db_param_int4(n[1], SLICE),
	};
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_retry, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	d->orders_after = db_result_is_null(r, 0, 0) ? 0 : db_result_int(r, 0, 0);
	db_result_free(&r);
	return true;
}

static bool
read_flush(struct queue_desk *d, struct db_conn *c, int64_t deadline, bool *ret, struct err *err)
{
	struct db_result *r = NULL;
	int64_t at;

	if (!db_exec(c, &sql_flushed, NULL, 0, deadline, &r, err))
		return false;
	at = db_result_rows(r) == 0 || db_result_bool(r, 0, 1) ? 1 : db_result_time(r, 0, 0);
	db_result_free(&r);
	*ret = d->flushed != 0 && at != d->flushed;
	d->flushed = at;
	return true;
}

static enum queue_verb
verb_of(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_equal_str(name, verbs[i].name))
			return verbs[i].verb;
	UNREACHED(); /* the table checks them */
}

static bool
read_pending(struct queue_desk *d, struct db_conn *c, int64_t deadline, struct queue_order **ret,
    size_t *ret_count, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], d->epoch),
	    db_param_int8(n[1], READ_LIMIT),
	};
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_pending, params, ARRAY_LEN(params), deadline, &r, err))
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
	bool ok;

	*ret = NULL;
	*ret_count = 0;
	*ret_flush = false;
	if (c == NULL)
		return false;
	ok = retry(d, c, deadline, err) && read_flush(d, c, deadline, ret_flush, err) &&
	     read_pending(d, c, deadline, ret, ret_count, err);
	CRASH_POINT("order-polled");
	queue_desk_give(d, &c);
	return ok;
}

bool
queue_order_done(
    struct queue_desk *d, const int64_t *order_ids, size_t count, int64_t deadline, struct err *err)
{
	struct buf ids = {0};
	struct db_param param;
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
	param = DB_PARAM_BUF(&ids);
	ok = db_command(c, &sql_try, &param, 1, deadline, NULL, err);
	buf_done(&ids);
	queue_desk_give(d, &c);
	return ok;
}
