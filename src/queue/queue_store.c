/*
 * queue_store.c - messages as parameters: arrays with an element per message, so that one statement stores a batch (rules
 * 5a.1, 5a.11, 5a.12). Recipients of a message travel as lines of one text.
 */
#include <string.h>

#include "base/utf8.h"
#include "queue/queue_int.h"
#include "queue/queue_upload.h"

static struct queue_set_sql sql_store = {.name = "store",
    .sql = "WITH b AS (INSERT INTO mailq.batch_%K (batch_id, part, msg_ids, recipients, bytes) "
	   "VALUES (nextval('mailq.batch_seq'), %K, $1, $2, $3)) "
	   "INSERT INTO mailq.incoming_%K (msg_id, part, arrival, size, content_id, recipients, "
	   "sender, attrs, rcpts, orig_addrs, dsn_orcpts, dsn_notifies, content) "
	   "SELECT m, %K, t, s, l, n, f, a, r, o, d, y, c FROM unnest($1::int8[], "
	   "$4::timestamptz[], $5::int8[], $6::int8[], $7::int4[], $8::text[], $9::text[], "
	   "$10::text[], $11::text[], $12::text[], $13::text[], $14::bytea[]) "
	   "u(m, t, s, l, n, f, a, r, o, d, y, c)"};

/* expires_at: the scheduler that gets it after its release will say. */
static const struct db_statement sql_store_held = {"store_held",
    "WITH u AS (SELECT * FROM unnest($1::int8[], $2::timestamptz[], $3::int8[], $4::int8[], "
    "$5::int4[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], "
    "$12::bytea[], $13::text[]) u(m, t, s, l, n, f, a, r, o, d, y, c, w)), "
    "i AS (INSERT INTO mailq.deferred_message (msg_id, arrival, size, content_id, recipients, "
    "expires_at, sender, attrs, content) SELECT m, t, s, l, n, 'infinity', f, a, c FROM u) "
    "INSERT INTO mailq.held (msg_id, destination, rcpt_no, attempts, dsn_notify, addr, orig_addr, "
    "dsn_orcpt, dsn, reason, why) SELECT m, mailq.destination_id('', ''), x.rcpt_no, 0, "
    "x.dsn_notify, x.addr, x.orig_addr, x.dsn_orcpt, '', '', w "
    "FROM u, mailq.rcpts(r, o, d, y) x"};

static const struct db_statement sql_open_set = {
    "ring_open", "SELECT part FROM mailq.ring WHERE state = 'open'"};

static void
begin(struct queue_store *s)
{
	db_array_begin(&s->ids, DB_INT8);
	db_array_begin(&s->arrivals, DB_TIMESTAMPTZ);
	db_array_begin(&s->sizes, DB_INT8);
	db_array_begin(&s->content_ids, DB_INT8);
	db_array_begin(&s->rcpt_counts, DB_INT4);
	db_array_begin(&s->senders, DB_TEXT);
	db_array_begin(&s->attrs, DB_TEXT);
	db_array_begin(&s->rcpts_text, DB_TEXT);
	db_array_begin(&s->origs, DB_TEXT);
	db_array_begin(&s->orcpts, DB_TEXT);
	db_array_begin(&s->notifies, DB_TEXT);
	db_array_begin(&s->contents, DB_BYTEA);
	db_array_begin(&s->holds, DB_TEXT);
	s->begun = true;
}

static void
end(struct queue_store *s)
{
	struct buf *all[] = {&s->ids, &s->arrivals, &s->sizes, &s->content_ids, &s->rcpt_counts,
	    &s->senders, &s->attrs, &s->rcpts_text, &s->origs, &s->orcpts, &s->notifies,
	    &s->contents, &s->holds};

	if (!s->begun)
		return;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		db_array_end(all[i]);
	s->begun = false;
}

