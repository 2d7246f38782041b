/*
 * master_database.h - the embedded PostgreSQL: a private cluster below database_directory, run by database_owner, reached by
 * a UNIX socket only. Made on the first start, adopted when it is already running, watched and restarted, stopped last.
 * Knows no SQL and no libpq: roles, database and schema are the business of `rowpost schema`, which master runs.
 */
#ifndef MASTER_MASTER_DATABASE_H
#define MASTER_MASTER_DATABASE_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

struct master;
struct master_database;

/*
 * Makes the cluster if there is none, starts or adopts it, and waits until it takes connections (database_start_timeout).
 * From then on it is watched. False with err: it is not running. Waits.
 */
bool master_database_start(
    struct master *m, struct master_database **ret, struct err *err) MUST_CHECK;

/* Writes the settings again and lets PostgreSQL read them; what needs a restart waits for the next one. Waits. */
void master_database_reload(struct master_database *db);

/* Stops watching, and unless `keep` stops PostgreSQL: fast, then immediately. Frees. Waits. */
void master_database_stop(struct master_database **db, bool keep);

struct master_database_status {
	const char *state; /* "ready", "starting", "adopted" */
	pid_t pid;
	int64_t age; /* us */
	unsigned restarts;
};
struct master_database_status master_database_status(const struct master_database *db);

/* The directory with initdb and postgres. False with ERR_CONFIG when there is none. */
bool master_database_programs(const struct conf *c, struct buf *ret, struct err *err) MUST_CHECK;

/* The pid of the PostgreSQL that runs on `dir` (database_directory), 0: none. *ret_ready: it takes connections. */
pid_t master_database_running(const char *dir, bool *ret_ready);

#endif
