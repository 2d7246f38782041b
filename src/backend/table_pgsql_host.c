/*
 * table_pgsql_host.c - see table_pgsql_host.h.
 *
 *	             answered                       idle_interval without a question
 *	untried ─────────────────────> connected ────────────────────────────────────> untried
 *	   ^  │ no answer                  │ no answer, also not on a fresh connection
 *	   │  v                            v
 *	   └─ put aside <──────────────────┘
 *	      until retry_interval is over
 */
#include "backend/table_pgsql_host.h"

#include <string.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "task/task.h"

#define SEPARATORS    ", \t\r\n"
#define HOSTS_MAX     64
#define CONNECTIONS   4 /* to one server, of one process */
#define CONNECT_LIMIT (10 * CLOCK_SECOND)
#define ANSWER_LIMIT  (30 * CLOCK_SECOND)
/* The pool's own pause after a failure: those who waited for the same attempt are turned away together. */
#define POOL_PAUSE    (100 * CLOCK_MILLI)

struct pgsql_host {
	char *key;    /* owned: in the registry */
	char *name;   /* owned: as written, for messages */
	size_t users; /* tables */
	bool local;   /* a UNIX socket: asked first */
	bool connected;
	int64_t idle;     /* us */
	int64_t retry;    /* us */
	int64_t used;     /* mono us: the last answer */
	int64_t retry_at; /* mono us: put aside until then */
	struct db_pool *pool;
	struct task_timer idle_timer;
	struct err reason; /* why it was put aside */
};

struct table_pgsql_hosts {
	struct pgsql_host *list[HOSTS_MAX];
	size_t count;
};

/* All hosts of the process, by name and login. */
static struct hmap registry;

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static bool
is_uri(struct span host)
{
	return span_starts(host, "postgresql://") || span_starts(host, "postgres://");
}

/* A value of a connection string, quoted. Empty ones are left to libpq's defaults. */
static void
add_setting(struct buf *b, const char *name, struct span value)
{
	if (value.len == 0)
		return;
	buf_printf(b, "%s%s='", b->len != 0 ? " " : "", name);
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] == '\'' || value.ptr[i] == '\\')
			buf_add_char(b, '\\');
		buf_add_char(b, value.ptr[i]);
	}
	buf_add_char(b, '\'');
}

/* "host", "host:port", "[::1]:port"; an address with more colons has no port. */
static void
add_host_port(struct buf *b, struct span host)
{
	size_t colon = span_find(host, ':');
	struct span port = {0};

	if (span_starts(host, "[")) {
		size_t end = span_find(host, ']');

		port = span_from(host, end + 1);
		host = span_from(span_head(host, end), 1);
		if (span_starts(port, ":"))
			port = span_from(port, 1);
	} else if (colon < host.len &&
		   span_find(span_from(host, colon + 1), ':') == host.len - colon - 1) {
		port = span_from(host, colon + 1);
		host = span_head(host, colon);
	}
	add_setting(b, "host", host);
	add_setting(b, "port", port);
}

static void
make_conninfo(struct buf *b, struct span host, const struct table_pgsql_login *l)
{
	if (is_uri(host)) {
		buf_add_span(b, host);
		return;
	}
	if (span_starts(host, "/"))
		add_setting(b, "host", host);
	else
		add_host_port(b, host);
	add_setting(b, "dbname", span_str(l->dbname));
	add_setting(b, "user", span_str(l->user));
	add_setting(b, "password", span_str(l->password));
}

/* The next word of a list of hosts, without the prefixes that mean nothing. */
static bool
next_host(struct span *rest, struct span *ret)
{
	if (!span_word(rest, SEPARATORS, ret))
		return false;
	if (span_starts(*ret, "unix:") || span_starts(*ret, "inet:"))
		*ret = span_from(*ret, 5);
	return true;
}

/* ---- hosts ---------------------------------------------------------------------------------------------------------- */

static void
on_idle(void *arg)
{
	struct pgsql_host *h = arg;
	int64_t end = h->used + h->idle;

	if (clock_mono_us() < end) {
		task_timer_arm(&h->idle_timer, end);
		return;
	}
	db_pool_close_idle(h->pool);
	h->connected = false;
}

