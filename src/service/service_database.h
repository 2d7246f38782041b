/*
 * service_database.h - where the queue databases are and as whom a process logs in. Knows no SQL: session options come
 * from the rooms that have statements (queue_session_options()).
 *
 * With queue_databases empty there is one database, the embedded one, on a UNIX socket; each process logs in by its own
 * system user (peer), so a process without a role there cannot log in at all. With queue_databases the login stands
 * in the conninfo, and the process takes its group role (queue_session_role()).
 */
#ifndef SERVICE_SERVICE_DATABASE_H
#define SERVICE_SERVICE_DATABASE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "service/service_privilege.h"

/* The embedded database: its name, and its port, which only makes the socket's file name. */
#define SERVICE_DATABASE_NAME "rowpost"
#define SERVICE_DATABASE_PORT 5432

/* True when queue_databases is empty. */
bool service_database_is_embedded(const struct conf *c);

/* Number of queue databases (shards), at least 1. */
size_t service_database_count(const struct conf *c);

/*
 * Appends the conninfo of shard `shard` (below the count) for a process of that privilege. SERVICE_ROOT: for `rowpost schema`
 * and other commands of root.
 */
void service_database_conninfo(
    const struct conf *c, enum service_privilege p, size_t shard, struct buf *ret);

struct db_settings;

/*
 * Fills `ret` with what the configuration says of connections to shard `shard`; role, options, number of connections and the
 * rest are the caller's. `conninfo` and `name` (the application's) get the texts it points to; both are empty before.
 */
void service_database_settings(const struct conf *c, enum service_privilege p, size_t shard,
    const char *program, struct buf *conninfo, struct buf *name, struct db_settings *ret);

/* The group role that the process takes after login: "rowpost_front", ...; NULL: none (root stays who it is). */
const char *service_database_role(enum service_privilege p);

/*
 * Appends the directory of the embedded PostgreSQL's socket: database_socket_directory, or where that is too long for a
 * UNIX socket address (107 bytes) a directory below /run named by a hash of it.
 */
void service_database_socket_dir(const struct conf *c, struct buf *ret);

/*
 * Cuts the next conninfo off a queue_databases value: items are separated by white space, or by a comma followed by
 * white space (commas inside belong to multi-host URIs); { } around an item protect the blanks of a keyword string.
 */
bool service_database_next(struct span *rest, struct span *ret_item);

#endif
