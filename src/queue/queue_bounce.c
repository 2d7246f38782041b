/*
 * queue_bounce.c - from notification rows to queued bounces, inside the caller's transaction (rule 5a.6): the text is the
 * caller's business (queue_desk_settings.compose), that there is one bounce exactly is ours. While the message's row is
 * locked nobody adds a notification: the foreign key wants to lock it too.
 */
#include "base/arena.h"
#include "base/crash.h"
#include "base/mem.h"
#include "queue/queue_int.h"

/* $1 messages */
static const struct db_statement sql_lock = {"bounce_lock",
    "SELECT msg_id FROM mailq.deferred_message m WHERE msg_id = ANY ($1) AND EXISTS (SELECT FROM "
    "mailq.notification n WHERE n.msg_id = m.msg_id) ORDER BY msg_id FOR UPDATE"};
/*
 * $1 messages, $2 bytes. Those of which somebody still has recipients in his hands wait for him. Content and attributes come with the
 * first row of a message: these may be as long as a list of recipients.
 */
#define FIRST_OF_MESSAGE "row_number() OVER (PARTITION BY n.msg_id ORDER BY n.kind, n.rcpt_no) = 1"
static const struct db_statement sql_read = {"bounce_read",
    "SELECT n.msg_id, m.arrival, m.size, m.content_id, m.sender, CASE WHEN " FIRST_OF_MESSAGE
    " THEN m.attrs END, m.expires_at, CASE WHEN " FIRST_OF_MESSAGE
    " THEN coalesce(substring(m.content FROM 1 FOR $2), substring((SELECT string_agg(c.data, '' "
    "ORDER BY c.start) FROM mailq.large_chunk c WHERE c.content_id = m.content_id AND c.start < $2) "
    "FROM 1 FOR $2)) END, n.kind, n.rcpt_no, n.dsn_notify, n.at, n.action, n.addr, n.orig_addr, "
    "n.dsn_orcpt, n.dsn, n.reason, n.remote_mta, n.diagnostic FROM mailq.notification n "
    "JOIN mailq.deferred_message m ON m.msg_id = n.msg_id WHERE n.msg_id = ANY ($1) AND NOT EXISTS "
    "(SELECT FROM mailq.deferred d WHERE d.msg_id = n.msg_id AND d.owner IS NOT NULL) "
    "ORDER BY n.msg_id, n.kind, n.rcpt_no"};
static const struct db_statement sql_told = {
    "bounce_told", "DELETE FROM mailq.notification WHERE msg_id = ANY ($1)"};
static const struct db_statement sql_collect = {"bounce_collect", "SELECT mailq.collect($1)"};

/* Columns of sql_read. */
enum {
	COL_MSG_ID,
	COL_ARRIVAL,
	COL_SIZE,
	COL_CONTENT_ID,
	COL_SENDER,
	COL_ATTRS,
	COL_EXPIRES,
	COL_CONTENT,
	COL_KIND,
	COL_RCPT_NO,
	COL_NOTIFY,
	COL_AT,
	COL_ACTION,
	COL_ADDR,
	COL_ORIG,
	COL_ORCPT,
	COL_DSN,
	COL_REASON,
	COL_REMOTE,
	COL_DIAGNOSTIC,
};

struct compose {
	struct queue_desk *desk;
	const struct db_result *rows;
	struct queue_store store; /* the bounces */
	struct buf told;          /* int8[]: messages dealt with */
	size_t told_count;
};

static const char *
text(struct arena *a, const struct db_result *r, size_t row, size_t column)
{
	return db_result_is_null(r, row, column) ? NULL
						 : arena_dup(a, db_result_span(r, row, column));
}

static void
read_notice(struct arena *a, const struct db_result *r, size_t row, struct queue_notice *ret)
{
	*ret = (struct queue_notice){
	    .rcpt_no = (int32_t)db_result_int(r, row, COL_RCPT_NO),
	    .kind = (unsigned)db_result_int(r, row, COL_KIND),
	    .action = text(a, r, row, COL_ACTION),
	    .addr = text(a, r, row, COL_ADDR),
	    .orig_addr = text(a, r, row, COL_ORIG),
	    .dsn_orcpt = text(a, r, row, COL_ORCPT),
	    .dsn_notify = (unsigned)db_result_int(r, row, COL_NOTIFY),
	    .dsn = text(a, r, row, COL_DSN),
	    .text = text(a, r, row, COL_REASON),
	    .remote_mta = text(a, r, row, COL_REMOTE),
	    .diagnostic = text(a, r, row, COL_DIAGNOSTIC),
	    .at = db_result_time(r, row, COL_AT),
	    .expires_at = db_result_time(r, row, COL_EXPIRES),
	};
}

/* `row`: the message's first. */
static void
read_envelope(struct arena *a, const struct db_result *r, size_t row, struct queue_envelope *ret)
{
	struct span attrs = db_result_span(r, row, COL_ATTRS);

	*ret = (struct queue_envelope){
	    .msg_id = db_result_int(r, row, COL_MSG_ID),
	    .sender = text(a, r, row, COL_SENDER),
	    .arrival = db_result_time(r, row, COL_ARRIVAL),
	    .size = (uint64_t)db_result_int(r, row, COL_SIZE),
	};
	queue_attrs_parse(attrs, a, &ret->attrs, &ret->attr_count);
}

static bool
mint_all(struct queue_desk *d, int64_t ids[QUEUE_COMPOSE_MAX])
{
	struct err err;

	for (size_t i = 0; i < QUEUE_COMPOSE_MAX; i++)
		if (!queue_desk_mint(d, &ids[i], &err))
			return false;
	return true;
}

