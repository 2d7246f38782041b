/*
 * queue_schema.h - the tables' version: creating, migrating, checking. Migrations are the files schema/NNNN-name.sql,
 * built into the program. Expand, then contract: binaries N and N+1 run together on either schema, so each migration
 * says which older binaries may still use the result.
 */
#ifndef QUEUE_QUEUE_SCHEMA_H
#define QUEUE_QUEUE_SCHEMA_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"

/* The newest version this program knows; the oldest schema it works with. */
int queue_schema_newest(void);
int queue_schema_oldest(void);

/*
 * Creates the schema or brings it to the newest version; harmless on one that is up to date; safe when several do it at
 * once, also in different databases of one cluster (roles belong to the cluster). The user must own the database and be
 * allowed to create roles, or the roles must be there. *ret_from / *ret_to (may be NULL): versions before and after.
 * ERR_CONFIG when the schema is newer than the program. Waits.
 */
bool queue_schema_migrate(
    struct db_conn *c, int64_t deadline, int *ret_from, int *ret_to, struct err *err) MUST_CHECK;

/* The version in the database, 0 when there is no schema. Waits. */
bool queue_schema_version(
    struct db_conn *c, int64_t deadline, int *ret, struct err *err) MUST_CHECK;

/*
 * For db_settings.on_connect: false (ERR_CONFIG, with the advice to run `rowpost schema`) when the schema is missing, too
 * old, or too new for this program. `arg` is unused.
 */
bool queue_schema_check(struct db_conn *c, void *arg, struct err *err);

#endif
