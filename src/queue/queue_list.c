/*
 * queue_list.c - see queue_list.h. Each place is read in pages by key: new mail by batch, everything else by message, so that no
 * page is larger than a batch or LIST_PAGE rows, and the next page begins where the last one ended, whatever happened between.
 */
#include "queue/queue_list.h"

#include "base/mem.h"
#include "queue/queue_int.h"

#define LIST_PAGE    1000 /* rows of deferred or held mail */
#define LIST_BATCHES 4    /* batches of new mail; each is bounded by the batch limits */

#define LIST_NEW_COLUMNS                                                                           \
	"b.batch_id, 0, i.msg_id, i.sender, i.size, i.arrival, false, r.rcpt_no, r.addr, "         \
	"r.orig_addr, '', 0, NULL::timestamptz, '', ''"
#define LIST_NEW_FROM                                                                              \
	"CROSS JOIN LATERAL unnest(b.msg_ids) m JOIN mailq.incoming i "                            \
	"ON i.part = b.part AND i.msg_id = m CROSS JOIN LATERAL "                                  \
	"mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) r "

/* $1 key (batch), $2 unused here, $3 rows or batches, $4 message or NULL */
static const struct db_statement sql_incoming = {"list_incoming",
    "SELECT " LIST_NEW_COLUMNS " FROM (SELECT * FROM mailq.batch WHERE batch_id > $1 "
    "AND ($4::int8 IS NULL OR $4 = ANY (msg_ids)) AND $2::int4 IS NOT NULL "
    "ORDER BY batch_id LIMIT $3::int4) b " LIST_NEW_FROM
    "WHERE $4::int8 IS NULL OR i.msg_id = $4 ORDER BY b.batch_id, i.msg_id, r.rcpt_no"};
static const struct db_statement sql_active = {"list_active",
    "SELECT " LIST_NEW_COLUMNS " FROM (SELECT * FROM mailq.active WHERE batch_id > $1 "
    "AND ($4::int8 IS NULL OR $4 = ANY (msg_ids)) AND $2::int4 IS NOT NULL "
    "ORDER BY batch_id LIMIT $3::int4) b " LIST_NEW_FROM
    "WHERE ($4::int8 IS NULL OR i.msg_id = $4) AND NOT EXISTS (SELECT FROM mailq.result x "
    "WHERE x.part = b.part AND x.batch_id = b.batch_id AND x.msg_id = i.msg_id "
    "AND x.rcpt_no = r.rcpt_no) ORDER BY b.batch_id, i.msg_id, r.rcpt_no"};

#define LIST_OLD_COLUMNS                                                                           \
	"m.msg_id, m.sender, m.size, m.arrival, m.forced_expire, d.rcpt_no, d.addr, "              \
	"d.orig_addr, d.reason, d.attempts, "
#define LIST_OLD_PLACE "coalesce(t.transport, ''), coalesce(t.nexthop, '')"

/* $1 message, $2 recipient after which the page begins, $3 rows, $4 message or NULL; $5 in somebody's hands? */
static const struct db_statement sql_deferred = {"list_deferred",
    "SELECT 0::int8, 0, " LIST_OLD_COLUMNS "d.next_attempt, " LIST_OLD_PLACE
    " FROM mailq.deferred d JOIN mailq.deferred_message m USING (msg_id) "
    "LEFT JOIN mailq.destination t ON t.destination_id = d.destination "
    "WHERE (d.msg_id, d.rcpt_no) > ($1, $2::int4) AND ($4::int8 IS NULL OR d.msg_id = $4) "
    "AND (d.owner IS NOT NULL) = $5 ORDER BY d.msg_id, d.rcpt_no LIMIT $3::int4"};
static const struct db_statement sql_held = {"list_held",
    "SELECT 0::int8, 0, " LIST_OLD_COLUMNS "NULL::timestamptz, " LIST_OLD_PLACE
    " FROM mailq.held d JOIN mailq.deferred_message m USING (msg_id) "
    "LEFT JOIN mailq.destination t ON t.destination_id = d.destination "
    "WHERE (d.msg_id, d.rcpt_no) > ($1, $2::int4) AND ($4::int8 IS NULL OR d.msg_id = $4) "
    "ORDER BY d.msg_id, d.rcpt_no LIMIT $3::int4"};

/* The pieces of the queue in the order they are listed. */
static const struct list_source {
	enum queue_place place;
	const struct db_statement *sql;
	bool by_batch;
	bool owned; /* the fifth parameter of sql_deferred */
} list_sources[] = {
    {QUEUE_INCOMING, &sql_incoming, true, false},
    {QUEUE_ACTIVE, &sql_active, true, false},
    {QUEUE_ACTIVE, &sql_deferred, false, true},
    {QUEUE_DEFERRED_PLACE, &sql_deferred, false, false},
    {QUEUE_HOLD, &sql_held, false, false},
};

