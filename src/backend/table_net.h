/*
 * table_net.h - the servers of tables that are asked with a line protocol (tcp, socketmap, memcache). A process keeps its
 * connections between lookups and shares them between all tables that name the same server; those that nobody needed for
 * ten seconds are closed. Lookups of several tasks go over connections of their own, TABLE_NET_MOST at once.
 */
#ifndef BACKEND_TABLE_NET_H
#define BACKEND_TABLE_NET_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "net/net_addr.h"
#include "net/stream.h"
#include "table/table.h"

struct table_net;

/* How an exchange with the server went. */
enum table_net_result {
	TABLE_NET_OK,
	TABLE_NET_BAD,  /* it answered something else than it should: no use in asking again */
	TABLE_NET_LOST, /* the connection ended or fell silent on the way: another try may do */
	TABLE_NET_AWAY, /* there is no connection to be had */
};

/*
 * One question and its answer; may be called again, on another connection, after TABLE_NET_LOST. With anything but
 * TABLE_NET_OK `err` says why, and the connection is closed. The stream has its deadline.
 */
typedef enum table_net_result table_net_talk(struct stream *s, void *arg, struct err *err);

/*
 * The server "host:port", "[address]:port" or "port" of this host; with `path` a UNIX socket, relative to queue_directory.
 * ERR_CONFIG when there is no such service. Does not connect.
 */
bool table_net_open(struct conf *conf, struct span endpoint, bool path, struct table_net **ret,
    struct err *err) MUST_CHECK;
/* The same for "inet:host:port" or "unix:path". */
bool table_net_open_service(
    struct conf *conf, struct span service, struct table_net **ret, struct err *err) MUST_CHECK;
void table_net_close(struct table_net **n);

struct table_net_rules {
	int64_t timeout;  /* us: for connecting, and for the exchange */
	int64_t pause;    /* us between two tries */
	int64_t limit;    /* us: no further try after this; 0: no such limit */
	int tries;        /* most of them, as long as the connection is the trouble */
	bool until_there; /* tries also while there is no connection to be had */
	const char *what; /* "connect to WHATserver: ..." as a failure is told, "" or "TCP map " */
};

/*
 * Asks over a kept connection, or over a new one when there is none or it turns out to be closed. Once given up, a server that
 * cannot be reached is tried once a lookup until it is back. Why it gave up is in `err`, and has been logged. Waits; only in a task.
 */
enum table_net_result table_net_ask(struct table_net *n, const struct table_net_rules *rules,
    table_net_talk *talk, void *arg, struct err *err);

/*
 * Nobody knows who answers: where results are commands, files or rights (TABLE_NO_PROXY) such a table cannot be used. False
 * then.
 */
bool table_net_is_trusted(const struct table *t, struct err *err) MUST_CHECK;

/* What a talk says of a failed read or write: "unexpected EOF", "timeout", the system's reason. */
const char *table_net_reason(const struct stream *s, enum stream_result r);

#endif
