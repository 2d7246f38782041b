/*
 * queue_destination.c - see queue_destination.h.
 */
#include "queue/queue_destination.h"

#include "base/utf8.h"
#include "db/db.h"
#include "queue/queue_int.h"
#include "queue/queue_types.h"

static const struct db_statement sql_dead = {"destination_dead",
    "INSERT INTO mailq.destination (destination_id, transport, nexthop, dead_until, dead_reason, "
    "fails, changed) VALUES (mailq.destination_id($1, $2), $1, $2, $3, $4, 1, now()) "
    "ON CONFLICT (destination_id) DO UPDATE SET dead_until = excluded.dead_until, "
    "dead_reason = excluded.dead_reason, fails = destination.fails + 1, changed = now()"};
static const struct db_statement sql_alive = {"destination_alive",
    "UPDATE mailq.destination SET dead_until = NULL, dead_reason = NULL, fails = 0, changed = now() "
    "WHERE destination_id = mailq.destination_id($1, $2) AND dead_until IS NOT NULL"};
/* $1 transports, $2 nexthops: the numbers of the dead ones. */
static const struct db_statement sql_ask = {"destination_ask",
    "SELECT n FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u(t, h, n) "
    "JOIN mailq.destination d ON d.destination_id = mailq.destination_id(t, h) "
    "WHERE d.dead_until > now()"};

bool
queue_destination_tell(struct queue_desk *d, const char *transport, const char *nexthop,
    int64_t dead_until, const char *reason, int64_t deadline, struct err *err)
{
	struct buf clean = {0};
	char n[DB_INT_SIZE];
	struct db_param params[4] = {DB_PARAM_TEXT(transport), DB_PARAM_TEXT(nexthop)};
	struct db_conn *c;
	bool ok;

	c = queue_desk_take(d, deadline, err);
	if (c == NULL)
		return false;
	if (dead_until == 0) {
		ok = db_command(c, &sql_alive, params, 2, deadline, NULL, err);
	} else {
		utf8_add_clean(&clean, span_str(reason), QUEUE_TEXT_MAX);
		params[2] = db_param_time(n, dead_until);
		params[3] = DB_PARAM_BUF(&clean);
		ok = db_command(c, &sql_dead, params, 4, deadline, NULL, err);
	}
	buf_done(&clean);
	queue_desk_give(d, &c);
	return ok;
}

bool
queue_destination_ask(struct queue_desk *d, const char *const *transports,
    const char *const *nexthops, size_t count, bool *ret_dead, int64_t deadline, struct err *err)
{
	struct buf names[2] = {{0}, {0}};
	const char *const *texts[2] = {transports, nexthops};
	struct db_param params[2];
	struct db_result *r = NULL;
	struct db_conn *c = queue_desk_take(d, deadline, err);
	bool ok;

	if (c == NULL)
		return false;
	for (size_t a = 0; a < 2; a++) {
		db_array_begin(&names[a], DB_TEXT);
		for (size_t i = 0; i < count; i++)
			db_array_add_bytes(&names[a], span_str(texts[a][i]));
		db_array_end(&names[a]);
		params[a] = DB_PARAM_BUF(&names[a]);
	}
	ok = db_exec(c, &sql_ask, params, 2, deadline, &r, err);
	for (size_t i = 0; i < count; i++)
		ret_dead[i] = false;
	for (size_t i = 0; ok && i < db_result_rows(r); i++)
		ret_dead[db_result_int(r, i, 0) - 1] = true;
	db_result_free(&r);
	buf_done(&names[0]);
	buf_done(&names[1]);
	queue_desk_give(d, &c);
	return ok;
}
