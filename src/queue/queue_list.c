/*
 * queue_list.c - the queue, recipient by recipient, place by place, page by page. Places come in the order in which mail moves,
 * so that a message that moves meanwhile may be seen twice, but is not missed.
 */
#include "queue/queue_list.h"

#include <string.h>

#include "base/mem.h"
#include "queue/queue_int.h"

#define BATCHES  5   /* of a page in the ring */
#define MESSAGES 200 /* of a page elsewhere */

/* A page: `next` names the keys of the next page (part, id), `rows` the recipients of these keys. */
struct stage {
	struct db_statement next; /* $1 part, $2 id, $3 most */
	struct db_statement rows; /* $1 parts, $2 ids, $3 message or NULL */
	size_t most;
};

/* Columns of rows. */
enum {
	COL_PLACE,
	COL_MSG_ID,
	COL_SENDER,
	COL_SIZE,
	COL_ARRIVAL,
	COL_FORCED,
	COL_RCPT_NO,
	COL_ADDR,
	COL_ORIG,
	COL_REASON,
	COL_ATTEMPTS,
	COL_NEXT,
	COL_TRANSPORT,
	COL_NEXTHOP,
};

#define RING_NEXT(table)                                                                           \
	"SELECT part::int4, batch_id FROM mailq." table " WHERE (part, batch_id) > ($1::int4, "    \
	"$2::int8) ORDER BY part, batch_id LIMIT $3"
#define RING_COLUMNS(forced)                                                                       \
	"i.msg_id, i.sender, i.size, i.arrival, " forced                                           \
	", x.rcpt_no, x.addr, x.orig_addr, '', 0, NULL::timestamptz, '', '' "                      \
	"FROM unnest($1::int4[], $2::int8[]) u(p, b) "
#define RING_RCPTS                                                                                 \
	"JOIN mailq.incoming i ON i.part = a.part AND i.msg_id = ANY (a.msg_ids), "                \
	"mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) x "                      \
	"WHERE ($3::int8 IS NULL OR i.msg_id = $3) "
/* Along the index from the last key on: a join with the messages might read the whole table for each page. */
#define MESSAGE_NEXT(table)                                                                        \
	"SELECT DISTINCT 0, msg_id FROM mailq." table " WHERE msg_id > $2::int8 "                  \
	"AND $1::int4 IS NOT NULL ORDER BY msg_id LIMIT $3"
#define MESSAGE_COLUMNS                                                                            \
	"d.msg_id, m.sender, m.size, m.arrival, m.forced_expire, d.rcpt_no, d.addr, d.orig_addr, "
#define MESSAGE_FROM(table)                                                                        \
	"FROM unnest($1::int4[], $2::int8[]) u(p, id) JOIN mailq.deferred_message m "              \
	"ON m.msg_id = u.id JOIN mailq." table                                                     \
	" d ON d.msg_id = u.id LEFT JOIN mailq.destination t "                                     \
	"ON t.destination_id = d.destination WHERE $3::int8 IS NULL OR u.id = $3 "

