/*
 * table_net.c - see table_net.h.
 */
#include "backend/table_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "net/net_connect.h"
#include "table/table_type.h"
#include "task/task.h"

/* Connections to one server at once; who comes later waits for one of them. */
#define TABLE_NET_MOST 20

/* How long one is kept that nobody needs. */
#define TABLE_NET_REST (10 * CLOCK_SECOND)

struct table_net_idle {
	struct stream *stream; /* owned */
	int64_t since;         /* mono us */
};

struct table_net {
	size_t users;     /* tables, and lookups under way */
	char *name;       /* owned: "host:port", "/path", for messages */
	char *registered; /* owned: the key in the registry */
	bool path;
	char *host; /* owned */
	uint16_t port;
	int family; /* as inet_protocols says */
	struct net_addr unix_addr;
	bool away;   /* the last lookup got no connection: the next ones do not insist */
	size_t busy; /* connections in use */
	struct task_cond freed;
	struct table_net_idle idle[TABLE_NET_MOST]; /* the last one was used last */
	size_t idle_count;
	struct task_timer rest;
};

/* All servers of the process, by name, kind and protocols. */
static struct hmap table_net_registry;

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static bool
net_parse_port(struct span text, uint16_t *ret)
{
	char *name CLEANUP(mem_free_str) = NULL;
	struct servent entry, *found = NULL;
	char room[4096];
	uint64_t number;

	if (span_number(text, UINT16_MAX, &number)) {
		*ret = (uint16_t)number;
		return number != 0;
	}
	name = span_dup(text);
	if (getservbyname_r(name, "tcp", &entry, room, sizeof(room), &found) != 0 || found == NULL)
		return false;
	*ret = ntohs((uint16_t)found->s_port);
	return true;
}

static bool
net_parse_host(struct table_net *n, struct span text, struct err *err)
{
	size_t colon = span_find_last(text, ':');
	bool alone = colon == text.len;
	struct span host = alone ? (struct span){0} : span_head(text, colon);
	struct span port = alone ? text : span_from(text, colon + 1);

	if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		host = span_of(host.ptr + 1, host.len - 2);
	n->host = host.len != 0 ? span_dup(host) : mem_strdup("localhost");
	return net_parse_port(port, &n->port) ||
	       err_set(err, ERR_CONFIG, "4.3.5",
		   "host or service %.*s not found: Servname not supported for ai_socktype",
		   SPAN_ARG(text));
}

static bool
net_parse_path(struct table_net *n, const struct conf *conf, struct err *err)
{
	char *path CLEANUP(mem_free_str) = NULL;

	path = n->name[0] == '/'
		   ? mem_strdup(n->name)
		   : mem_printf("%s/%s", conf_str(conf, CONF_queue_directory), n->name);
	return net_addr_unix(path, &n->unix_addr) ||
	       err_set(err, ERR_CONFIG, "4.3.5", "unix-domain name too long: %s", n->name);
}

/* ---- kept connections ----------------------------------------------------------------------------------------------- */

/* Closes those that rest since before `when`. */
static void
net_close_idle(struct table_net *n, int64_t when)
{
	size_t gone = 0;

	while (gone < n->idle_count && n->idle[gone].since <= when)
		stream_free(&n->idle[gone++].stream);
	n->idle_count -= gone;
	memmove(n->idle, n->idle + gone, n->idle_count * sizeof(n->idle[0]));
}

static void
on_net_rest(void *arg)
{
	struct table_net *n = arg;

	net_close_idle(n, clock_mono_us() - TABLE_NET_REST);
	if (n->idle_count != 0)
		task_timer_arm(&n->rest, n->idle[0].since + TABLE_NET_REST);
}

static void
net_keep(struct table_net *n, struct stream **s)
{
	n->idle[n->idle_count++] = (struct table_net_idle){*s, clock_mono_us()};
	*s = NULL;
	if (n->rest.heap_index == 0)
		task_timer_arm(&n->rest, clock_deadline(TABLE_NET_REST));
}

