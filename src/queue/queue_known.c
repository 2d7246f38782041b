/*
 * queue_known.c - see queue_known.h.
 */
#include "queue/queue_known.h"

#include "queue/queue_front.h"
#include "queue/queue_int.h"

static const struct db_statement sql_known = {"message_known", "SELECT mailq.message_is_known($1)"};

bool
queue_known_ask(struct queue_front *f, int64_t msg_id, int64_t deadline, bool *ret, struct err *err)
{
	struct db_pool *pool = queue_front_pool(f);
	struct db_conn *c = db_pool_take(pool, deadline, err);
	char n[DB_INT_SIZE];
	struct db_param param = db_param_int8(n, msg_id);
	struct db_result *r = NULL;
	bool good;

	if (c == NULL)
		return false;
	good = db_exec(c, &sql_known, &param, 1, deadline, &r, err);
	if (good)
		*ret = db_result_bool(r, 0, 0);
	db_result_free(&r);
	/* It is there, but perhaps not yet safely: a later write has to be (rule 5a.10). */
	if (good && *ret)
		good =
		    queue_process_touch(queue_front_process(f), c, deadline, err) == DB_COMMITTED;
	db_pool_give(pool, &c);
	return good;
}
