/*
 * queue_content.c - contents, piece by piece.
 */
#include "queue/queue_content.h"

#include "queue/queue_int.h"

/* $1 content, $2 offset, $3 bytes: the pieces of the chunks that overlap; a row without a piece beyond the end. */
static const struct db_statement sql_large = {"content_large",
    "SELECT p.piece FROM mailq.large l LEFT JOIN LATERAL (SELECT start, substring(data "
    "FROM (greatest($2::int8 - start, 0) + 1)::int4 FOR (least(start + octet_length(data), "
    "$2::int8 + $3::int8) - greatest(start, $2::int8))::int4) AS piece FROM mailq.large_chunk "
    "WHERE content_id = $1 AND start >= (SELECT coalesce(max(start), 0) FROM mailq.large_chunk "
    "WHERE content_id = $1 AND start <= $2::int8) AND start < $2::int8 + $3::int8 "
    "AND start + octet_length(data) > $2::int8) p ON true "
    "WHERE l.content_id = $1 AND l.state <> 'uploading' ORDER BY p.start"};
/* $1 message, $2 offset + 1, $3 bytes */
static struct queue_set_sql sql_ring = {.name = "content_ring",
    .sql = "SELECT substring(content FROM $2::int4 FOR $3::int4) FROM mailq.incoming_%K "
	   "WHERE msg_id = $1"};
static const struct db_statement sql_any_set = {"content_any_set",
    "SELECT substring(content FROM $2::int4 FOR $3::int4) FROM mailq.incoming WHERE msg_id = $1"};
static const struct db_statement sql_deferred = {"content_deferred",
    "SELECT substring(content FROM $2::int4 FOR $3::int4) FROM mailq.deferred_message "
    "WHERE msg_id = $1"};

/* Appends the pieces; *ret_found: there was a row. */
static bool
run(struct db_conn *c, const struct db_statement *st, const struct db_param params[3],
    int64_t deadline, bool *ret_found, struct buf *ret, struct err *err)
{
	struct db_result *r = NULL;

	if (!db_exec(c, st, params, 3, deadline, &r, err))
		return false;
	*ret_found = db_result_rows(r) > 0;
	for (size_t i = 0; i < db_result_rows(r); i++)
		if (!db_result_is_null(r, i, 0))
			buf_add_span(ret, db_result_span(r, i, 0));
	db_result_free(&r);
	return true;
}

static bool
read_inline(struct db_conn *c, const struct queue_content_ref *ref, uint64_t offset, size_t len,
    int64_t deadline, struct buf *ret, struct err *err)
{
	char n[3][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], ref->msg_id),
	    db_param_int4(n[1], (int32_t)MIN(offset, (uint64_t)INT32_MAX - 1) + 1),
	    db_param_int4(n[2], (int32_t)len),
	};
	const struct db_statement *first =
	    ref->set >= 0 ? queue_set_statement(&sql_ring, ref->set) : &sql_deferred;
	const struct db_statement *second = ref->set >= 0 ? &sql_deferred : &sql_any_set;
	bool found = false;

	/* A promoted message left its set, or is there still: wherever, the bytes are the same. */
	if (!run(c, first, params, deadline, &found, ret, err))
		return false;
	if (!found && !run(c, second, params, deadline, &found, ret, err))
		return false;
	return found || err_set(err, ERR_GONE, "4.3.0", "the message is gone");
}

static bool
read_large(struct db_conn *c, const struct queue_content_ref *ref, uint64_t offset, size_t len,
    int64_t deadline, struct buf *ret, struct err *err)
{
	char n[3][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], ref->content_id),
	    db_param_int8(n[1], (int64_t)offset),
	    db_param_int8(n[2], (int64_t)len),
	};
	bool found = false;

	if (!run(c, &sql_large, params, deadline, &found, ret, err))
		return false;
	return found || err_set(err, ERR_GONE, "4.3.0", "the message is gone");
}

bool
queue_content_read(struct db_pool *pool, const struct queue_content_ref *ref, uint64_t offset,
    size_t len, int64_t deadline, struct buf *ret, struct err *err)
{
	struct db_conn *c;
	bool ok;

	MUST(len <= INT32_MAX);
	c = db_pool_take(pool, deadline, err);
	if (c == NULL)
		return false;
	ok = ref->content_id != 0 ? read_large(c, ref, offset, len, deadline, ret, err)
				  : read_inline(c, ref, offset, len, deadline, ret, err);
	db_pool_give(pool, &c);
	return ok;
}
