/*
 * access_client_rate.c - see access_client_rate.h.
 */
#include "access/access_client_rate.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "table/table_nets.h"

_Static_assert(ACCESS_CLIENT_AUTH + 1 == CLUSTER_COUNTER_KINDS, "a counter for each event");

struct access_client_rate {
	struct conf *conf;             /* counted */
	struct table_nets *exceptions; /* owned */
	int bits4;                     /* of an address, by which clients are counted together */
	int bits6;
	int open_limit;
	int limits[CLUSTER_COUNTER_KINDS]; /* 0: none */
};

/* What the client and the log are told of each. */
static const struct {
	int code;
	const char *dsn;
	const char *what; /* there are too many of */
	const char *warning;
} told[CLUSTER_COUNTER_KINDS] = {
    [ACCESS_CLIENT_CONNECT] = {421, "4.7.0", "too many connections", "Connection rate"},
    [ACCESS_CLIENT_MESSAGE] = {450, "4.7.1", "too much mail", "Message delivery request rate"},
    [ACCESS_CLIENT_RECIPIENT] = {450, "4.7.1", "too many recipients", "Recipient address rate"},
    [ACCESS_CLIENT_TLS] = {454, "4.7.0", "too many new TLS sessions", "New TLS session rate"},
    [ACCESS_CLIENT_AUTH] = {450, "4.7.1", "too many AUTH commands", "AUTH command rate"},
};

bool
access_client_rate_new(struct conf *conf, struct access_client_rate **ret, struct err *err)
{
	struct access_client_rate *l = mem_new(struct access_client_rate);

	l->conf = conf_ref(conf);
	l->bits4 = conf_int(conf, CONF_smtpd_client_ipv4_prefix_length);
	l->bits6 = conf_int(conf, CONF_smtpd_client_ipv6_prefix_length);
	l->open_limit = conf_int(conf, CONF_smtpd_client_connection_count_limit);
	l->limits[ACCESS_CLIENT_CONNECT] = conf_int(conf, CONF_smtpd_client_connection_rate_limit);
	l->limits[ACCESS_CLIENT_MESSAGE] = conf_int(conf, CONF_smtpd_client_message_rate_limit);
	l->limits[ACCESS_CLIENT_RECIPIENT] = conf_int(conf, CONF_smtpd_client_recipient_rate_limit);
	l->limits[ACCESS_CLIENT_TLS] = conf_int(conf, CONF_smtpd_client_new_tls_session_rate_limit);
	l->limits[ACCESS_CLIENT_AUTH] = conf_int(conf, CONF_smtpd_client_auth_rate_limit);
	if (!table_nets_of(conf, CONF_smtpd_client_event_limit_exceptions, &l->exceptions, err)) {
		access_client_rate_free(&l);
		return false;
	}
	*ret = l;
	return true;
}

void
access_client_rate_free(struct access_client_rate **l)
{
	if (*l == NULL)
		return;
	table_nets_free(&(*l)->exceptions);
	conf_unref(&(*l)->conf);
	mem_free(*l);
	*l = NULL;
}

bool
access_client_rate_is_used(const struct access_client_rate *l)
{
	for (size_t i = 0; i < CLUSTER_COUNTER_KINDS; i++)
		if (l->limits[i] > 0)
			return true;
	return l->open_limit > 0;
}

static bool
is_spared(const struct access_client_rate *l, const char *name, const char *address)
{
	struct err err;

	return table_nets_match_client(l->exceptions, span_str(name), span_str(address), &err) ==
	       TABLE_FOUND;
}

/* What counts as one client: the first bits of the address. Owned by the caller. */
static char *
client_key(const struct access_client_rate *l, const char *service, const char *address)
{
	unsigned char bytes[16];
	char text[INET6_ADDRSTRLEN];
	bool v6 = inet_pton(AF_INET6, address, bytes) == 1;
	int bits = v6 ? l->bits6 : l->bits4;

	if (!v6 && inet_pton(AF_INET, address, bytes) != 1)
		return mem_printf("%s:%s", service, address);
	for (int i = 0; i < (v6 ? 16 : 4); i++, bits -= 8)
		if (bits < 8)
			bytes[i] &= (unsigned char)(0xff00 >> MAX(bits, 0));
	(void)inet_ntop(v6 ? AF_INET6 : AF_INET, bytes, text, sizeof(text));
	return mem_printf("%s:%s", service, text);
}

static void
excess(const struct access_client *c, enum access_client_event event, const char *warning,
    unsigned count, const char *name, const char *address, struct access_client_excess *ret)
{
	ret->code = told[event].code;
	(void)snprintf(ret->dsn, sizeof(ret->dsn), "%s", told[event].dsn);
	(void)snprintf(
	    ret->text, sizeof(ret->text), "Error: %s from %s", told[event].what, address);
	(void)snprintf(ret->warning, sizeof(ret->warning),
	    "%s limit exceeded: %u from %s[%s] for service %s", warning, count, name, address,
	    c->service);
}

bool
access_client_begin(struct access_client *c, const struct access_client_rate *limits,
    struct cluster_counter *counter, bool trusted, const char *service, const char *name,
    const char *address, struct access_client_excess *ret)
{
	unsigned open;

	*c = (struct access_client){0};
	if (counter == NULL || trusted || !access_client_rate_is_used(limits) ||
	    is_spared(limits, name, address))
		return true;
	*c = (struct access_client){
	    .limits = limits,
	    .counter = counter,
	    .service = service,
	    .key = client_key(limits, service, address),
	};
	open = cluster_counter_open(counter, span_str(c->key));
	if (limits->open_limit > 0 && open > (unsigned)limits->open_limit) {
		excess(
		    c, ACCESS_CLIENT_CONNECT, "Connection concurrency", open, name, address, ret);
		return false;
	}
	return access_client_event(c, ACCESS_CLIENT_CONNECT, name, address, ret);
}

bool
access_client_event(struct access_client *c, enum access_client_event event, const char *name,
    const char *address, struct access_client_excess *ret)
{
	unsigned count;

	if (c->limits == NULL || c->limits->limits[event] <= 0)
		return true;
	count = cluster_counter_event(c->counter, span_str(c->key), event);
	if (count <= (unsigned)c->limits->limits[event])
		return true;
	excess(c, event, told[event].warning, count, name, address, ret);
	return false;
}

void
access_client_done(struct access_client *c)
{
	if (c->limits == NULL)
		return;
	(void)cluster_counter_close(c->counter, span_str(c->key));
	mem_free(c->key);
	*c = (struct access_client){0};
}