enum list_column {
	LIST_BATCH,
	LIST_UNUSED,
	LIST_MSG_ID,
	LIST_SENDER,
	LIST_SIZE,
	LIST_ARRIVAL,
	LIST_FORCED,
	LIST_RCPT_NO,
	LIST_ADDR,
	LIST_ORIG,
	LIST_REASON,
	LIST_ATTEMPTS,
	LIST_NEXT,
	LIST_TRANSPORT,
	LIST_NEXTHOP,
};

struct queue_list {
	struct db_conn *conn; /* borrowed */
	int64_t msg_id;       /* only this one; 0: all */
	bool one_place;
	enum queue_place place;
	size_t source;
	int64_t key;
	int32_t key_rcpt;
	struct db_result *page; /* owned; NULL: to be read */
	size_t row;
	struct arena texts; /* of the row given out */
};

struct queue_list *
queue_list_new(struct db_conn *c, const struct queue_list_filter *filter)
{
	struct queue_list *l = mem_new(struct queue_list);

	l->conn = c;
	l->key = INT64_MIN;
	l->key_rcpt = -1;
	if (filter->msg_id != NULL)
		l->msg_id = *filter->msg_id;
	l->one_place = filter->place != NULL;
	if (l->one_place)
		l->place = *filter->place;
	return l;
}

void
queue_list_free(struct queue_list **l)
{
	if (*l == NULL)
		return;
	db_result_free(&(*l)->page);
	arena_done(&(*l)->texts);
	mem_free(*l);
	*l = NULL;
}

static bool
list_read_page(struct queue_list *l, const struct list_source *s, int64_t deadline, struct err *err)
{
	char n[4][DB_INT_SIZE];
	char owned = s->owned ? 1 : 0;
	struct db_param params[] = {
	    db_param_int8(n[0], l->key),
	    db_param_int4(n[1], l->key_rcpt),
	    db_param_int4(n[2], s->by_batch ? LIST_BATCHES : LIST_PAGE),
	    l->msg_id != 0 ? db_param_int8(n[3], l->msg_id) : DB_PARAM_NULL,
	    DB_PARAM_BINARY(&owned, 1),
	};
	size_t count = s->sql == &sql_deferred ? 5 : 4;

	l->row = 0;
	return db_exec(l->conn, s->sql, params, count, deadline, &l->page, err);
}

/* The page has been given out: where does the next one begin, and is there one? */
static void
list_next_page(struct queue_list *l, const struct list_source *s)
{
	size_t rows = db_result_rows(l->page);

	if (rows > 0 && s->by_batch) {
		l->key = db_result_int(l->page, rows - 1, LIST_BATCH);
	} else if (rows == LIST_PAGE) {
		l->key = db_result_int(l->page, rows - 1, LIST_MSG_ID);
		l->key_rcpt = (int32_t)db_result_int(l->page, rows - 1, LIST_RCPT_NO);
	} else {
		l->source++;
		l->key = INT64_MIN;
		l->key_rcpt = -1;
	}
	db_result_free(&l->page);
}

static const char *
list_text(struct queue_list *l, enum list_column column)
{
	if (db_result_is_null(l->page, l->row, column))
		return NULL;
	return arena_dup(&l->texts, db_result_span(l->page, l->row, column));
}

static void
list_fill(struct queue_list *l, enum queue_place place, struct queue_list_row *ret)
{
	const struct db_result *p = l->page;

	arena_done(&l->texts);
	*ret = (struct queue_list_row){
	    .place = place,
	    .msg_id = db_result_int(p, l->row, LIST_MSG_ID),
	    .sender = list_text(l, LIST_SENDER),
	    .size = (uint64_t)db_result_int(p, l->row, LIST_SIZE),
	    .arrival = db_result_time(p, l->row, LIST_ARRIVAL),
	    .forced_expire = db_result_bool(p, l->row, LIST_FORCED),
	    .rcpt_no = (int32_t)db_result_int(p, l->row, LIST_RCPT_NO),
	    .addr = list_text(l, LIST_ADDR),
	    .orig_addr = list_text(l, LIST_ORIG),
	    .reason = list_text(l, LIST_REASON),
	    .attempts = (int32_t)db_result_int(p, l->row, LIST_ATTEMPTS),
	    .transport = list_text(l, LIST_TRANSPORT),
	    .nexthop = list_text(l, LIST_NEXTHOP),
	};
	if (!db_result_is_null(p, l->row, LIST_NEXT))
		ret->next_attempt = db_result_time(p, l->row, LIST_NEXT);
}

