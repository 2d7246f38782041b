/*
 * queue_large.c - see queue_large.h. It is `queued` from the beginning: what is rolled back leaves nothing.
 */
#include "queue/queue_large.h"

#include "base/random.h"
#include "queue/queue_int.h"

#define CHUNK (256u << 10)

/* $1 content, $2 bytes, $3 message */
static const struct db_statement sql_large = {"large_store",
    "INSERT INTO mailq.large (content_id, front_epoch, state, size, msg_id) "
    "VALUES ($1, 0, 'queued', $2, $3)"};
static const struct db_statement sql_chunk = {"large_store_chunk",
    "INSERT INTO mailq.large_chunk (content_id, start, data) VALUES ($1, $2, $3)"};

bool
queue_large_store(struct db_conn *c, int64_t msg_id, struct span content, int64_t deadline,
    int64_t *ret_content_id, struct err *err)
{
	char id[DB_INT_SIZE], number[DB_INT_SIZE], message[DB_INT_SIZE];
	int64_t content_id = random_epoch();
	struct db_param params[] = {db_param_int8(id, content_id),
	    db_param_int8(number, (int64_t)content.len), db_param_int8(message, msg_id)};

	if (!db_command(c, &sql_large, params, 3, deadline, NULL, err))
		return false;
	for (size_t start = 0; start < content.len; start += CHUNK) {
		params[1] = db_param_int8(number, (int64_t)start);
		params[2] =
		    DB_PARAM_BINARY(content.ptr + start, MIN(content.len - start, (size_t)CHUNK));
		if (!db_command(c, &sql_chunk, params, 3, deadline, NULL, err))
			return false;
	}
	*ret_content_id = content_id;
	return true;
}
