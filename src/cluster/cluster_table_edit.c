/*
 * cluster_table_edit.c - see cluster_table_edit.h. What a change does is in schema/0005-tables.sql.
 */
#include "cluster/cluster_table_edit.h"

#include "base/clock.h"
#include "base/mem.h"

#define PIECE       2000 /* entries of a load that go in one statement */
#define PIECE_BYTES ((size_t)4 << 20)
#define PAGE        2000 /* entries listed by one statement */
#define SWEEP       20000
#define PATIENCE    (300 * CLOCK_SECOND)

static const struct db_statement sql_begin = {"table_begin", "SELECT mailq.table_load_begin()"};
/* $1 content, $2 keys, $3 values. */
static const struct db_statement sql_add = {
    "table_add", "SELECT mailq.table_load_add($1::int8, $2::text[], $3::text[])"};
/* $1 name, $2 content, $3 entries, $4 who. */
static const struct db_statement sql_finish = {
    "table_finish", "SELECT mailq.table_load_finish($1::text, $2::int8, $3::int8, $4::text, '')"};
static const struct db_statement sql_sweep = {"table_sweep", "SELECT mailq.table_sweep($1::int4)"};
/* $1 name, $2 keys, $3 values, $4 overwrite, $5 who. Rows: keys that were there. */
static const struct db_statement sql_put = {"table_put",
    "SELECT mailq.table_put($1::text, $2::text[], $3::text[], $4::int4 <> 0, $5::text, '')"};
/* $1 name, $2 keys, $3 who. */
static const struct db_statement sql_remove = {
    "table_remove", "SELECT mailq.table_remove($1::text, $2::text[], $3::text, '')"};
static const struct db_statement sql_content = {
    "table_content", "SELECT content_id FROM mailq.table_head WHERE name = $1::text"};
/* $1 content, $2 behind this key, $3 at most. */
static const struct db_statement sql_page = {"table_page",
    "SELECT key, value FROM mailq.table_entry WHERE content_id = $1::int8 AND key > $2::text "
    "ORDER BY content_id, key LIMIT $3::int4"};

static int64_t
deadline(void)
{
	return clock_deadline(PATIENCE);
}

/* The number that a statement gives. */
static bool
ask_number(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t *ret, struct err *err)
{
	struct db_result *r CLEANUP(db_result_free) = NULL;

	if (!db_exec(c, st, params, count, deadline(), &r, err))
		return false;
	*ret = db_result_rows(r) > 0 ? db_result_int(r, 0, 0) : 0;
	return true;
}

/* ---- a whole table ----------------------------------------------------------------------------------------------- */

bool
cluster_table_load_begin(
    struct cluster_table_load *l, const struct cluster_table_editor *editor, struct err *err)
{
	*l = (struct cluster_table_load){.editor = *editor};
	return ask_number(editor->conn, &sql_begin, NULL, 0, &l->content, err);
}

static bool
load_send(struct cluster_table_load *l, struct err *err)
{
	char content[DB_INT_SIZE];
	int64_t n;
	bool ok;

	if (l->gathered == 0)
		return true;
	db_array_end(&l->keys);
	db_array_end(&l->values);
	struct db_param params[] = {
	    db_param_int8(content, l->content), DB_PARAM_BUF(&l->keys), DB_PARAM_BUF(&l->values)};

	ok = ask_number(l->editor.conn, &sql_add, params, ARRAY_LEN(params), &n, err);
	l->entries += (int64_t)l->gathered;
	l->gathered = 0;
	buf_clear(&l->keys);
	buf_clear(&l->values);
	return ok;
}

bool
cluster_table_load_add(
    struct cluster_table_load *l, struct span key, struct span value, struct err *err)
{
	if (l->gathered == 0) {
		db_array_begin(&l->keys, DB_TEXT);
		db_array_begin(&l->values, DB_TEXT);
	}
	db_array_add_bytes(&l->keys, key);
	db_array_add_bytes(&l->values, value);
	if (++l->gathered < PIECE && l->values.len < PIECE_BYTES)
		return true;
	return load_send(l, err);
}

