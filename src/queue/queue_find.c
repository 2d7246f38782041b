/*
 * queue_find.c - see queue_find.h.
 */
#include "queue/queue_find.h"

#include "base/mem.h"
#include "queue/queue_int.h"

/* $1 messages. Of each: its place in the array, the places as bits, forced_expire. */
static const struct db_statement sql_find = {"find_messages",
    "WITH w AS MATERIALIZED (SELECT id, n FROM unnest($1::int8[]) WITH ORDINALITY u(id, n)) "
    "SELECT n, bit_or(place), bool_or(forced) FROM ("
    "SELECT n, 1 AS place, false AS forced FROM mailq.batch b, unnest(b.msg_ids) m "
    "JOIN w ON w.id = m "
    "UNION ALL SELECT n, 2, " QUEUE_SQL_EXPIRING(
	"m") " FROM mailq.active a, unnest(a.msg_ids) m JOIN w ON w.id = m "
	     "JOIN mailq.incoming i ON i.msg_id = m WHERE i.part = a.part AND i.recipients > "
	     "(SELECT count(*) FROM mailq.result x WHERE x.part = a.part AND x.batch_id = a.batch_id "
	     "AND x.msg_id = m) "
	     "UNION ALL SELECT n, CASE WHEN owner IS NULL THEN 4 ELSE 2 END, forced_expire FROM w "
	     "JOIN mailq.deferred d ON d.msg_id = w.id JOIN mailq.deferred_message m ON m.msg_id = w.id "
	     "UNION ALL SELECT n, 8, forced_expire FROM w JOIN mailq.held h ON h.msg_id = w.id "
	     "JOIN mailq.deferred_message m ON m.msg_id = w.id) f GROUP BY n"};

bool
queue_find_messages(struct db_conn *c, const int64_t *msg_ids, size_t count, int64_t deadline,
    struct queue_finding *ret, struct err *err)
{
	/* The bits of the statement. */
	_Static_assert(QUEUE_INCOMING == 0 && QUEUE_ACTIVE == 1 && QUEUE_DEFERRED_PLACE == 2 &&
			   QUEUE_HOLD == 3,
	    "places");
	struct buf ids CLEANUP(buf_done) = {0};
	struct db_param param;
	struct db_result *r = NULL;

	db_array_begin(&ids, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_array_add_int(&ids, DB_INT8, msg_ids[i]);
	db_array_end(&ids);
	param = DB_PARAM_BUF(&ids);
	if (!db_exec(c, &sql_find, &param, 1, deadline, &r, err))
		return false;
	for (size_t i = 0; i < count; i++)
		ret[i] = (struct queue_finding){0};
	for (size_t i = 0; i < db_result_rows(r); i++) {
		size_t n = (size_t)db_result_int(r, i, 0) - 1;

		MUST(n < count);
		ret[n].places = (unsigned)db_result_int(r, i, 1);
		ret[n].forced_expire = db_result_bool(r, i, 2);
	}
	db_result_free(&r);
	return true;
}