/* Closed by the server, or it speaks without being asked. */
static bool
net_is_stale(struct stream *s)
{
	char byte;

	return stream_has_input(s) || recv(stream_fd(s), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       errno != EAGAIN;
}

static struct stream *
net_take_idle(struct table_net *n)
{
	while (n->idle_count != 0) {
		struct stream *s = n->idle[--n->idle_count].stream;

		if (!net_is_stale(s))
			return s;
		stream_free(&s);
	}
	return NULL;
}

/* ---- new connections ------------------------------------------------------------------------------------------------ */

static struct stream *
net_connect_unix(const struct table_net *n, int64_t timeout, struct err *err)
{
	return net_connect(&n->unix_addr, NULL, clock_deadline(timeout), err);
}

static bool
net_addr_of(const struct dns_ip *ip, uint16_t port, struct net_addr *ret)
{
	char text[INET6_ADDRSTRLEN];

	return inet_ntop(ip->family, ip->addr, text, sizeof(text)) != NULL &&
	       net_addr_parse(text, port, ret);
}

/* One address of the host after the other. */
static struct stream *
net_connect_host(const struct table_net *n, int64_t timeout, struct err *err)
{
	struct dns_ip *ips = NULL;
	struct net_addr addr;
	struct stream *s = NULL;
	enum dns_status status;
	size_t count = 0;

	if (net_addr_parse(n->host, n->port, &addr))
		return net_connect(&addr, NULL, clock_deadline(timeout), err);
	if (!dns_is_ready() && !dns_init(&(struct dns_settings){0}, err))
		return NULL;
	status = dns_native(n->host, n->family, clock_deadline(timeout), &ips, &count, err);
	if (status != DNS_FOUND) {
		(void)err_set(err, ERR_TEMP, "4.4.3", "%s", dns_status_text(status));
		return NULL;
	}
	for (size_t i = 0; s == NULL && i < count; i++)
		if (net_addr_of(&ips[i], n->port, &addr))
			s = net_connect(&addr, NULL, clock_deadline(timeout), err);
	mem_free(ips);
	return s;
}

static struct stream *
net_connect_new(struct table_net *n, const struct table_net_rules *rules, struct err *err)
{
	struct stream *s = n->path ? net_connect_unix(n, rules->timeout, err)
				   : net_connect_host(n, rules->timeout, err);

	if (s == NULL)
		(void)err_prefix(err, "connect to %s%s", rules->what, n->name);
	return s;
}

/* ---- asking --------------------------------------------------------------------------------------------------------- */

const char *
table_net_reason(const struct stream *s, enum stream_result r)
{
	switch (r) {
	case STREAM_OK:
	case STREAM_TOO_LONG:
		break;
	case STREAM_EOF:
		return "unexpected EOF";
	case STREAM_TIMEOUT:
		return "Connection timed out";
	case STREAM_ERROR:
		return strerror(stream_errno(s));
	case STREAM_CANCELLED:
		return "shutting down";
	}
	return "input exceeds size limit";
}

/* One exchange over `s`, which is then kept or closed. */
static enum table_net_result
net_talk(struct table_net *n, struct stream *s, const struct table_net_rules *rules,
    table_net_talk *talk, void *arg, struct err *err)
{
	enum table_net_result r;

	stream_set_deadline(s, clock_deadline(rules->timeout));
	r = talk(s, arg, err);
	if (r == TABLE_NET_OK && !stream_has_input(s))
		net_keep(n, &s);
	stream_free(&s);
	return r;
}

static enum table_net_result
net_try(struct table_net *n, const struct table_net_rules *rules, table_net_talk *talk, void *arg,
    struct err *err)
{
	struct stream *s = net_take_idle(n);

	/* One that was kept may have been closed just now: that is no trouble. */
	if (s != NULL) {
		enum table_net_result r = net_talk(n, s, rules, talk, arg, err);

		if (r != TABLE_NET_LOST)
			return r;
	}
	s = net_connect_new(n, rules, err);
	return s == NULL ? TABLE_NET_AWAY : net_talk(n, s, rules, talk, arg, err);
}

/* May another try begin after a pause, which is then over? */
static bool
net_pause(const struct table_net_rules *rules, int64_t began)
{
	int64_t next = clock_deadline(rules->pause);

	if (rules->limit != 0 && next - began >= rules->limit)
		return false;
	return rules->pause == 0 || task_sleep_until(next) != TASK_CANCELLED;
}

static enum table_net_result
net_insist(struct table_net *n, const struct table_net_rules *rules, table_net_talk *talk,
    void *arg, struct err *err)
{
	int64_t began = clock_mono_us();

	for (int left = n->away ? 0 : rules->tries - 1;; left--) {
		enum table_net_result r = net_try(n, rules, talk, arg, err);
		bool again = r == TABLE_NET_LOST || (r == TABLE_NET_AWAY && rules->until_there);

		if (again && left > 0 && net_pause(rules, began))
			continue;
		n->away = r == TABLE_NET_AWAY;
		if (r != TABLE_NET_OK)
			log_warn("%s", err->text);
		return r;
	}
}

static bool
net_wait_turn(struct table_net *n, int64_t deadline)
{
	while (n->busy >= TABLE_NET_MOST)
		if (task_cond_wait(&n->freed, deadline) != TASK_READY)
			return false;
	return true;
}

enum table_net_result
table_net_ask(struct table_net *n, const struct table_net_rules *rules, table_net_talk *talk,
    void *arg, struct err *err)
{
	struct table_net *held = n;
	enum table_net_result r = TABLE_NET_AWAY;

	if (task_self() == NULL) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "%s cannot be asked here", n->name);
		return TABLE_NET_AWAY;
	}
	/* While we wait the last table may be closed. */
	n->users++;
	if (net_wait_turn(n, clock_deadline(rules->timeout))) {
		n->busy++;
		r = net_insist(n, rules, talk, arg, err);
		n->busy--;
		task_cond_wake_one(&n->freed);
	} else {
		(void)err_set(err, ERR_TEMP, "4.3.0", "%s is too slow", n->name);
		log_warn("%s", err->text);
	}
	table_net_close(&held);
	return r;
}