static const struct stage stages[] = {
    {{"list_incoming_next", RING_NEXT("batch")},
	{"list_incoming",
	    "SELECT 0, " RING_COLUMNS(
		"false") "JOIN mailq.batch a ON a.part = p AND a.batch_id = b " RING_RCPTS
			 "ORDER BY p, b, i.msg_id, x.rcpt_no"},
	BATCHES},
    {{"list_active_next", RING_NEXT("active")},
	{"list_active",
	    "SELECT 1, " RING_COLUMNS(QUEUE_SQL_EXPIRING(
		"i.msg_id")) "JOIN mailq.active a ON a.part = p AND a.batch_id = b " RING_RCPTS
			     "AND (SELECT true FROM mailq.result r WHERE r.part = a.part "
			     "AND r.batch_id = a.batch_id AND r.msg_id = i.msg_id "
			     "AND r.rcpt_no = x.rcpt_no) IS NULL ORDER BY p, b, i.msg_id, x.rcpt_no"},
	BATCHES},
    {{"list_deferred_next", MESSAGE_NEXT("deferred")},
	{"list_deferred",
	    "SELECT CASE WHEN bool_or(d.owner IS NOT NULL) OVER (PARTITION BY d.msg_id) THEN 1 "
	    "ELSE 2 END, " MESSAGE_COLUMNS "d.reason, d.attempts, greatest(d.next_attempt, "
	    "t.dead_until), coalesce(t.transport, ''), coalesce(t.nexthop, '') " MESSAGE_FROM(
		"deferred") "ORDER BY d.msg_id, d.rcpt_no"},
	MESSAGES},
    {{"list_held_next", MESSAGE_NEXT("held")},
	{"list_held",
	    "SELECT 3, " MESSAGE_COLUMNS
	    "d.reason, d.attempts, NULL::timestamptz, coalesce(t.transport, ''), "
	    "coalesce(t.nexthop, '') " MESSAGE_FROM("held") "ORDER BY d.msg_id, d.rcpt_no"},
	MESSAGES},
};

struct queue_list {
	struct db_conn *conn; /* borrowed */
	bool has_msg_id;
	int64_t msg_id;
	bool has_place;
	enum queue_place place;
	size_t stage;
	int32_t part; /* key of the last page */
	int64_t id;
	struct db_result *page; /* NULL: none */
	size_t row;
	struct buf text; /* of the present row */
};

struct queue_list *
queue_list_new(struct db_conn *c, const struct queue_list_filter *filter)
{
	struct queue_list *l = mem_new(struct queue_list);

	l->conn = c;
	l->part = -1;
	if (filter->msg_id != NULL) {
		l->has_msg_id = true;
		l->msg_id = *filter->msg_id;
	}
	if (filter->place != NULL) {
		l->has_place = true;
		l->place = *filter->place;
	}
	return l;
}