void
queue_store_clear(struct queue_store *s)
{
	struct buf *all[] = {&s->ids, &s->arrivals, &s->sizes, &s->content_ids, &s->rcpt_counts,
	    &s->senders, &s->attrs, &s->rcpts_text, &s->origs, &s->orcpts, &s->notifies,
	    &s->contents, &s->holds};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buf_clear(all[i]);
	s->count = 0;
	s->rcpts = s->bytes = 0;
	s->begun = false;
}

void
queue_store_done(struct queue_store *s)
{
	struct buf *all[] = {&s->ids, &s->arrivals, &s->sizes, &s->content_ids, &s->rcpt_counts,
	    &s->senders, &s->attrs, &s->rcpts_text, &s->origs, &s->orcpts, &s->notifies,
	    &s->contents, &s->holds};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buf_done(all[i]);
	*s = (struct queue_store){0};
}

/* A line for each recipient; NULL as a whole when no recipient has anything to say. */
static void
add_lines(struct buf *array, const struct queue_envelope *e,
    void (*write)(struct buf *line, const struct queue_rcpt *r))
{
	struct buf text = {0};

	for (size_t i = 0; i < e->rcpt_count; i++) {
		if (i > 0)
			buf_add_char(&text, '\n');
		write(&text, &e->rcpts[i]);
	}
	db_array_add_bytes(array, buf_span(&text));
	buf_done(&text);
}

/* One line, whatever is in it: a line too many would give each recipient his neighbour's address. */
static void
add_line(struct buf *line, const char *text)
{
	size_t from = line->len;

	buf_add_str(line, text);
	for (size_t i = from; i < line->len; i++)
		if (line->ptr[i] == '\n')
			line->ptr[i] = '?';
}

static void
write_addr(struct buf *line, const struct queue_rcpt *r)
{
	add_line(line, r->addr);
}

static void
write_orig(struct buf *line, const struct queue_rcpt *r)
{
	if (r->orig_addr != NULL && strcmp(r->orig_addr, r->addr) != 0)
		add_line(line, r->orig_addr);
}

static void
write_orcpt(struct buf *line, const struct queue_rcpt *r)
{
	if (r->dsn_orcpt != NULL)
		add_line(line, r->dsn_orcpt);
}

static void
write_notify(struct buf *line, const struct queue_rcpt *r)
{
	buf_printf(line, "%u", r->dsn_notify);
}

static void
add_rcpts(struct queue_store *s, const struct queue_envelope *e)
{
	bool orig = false;
	bool orcpt = false;
	bool notify = false;

	for (size_t i = 0; i < e->rcpt_count; i++) {
		const struct queue_rcpt *r = &e->rcpts[i];

		orig |= r->orig_addr != NULL && strcmp(r->orig_addr, r->addr) != 0;
		orcpt |= r->dsn_orcpt != NULL;
		notify |= r->dsn_notify != 0;
	}
	add_lines(&s->rcpts_text, e, write_addr);
	if (orig)
		add_lines(&s->origs, e, write_orig);
	else
		db_array_add_null(&s->origs);
	if (orcpt)
		add_lines(&s->orcpts, e, write_orcpt);
	else
		db_array_add_null(&s->orcpts);
	if (notify)
		add_lines(&s->notifies, e, write_notify);
	else
		db_array_add_null(&s->notifies);
}