bool
table_net_is_trusted(const struct table *t, struct err *err)
{
	return (t->flags & TABLE_NO_PROXY) == 0 ||
	       err_set(err, ERR_CONFIG, "4.3.5",
		   "%s map is not allowed for security-sensitive data", t->spec);
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

static int
net_family(const struct conf *conf)
{
	bool all = conf_has(conf, CONF_inet_protocols, "all");
	bool ipv4 = all || conf_has(conf, CONF_inet_protocols, "ipv4");
	bool ipv6 = all || conf_has(conf, CONF_inet_protocols, "ipv6");

	if (ipv4 == ipv6)
		return AF_UNSPEC;
	return ipv4 ? AF_INET : AF_INET6;
}

static void
net_free(struct table_net *n)
{
	net_close_idle(n, CLOCK_NEVER);
	task_timer_disarm(&n->rest);
	mem_free(n->registered);
	mem_free(n->name);
	mem_free(n->host);
	mem_free(n);
}

bool
table_net_open(
    struct conf *conf, struct span endpoint, bool path, struct table_net **ret, struct err *err)
{
	int family = net_family(conf);
	char *key = mem_printf("%s:%d:%.*s", path ? conf_str(conf, CONF_queue_directory) : "",
	    family, SPAN_ARG(endpoint));
	struct table_net *n = hmap_get(&table_net_registry, span_str(key));

	if (n != NULL) {
		mem_free(key);
		n->users++;
		*ret = n;
		return true;
	}
	n = mem_new(struct table_net);
	n->users = 1;
	n->name = span_dup(endpoint);
	n->registered = key;
	n->path = path;
	n->family = family;
	n->rest.fn = on_net_rest;
	n->rest.arg = n;
	if (!(path ? net_parse_path(n, conf, err) : net_parse_host(n, endpoint, err))) {
		net_free(n);
		return false;
	}
	(void)hmap_put(&table_net_registry, span_str(key), n);
	*ret = n;
	return true;
}

bool
table_net_open_service(
    struct conf *conf, struct span service, struct table_net **ret, struct err *err)
{
	struct span kind = span_head(service, span_find(service, ':'));
	struct span rest = span_from(service, kind.len + 1);

	if (rest.len == 0)
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "need service transport:endpoint instead of \"%.*s\"", SPAN_ARG(service));
	if (span_equal_str(kind, "inet") || span_equal_str(kind, "unix"))
		return table_net_open(conf, rest, kind.ptr[0] == 'u', ret, err);
	return err_set(err, ERR_CONFIG, "4.3.5", "invalid transport name: %.*s in service: %.*s",
	    SPAN_ARG(kind), SPAN_ARG(service));
}

void
table_net_close(struct table_net **net)
{
	struct table_net *n = *net;

	*net = NULL;
	if (n == NULL || --n->users != 0)
		return;
	(void)hmap_remove(&table_net_registry, span_str(n->registered));
	if (table_net_registry.count == 0)
		hmap_done(&table_net_registry);
	net_free(n);
}
