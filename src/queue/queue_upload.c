/*
 * queue_upload.c - large contents, chunk by chunk. A chunk whose commit was in doubt is sent again: its key says whether
 * it is there already.
 */
#include "queue/queue_upload.h"

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "queue/queue_int.h"

#define DROP_TIME  (10 * CLOCK_SECOND)
#define RETRY_TIME (CLOCK_SECOND / 5)

struct queue_upload {
	struct db_pool *pool;     /* borrowed from the front */
	struct task_group *group; /* the front's: it waits for what still uses the pool */
	int64_t content_id;
	int64_t front_epoch;
	size_t chunk_size;
	uint64_t size;  /* of all chunks written and the buffer */
	uint64_t start; /* offset of the buffer */
	struct buf chunk;
	bool begun; /* its row may be in the database */
	bool finished;
	bool stored;
};

static const struct db_statement sql_begin = {"large_begin",
    "INSERT INTO mailq.large (content_id, front_epoch, state) VALUES ($1, $2, 'uploading')"};
static const struct db_statement sql_chunk = {
    "large_chunk", "INSERT INTO mailq.large_chunk (content_id, start, data) VALUES ($1, $2, $3)"};
static const struct db_statement sql_drop = {"large_drop", "SELECT mailq.large_drop($1, $2)"};

struct queue_upload *
queue_upload_new(struct queue_front *f)
{
	struct queue_upload *u = mem_new(struct queue_upload);

	u->pool = queue_front_pool(f);
	u->group = queue_front_group(f);
	u->front_epoch = queue_process_epoch(queue_front_process(f));
	u->chunk_size = queue_front_chunk_size(f);
	u->content_id = random_epoch();
	return u;
}

/* True when it is stored, now or by a try before. */
static bool
run_once(struct queue_upload *u, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, bool *ret_final, struct err *err)
{
	struct db_conn *c = db_pool_take(u->pool, deadline, err);
	bool ok;

	*ret_final = false;
	if (c == NULL)
		return false;
	ok = db_command(c, st, params, count, deadline, NULL, err);
	if (!ok && queue_error_is(c, "23505"))
		ok = true;
	/* A lost connection is tried again; what the server refused is refused. */
	if (!ok && *db_error_sqlstate(c) != '\0' && !queue_error_is(c, "57"))
		*ret_final = true;
	db_pool_give(u->pool, &c);
	return ok;
}

static bool
run(struct queue_upload *u, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, struct err *err)
{
	bool final;

	while (!run_once(u, st, params, count, deadline, &final, err)) {
		if (final || task_is_cancelled() || clock_mono_us() + RETRY_TIME >= deadline)
			return false;
		task_sleep_until(clock_deadline(RETRY_TIME));
	}
	return true;
}

static bool
begin(struct queue_upload *u, int64_t deadline, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], u->content_id),
	    db_param_int8(n[1], u->front_epoch),
	};

	u->begun = true;
	return run(u, &sql_begin, params, ARRAY_LEN(params), deadline, err);
}

static bool
write_chunk(struct queue_upload *u, size_t len, int64_t deadline, struct err *err)
{
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], u->content_id),
	    db_param_int8(n[1], (int64_t)u->start),
	    DB_PARAM_BINARY(u->chunk.ptr, len),
	};

	if (!u->begun && !begin(u, deadline, err))
		return false;
	if (!run(u, &sql_chunk, params, ARRAY_LEN(params), deadline, err))
		return false;
	CRASH_POINT("upload-chunk");
	u->start += len;
	buf_consume(&u->chunk, len);
	return true;
}

bool
queue_upload_add(struct queue_upload *u, struct span bytes, int64_t deadline, struct err *err)
{
	MUST(!u->finished);
	while (bytes.len > 0) {
		struct span part = span_head(bytes, u->chunk_size - u->chunk.len);

		buf_add_span(&u->chunk, part);
		bytes = span_from(bytes, part.len);
		u->size += part.len;
		if (u->chunk.len == u->chunk_size && !write_chunk(u, u->chunk_size, deadline, err))
			return false;
	}
	return true;
}

bool
queue_upload_finish(struct queue_upload *u, int64_t deadline, struct err *err)
{
	MUST(!u->finished);
	if ((u->chunk.len > 0 || u->size == 0) && !write_chunk(u, u->chunk.len, deadline, err))
		return false;
	buf_done(&u->chunk);
	u->finished = true;
	return true;
}

uint64_t
queue_upload_size(const struct queue_upload *u)
{
	return u->size;
}

int64_t
queue_upload_content_id(const struct queue_upload *u)
{
	return u->content_id;
}

int64_t
queue_upload_front_epoch(const struct queue_upload *u)
{
	return u->front_epoch;
}

void
queue_upload_stored(struct queue_upload *u)
{
	u->stored = true;
}

struct drop {
	struct db_pool *pool;
	int64_t content_id;
	int64_t front_epoch;
};

static void
drop(void *arg)
{
	struct drop *d = arg;
	int64_t deadline = clock_deadline(DROP_TIME);
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], d->content_id),
	    db_param_int8(n[1], d->front_epoch),
	};
	struct db_conn *c;
	struct err err;

	c = db_pool_take(d->pool, deadline, &err);
	/* Reaped while we still wrote, it has chunks by now that no row tells of. */
	if (c != NULL &&
	    !db_command(c, &sql_begin, params, ARRAY_LEN(params), deadline, NULL, &err))
		log_debug("upload is known: %s", err.text);
	/* Not done: the reaper will, once this front end's epoch is over. */
	if (c != NULL && !db_command(c, &sql_drop, params, ARRAY_LEN(params), deadline, NULL, &err))
		log_debug("upload not dropped: %s", err.text);
	if (c != NULL)
		db_pool_give(d->pool, &c);
	mem_free(d);
}

void
queue_upload_free(struct queue_upload **uu)
{
	struct queue_upload *u = *uu;

	if (u == NULL)
		return;
	if (u->begun && !u->stored) {
		struct drop *d = mem_new(struct drop);

		*d = (struct drop){u->pool, u->content_id, u->front_epoch};
		if (task_group_start(u->group, "upload drop", drop, d) == NULL)
			mem_free(d);
	}
	buf_done(&u->chunk);
	mem_free(u);
	*uu = NULL;
}
