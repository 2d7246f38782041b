/*
 * table_pgsql.c - pgsql:/file and pgsql:name, tables in anybody's PostgreSQL (pgsql_table(5)). The statement is a template
 * of the table's settings; keys are put into it quoted by the connection that it goes over. Each value of each row is one
 * result; several are joined with commas.
 */
#include <unistd.h>

#include "backend/backend_types.h"
#include "backend/table_pgsql_host.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "table/table_query.h"
#include "task/task.h"

#define DEFAULT_INTERVAL INT64_C(60) /* s: idle_interval, retry_interval */

struct table_pgsql {
	size_t users; /* the table, and lookups under way */
	struct table_query *query;
	struct table_pgsql_hosts *hosts;
	char *sql;       /* owned: the template */
	bool unreadable; /* the settings are not for this process to read */
};

static void
pgsql_close(void *state)
{
	struct table_pgsql *p = state;

	if (--p->users != 0)
		return;
	table_query_free(&p->query);
	table_pgsql_hosts_free(&p->hosts);
	mem_free(p->sql);
	mem_free(p);
}

/* ---- settings ------------------------------------------------------------------------------------------------------- */

/* Of the ways to say what is asked the first counts: query, select_function, the fields of a SELECT. */
static bool
pgsql_read_sql(struct table_pgsql *p, const struct table_settings *s, struct err *err)
{
	const char *function = table_query_str(s, "select_function", NULL);
	struct buf sql CLEANUP(buf_done) = {0};

	if (table_query_str(s, "query", NULL) == NULL && function != NULL)
		buf_printf(&sql, "SELECT %s('%%s')", function);
	else if (!table_query_sql(s, &sql, err))
		return false;
	p->sql = buf_take(&sql);
	return table_query_learn(p->query, s, "query", p->sql, err);
}

static bool
pgsql_read_hosts(struct table_pgsql *p, const struct table_settings *s, struct err *err)
{
	const char *hosts = table_query_str(s, "hosts", "");
	struct table_pgsql_login login = {
	    .user = table_query_str(s, "user", ""),
	    .password = table_query_str(s, "password", ""),
	    .dbname = table_query_str(s, "dbname", ""),
	    .encoding = table_query_str(s, "encoding", "UTF8"),
	};

	if (!table_query_number(
		s, "idle_interval", DEFAULT_INTERVAL, 1, INT32_MAX, &login.idle, err) ||
	    !table_query_number(
		s, "retry_interval", DEFAULT_INTERVAL, 1, INT32_MAX, &login.retry, err))
		return false;
	if (login.dbname[0] == '\0' && table_pgsql_hosts_need_login(hosts))
		return table_query_bad(s, "dbname", err, "bad string length 0 < 1: dbname =");
	login.idle *= CLOCK_SECOND;
	login.retry *= CLOCK_SECOND;
	p->hosts = table_pgsql_hosts_new(hosts, &login);
	return true;
}

static bool
pgsql_read(struct table_pgsql *p, const struct table *t, const char *name, struct err *err)
{
	struct table_settings *s = NULL;
	bool ok = table_query_settings(t->conf, name, &s, err) &&
		  table_query_open(t->conf, t->spec, s, &p->query, err) &&
		  pgsql_read_sql(p, s, err) && pgsql_read_hosts(p, s, err);

	table_query_settings_free(&s);
	return ok;
}

static bool
pgsql_open(struct table *t, struct err *err)
{
	char *name CLEANUP(mem_free_str) = span_dup(t->argument);
	struct table_pgsql *p = mem_new(struct table_pgsql);

	p->users = 1;
	if (pgsql_read(p, t, name, err)) {
		t->state = p;
		return true;
	}
	/* Passwords may be for root only; proxymap has read them before it gave up its rights. */
	p->unreadable = t->path != NULL && access(name, F_OK) == 0 && access(name, R_OK) != 0;
	if (p->unreadable)
		t->state = p;
	else
		pgsql_close(p);
	return t->state != NULL;
}

static bool
pgsql_is_absent(const struct table *t)
{
	const struct table_pgsql *p = t->state;

	return p != NULL && p->unreadable;
}

/* ---- lookup --------------------------------------------------------------------------------------------------------- */

struct pgsql_question {
	const struct table_pgsql *pgsql;
	struct span key;
	struct db_conn *conn;
	bool unfit; /* the key cannot be written in the connection's encoding */
};

static void
pgsql_quote(void *arg, struct span text, struct buf *out)
{
	struct pgsql_question *q = arg;

	/* Without a connection the question is only whether the key has all that the template asks for. */
	if (q->conn != NULL && !db_quote(q->conn, text, out))
		q->unfit = true;
}

static bool
pgsql_statement(void *arg, struct db_conn *c, struct buf *sql)
{
	struct pgsql_question *q = arg;

	q->conn = c;
	q->unfit = false;
	return table_query_expand(q->pgsql->query, q->pgsql->sql, q->key, pgsql_quote, q, sql) &&
	       !q->unfit;
}

static bool
pgsql_add_rows(const struct table_pgsql *p, struct span key, const struct db_result *r,
    struct buf *value, struct err *err)
{
	struct table_query_result result = {.out = value};

	for (size_t row = 0; row < db_result_rows(r); row++)
		for (size_t column = 0; column < db_result_columns(r); column++)
			if (!db_result_is_null(r, row, column) &&
			    !table_query_add(
				p->query, key, db_result_span(r, row, column), &result, err))
				return false;
	return true;
}

static enum table_result
pgsql_ask(struct table_pgsql *p, struct span key, struct buf *value, struct err *err)
{
	struct pgsql_question q = {.pgsql = p, .key = key};
	struct db_result *answer CLEANUP(db_result_free) = NULL;
	struct buf probe CLEANUP(buf_done) = {0};
	enum table_result r = table_query_wants(p->query, key, err);

	if (r != TABLE_FOUND)
		return r;
	if (!table_query_expand(p->query, p->sql, key, pgsql_quote, &q, &probe))
		return TABLE_NOT_FOUND;
	if (task_self() == NULL) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "cannot be asked here");
		return TABLE_ERROR;
	}
	r = table_pgsql_hosts_ask(p->hosts, pgsql_statement, &q, &answer, err);
	if (r != TABLE_FOUND)
		return r;
	if (!pgsql_add_rows(p, key, answer, value, err))
		return TABLE_ERROR;
	return value->len != 0 ? TABLE_FOUND : TABLE_NOT_FOUND;
}

static enum table_result
pgsql_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_pgsql *p = t->state;
	enum table_result r;

	/* What is no text is in no column of text. */
	if (span_find(key, '\0') < key.len || !utf8_is_valid(key))
		return TABLE_NOT_FOUND;
	if (p->unreadable) {
		(void)err_set(err, ERR_CONFIG, "4.3.5", "open %.*s: Permission denied",
		    SPAN_ARG(t->argument));
		return TABLE_ERROR;
	}
	/* While we wait the settings may be read again. */
	p->users++;
	r = pgsql_ask(p, key, value, err);
	pgsql_close(p);
	return r;
}

const struct table_type table_pgsql_type = {
    .name = "pgsql",
    .open = pgsql_open,
    .lookup = pgsql_lookup,
    .close = pgsql_close,
    .absent = pgsql_is_absent,
    .suffix = "",
    .settings = true,
};