void
queue_store_add(struct queue_store *s, const struct queue_message *m)
{
	const struct queue_envelope *e = &m->envelope;
	struct buf attrs = {0};

	if (!s->begun)
		begin(s);
	MUST(e->msg_id > 0 && e->rcpt_count > 0);
	db_array_add_int(&s->ids, DB_INT8, e->msg_id);
	db_array_add_time(&s->arrivals, e->arrival);
	db_array_add_int(&s->sizes, DB_INT8, (int64_t)e->size);
	db_array_add_int(&s->rcpt_counts, DB_INT4, (int64_t)e->rcpt_count);
	db_array_add_bytes(&s->senders, span_str(e->sender));
	queue_attrs_write(&attrs, e->attrs, e->attr_count);
	db_array_add_bytes(&s->attrs, buf_span(&attrs));
	buf_done(&attrs);
	add_rcpts(s, e);
	if (m->upload != NULL) {
		db_array_add_int(&s->content_ids, DB_INT8, queue_upload_content_id(m->upload));
		db_array_add_null(&s->contents);
	} else if (m->content_id != 0) {
		db_array_add_int(&s->content_ids, DB_INT8, m->content_id);
		db_array_add_null(&s->contents);
	} else {
		db_array_add_null(&s->content_ids);
		db_array_add_bytes(&s->contents, m->content);
		s->bytes += (int64_t)m->content.len;
	}
	queue_param_add_clean(&s->holds, span_str(m->hold), QUEUE_TEXT_MAX);
	s->rcpts += (int64_t)e->rcpt_count;
	s->count++;
}

/* Parameters 4 to 14 of `store`, 2 to 12 of `store_held`. */
static void
message_params(struct queue_store *s, struct db_param *p)
{
	p[0] = DB_PARAM_BUF(&s->arrivals);
	p[1] = DB_PARAM_BUF(&s->sizes);
	p[2] = DB_PARAM_BUF(&s->content_ids);
	p[3] = DB_PARAM_BUF(&s->rcpt_counts);
	p[4] = DB_PARAM_BUF(&s->senders);
	p[5] = DB_PARAM_BUF(&s->attrs);
	p[6] = DB_PARAM_BUF(&s->rcpts_text);
	p[7] = DB_PARAM_BUF(&s->origs);
	p[8] = DB_PARAM_BUF(&s->orcpts);
	p[9] = DB_PARAM_BUF(&s->notifies);
	p[10] = DB_PARAM_BUF(&s->contents);
}

/* rcpts and bytes are where the two numbers are written. */
static void
store_params(
    struct queue_store *s, struct db_param p[14], char rcpts[DB_INT_SIZE], char bytes[DB_INT_SIZE])
{
	MUST(s->count > 0);
	end(s);
	p[0] = DB_PARAM_BUF(&s->ids);
	p[1] = db_param_int4(rcpts, (int32_t)s->rcpts);
	p[2] = db_param_int8(bytes, s->bytes);
	message_params(s, p + 3);
}

void
queue_store_send(struct queue_store *s, struct db_batch *b, int16_t set)
{
	struct db_param p[14];
	char rcpts[DB_INT_SIZE];
	char bytes[DB_INT_SIZE];

	store_params(s, p, rcpts, bytes);
	db_batch_add(b, queue_set_statement(&sql_store, set), p, ARRAY_LEN(p));
}

bool
queue_store_run(
    struct queue_store *s, struct db_conn *c, int16_t set, int64_t deadline, struct err *err)
{
	struct db_param p[14];
	char rcpts[DB_INT_SIZE];
	char bytes[DB_INT_SIZE];

	store_params(s, p, rcpts, bytes);
	return db_command(
	    c, queue_set_statement(&sql_store, set), p, ARRAY_LEN(p), deadline, NULL, err);
}

void
queue_store_send_held(struct queue_store *s, struct db_batch *b)
{
	struct db_param p[13];

	MUST(s->count > 0);
	end(s);
	p[0] = DB_PARAM_BUF(&s->ids);
	message_params(s, p + 1);
	p[12] = DB_PARAM_BUF(&s->holds);
	db_batch_add(b, &sql_store_held, p, ARRAY_LEN(p));
}

bool
queue_ring_open_set(struct db_conn *c, int64_t deadline, int16_t *ret_set, struct err *err)
{
	struct db_result *r = NULL;

	if (!db_exec(c, &sql_open_set, NULL, 0, deadline, &r, err))
		return false;
	if (db_result_rows(r) != 1) {
		db_result_free(&r);
		return err_set(err, ERR_CONFIG, "4.3.0", "the ring of the queue has no open set");
	}
	*ret_set = (int16_t)db_result_int(r, 0, 0);
	db_result_free(&r);
	return true;
}