/* What is shown of a host must not hold a password. */
static char *
shown_name(struct span host)
{
	size_t at = span_find(host, '@');

	if (is_uri(host) && at < host.len)
		return mem_printf("postgresql://%.*s", SPAN_ARG(span_from(host, at + 1)));
	return span_dup(host);
}

static struct pgsql_host *
host_open(struct span name, const struct table_pgsql_login *l)
{
	struct buf conninfo CLEANUP(buf_done) = {0};
	struct buf key CLEANUP(buf_done) = {0};
	struct pgsql_host *h;

	make_conninfo(&conninfo, name, l);
	buf_printf(&key, "%s %lld %lld %s", l->encoding, (long long)l->idle, (long long)l->retry,
	    buf_str(&conninfo));
	h = hmap_get(&registry, buf_span(&key));
	if (h != NULL) {
		h->users++;
		return h;
	}
	h = mem_new(struct pgsql_host);
	h->key = buf_take(&key);
	h->name = shown_name(name);
	h->users = 1;
	h->local = span_starts(name, "/");
	h->idle = l->idle;
	h->retry = l->retry;
	h->idle_timer.fn = on_idle;
	h->idle_timer.arg = h;
	h->pool = db_pool_new(&(struct db_settings){
	    .conninfo = buf_str(&conninfo),
	    .application_name = "rowpost/table",
	    .encoding = l->encoding,
	    .connections = CONNECTIONS,
	    .connect_timeout = CONNECT_LIMIT,
	    .statement_timeout = ANSWER_LIMIT,
	    .backoff_min = POOL_PAUSE,
	    .backoff_max = POOL_PAUSE,
	});
	(void)hmap_put(&registry, span_str(h->key), h);
	return h;
}

static void
host_close(struct pgsql_host *h)
{
	if (--h->users != 0)
		return;
	(void)hmap_remove(&registry, span_str(h->key));
	if (registry.count == 0)
		hmap_done(&registry);
	task_timer_disarm(&h->idle_timer);
	db_pool_free(&h->pool);
	mem_free(h->key);
	mem_free(h->name);
	mem_free(h);
}

bool
table_pgsql_hosts_need_login(const char *hosts)
{
	struct span rest = span_str(hosts), host;
	bool any = false;

	while (next_host(&rest, &host)) {
		any = true;
		if (!is_uri(host))
			return true;
	}
	return !any;
}

struct table_pgsql_hosts *
table_pgsql_hosts_new(const char *hosts, const struct table_pgsql_login *login)
{
	struct table_pgsql_hosts *set = mem_new(struct table_pgsql_hosts);
	struct span rest = span_str(hosts), host;

	while (set->count < HOSTS_MAX && next_host(&rest, &host))
		set->list[set->count++] = host_open(host, login);
	if (set->count == 0)
		set->list[set->count++] = host_open(SPAN_LIT("localhost"), login);
	return set;
}

void
table_pgsql_hosts_free(struct table_pgsql_hosts **set)
{
	struct table_pgsql_hosts *s = *set;

	*set = NULL;
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->count; i++)
		host_close(s->list[i]);
	mem_free(s);
}

/* ---- asking --------------------------------------------------------------------------------------------------------- */

static void
host_answered(struct pgsql_host *h)
{
	h->connected = true;
	h->retry_at = 0;
	h->used = clock_mono_us();
	if (h->idle_timer.heap_index == 0)
		task_timer_arm(&h->idle_timer, h->used + h->idle);
}

static void
host_put_aside(struct pgsql_host *h, const struct err *why)
{
	h->connected = false;
	h->retry_at = clock_deadline(h->retry);
	h->reason = *why;
	db_pool_close_idle(h->pool);
}

/* Does an SQLSTATE say that this server, not the statement, is the trouble? */
static bool
is_server_trouble(const char *sqlstate)
{
	return strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "53", 2) == 0 ||
	       strncmp(sqlstate, "57P", 3) == 0 || strncmp(sqlstate, "58", 2) == 0;
}

