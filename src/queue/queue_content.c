/*
 * queue_content.c - see queue_content.h. A content is looked for where the claim said it is, then where it may have moved to
 * meanwhile: a promotion copies it from the ring to `deferred_message` in the transaction that ends its lease.
 */
#include "queue/queue_content.h"

#include "queue/queue_int.h"

/* $1 message, $2 first byte (from 1), $3 bytes. */
static struct queue_set_sql sql_ring = {"content_ring",
    "SELECT substring(content FROM $2 FOR $3) FROM mailq.incoming_%K WHERE msg_id = $1", NULL, 0};
static const struct db_statement sql_any_set = {"content_any_set",
    "SELECT substring(content FROM $2 FOR $3) FROM mailq.incoming WHERE msg_id = $1"};
static const struct db_statement sql_promoted = {"content_promoted",
    "SELECT substring(content FROM $2 FOR $3) FROM mailq.deferred_message WHERE msg_id = $1"};

/* $1 content, $2 offset (from 0), $3 bytes: the parts of the chunks that lie in the range. */
static const struct db_statement sql_chunks = {"content_chunks",
    "SELECT substring(data FROM (greatest($2 - start, 0) + 1)::int4 "
    "FOR least($2 + $3 - greatest(start, $2), $3)::int4) FROM mailq.large_chunk "
    "WHERE content_id = $1 AND start < $2 + $3 AND start >= coalesce((SELECT max(start) "
    "FROM mailq.large_chunk WHERE content_id = $1 AND start <= $2), 0) ORDER BY start"};

struct content_range {
	const struct queue_content_ref *ref;
	uint64_t offset;
	size_t len;
};

/* Runs one of the statements; *ret_found: there was such a row. */
static bool
read_by(struct db_conn *c, const struct db_statement *st, const struct content_range *range,
    int64_t deadline, struct buf *ret, bool *ret_found, struct err *err)
{
	bool chunks = st == &sql_chunks;
	char n[3][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], chunks ? range->ref->content_id : range->ref->msg_id),
	    chunks ? db_param_int8(n[1], (int64_t)range->offset)
		   : db_param_int4(n[1], (int32_t)range->offset + 1),
	    chunks ? db_param_int8(n[2], (int64_t)range->len)
		   : db_param_int4(n[2], (int32_t)range->len),
	};
	struct db_result *r = NULL;

	if (!db_exec(c, st, params, ARRAY_LEN(params), deadline, &r, err))
		return false;
	*ret_found = db_result_rows(r) > 0;
	for (size_t i = 0; i < db_result_rows(r); i++)
		buf_add_span(ret, db_result_span(r, i, 0));
	db_result_free(&r);
	return true;
}

static bool
read_range(struct db_conn *c, const struct content_range *range, int64_t deadline, struct buf *ret,
    struct err *err)
{
	const struct queue_content_ref *ref = range->ref;
	const struct db_statement *first =
	    ref->set >= 0 ? queue_set_statement(&sql_ring, ref->set) : &sql_any_set;
	bool found = false;

	if (ref->content_id != 0) {
		if (!read_by(c, &sql_chunks, range, deadline, ret, &found, err))
			return false;
		return found || range->offset > 0 ||
		       err_set(err, ERR_GONE, "4.3.0", "the content of the message is gone");
	}
	if (!read_by(c, &sql_promoted, range, deadline, ret, &found, err))
		return false;
	if (!found && !read_by(c, first, range, deadline, ret, &found, err))
		return false;
	return found || err_set(err, ERR_GONE, "4.3.0", "the content of the message is gone");
}

bool
queue_content_read(struct db_pool *pool, const struct queue_content_ref *ref, uint64_t offset,
    size_t len, int64_t deadline, struct buf *ret, struct err *err)
{
	const struct content_range range = {.ref = ref, .offset = offset, .len = len};
	struct db_conn *c = db_pool_take(pool, deadline, err);
	bool ok;

	if (c == NULL)
		return false;
	/* Contents in one piece are below the inline limit, so int4 offsets do for them. */
	MUST(ref->content_id != 0 || offset + len < INT32_MAX);
	ok = read_range(c, &range, deadline, ret, err);
	db_pool_give(pool, &c);
	return ok;
}
