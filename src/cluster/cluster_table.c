/*
 * cluster_table.c - see cluster_table.h.
 *
 *	            want()                   answered
 *	(no entry) ───────> wanted ──> asked ────────> kept ──┐
 *	                      ^                         │     │ looked up while its version is known to hold
 *	                      └─────────────────────────┘ <───┘
 *	                        looked up otherwise
 *
 * One task asks for everything that is wanted; what comes up while it waits goes with its next statement. Another one looks
 * at the versions of the tables in use, twice a second, as long as somebody looks something up.
 *
 * Invariants
 *	1. An entry that is loading is in `wanted` or in the batch of the asking task, and not in `kept`.
 *	2. Entries with waiters are not freed.
 *	3. known.version was read by a statement sent at known.checked; a kept entry with another version is not given.
 */
#include "cluster/cluster_table.h"

#include <string.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "task/task.h"

#define CACHE_SIZE  ((size_t)16 << 20)
#define FRESH       CLOCK_SECOND
#define LOOK_EVERY  (CLOCK_SECOND / 2)
#define IN_USE      (60 * CLOCK_SECOND) /* how long after its last lookup a table is looked at */
#define BATCH_MAX   500
#define ASK_LIMIT   (30 * CLOCK_SECOND)
#define ENTRY_COSTS 160 /* bytes beside key and value: the entry, its places in lists and index */

/* $1 names, $2 keys. Rows: number from 1, version, value. One entry after the other by its index: see the test of its plan. */
const struct db_statement cluster_table_sql_lookup = {"table_lookup",
    "SELECT k.n, h.version, e.value FROM unnest($1::text[], $2::text[]) WITH ORDINALITY k(name, key, n) "
    "LEFT JOIN LATERAL (SELECT version, content_id FROM mailq.table_head WHERE name = k.name LIMIT 1) h ON true "
    "LEFT JOIN LATERAL (SELECT value FROM mailq.table_entry WHERE content_id = h.content_id "
    "AND key = k.key LIMIT 1) e ON true"};

/* $1 names. */
static const struct db_statement sql_versions = {
    "table_versions", "SELECT name, version FROM mailq.table_head WHERE name = ANY ($1::text[])"};

struct known {
	char *name;      /* owned */
	int64_t version; /* 0: there is no such table, or it was never asked */
	int64_t checked; /* mono us: when the statement was sent that read it */
	int64_t used;    /* mono us */
};

enum outcome {
	OUTCOME_FAILED,
	OUTCOME_MISSING, /* no such table */
	OUTCOME_FOUND,
	OUTCOME_NOT_FOUND,
};

struct entry {
	struct list link;    /* in `kept` or `wanted` */
	struct known *table; /* borrowed */
	char *index;         /* owned: name, NUL, key */
	size_t index_len;
	char *value; /* owned; of OUTCOME_FOUND */
	size_t value_len;
	int64_t version;
	enum outcome outcome;
	bool loading;
	size_t waiters;
	struct task_cond cond;
};

static struct {
	bool on;
	struct db_pool *pool; /* borrowed */
	size_t cache_size;
	int64_t fresh;
	struct hmap tables;
	struct hmap entries;
	struct list kept;   /* last used first */
	struct list wanted; /* longest waiting first */
	size_t bytes;       /* of all entries */
	size_t busy;        /* tasks and lookups that are inside */
	bool asking;
	bool looking;
	struct task_timer timer;
	struct err trouble; /* of the last statement that failed */
	struct cluster_table_stats stats;
} source;

/* ---- entries -------------------------------------------------------------------------------------------------------- */

static struct span
entry_key(const struct entry *e)
{
	return span_from(span_of(e->index, e->index_len), strlen(e->index) + 1);
}

static size_t
entry_size(const struct entry *e)
{
	return ENTRY_COSTS + 2 * e->index_len + e->value_len;
}

static void
entry_free(struct entry *e)
{
	MUST(!e->loading && e->waiters == 0);
	list_remove(&e->link);
	(void)hmap_remove(&source.entries, span_of(e->index, e->index_len));
	source.bytes -= entry_size(e);
	mem_free(e->index);
	mem_free(e->value);
	mem_free(e);
}

static void
forget_kept(void)
{
	LIST_FOREACH_SAFE (e, &source.kept, struct entry, link)
		if (e->waiters == 0)
			entry_free(e);
		else
			e->version = 0;
}