enum attempt {
	ATTEMPT_ANSWERED,
	ATTEMPT_NOTHING, /* there was nothing to ask for */
	ATTEMPT_LOST,    /* the connection, or the server, is gone */
	ATTEMPT_REFUSED, /* it did not like the question, or is too busy for it */
};

static enum attempt
host_try(struct pgsql_host *h, table_pgsql_statement *make, void *arg, struct db_result **ret,
    struct err *err)
{
	struct buf sql CLEANUP(buf_done) = {0};
	struct db_conn *c = db_pool_take(h->pool, clock_deadline(CONNECT_LIMIT), err);
	enum attempt result = ATTEMPT_ANSWERED;

	if (c == NULL) {
		log_warn("connect to pgsql server %s: %s", h->name, err->text);
		return db_pool_is_up(h->pool) ? ATTEMPT_REFUSED : ATTEMPT_LOST;
	}
	if (!make(arg, c, &sql)) {
		result = ATTEMPT_NOTHING;
	} else if (!db_query(c, buf_str(&sql), clock_deadline(ANSWER_LIMIT), ret, err)) {
		const char *state = db_error_sqlstate(c);

		log_warn("pgsql query failed: fatal error from host %s: %s", h->name, err->text);
		result =
		    state[0] == '\0' || is_server_trouble(state) ? ATTEMPT_LOST : ATTEMPT_REFUSED;
	}
	db_pool_give(h->pool, &c);
	return result;
}

/* A connection that was open may have been closed from the other side: that alone says nothing about the server. */
static enum attempt
host_ask(struct pgsql_host *h, table_pgsql_statement *make, void *arg, struct db_result **ret,
    struct err *err)
{
	int64_t give_up = clock_deadline(ANSWER_LIMIT);
	bool again = h->connected;
	enum attempt result = host_try(h, make, arg, ret, err);

	if (result == ATTEMPT_LOST && again && !task_is_cancelled() && clock_mono_us() < give_up) {
		db_pool_close_idle(h->pool);
		result = host_try(h, make, arg, ret, err);
	}
	if (result == ATTEMPT_LOST && !task_is_cancelled())
		host_put_aside(h, err);
	else if (result == ATTEMPT_ANSWERED)
		host_answered(h);
	return result;
}

/* The lower the better; -1: not now. */
static int
host_rank(const struct pgsql_host *h, int64_t now)
{
	if (h->connected)
		return h->local ? 0 : 1;
	if (h->retry_at > now)
		return -1;
	return h->local ? 2 : 3;
}

/* Of the best hosts not in `tried` any; HOSTS_MAX: none is left. */
static size_t
pick(const struct table_pgsql_hosts *set, uint64_t tried)
{
	int64_t now = clock_mono_us();
	size_t found = HOSTS_MAX;
	uint32_t equals = 0;
	int best = -1;

	for (size_t i = 0; i < set->count; i++) {
		int rank = host_rank(set->list[i], now);

		if (rank < 0 || (tried >> i & 1) != 0 || (best >= 0 && rank > best))
			continue;
		equals = rank == best ? equals + 1 : 1;
		best = rank;
		if (random_below(equals) == 0)
			found = i;
	}
	return found;
}

enum table_result
table_pgsql_hosts_ask(struct table_pgsql_hosts *set, table_pgsql_statement *make, void *arg,
    struct db_result **ret, struct err *err)
{
	uint64_t tried = 0;
	size_t i;

	(void)err_set(err, ERR_TEMP, "4.3.0", "no server was asked: %s",
	    set->list[0]->reason.kind != ERR_NONE ? set->list[0]->reason.text : "none is there");
	while (!task_is_cancelled() && (i = pick(set, tried)) < set->count) {
		tried |= UINT64_C(1) << i;
		switch (host_ask(set->list[i], make, arg, ret, err)) {
		case ATTEMPT_ANSWERED:
			return TABLE_FOUND;
		case ATTEMPT_NOTHING:
			return TABLE_NOT_FOUND;
		case ATTEMPT_LOST:
		case ATTEMPT_REFUSED:
			break;
		}
	}
	return TABLE_ERROR;
}