bool
cluster_table_load_finish(struct cluster_table_load *l, const char *name, struct err *err)
{
	struct db_conn *c = l->editor.conn;
	char n[3][DB_INT_SIZE];
	int64_t number;

	if (!load_send(l, err))
		return false;
	struct db_param params[] = {DB_PARAM_TEXT(name), db_param_int8(n[0], l->content),
	    db_param_int8(n[1], l->entries), DB_PARAM_TEXT(l->editor.who)};
	struct db_param most = db_param_int4(n[2], SWEEP);

	if (!ask_number(c, &sql_finish, params, ARRAY_LEN(params), &number, err))
		return false;
	/* The table is in place: what was there before goes piece by piece. */
	do {
		if (!ask_number(c, &sql_sweep, &most, 1, &number, err))
			return false;
	} while (number > 0);
	return true;
}

void
cluster_table_load_done(struct cluster_table_load *l)
{
	buf_done(&l->keys);
	buf_done(&l->values);
	*l = (struct cluster_table_load){0};
}

/* ---- entries ------------------------------------------------------------------------------------------------------- */

static void
fill_array(struct buf *b, const struct span *list, size_t count)
{
	db_array_begin(b, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_array_add_bytes(b, list[i]);
	db_array_end(b);
}

bool
cluster_table_put(const struct cluster_table_editor *e, const char *name, const struct span *keys,
    const struct span *values, size_t count, bool overwrite,
    void (*duplicate)(void *arg, struct span key), void *arg, struct err *err)
{
	struct buf k CLEANUP(buf_done) = {0};
	struct buf v CLEANUP(buf_done) = {0};
	struct db_result *r CLEANUP(db_result_free) = NULL;
	char flag[DB_INT_SIZE];

	fill_array(&k, keys, count);
	fill_array(&v, values, count);
	struct db_param params[] = {DB_PARAM_TEXT(name), DB_PARAM_BUF(&k), DB_PARAM_BUF(&v),
	    db_param_int4(flag, overwrite), DB_PARAM_TEXT(e->who)};

	if (!db_exec(e->conn, &sql_put, params, ARRAY_LEN(params), deadline(), &r, err))
		return false;
	for (size_t i = 0; duplicate != NULL && i < db_result_rows(r); i++)
		duplicate(arg, db_result_span(r, i, 0));
	return true;
}

bool
cluster_table_remove(const struct cluster_table_editor *e, const char *name,
    const struct span *keys, size_t count, int64_t *ret_count, struct err *err)
{
	struct buf k CLEANUP(buf_done) = {0};

	fill_array(&k, keys, count);
	struct db_param params[] = {DB_PARAM_TEXT(name), DB_PARAM_BUF(&k), DB_PARAM_TEXT(e->who)};

	return ask_number(e->conn, &sql_remove, params, ARRAY_LEN(params), ret_count, err);
}

/* One page behind `last`, which moves on. *ret_more: there may be another. */
static bool
list_page(struct db_conn *c, int64_t content, struct buf *last, bool *ret_more,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct db_result *r CLEANUP(db_result_free) = NULL;
	char n[2][DB_INT_SIZE];
	struct db_param params[] = {
	    db_param_int8(n[0], content), DB_PARAM_BUF(last), db_param_int4(n[1], PAGE)};

	if (!db_exec(c, &sql_page, params, ARRAY_LEN(params), deadline(), &r, err))
		return false;
	*ret_more = db_result_rows(r) == PAGE;
	for (size_t i = 0; i < db_result_rows(r); i++)
		if (!each(arg, db_result_span(r, i, 0), db_result_span(r, i, 1), err))
			return false;
	if (*ret_more) {
		buf_clear(last);
		buf_add_span(last, db_result_span(r, PAGE - 1, 0));
	}
	return true;
}

bool
cluster_table_each(struct db_conn *c, const char *name,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct buf last CLEANUP(buf_done) = {0};
	struct db_param param = DB_PARAM_TEXT(name);
	int64_t content = 0;
	bool more = true;

	if (!ask_number(c, &sql_content, &param, 1, &content, err))
		return false;
	if (content == 0)
		return err_set(
		    err, ERR_CONFIG, "4.3.5", "there is no table %s in the queue database", name);
	while (more)
		if (!list_page(c, content, &last, &more, each, arg, err))
			return false;
	return true;
}
