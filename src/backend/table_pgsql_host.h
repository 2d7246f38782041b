/*
 * table_pgsql_host.h - the servers that pgsql tables ask. Tables that name the same server with the same login share its
 * connections, and what is known of its health. One that does not answer is left alone for retry_interval; connections
 * that nobody needed for idle_interval are closed.
 */
#ifndef BACKEND_TABLE_PGSQL_HOST_H
#define BACKEND_TABLE_PGSQL_HOST_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include "table/table.h"

/* How to log in where a host is no postgresql:// URI. Texts are borrowed for the call. */
struct table_pgsql_login {
	const char *user;
	const char *password;
	const char *dbname;
	const char *encoding;
	int64_t idle;  /* us */
	int64_t retry; /* us */
};

struct table_pgsql_hosts;

/*
 * The servers of one table, from its `hosts`: [unix:]/directory, [inet:]host[:port], postgresql:// URIs, separated by
 * white space or commas; an empty text is localhost. Does not connect.
 */
struct table_pgsql_hosts *table_pgsql_hosts_new(
    const char *hosts, const struct table_pgsql_login *login);
void table_pgsql_hosts_free(struct table_pgsql_hosts **h);

/* True if there is a host that needs the login. */
bool table_pgsql_hosts_need_login(const char *hosts);

/* Appends the statement for `arg`, its values quoted with db_quote(). False: there is nothing to ask for. */
typedef bool table_pgsql_statement(void *arg, struct db_conn *c, struct buf *sql);

/*
 * Asks one server after the other until one answers: a connected one first, of several any. TABLE_FOUND: *ret is the
 * answer, perhaps without rows. TABLE_NOT_FOUND: `make` said so. TABLE_ERROR: no server answered, each failure has been
 * logged. Waits.
 */
enum table_result table_pgsql_hosts_ask(struct table_pgsql_hosts *h, table_pgsql_statement *make,
    void *arg, struct db_result **ret, struct err *err) MUST_CHECK;

#endif
