/*
 * queue_schema.c - migrations: each is one file, applied in order inside one transaction for all, under a lock of the
 * database.
 */
#include "queue/queue_schema.h"

#include <string.h>

#include "base/crash.h"
#include "queue/queue_int.h"

/* The schema that the statements of this program need, and the version that it counts as. */
#define OLDEST_SCHEMA 2

static const struct db_statement sql_lock = {
    "schema_lock", "SELECT pg_advisory_xact_lock(7261000)"};
static const struct db_statement sql_exists = {
    "schema_exists", "SELECT to_regclass('mailq.schema_version') IS NOT NULL"};
static const struct db_statement sql_version = {"schema_version",
    "SELECT version, oldest_program FROM mailq.schema_version ORDER BY version DESC LIMIT 1"};
static const struct db_statement sql_applied = {"schema_applied",
    "INSERT INTO mailq.schema_version (version, oldest_program, name) VALUES ($1, $2, $3)"};

int
queue_schema_newest(void)
{
	return queue_migrations[queue_migration_count - 1].version;
}

int
queue_schema_oldest(void)
{
	return OLDEST_SCHEMA;
}

/* *ret_program: the newest version that a program must at least know. */
static bool
read_version(
    struct db_conn *c, int64_t deadline, int *ret_version, int *ret_program, struct err *err)
{
	struct db_result *r = NULL;
	bool exists;

	*ret_version = *ret_program = 0;
	if (!db_exec(c, &sql_exists, NULL, 0, deadline, &r, err))
		return false;
	exists = db_result_bool(r, 0, 0);
	db_result_free(&r);
	if (!exists)
		return true;
	if (!db_exec(c, &sql_version, NULL, 0, deadline, &r, err))
		return false;
	if (db_result_rows(r) > 0) {
		*ret_version = (int)db_result_int(r, 0, 0);
		*ret_program = (int)db_result_int(r, 0, 1);
	}
	db_result_free(&r);
	return true;
}

bool
queue_schema_version(struct db_conn *c, int64_t deadline, int *ret, struct err *err)
{
	int program;

	return read_version(c, deadline, ret, &program, err);
}

bool
queue_schema_check(struct db_conn *c, void *arg UNUSED, struct err *err)
{
	int64_t deadline = clock_deadline(10 * CLOCK_SECOND);
	int version;
	int program;

	if (!read_version(c, deadline, &version, &program, err)) {
		/* A role that may not even look has no business here; or there is no such schema. */
		if (queue_error_is(c, "42"))
			return err_set(err, ERR_CONFIG, "4.3.0",
			    "the queue schema cannot be used: %s", err->text);
		return false;
	}
	if (version == 0)
		return err_set(err, ERR_CONFIG, "4.3.0",
		    "the database has no queue schema: run \"rowpost schema\"");
	if (version < OLDEST_SCHEMA)
		return err_set(err, ERR_CONFIG, "4.3.0",
		    "the queue schema has version %d, this program needs %d: run \"rowpost schema\"",
		    version, OLDEST_SCHEMA);
	if (program > queue_schema_newest())
		return err_set(err, ERR_CONFIG, "4.3.0",
		    "the queue schema has version %d, newer than this program (%d): use a newer program",
		    version, queue_schema_newest());
	return true;
}

static bool
apply(struct db_conn *c, const struct queue_migration *m, int64_t deadline, struct err *err)
{
	char version[DB_INT_SIZE];
	char oldest[DB_INT_SIZE];
	struct db_param params[3];

	CRASH_POINT("migrate-step");
	if (!db_script(c, m->sql, deadline, err))
		return err_prefix(err, "schema/%s", m->name);
	params[0] = db_param_int4(version, m->version);
	/* Every migration so far adds only: programs of the version before may go on. */
	params[1] = db_param_int4(oldest, m->version > 1 ? m->version - 1 : 1);
	params[2] = DB_PARAM_TEXT(m->name);
	return db_command(c, &sql_applied, params, 3, deadline, NULL, err);
}

static bool
migrate(struct db_conn *c, int64_t deadline, int *ret_from, struct err *err)
{
	struct db_result *r = NULL;
	int program;

	if (!db_exec(c, &sql_lock, NULL, 0, deadline, &r, err))
		return false;
	db_result_free(&r);
	if (!read_version(c, deadline, ret_from, &program, err))
		return false;
	if (program > queue_schema_newest())
		return err_set(err, ERR_CONFIG, "4.3.0",
		    "the queue schema has version %d, newer than this program (%d)", *ret_from,
		    queue_schema_newest());
	for (size_t i = 0; i < queue_migration_count; i++)
		if (queue_migrations[i].version > *ret_from &&
		    !apply(c, &queue_migrations[i], deadline, err))
			return false;
	CRASH_POINT("migrate-applied");
	return true;
}

bool
queue_schema_migrate(
    struct db_conn *c, int64_t deadline, int *ret_from, int *ret_to, struct err *err)
{
	int from = 0;

	if (!db_begin(c, deadline, err))
		return false;
	if (!migrate(c, deadline, &from, err)) {
		db_rollback(c);
		return false;
	}
	if (db_commit(c, deadline, err) != DB_COMMITTED)
		return false;
	CRASH_POINT("migrate-committed");
	if (ret_from != NULL)
		*ret_from = from;
	if (ret_to != NULL)
		*ret_to = MAX(from, queue_schema_newest());
	return true;
}
