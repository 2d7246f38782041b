/*
 * table_mysql.c - mysql:/file and mysql:name (mysql_table(5)), with MariaDB's library. The statement is a template; keys are put
 * into it quoted for the connection that it goes over. Blocks: see table_proxy.h.
 */
#include <mysql.h>
#include <string.h>

#include "backend/backend_types.h"
#include "backend/table_mysql_host.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table_query.h"

struct table_mysql {
	struct table_query *query;
	struct table_mysql_hosts *hosts;
	char *sql; /* owned: the template */
	bool require_result_set;
};

static void
table_mysql_close(void *state)
{
	struct table_mysql *m = state;

	table_query_free(&m->query);
	table_mysql_hosts_close(&m->hosts);
	mem_free(m->sql);
	mem_free(m);
}

static bool
table_mysql_read(
    struct table_mysql *m, const struct table *t, const struct table_settings *s, struct err *err)
{
	struct buf sql CLEANUP(buf_done) = {0};

	if (!table_query_sql(s, &sql, err))
		return false;
	m->sql = buf_take(&sql);
	return table_query_bool(s, "require_result_set", true, &m->require_result_set, err) &&
	       table_query_open(t->conf, t->spec, s, &m->query, err) &&
	       table_query_learn(m->query, s, "query", m->sql, err) &&
	       table_mysql_hosts_open(s, &m->hosts, err);
}

static bool
table_mysql_open(struct table *t, struct err *err)
{
	struct table_settings *settings;
	struct table_mysql *m;
	bool good;

	if (!table_query_settings(t->conf, t->argument.ptr, &settings, err))
		return false;
	m = mem_new(struct table_mysql);
	good = table_mysql_read(m, t, settings, err);
	if (good)
		t->state = m;
	else
		table_mysql_close(m);
	table_query_settings_free(&settings);
	return good;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void
table_mysql_quote(void *arg, struct span text, struct buf *out)
{
	MYSQL *db = arg;
	size_t most = 2 * text.len + 1;

	buf_added(out, mysql_real_escape_string(db, buf_room(out, most), text.ptr, text.len));
}

/* Reads further results of the same statement, which there must be none of with rows. */
static bool
table_mysql_read_rest(MYSQL *db)
{
	bool good = true;

	while (mysql_next_result(db) == 0) {
		MYSQL_RES *more = mysql_store_result(db);

		good = good && more == NULL;
		mysql_free_result(more);
	}
	return good;
}

/* What became of the statement at one server. */
enum table_mysql_answer {
	TABLE_MYSQL_OK,     /* `ret` holds the rows; NULL: the statement has none */
	TABLE_MYSQL_BROKEN, /* the server could not answer: another one may */
	TABLE_MYSQL_WRONG,  /* the statement answers otherwise than it should */
};

static enum table_mysql_answer
table_mysql_ask(struct table_mysql *m, struct table_mysql_host *host, struct span statement,
    MYSQL_RES **ret, struct err *err)
{
	MYSQL *db = table_mysql_host_connection(host);

	*ret = NULL;
	if (mysql_real_query(db, statement.ptr, statement.len) == 0)
		*ret = mysql_store_result(db);
	if (mysql_errno(db) != 0) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "mysql query failed: %s: %s",
		    table_mysql_host_name(host), mysql_error(db));
		return TABLE_MYSQL_BROKEN;
	}
	if (!table_mysql_read_rest(db)) {
		(void)err_set(
		    err, ERR_TEMP, "4.3.0", "mysql query returned more than one result set");
		return TABLE_MYSQL_WRONG;
	}
	if (*ret == NULL && m->require_result_set) {
		(void)err_set(err, ERR_TEMP, "4.3.0",
		    "mysql query returned no result set (require_result_set = yes)");
		return TABLE_MYSQL_WRONG;
	}
	return TABLE_MYSQL_OK;
}

/* Asks one server after the other until one answers. False with `err`; *ret NULL: there is nothing. */
static bool
table_mysql_find(struct table_mysql *m, struct span key, MYSQL_RES **ret, struct err *err)
{
	struct table_mysql_host *host;

	*ret = NULL;
	while ((host = table_mysql_hosts_take(m->hosts, err)) != NULL) {
		struct buf statement CLEANUP(buf_done) = {0};

		if (!table_query_expand(m->query, m->sql, key, table_mysql_quote,
			table_mysql_host_connection(host), &statement))
			return true;
		switch (table_mysql_ask(m, host, buf_span(&statement), ret, err)) {
		case TABLE_MYSQL_OK:
			return true;
		case TABLE_MYSQL_WRONG:
			mysql_free_result(*ret);
			return false;
		case TABLE_MYSQL_BROKEN:
			log_warn("%s", err->text);
			mysql_free_result(*ret);
			table_mysql_host_failed(m->hosts, host);
			break;
		}
	}
	return false;
}

static bool
table_mysql_add_rows(struct table_mysql *m, struct span key, MYSQL_RES *rows,
    struct table_query_result *result, struct err *err)
{
	unsigned columns = mysql_num_fields(rows);
	MYSQL_ROW row;

	while ((row = mysql_fetch_row(rows)) != NULL) {
		const unsigned long *lengths = mysql_fetch_lengths(rows);

		for (unsigned i = 0; i < columns; i++)
			if (row[i] != NULL && !table_query_add(m->query, key,
						  span_of(row[i], lengths[i]), result, err))
				return false;
	}
	return true;
}

static enum table_result
table_mysql_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_mysql *m = t->state;
	struct table_query_result result = {.out = value};
	enum table_result wanted = table_query_wants(m->query, key, err);
	struct buf plain CLEANUP(buf_done) = {0};
	MYSQL_RES *rows;
	bool good;

	if (wanted != TABLE_FOUND)
		return wanted;
	/* A key that lacks a part needs no server. */
	if (!table_query_expand(m->query, m->sql, key, NULL, NULL, &plain))
		return TABLE_NOT_FOUND;
	if (!table_mysql_find(m, key, &rows, err))
		return TABLE_ERROR;
	good = rows == NULL || table_mysql_add_rows(m, key, rows, &result, err);
	mysql_free_result(rows);
	if (!good)
		return TABLE_ERROR;
	return value->len != 0 ? TABLE_FOUND : TABLE_NOT_FOUND;
}

const struct table_type table_mysql_type = {
    .name = "mysql",
    .open = table_mysql_open,
    .lookup = table_mysql_lookup,
    .close = table_mysql_close,
    .suffix = "",
    .settings = true,
    .blocks = true,
    .foreign = true,
};