void
queue_list_free(struct queue_list **ll)
{
	struct queue_list *l = *ll;

	if (l == NULL)
		return;
	db_result_free(&l->page);
	buf_done(&l->text);
	mem_free(l);
	*ll = NULL;
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

/* Where one message is: its own key elsewhere, the batches that hold it in the ring. */
static const struct db_statement sql_of_message[] = {
    {"list_incoming_of", "SELECT part::int4, batch_id FROM mailq.batch WHERE $1 = ANY (msg_ids)"},
    {"list_active_of", "SELECT part::int4, batch_id FROM mailq.active WHERE $1 = ANY (msg_ids)"},
    {"list_deferred_of", "SELECT 0, $1::int8"},
    {"list_held_of", "SELECT 0, $1::int8"},
};

static bool
read_keys(struct queue_list *l, int64_t deadline, struct queue_columns *ret, struct err *err)
{
	const struct stage *s = &stages[l->stage];
	char n[4][DB_INT_SIZE];
	struct db_param next[] = {
	    db_param_int4(n[0], l->part),
	    db_param_int8(n[1], l->id),
	    db_param_int8(n[2], (int64_t)s->most),
	};
	struct db_param one = db_param_int8(n[3], l->msg_id);
	struct db_result *r = NULL;
	bool ok;

	if (l->has_msg_id)
		ok = db_exec(l->conn, &sql_of_message[l->stage], &one, 1, deadline, &r, err);
	else
		ok = db_exec(l->conn, &s->next, next, ARRAY_LEN(next), deadline, &r, err);
	if (!ok)
		return false;
	for (size_t i = 0; i < db_result_rows(r); i++) {
		l->part = (int32_t)db_result_int(r, i, 0);
		l->id = db_result_int(r, i, 1);
		queue_columns_int(ret, l->part);
		queue_columns_int(ret, l->id);
	}
	db_result_free(&r);
	return true;
}

static void
next_stage(struct queue_list *l)
{
	l->stage++;
	l->part = -1;
	l->id = 0;
}

/* The next page of the stage, or the next stage. */
static bool
read_page(struct queue_list *l, int64_t deadline, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param params[3];
	struct queue_columns keys;
	bool ok;

	queue_columns_begin(&keys, "iq");
	ok = read_keys(l, deadline, &keys, err);
	if (ok && keys.rows > 0) {
		queue_columns_params(&keys, params);
		params[2] = l->has_msg_id ? db_param_int8(n, l->msg_id) : DB_PARAM_NULL;
		ok = db_exec(l->conn, &stages[l->stage].rows, params, 3, deadline, &l->page, err);
		l->row = 0;
	}
	if (ok && (keys.rows == 0 || l->has_msg_id))
		next_stage(l);
	queue_columns_done(&keys);
	return ok;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* The texts of a row, each with its NUL, in one buffer. */
static const char *
text(struct queue_list *l, size_t column)
{
	struct span s = db_result_span(l->page, l->row, column);
	size_t at = l->text.len;

	buf_add_span(&l->text, s);
	buf_add_char(&l->text, '\0');
	return l->text.ptr + at;
}

static void
read_row(struct queue_list *l, struct queue_list_row *ret)
{
	static const size_t texts[] = {
	    COL_SENDER, COL_ADDR, COL_ORIG, COL_REASON, COL_TRANSPORT, COL_NEXTHOP};
	const struct db_result *r = l->page;
	size_t room = 0;

	buf_clear(&l->text);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		room += db_result_span(r, l->row, texts[i]).len + 1;
	(void)buf_room(&l->text, room); /* so that no text moves */
	*ret = (struct queue_list_row){
	    .place = (enum queue_place)db_result_int(r, l->row, COL_PLACE),
	    .msg_id = db_result_int(r, l->row, COL_MSG_ID),
	    .sender = text(l, COL_SENDER),
	    .size = (uint64_t)db_result_int(r, l->row, COL_SIZE),
	    .arrival = db_result_time(r, l->row, COL_ARRIVAL),
	    .forced_expire = db_result_bool(r, l->row, COL_FORCED),
	    .rcpt_no = (int32_t)db_result_int(r, l->row, COL_RCPT_NO),
	    .addr = text(l, COL_ADDR),
	    .orig_addr = db_result_is_null(r, l->row, COL_ORIG) ? NULL : text(l, COL_ORIG),
	    .reason = text(l, COL_REASON),
	    .attempts = (int32_t)db_result_int(r, l->row, COL_ATTEMPTS),
	    .next_attempt =
		db_result_is_null(r, l->row, COL_NEXT) ? 0 : db_result_time(r, l->row, COL_NEXT),
	    .transport = text(l, COL_TRANSPORT),
	    .nexthop = text(l, COL_NEXTHOP),
	};
}

bool
queue_list_next(struct queue_list *l, int64_t deadline, struct queue_list_row *ret, bool *ret_end,
    struct err *err)
{
	*ret_end = false;
	for (;;) {
		while (l->page != NULL && l->row < db_result_rows(l->page)) {
			int64_t place = db_result_int(l->page, l->row, COL_PLACE);

			if (!l->has_place || place == (int64_t)l->place) {
				read_row(l, ret);
				l->row++;
				return true;
			}
			l->row++;
		}
		db_result_free(&l->page);
		if (l->stage == ARRAY_LEN(stages)) {
			*ret_end = true;
			return true;
		}
		if (!read_page(l, deadline, err))
			return false;
	}
}

/* ---- one envelope ------------------------------------------------------------------------------------------------ */

static const struct db_statement sql_head = {"envelope_head",
    "SELECT arrival, size, content_id, sender, attrs, -1, CASE WHEN EXISTS (SELECT FROM "
    "mailq.deferred d WHERE d.msg_id = $1 AND owner IS NOT NULL) THEN 1 WHEN EXISTS (SELECT FROM "
    "mailq.deferred d WHERE d.msg_id = $1) THEN 2 ELSE 3 END FROM mailq.deferred_message "
    "WHERE msg_id = $1 UNION ALL "
    "SELECT i.arrival, i.size, i.content_id, i.sender, i.attrs, i.part::int4, b.place FROM "
    "(SELECT part, 0 AS place FROM mailq.batch WHERE $1 = ANY (msg_ids) UNION ALL "
    "SELECT part, 1 FROM mailq.active WHERE $1 = ANY (msg_ids)) b JOIN mailq.incoming i "
    "ON i.part = b.part AND i.msg_id = $1"};
static const struct db_statement sql_rcpts = {"envelope_rcpts",
    "SELECT rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt FROM mailq.deferred "
    "WHERE msg_id = $1 UNION ALL SELECT rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt "
    "FROM mailq.held WHERE msg_id = $1 UNION ALL SELECT x.rcpt_no, 0, x.dsn_notify, x.addr, "
    "x.orig_addr, x.dsn_orcpt FROM (SELECT part, 0::int8 AS batch_id FROM mailq.batch "
    "WHERE $1 = ANY (msg_ids) UNION ALL SELECT part, batch_id FROM mailq.active "
    "WHERE $1 = ANY (msg_ids)) b JOIN mailq.incoming i ON i.part = b.part AND i.msg_id = $1, "
    "mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) x WHERE "
    "(SELECT true FROM mailq.result r WHERE r.part = b.part AND r.batch_id = b.batch_id "
    "AND r.msg_id = $1 AND r.rcpt_no = x.rcpt_no) IS NULL ORDER BY 1"};

static char *
arena_text(struct arena *a, const struct db_result *r, size_t row, size_t column)
{
	return db_result_is_null(r, row, column) ? NULL
						 : arena_dup(a, db_result_span(r, row, column));
}

static bool
read_rcpts(struct db_conn *c, const struct db_param *id, int64_t deadline, struct arena *arena,
    struct queue_envelope *ret, struct err *err)
{
	struct db_result *r = NULL;
	struct queue_rcpt *rcpts;

	if (!db_exec(c, &sql_rcpts, id, 1, deadline, &r, err))
		return false;
	ret->rcpt_count = db_result_rows(r);
	ret->rcpts = rcpts = arena_alloc(arena, ret->rcpt_count * sizeof(*rcpts));
	for (size_t i = 0; i < ret->rcpt_count; i++)
		rcpts[i] = (struct queue_rcpt){
		    .rcpt_no = (int32_t)db_result_int(r, i, 0),
		    .attempts = (int32_t)db_result_int(r, i, 1),
		    .dsn_notify = (unsigned)db_result_int(r, i, 2),
		    .addr = arena_text(arena, r, i, 3),
		    .orig_addr = arena_text(arena, r, i, 4),
		    .dsn_orcpt = arena_text(arena, r, i, 5),
		};
	db_result_free(&r);
	return true;
}

bool
queue_list_envelope(struct db_conn *c, int64_t msg_id, int64_t deadline, struct arena *arena,
    enum queue_place *ret_place, struct queue_envelope *ret, int64_t *ret_content_id,
    int16_t *ret_set, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param id = db_param_int8(n, msg_id);
	struct db_result *r = NULL;
	struct span attrs;

	if (!db_exec(c, &sql_head, &id, 1, deadline, &r, err))
		return false;
	if (db_result_rows(r) == 0) {
		db_result_free(&r);
		return err_set(err, ERR_GONE, "", "no such message in the queue");
	}
	*ret = (struct queue_envelope){
	    .msg_id = msg_id,
	    .arrival = db_result_time(r, 0, 0),
	    .size = (uint64_t)db_result_int(r, 0, 1),
	    .sender = arena_text(arena, r, 0, 3),
	};
	*ret_content_id = db_result_is_null(r, 0, 2) ? 0 : db_result_int(r, 0, 2);
	attrs = span_of(arena_text(arena, r, 0, 4), db_result_span(r, 0, 4).len);
	queue_attrs_parse(attrs, arena, &ret->attrs, &ret->attr_count);
	*ret_set = (int16_t)db_result_int(r, 0, 5);
	*ret_place = (enum queue_place)db_result_int(r, 0, 6);
	db_result_free(&r);
	return read_rcpts(c, &id, deadline, arena, ret, err);
}
