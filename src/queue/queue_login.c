/*
 * queue_login.c - see queue_login.h. The server quotes the names (format %I) in a first statement; its answer is run as
 * the second, because CREATE DATABASE and CREATE ROLE take no parameters.
 */
#include "queue/queue_login.h"

#include "base/mem.h"

static const struct db_statement make_database = {
    .name = "login_make_database",
    .sql = "SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING ''UTF8''', $1::text)"
	   " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = $1::text)",
};

static const struct db_statement make_role = {
    .name = "login_make_role",
    .sql = "SELECT format('CREATE ROLE %I LOGIN', $1::text)"
	   " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text)",
};

static const struct db_statement make_member = {
    .name = "login_make_member",
    .sql = "SELECT format('GRANT %I TO %I', $2::text, $1::text)"
	   " WHERE NOT pg_has_role($1::text, $2::text, 'MEMBER')",
};

/* Runs the statement that `st` answers, if it answers one. */
static bool
run_answer(struct db_conn *c, const struct db_statement *st, const struct db_param *params,
    size_t count, int64_t deadline, struct err *err)
{
	struct db_result *answer = NULL;
	char *sql CLEANUP(mem_free_str) = NULL;

	if (!db_exec(c, st, params, count, deadline, &answer, err))
		return false;
	if (db_result_rows(answer) > 0)
		sql = db_result_dup(answer, 0, 0);
	db_result_free(&answer);
	return sql == NULL || db_script(c, sql, deadline, err);
}

bool
queue_login_create_database(struct db_conn *c, const char *name, int64_t deadline, struct err *err)
{
	const struct db_param params[] = {DB_PARAM_TEXT(name)};

	return run_answer(c, &make_database, params, 1, deadline, err);
}

bool
queue_login_grant(
    struct db_conn *c, const char *user, const char *role, int64_t deadline, struct err *err)
{
	const struct db_param params[] = {DB_PARAM_TEXT(user), DB_PARAM_TEXT(role)};

	return run_answer(c, &make_role, params, 1, deadline, err) &&
	       run_answer(c, &make_member, params, 2, deadline, err);
}
