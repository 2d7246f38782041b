/*
 * queue_history.c - the history of recipients.
 */
#include "queue/queue_history.h"

#include "queue/queue_int.h"

/* A report that is repeated because its commit was in doubt carries the same time: no second row. */
static const struct db_statement sql_add = {"history_add",
    "INSERT INTO mailq.history (at, arrival, msg_id, size, rcpt_no, attempts, outcome, dsn, sender, "
    "recipient, transport, relay, reason) SELECT * FROM unnest($1::timestamptz[], "
    "$2::timestamptz[], $3::int8[], $4::int8[], $5::int4[], $6::int4[], $7::text[], $8::text[], "
    "$9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) ON CONFLICT DO NOTHING"};
#define COLUMNS "zzqqiittttttt"

static const struct db_statement sql_grow = {
    "history_grow", "SELECT mailq.history_grow(($1::timestamptz AT TIME ZONE 'UTC')::date)"};
static const struct db_statement sql_keep = {
    "history_keep", "SELECT mailq.history_keep($1::int8 * interval '1 microsecond')"};

bool
queue_history_wants(const struct queue_desk *d, enum queue_outcome outcome)
{
	return d->settings.history > 0 && outcome != QUEUE_DEFERRED && outcome != QUEUE_HELD;
}

void
queue_history_add(struct queue_columns *columns, const struct queue_result *r)
{
	if (columns->count == 0)
		queue_columns_begin(columns, COLUMNS);
	queue_columns_time(columns, r->at);
	queue_columns_time(columns, r->envelope->arrival);
	queue_columns_int(columns, r->envelope->msg_id);
	queue_columns_int(columns, (int64_t)r->envelope->size);
	queue_columns_int(columns, r->rcpt->rcpt_no);
	queue_columns_int(columns, r->rcpt->attempts + 1);
	queue_columns_str(columns, queue_outcome_name(r->outcome));
	queue_columns_clean(columns, r->dsn);
	queue_columns_str(columns, r->envelope->sender);
	queue_columns_str(columns, r->rcpt->addr);
	queue_columns_clean(columns, r->transport);
	queue_columns_clean(columns, r->relay);
	queue_columns_clean(columns, r->text);
}

void
queue_history_send(struct queue_columns *columns, struct db_batch *b)
{
	struct db_param params[QUEUE_COLUMNS_MAX];

	if (columns->rows == 0)
		return;
	queue_columns_params(columns, params);
	db_batch_add(b, &sql_add, params, columns->count);
}

bool
queue_history_run(
    struct queue_columns *columns, struct db_conn *c, int64_t deadline, struct err *err)
{
	struct db_param params[QUEUE_COLUMNS_MAX];

	if (columns->rows == 0)
		return true;
	queue_columns_params(columns, params);
	return db_command(c, &sql_add, params, columns->count, deadline, NULL, err);
}

bool
queue_history_grow(struct db_conn *c, int64_t at, int64_t deadline, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param param = db_param_time(n, at);

	return db_command(c, &sql_grow, &param, 1, deadline, NULL, err);
}

bool
queue_history_keep(struct db_conn *c, int64_t keep, int64_t deadline, struct err *err)
{
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, keep);

	return db_command(c, &sql_keep, &param, 1, deadline, NULL, err);
}
