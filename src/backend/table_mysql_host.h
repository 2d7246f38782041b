/*
 * table_mysql_host.h - the servers of a mysql table: which of them is asked, and the connections to them. Everything blocks.
 */
#ifndef BACKEND_TABLE_MYSQL_HOST_H
#define BACKEND_TABLE_MYSQL_HOST_H

#include "base/base.h"
#include "base/err.h"
#include "table/table_query.h"

struct table_mysql_hosts;
struct st_mysql; /* the library's connection */

/* One server with an open connection. */
struct table_mysql_host;

/* Reads the settings of servers and connections. Connects to nobody. */
bool table_mysql_hosts_open(
    const struct table_settings *s, struct table_mysql_hosts **ret, struct err *err) MUST_CHECK;
void table_mysql_hosts_close(struct table_mysql_hosts **h);

/*
 * A server to ask: one with a connection, else one that is connected to now; UNIX sockets first, of several one by chance. One
 * that failed is left alone for retry_interval. NULL, and why in `err`, when there is none.
 */
struct table_mysql_host *table_mysql_hosts_take(struct table_mysql_hosts *h, struct err *err);

struct st_mysql *table_mysql_host_connection(struct table_mysql_host *host);

/* "unix:/x" or "db:3306", for messages. */
const char *table_mysql_host_name(const struct table_mysql_host *host);

/* It did not answer: the connection is closed, and the server left alone for a while. */
void table_mysql_host_failed(struct table_mysql_hosts *h, struct table_mysql_host *host);

#endif
