/*
 * access_client_rate.h - how much a client may do at a time and in anvil_rate_time_unit: smtpd_client_connection_count_limit,
 * smtpd_client_*_rate_limit, counted over all nodes (cluster_counter.h). The limits are part of a configuration, the counters
 * of the process; a session has a struct access_client from its beginning to its end.
 */
#ifndef ACCESS_ACCESS_CLIENT_RATE_H
#define ACCESS_ACCESS_CLIENT_RATE_H

#include "base/base.h"
#include "base/err.h"
#include "cluster/cluster_counter.h"
#include "conf/conf.h"

/* The limits of one configuration. */
struct access_client_rate;

enum access_client_event {
	ACCESS_CLIENT_CONNECT,
	ACCESS_CLIENT_MESSAGE,   /* MAIL, whether or not it is accepted */
	ACCESS_CLIENT_RECIPIENT, /* RCPT, likewise */
	ACCESS_CLIENT_TLS,       /* a TLS session that is not resumed */
	ACCESS_CLIENT_AUTH,
};

/* One session's client. Zero-filled: nobody counts it. */
struct access_client {
	const struct access_client_rate *limits; /* borrowed; NULL: not counted */
	struct cluster_counter *counter;         /* borrowed */
	const char *service;                     /* borrowed */
	char *key;                               /* owned */
};

/* What the client is told, and what is logged as a warning. */
struct access_client_excess {
	int code;
	char dsn[12];
	char text[160]; /* "Error: too many connections from 192.0.2.1" */
	char
	    warning[700]; /* "Connection rate limit exceeded: 3 from NAME[ADDR] for service smtp" */
};

bool access_client_rate_new(
    struct conf *conf, struct access_client_rate **ret, struct err *err) MUST_CHECK;
void access_client_rate_free(struct access_client_rate **l);

/* Is there any limit at all? Else no counter is needed. */
bool access_client_rate_is_used(const struct access_client_rate *l);

/*
 * A client has connected: counts it, unless smtpd_client_event_limit_exceptions or `trusted` (it may use XCLIENT) spares it
 * or `counter` is NULL. False: there is one connection too many, and *ret says what to answer before the session ends. In
 * any case access_client_done() follows. Never waits but for tables in the list of exceptions.
 */
bool access_client_begin(struct access_client *c, const struct access_client_rate *limits,
    struct cluster_counter *counter, bool trusted, const char *service, const char *name,
    const char *address, struct access_client_excess *ret) MUST_CHECK;

/* The client does something that is limited. False: too often, as above. Never waits. */
bool access_client_event(struct access_client *c, enum access_client_event event, const char *name,
    const char *address, struct access_client_excess *ret) MUST_CHECK;

void access_client_done(struct access_client *c);

#endif
