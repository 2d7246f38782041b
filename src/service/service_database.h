/*
 * service_database.h - where the queue databases are and as whom a process logs in. Knows no SQL: session options come
 * from the room that has statements (service_queue.h).
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

/* What the configuration says of connections to the queue databases; whereto, as whom and all else is the caller's. */
void service_database_settings(const struct conf *c, struct db_settings *ret);

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