bool
queue_list_next(struct queue_list *l, int64_t deadline, struct queue_list_row *ret, bool *ret_end,
    struct err *err)
{
	*ret_end = false;
	while (l->source < ARRAY_LEN(list_sources)) {
		const struct list_source *s = &list_sources[l->source];

		if (l->one_place && s->place != l->place) {
			l->source++;
			continue;
		}
		if (l->page == NULL && !list_read_page(l, s, deadline, err))
			return false;
		if (l->row < db_result_rows(l->page)) {
			list_fill(l, s->place, ret);
			l->row++;
			return true;
		}
		list_next_page(l, s);
	}
	*ret_end = true;
	return true;
}

/* ---- one envelope, for postcat ------------------------------------------------------------------------------------ */

/* $1 message. What is promoted counts before what is left of it in the ring. */
static const struct db_statement sql_envelope = {"list_envelope",
    "SELECT arrival, size, coalesce(content_id, 0), sender, attrs, (-1)::int2 FROM mailq.deferred_message "
    "WHERE msg_id = $1 UNION ALL SELECT arrival, size, coalesce(content_id, 0), sender, attrs, part "
    "FROM mailq.incoming WHERE msg_id = $1 LIMIT 1"};

struct list_rcpts {
	struct queue_rcpt *list; /* in the arena, grown by doubling */
	size_t count;
};

static void
list_add_rcpt(struct list_rcpts *rcpts, struct arena *arena, const struct queue_list_row *row)
{
	if ((rcpts->count & (rcpts->count - 1)) == 0) {
		size_t room = rcpts->count != 0 ? rcpts->count * 2 : 1;
		struct queue_rcpt *more = arena_alloc(arena, room * sizeof(*more));

		if (rcpts->count != 0)
			memcpy(more, rcpts->list, rcpts->count * sizeof(*more));
		rcpts->list = more;
	}
	rcpts->list[rcpts->count++] = (struct queue_rcpt){
	    .rcpt_no = row->rcpt_no,
	    .addr = arena_strdup(arena, row->addr),
	    .orig_addr = arena_strdup(arena, row->orig_addr),
	    .attempts = row->attempts,
	};
}

/* The recipients that are still in the queue, and where the first one is. */
static bool
list_envelope_rcpts(struct db_conn *c, int64_t msg_id, int64_t deadline, struct arena *arena,
    enum queue_place *ret_place, struct list_rcpts *ret, struct err *err)
{
	struct queue_list *l = queue_list_new(c, &(struct queue_list_filter){.msg_id = &msg_id});
	struct queue_list_row row;
	bool end = false;
	bool ok = true;

	while (ok && !end) {
		ok = queue_list_next(l, deadline, &row, &end, err);
		if (!ok || end)
			break;
		if (ret->count == 0)
			*ret_place = row.place;
		list_add_rcpt(ret, arena, &row);
	}
	queue_list_free(&l);
	return ok;
}

bool
queue_list_envelope(struct db_conn *c, int64_t msg_id, int64_t deadline, struct arena *arena,
    enum queue_place *ret_place, struct queue_envelope *ret, int64_t *ret_content_id,
    int16_t *ret_set, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, msg_id);
	struct list_rcpts rcpts = {0};
	struct db_result *r = NULL;

	if (!list_envelope_rcpts(c, msg_id, deadline, arena, ret_place, &rcpts, err) ||
	    !db_exec(c, &sql_envelope, &param, 1, deadline, &r, err))
		return false;
	if (db_result_rows(r) == 0 || rcpts.count == 0) {
		db_result_free(&r);
		return err_set(err, ERR_GONE, "5.3.0", "no such message");
	}
	*ret = (struct queue_envelope){
	    .msg_id = msg_id,
	    .arrival = db_result_time(r, 0, 0),
	    .size = (uint64_t)db_result_int(r, 0, 1),
	    .sender = arena_dup(arena, db_result_span(r, 0, 3)),
	    .rcpts = rcpts.list,
	    .rcpt_count = rcpts.count,
	};
	*ret_content_id = db_result_int(r, 0, 2);
	*ret_set = (int16_t)db_result_int(r, 0, 5);
	queue_attrs_parse(span_str(arena_dup(arena, db_result_span(r, 0, 4))), arena, &ret->attrs,
	    &ret->attr_count);
	db_result_free(&r);
	return true;
}