/* The entries that nobody used for longest go. */
static void
keep_to_size(void)
{
	struct list *at = source.kept.prev;

	while (source.bytes > source.cache_size && at != &source.kept) {
		struct entry *e = CONTAINER_OF(at, struct entry, link);

		at = at->prev;
		if (e->waiters == 0)
			entry_free(e);
	}
}

static struct known *
table_find(const char *name)
{
	struct known *k = hmap_get(&source.tables, span_str(name));

	if (k != NULL)
		return k;
	k = mem_new(struct known);
	k->name = mem_strdup(name);
	(void)hmap_put(&source.tables, span_str(name), k);
	return k;
}

static struct entry *
entry_find(const char *name, struct span key)
{
	struct buf index CLEANUP(buf_done) = {0};
	struct entry *e;

	buf_add(&index, name, strlen(name) + 1);
	buf_add_span(&index, key);
	e = hmap_get(&source.entries, buf_span(&index));
	if (e != NULL)
		return e;
	e = mem_new(struct entry);
	e->table = table_find(name);
	e->index_len = index.len;
	e->index = buf_take(&index);
	source.bytes += entry_size(e);
	(void)hmap_put(&source.entries, span_of(e->index, e->index_len), e);
	return e;
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

/* Frees all when it is over and nobody is inside any more. */
static void
release(void)
{
	struct hmap_cursor at = {0};
	struct span name;
	void *k;

	if (source.on || source.busy > 0)
		return;
	forget_kept();
	while (hmap_next(&source.tables, &at, &name, &k)) {
		mem_free(((struct known *)k)->name);
		mem_free(k);
	}
	hmap_done(&source.tables);
	hmap_done(&source.entries);
}

/* An entry's answer is there. */
static void
settle(struct entry *e, enum outcome outcome)
{
	list_remove(&e->link);
	e->loading = false;
	e->outcome = outcome;
	list_add_front(&source.kept, &e->link);
	task_cond_wake_all(&e->cond);
}

static void
fail_all(struct list *entries)
{
	LIST_FOREACH_SAFE (e, entries, struct entry, link)
		settle(e, OUTCOME_FAILED);
}

void
cluster_table_start(const struct cluster_table_settings *settings)
{
	MUST(!source.on && source.busy == 0);
	memset(&source, 0, sizeof(source));
	source.on = true;
	source.pool = settings->pool;
	source.cache_size = settings->cache_size != 0 ? settings->cache_size : CACHE_SIZE;
	source.fresh = settings->fresh != 0 ? settings->fresh : FRESH;
	list_init(&source.kept);
	list_init(&source.wanted);
}

void
cluster_table_stop(void)
{
	if (!source.on)
		return;
	source.on = false;
	task_timer_disarm(&source.timer);
	(void)err_set(&source.trouble, ERR_GONE, "4.3.0", "shutting down");
	fail_all(&source.wanted);
	source.pool = NULL;
	release();
}

/* As schema/0005-tables.sql has it. */
bool
cluster_table_is_name(struct span name)
{
	static const char good[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

	for (size_t i = 0; i < name.len; i++)
		if (strchr(good, name.ptr[i]) == NULL)
			return false;
	return name.len != 0 && name.len <= CLUSTER_TABLE_NAME_MAX;
}

bool
cluster_table_is_started(void)
{
	return source.on;
}

void
cluster_table_stats_get(struct cluster_table_stats *ret)
{
	*ret = source.stats;
	ret->entries = source.entries.count;
	ret->bytes = source.bytes;
}

/* ---- versions ------------------------------------------------------------------------------------------------------- */

/* A statement sent at `sent` read this version. */
static void
learn_version(struct known *k, int64_t version, int64_t sent)
{
	if (sent < k->checked)
		return;
	/* Numbers may come again after a fail-over that lost the last transactions. */
	if (version < k->version)
		forget_kept();
	k->version = version;
	k->checked = sent;
}

static size_t
names_in_use(struct buf *names)
{
	int64_t since = clock_mono_us() - IN_USE;
	struct hmap_cursor at = {0};
	struct span name;
	size_t count = 0;
	void *k;

	db_array_begin(names, DB_TEXT);
	while (hmap_next(&source.tables, &at, &name, &k))
		if (((struct known *)k)->used > since) {
			db_array_add_bytes(names, name);
			count++;
		}
	db_array_end(names);
	return count;
}

static void
learn_versions(const struct db_result *r, int64_t sent)
{
	for (size_t i = 0; i < db_result_rows(r); i++) {
		struct known *k = hmap_get(&source.tables, db_result_span(r, i, 0));

		if (k != NULL)
			learn_version(k, db_result_int(r, i, 1), sent);
	}
}

/* What fails here is told by the lookups, which then have to ask. */
static void
look_task(void *arg UNUSED)
{
	struct db_pool *pool = source.pool;
	int64_t deadline = clock_deadline(ASK_LIMIT);
	struct buf names CLEANUP(buf_done) = {0};
	struct db_result *r CLEANUP(db_result_free) = NULL;
	struct db_conn *c = NULL;
	struct err err;

	if (source.on && names_in_use(&names) > 0)
		c = db_pool_take(pool, deadline, &err);
	if (c != NULL) {
		struct db_param param = DB_PARAM_BUF(&names);
		int64_t sent = clock_mono_us();

		if (db_exec(c, &sql_versions, &param, 1, deadline, &r, &err) && source.on)
			learn_versions(r, sent);
		db_pool_give(pool, &c);
	}
	source.looking = false;
	source.busy--;
	release();
}

static void
on_timer(void *arg UNUSED)
{
	struct buf names CLEANUP(buf_done) = {0};

	if (names_in_use(&names) == 0)
		return;
	task_timer_arm(&source.timer, clock_deadline(LOOK_EVERY));
	if (source.looking || task_start("cluster-table-look", look_task, NULL) == NULL)
		return;
	source.looking = true;
	source.busy++;
}

/* ---- asking --------------------------------------------------------------------------------------------------------- */

/* One statement's worth of entries. */
struct batch {
	struct entry *entries[BATCH_MAX]; /* NULL: answered */
	size_t count;
	struct buf names;
	struct buf keys;
};

static void
batch_fill(struct batch *b)
{
	b->count = 0;
	buf_clear(&b->names);
	buf_clear(&b->keys);
	db_array_begin(&b->names, DB_TEXT);
	db_array_begin(&b->keys, DB_TEXT);
	LIST_FOREACH_SAFE (e, &source.wanted, struct entry, link) {
		if (b->count == BATCH_MAX)
			break;
		list_remove(&e->link);
		b->entries[b->count++] = e;
		db_array_add_bytes(&b->names, span_str(e->table->name));
		db_array_add_bytes(&b->keys, entry_key(e));
	}
	db_array_end(&b->names);
	db_array_end(&b->keys);
}

static void
batch_fail(struct batch *b, const struct err *err)
{
	source.trouble = *err;
	for (size_t i = 0; i < b->count; i++)
		if (b->entries[i] != NULL)
			settle(b->entries[i], OUTCOME_FAILED);
}

static void
take_row(struct entry *e, const struct db_result *r, size_t row, int64_t sent)
{
	struct span value = db_result_span(r, row, 2);

	source.bytes -= entry_size(e);
	mem_free(e->value);
	e->value = NULL;
	e->value_len = 0;
	e->version = 0;
	if (db_result_is_null(r, row, 1)) {
		learn_version(e->table, 0, sent);
	} else {
		e->version = db_result_int(r, row, 1);
		learn_version(e->table, e->version, sent);
	}
	if (!db_result_is_null(r, row, 2)) {
		e->value = mem_dup(value.ptr, value.len);
		e->value_len = value.len;
	}
	source.bytes += entry_size(e);
	settle(e, e->version == 0    ? OUTCOME_MISSING
		  : e->value != NULL ? OUTCOME_FOUND
				     : OUTCOME_NOT_FOUND);
}

static void
batch_take(struct batch *b, const struct db_result *r, int64_t sent)
{
	struct err err;

	for (size_t i = 0; i < db_result_rows(r); i++) {
		int64_t n = db_result_int(r, i, 0);

		MUST(n >= 1 && (size_t)n <= b->count && b->entries[n - 1] != NULL);
		take_row(b->entries[n - 1], r, i, sent);
		b->entries[n - 1] = NULL;
	}
	(void)err_set(&err, ERR_TEMP, "4.3.0", "database: short answer");
	batch_fail(b, &err);
	keep_to_size();
}

static void
batch_ask(struct batch *b, struct db_pool *pool)
{
	int64_t deadline = clock_deadline(ASK_LIMIT);
	struct db_result *r CLEANUP(db_result_free) = NULL;
	struct db_conn *c;
	struct err err;
	int64_t sent;
	bool ok;

	c = db_pool_take(pool, deadline, &err);
	/* Also those that have come while we waited for the connection. */
	batch_fill(b);
	if (c == NULL) {
		batch_fail(b, &err);
		return;
	}
	struct db_param params[] = {DB_PARAM_BUF(&b->names), DB_PARAM_BUF(&b->keys)};

	sent = clock_mono_us();
	source.stats.statements++;
	ok = db_exec(c, &cluster_table_sql_lookup, params, ARRAY_LEN(params), deadline, &r, &err);
	db_pool_give(pool, &c);
	if (ok)
		batch_take(b, r, sent);
	else
		batch_fail(b, &err);
}

static void
ask_task(void *arg UNUSED)
{
	struct batch *b = mem_new(struct batch);

	while (source.on && !list_is_empty(&source.wanted))
		batch_ask(b, source.pool);
	source.asking = false;
	source.busy--;
	buf_done(&b->names);
	buf_done(&b->keys);
	mem_free(b);
	release();
}

static void
want(struct entry *e)
{
	list_remove(&e->link);
	e->loading = true;
	list_add(&source.wanted, &e->link);
	if (source.asking)
		return;
	if (task_start("cluster-table-ask", ask_task, NULL) == NULL) {
		(void)err_set(&source.trouble, ERR_TEMP, "4.3.0", "too many tasks");
		fail_all(&source.wanted);
		return;
	}
	source.asking = true;
	source.busy++;
}

/* ---- lookup --------------------------------------------------------------------------------------------------------- */

/* Is the answer of `e` known to hold? */
static bool
is_fresh(const struct entry *e)
{
	return !e->loading && e->version != 0 && e->version == e->table->version &&
	       e->outcome != OUTCOME_FAILED && e->table->checked > clock_mono_us() - source.fresh;
}

static enum cluster_table_found
answer(struct entry *e, const char *name, struct buf *value, struct err *err)
{
	switch (e->outcome) {
	case OUTCOME_FOUND:
		buf_add(value, e->value, e->value_len);
		return CLUSTER_TABLE_FOUND;
	case OUTCOME_NOT_FOUND:
		return CLUSTER_TABLE_NOT_FOUND;
	case OUTCOME_MISSING:
		(void)err_set(
		    err, ERR_CONFIG, "4.3.5", "there is no table %s in the queue database", name);
		return CLUSTER_TABLE_FAILED;
	case OUTCOME_FAILED:
		break;
	}
	*err = source.trouble;
	return CLUSTER_TABLE_FAILED;
}

/* Has the entry fetched, or waits for who is at it. False: too late, or cancelled. */
static bool
fetch(struct entry *e, int64_t deadline, struct err *err)
{
	enum task_wait w = TASK_READY;

	if (!e->loading)
		want(e);
	while (e->loading && w == TASK_READY)
		w = task_cond_wait(&e->cond, deadline);
	if (!e->loading)
		return true;
	if (w == TASK_CANCELLED)
		return err_set(err, ERR_GONE, "4.3.0", "waiting for the database was cancelled");
	return err_set(err, ERR_TEMP, "4.3.0", "database: no answer in time");
}

static void
note_use(struct known *k)
{
	k->used = clock_mono_us();
	if (source.timer.heap_index != 0)
		return;
	source.timer.fn = on_timer;
	task_timer_arm(&source.timer, clock_deadline(LOOK_EVERY));
}

enum cluster_table_found
cluster_table_lookup(
    const char *name, struct span key, int64_t deadline, struct buf *value, struct err *err)
{
	enum cluster_table_found found = CLUSTER_TABLE_FAILED;
	struct entry *e;

	if (key.len == 0 || key.len > CLUSTER_TABLE_KEY_MAX || span_find(key, '\0') < key.len ||
	    !utf8_is_valid(key))
		return CLUSTER_TABLE_NOT_FOUND;
	if (!source.on || task_self() == NULL) {
		(void)err_set(
		    err, ERR_CONFIG, "4.3.5", "this process does not use the queue database");
		return CLUSTER_TABLE_FAILED;
	}
	e = entry_find(name, key);
	note_use(e->table);
	source.busy++;
	e->waiters++;
	if (is_fresh(e)) {
		source.stats.kept++;
		list_remove(&e->link);
		list_add_front(&source.kept, &e->link);
		found = answer(e, name, value, err);
	} else if (fetch(e, deadline, err)) {
		found = answer(e, name, value, err);
	}
	e->waiters--;
	source.busy--;
	release();
	return found;
}