/* The notices of rows first..end-1, which are of one message and kind. `content` is the message's first row. */
static bool
compose_one(struct compose *c, size_t content, size_t first, size_t end)
{
	const struct queue_desk_settings *s = &c->desk->settings;
	struct queue_message messages[QUEUE_COMPOSE_MAX] = {0};
	int64_t ids[QUEUE_COMPOSE_MAX];
	struct queue_envelope envelope;
	struct queue_notice *notices;
	struct queue_bounce bounce;
	struct arena arena = {0};
	size_t count;

	if (!mint_all(c->desk, ids))
		return false;
	read_envelope(&arena, c->rows, content, &envelope);
	notices = arena_alloc(&arena, (end - first) * sizeof(*notices));
	for (size_t i = first; i < end; i++)
		read_notice(&arena, c->rows, i, &notices[i - first]);
	bounce = (struct queue_bounce){
	    .envelope = &envelope,
	    .content = db_result_span(c->rows, content, COL_CONTENT),
	    .content_is_all = envelope.size <= s->bounce_bytes,
	    .kind = notices[0].kind,
	    .notices = notices,
	    .notice_count = end - first,
	};
	count = s->compose(s->compose_arg, &bounce, ids, messages, QUEUE_COMPOSE_MAX, &arena);
	MUST(count <= QUEUE_COMPOSE_MAX);
	for (size_t i = 0; i < count; i++)
		queue_store_add(&c->store, &messages[i]);
	arena_done(&arena);
	return true;
}

static bool
same_group(const struct db_result *r, size_t a, size_t b)
{
	return db_result_int(r, a, COL_MSG_ID) == db_result_int(r, b, COL_MSG_ID) &&
	       db_result_int(r, a, COL_KIND) == db_result_int(r, b, COL_KIND);
}

/* Of a message, whose first row is `content`, with VERP each failed recipient is told of by itself. */
static bool
is_alone(const struct compose *c, size_t content, size_t row)
{
	struct span attrs = db_result_span(c->rows, content, COL_ATTRS);

	return c->desk->settings.bounce_singly_with != NULL &&
	       db_result_int(c->rows, row, COL_KIND) == QUEUE_NOTIFY_FAILURE &&
	       queue_attrs_have(attrs, c->desk->settings.bounce_singly_with);
}

/* False: no message ids at hand; what is not in `told` then waits for the janitor. */
static bool
compose_rows(struct compose *c)
{
	size_t rows = db_result_rows(c->rows);
	size_t content = 0;
	size_t end;

	for (size_t first = 0; first < rows; first = end) {
		int64_t id = db_result_int(c->rows, first, COL_MSG_ID);

		if (id != db_result_int(c->rows, content, COL_MSG_ID))
			content = first;
		end = first + 1;
		while (
		    end < rows && !is_alone(c, content, first) && same_group(c->rows, first, end))
			end++;
		if (!compose_one(c, content, first, end))
			return false;
		if (end == rows || db_result_int(c->rows, end, COL_MSG_ID) != id) {
			db_array_add_int(&c->told, DB_INT8, id);
			c->told_count++;
		}
	}
	return true;
}

static bool
store_composed(struct compose *c, struct db_conn *conn, int64_t deadline, struct err *err)
{
	struct db_param told;

	if (c->store.count > 0 &&
	    !queue_store_run(&c->store, conn, queue_desk_open_set(c->desk), deadline, err))
		return false;
	CRASH_POINT("bounce-stored");
	db_array_end(&c->told);
	told = DB_PARAM_BUF(&c->told);
	return c->told_count == 0 || db_command(conn, &sql_told, &told, 1, deadline, NULL, err);
}

static bool
compose_locked(struct queue_desk *d, struct db_conn *conn, const struct db_param *ids,
    int64_t deadline, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param params[] = {*ids, db_param_int4(n, (int32_t)d->settings.bounce_bytes)};
	struct db_result *r = NULL;
	struct compose c = {.desk = d};
	bool ok;

	if (!db_exec(conn, &sql_read, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	c.rows = r;
	db_array_begin(&c.told, DB_INT8);
	/* Not all at once or not at all: a message with one kind told and another not would be told twice. */
	ok = !compose_rows(&c) || store_composed(&c, conn, deadline, err);
	queue_store_done(&c.store);
	buf_done(&c.told);
	db_result_free(&r);
	return ok;
}

bool
queue_bounce_compose(struct queue_desk *d, struct db_conn *c, const int64_t *msg_ids, size_t count,
    int64_t deadline, struct err *err)
{
	struct buf ids = {0};
	struct db_param param;
	struct db_result *r = NULL;
	bool ok;

	if (d->settings.compose == NULL)
		return true;
	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, msg_ids[i]);
	db_array_end(&ids);
	param = DB_PARAM_BUF(&ids);
	ok = db_exec(c, &sql_lock, &param, 1, deadline, &r, err) &&
	     (db_result_rows(r) == 0 || compose_locked(d, c, &param, deadline, err));
	db_result_free(&r);
	buf_done(&ids);
	return ok;
}

bool
queue_bounce_collect(
    struct db_conn *c, const int64_t *msg_ids, size_t count, int64_t deadline, struct err *err)
{
	struct buf ids = {0};
	struct db_param param;
	bool ok;

	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, msg_ids[i]);
	db_array_end(&ids);
	param = DB_PARAM_BUF(&ids);
	ok = db_command(c, &sql_collect, &param, 1, deadline, NULL, err);
	buf_done(&ids);
	return ok;
}
