/*
 * table_sqlite.c - sqlite:/file and sqlite:name (sqlite_table(5)). The database is opened for each lookup, so that one that was
 * replaced is seen at once. Blocks, while somebody writes to it: see table_proxy.h.
 */
#include <sqlite3.h>
#include <string.h>

#include "backend/backend_types.h"
#include "base/mem.h"
#include "table/table_query.h"

/* How long a writer may keep the database to himself. */
#define SQLITE_WAIT 5000 /* ms */

struct table_sqlite {
	struct table_query *query;
	char *path; /* owned */
	char *sql;  /* owned: the template */
};

static void
table_sqlite_close(void *state)
{
	struct table_sqlite *l = state;

	table_query_free(&l->query);
	mem_free(l->path);
	mem_free(l->sql);
	mem_free(l);
}

static bool
table_sqlite_read(
    struct table_sqlite *l, const struct table *t, const struct table_settings *s, struct err *err)
{
	struct buf sql CLEANUP(buf_done) = {0};

	l->path = mem_strdup(table_query_str(s, "dbpath", ""));
	if (l->path[0] == '\0')
		return table_query_bad(s, "dbpath", err, "no database");
	if (!table_query_sql(s, &sql, err))
		return false;
	l->sql = buf_take(&sql);
	return table_query_open(t->conf, t->spec, s, &l->query, err) &&
	       table_query_learn(l->query, s, "query", l->sql, err);
}

static bool
table_sqlite_open(struct table *t, struct err *err)
{
	struct table_settings *settings;
	struct table_sqlite *l;
	bool good;

	if (!table_query_settings(t->conf, t->argument.ptr, &settings, err))
		return false;
	l = mem_new(struct table_sqlite);
	good = table_sqlite_read(l, t, settings, err);
	if (good)
		t->state = l;
	else
		table_sqlite_close(l);
	table_query_settings_free(&settings);
	return good;
}

static void
table_sqlite_quote(void *arg UNUSED, struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '\'')
			buf_add_char(out, '\'');
		buf_add_char(out, text.ptr[i]);
	}
}

/* The first column of each row is a value. */
static bool
table_sqlite_add_rows(struct table_sqlite *l, struct span key, sqlite3_stmt *statement,
    struct table_query_result *result, int *code, struct err *err)
{
	while ((*code = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(statement, 0);
		size_t len = (size_t)sqlite3_column_bytes(statement, 0);

		if (text != NULL &&
		    !table_query_add(l->query, key, span_of(text, len), result, err))
			return false;
	}
	return true;
}

static bool
table_sqlite_ask(struct table_sqlite *l, struct span key, const struct buf *sql, struct buf *value,
    struct err *err)
{
	struct table_query_result result = {.out = value};
	sqlite3_stmt *statement = NULL;
	sqlite3 *db = NULL;
	int code = sqlite3_open_v2(l->path, &db, SQLITE_OPEN_READONLY, NULL);
	bool good = true;

	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(db, SQLITE_WAIT);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(db, buf_str(sql), (int)sql->len, &statement, NULL);
	if (code == SQLITE_OK && statement != NULL)
		good = table_sqlite_add_rows(l, key, statement, &result, &code, err);
	if (good && code != SQLITE_OK && code != SQLITE_DONE)
		good = err_set(err, ERR_TEMP, "4.3.0", "%s: %s", l->path, sqlite3_errmsg(db));
	(void)sqlite3_finalize(statement);
	(void)sqlite3_close(db);
	return good;
}

static enum table_result
table_sqlite_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_sqlite *l = t->state;
	struct buf sql CLEANUP(buf_done) = {0};
	enum table_result wanted = table_query_wants(l->query, key, err);

	/* A statement ends at a NUL; no entry has one. */
	if (wanted != TABLE_FOUND || span_find(key, '\0') < key.len)
		return wanted == TABLE_FOUND ? TABLE_NOT_FOUND : wanted;
	if (!table_query_expand(l->query, l->sql, key, table_sqlite_quote, NULL, &sql))
		return TABLE_NOT_FOUND;
	if (!table_sqlite_ask(l, key, &sql, value, err))
		return TABLE_ERROR;
	return value->len != 0 ? TABLE_FOUND : TABLE_NOT_FOUND;
}

const struct table_type table_sqlite_type = {
    .name = "sqlite",
    .open = table_sqlite_open,
    .lookup = table_sqlite_lookup,
    .close = table_sqlite_close,
    .suffix = "",
    .settings = true,
    .blocks = true,
    .foreign = true,
};
