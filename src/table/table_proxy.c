/*
 * table_proxy.c - the type proxy, and asking proxymap: which tables, over which connection, and what when it is not there.
 *
 * Connections are kept for the next lookup, and there are at most PROXY_CONNECTIONS of them: more would not make proxymap faster,
 * and a full queue of its socket refuses. A lookup changes nothing, so it is simply asked again when a connection breaks: proxymap
 * was started anew.
 */
#include "table/table_proxy.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_value.h"
#include "net/net_connect.h"
#include "table/table_type.h"
#include "task/task.h"

#define PROXY_CONNECTIONS 50
#define PROXY_ATTEMPTS    4
#define PROXY_PAUSE       (50 * CLOCK_MILLI)

/* Longer than proxymap lets any lookup take; what asks for mail is gone soon after that. */
#define PROXY_WAIT (120 * CLOCK_SECOND)

/* This process asks tables that block by itself: set at start, or in a worker after fork. */
static bool table_proxy_direct;

/* The process's way to proxymap. */
static struct {
	struct stream *idle[PROXY_CONNECTIONS]; /* owned */
	size_t idle_count;
	size_t open; /* idle ones and those in use */
	struct task_cond freed;
	bool away; /* has been logged */
} proxy;

/* ---- which tables ----------------------------------------------------------------------------------------------- */

/* "proxy:proxy:type:name" is "type:name". */
static struct span
table_proxy_strip(struct span spec)
{
	while (span_starts(spec, "proxy:"))
		spec = span_from(spec, strlen("proxy:"));
	return spec;
}

void
table_proxy_ask_directly(void)
{
	table_proxy_direct = true;
}

bool
table_proxy_blocks(struct span spec)
{
	const struct table_type *type = table_type_find(span_head(spec, span_find(spec, ':')));

	return type != NULL && type->blocks;
}

bool
table_proxy_is_implied(struct span spec)
{
	const struct table_type *type = table_type_find(span_head(spec, span_find(spec, ':')));

	return type != NULL && (type->blocks || type->absent != NULL);
}

bool
table_proxy_is_wanted(const struct table *t)
{
	if (table_proxy_direct || ((t->flags & TABLE_NO_PROXY) != 0 && !t->type->absent_trusted))
		return false;
	return t->type->blocks || (t->type->absent != NULL && t->type->absent(t));
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

static void
table_proxy_drop(struct stream **s)
{
	stream_free(s);
	proxy.open--;
	task_cond_wake_one(&proxy.freed);
}

static void
table_proxy_keep(struct stream *s)
{
	proxy.idle[proxy.idle_count++] = s;
	task_cond_wake_one(&proxy.freed);
}

/* One broke: proxymap is another one now, and the idle connections go nowhere. */
static void
table_proxy_drop_idle(void)
{
	while (proxy.idle_count != 0)
		table_proxy_drop(&proxy.idle[--proxy.idle_count]);
}

/*
 * Master opens the socket as root, and only proxymap has it from there. Whoever runs as mail_owner may put one of his own in its place,
 * but not as root: what decides about files and rights does not believe him.
 */
static bool
table_proxy_is_masters(const struct stream *s)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(stream_fd(s), SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static struct stream *
table_proxy_connect(const char *path, int64_t deadline, struct err *err)
{
	struct net_addr to;
	struct stream *s = NULL;

	proxy.open++;
	if (net_addr_unix(path, &to))
		s = net_connect(&to, NULL, deadline, err);
	else
		(void)err_set(err, ERR_CONFIG, "4.3.5", "File name too long");
	if (s != NULL && table_proxy_is_masters(s))
		return s;
	if (s != NULL)
		(void)err_set(err, ERR_CONFIG, "4.3.5", "not opened by master");
	stream_free(&s);
	proxy.open--;
	task_cond_wake_one(&proxy.freed);
	(void)err_prefix(err, "connect to subsystem %s", path);
	return NULL;
}

/* An idle connection, a new one, or the next one that is given back. Waits. */
static struct stream *
table_proxy_take(const char *path, int64_t deadline, struct err *err)
{
	for (;;) {
		if (proxy.idle_count != 0)
			return proxy.idle[--proxy.idle_count];
		if (proxy.open < PROXY_CONNECTIONS)
			return table_proxy_connect(path, deadline, err);
		switch (task_cond_wait(&proxy.freed, deadline)) {
		case TASK_READY:
			break;
		case TASK_TIMEOUT:
			return (void)err_set(err, ERR_TEMP, "4.3.0", "%s is busy", path), NULL;
		case TASK_CANCELLED:
			return (void)err_set(err, ERR_GONE, "4.3.2", "shutting down"), NULL;
		}
	}
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

/* Sends the request and reads the answer into `reply`. */
static enum stream_result
table_proxy_exchange(struct stream *s, struct span request, struct buf *reply, int64_t deadline)
{
	enum stream_result r;

	stream_set_deadline(s, deadline);
	r = stream_write_span(s, request);
	if (r == STREAM_OK)
		r = stream_flush(s);
	return r == STREAM_OK ? table_proxy_read(s, reply) : r;
}

/* One attempt. *ret_again: another one makes sense. */
static bool
table_proxy_try(const char *path, struct span request, struct buf *reply, int64_t deadline,
    bool *ret_again, struct err *err)
{
	struct stream *s = table_proxy_take(path, deadline, err);
	enum stream_result r;

	*ret_again = err->kind == ERR_TEMP;
	if (s == NULL)
		return false;
	r = table_proxy_exchange(s, request, reply, deadline);
	if (r == STREAM_OK)
		return table_proxy_keep(s), true;
	table_proxy_drop(&s);
	table_proxy_drop_idle();
	*ret_again = r == STREAM_EOF || r == STREAM_ERROR;
	return err_set(err, ERR_TEMP, "4.3.0", "service %s: %s", path, stream_result_text(r));
}

static bool
table_proxy_send(const struct conf *conf, struct span request, struct buf *reply, struct err *err)
{
	char *path CLEANUP(mem_free_str) =
	    mem_printf("private/%s", conf_str(conf, CONF_proxymap_service_name));
	int64_t deadline = clock_deadline(MIN(PROXY_WAIT, conf_time(conf, CONF_ipc_timeout)));
	bool again = true;

	for (int n = 1; again; n++) {
		err_clear(err);
		if (table_proxy_try(path, request, reply, deadline, &again, err)) {
			proxy.away = false;
			return true;
		}
		if (n == PROXY_ATTEMPTS ||
		    task_sleep_until(clock_deadline(n * PROXY_PAUSE)) == TASK_CANCELLED)
			break;
	}
	/* Told once: every lookup until it is back fails the same way. */
	if (proxy.away)
		err_clear(err);
	proxy.away = true;
	return false;
}

enum table_result
table_proxy_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_proxy_request request = {
	    .approved = t->type == &table_proxy_type,
	    .flags = t->flags,
	    .spec = table_proxy_strip(span_str(t->spec)),
	    .key = key,
	};
	struct buf frame CLEANUP(buf_done) = {0};
	struct buf reply CLEANUP(buf_done) = {0};
	enum table_proxy_status status;
	struct span answer;

	if (task_self() == NULL || request.spec.len + key.len > TABLE_PROXY_FRAME_MAX / 2)
		return (void)err_set(err, ERR_TEMP, "4.3.0", "cannot be asked from here"),
		       TABLE_ERROR;
	table_proxy_write_request(&frame, &request);
	if (!table_proxy_send(t->conf, buf_span(&frame), &reply, err))
		return TABLE_ERROR;
	if (!table_proxy_parse_reply(buf_span(&reply), &status, &answer))
		return (void)err_set(err, ERR_TEMP, "4.3.0", "malformed answer"), TABLE_ERROR;
	buf_add_span(value, answer);
	switch (status) {
	case TABLE_PROXY_FOUND:
		return TABLE_FOUND;
	case TABLE_PROXY_NOT_FOUND:
		return TABLE_NOT_FOUND;
	case TABLE_PROXY_DENIED:
		(void)err_set(err, ERR_CONFIG, "4.3.5",
		    "%s service is not configured for table \"%.*s\"",
		    conf_str(t->conf, CONF_proxymap_service_name), SPAN_ARG(request.spec));
		return TABLE_ERROR;
	case TABLE_PROXY_RETRY:
	case TABLE_PROXY_STATUS_COUNT:
		break;
	}
	return TABLE_ERROR;
}

/* ---- asking in this process -------------------------------------------------------------------------------------- */

struct table_direct {
	struct table *table;
	struct span key;
	struct buf *value;
	struct err *err;
	enum table_result result;
	bool done;
	struct task_cond cond;
};

static void
table_direct_run(void *arg)
{
	struct table_direct *d = arg;

	d->result = d->table->type->lookup(d->table, d->key, d->value, d->err);
	d->done = true;
	task_cond_wake_all(&d->cond);
}

enum table_result
table_direct_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_direct d = {.table = t, .key = key, .value = value, .err = err};
	struct task_hook hook = {.fn = table_direct_run, .arg = &d};

	if (task_self() == NULL)
		return t->type->lookup(t, key, value, err);
	task_hook_at_turn_end(&hook);
	task_shield(true);
	while (!d.done)
		(void)task_cond_wait(&d.cond, CLOCK_NEVER);
	task_shield(false);
	return d.result;
}

/* ---- proxy:type:name -------------------------------------------------------------------------------------------- */

/* Fixed strings, patterns, or (both) something of either: as the type says, and for unionmap: and pipemap: what is in it. */
static void
table_proxy_kind(struct span spec, bool *fixed, bool *pattern)
{
	const struct table_type *type = table_type_find(span_head(spec, span_find(spec, ':')));
	struct span rest, item;

	if (type != &table_union_type && type != &table_pipe_type) {
		*(type != NULL && type->pattern ? pattern : fixed) = true;
		return;
	}
	if (table_braces(span_from(spec, span_find(spec, ':') + 1), &rest) != NULL)
		return;
	while (conf_value_item(&rest, &item))
		table_proxy_kind(table_proxy_strip(item), fixed, pattern);
}

static void
table_proxy_prepare(struct table *t)
{
	bool fixed = false, pattern = false;

	table_proxy_kind(table_proxy_strip(t->argument), &fixed, &pattern);
	t->pattern = pattern && !fixed;
	t->mixed = pattern && fixed;
}

static bool
table_proxy_open(struct table *t, struct err *err)
{
	struct span inner = table_proxy_strip(t->argument);

	if (!table_is_spec(inner))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "open dictionary: expecting \"type:name\" form instead of \"%.*s\"",
		    SPAN_ARG(inner));
	t->state = table_open(t->conf, inner, t->flags);
	return true;
}

static void
table_proxy_close(void *state)
{
	struct table *inner = state;

	table_close(&inner);
}

static const char *
table_proxy_trouble(struct table *t)
{
	return table_trouble(t->state);
}

static enum table_result
table_proxy_ask(struct table *t, struct span key, struct buf *value, struct err *err)
{
	return table_lookup(t->state, key, TABLE_KEY_FULL, value, err);
}

const struct table_type table_proxy_type = {
    .name = "proxy",
    .prepare = table_proxy_prepare,
    .open = table_proxy_open,
    .lookup = table_proxy_ask,
    .inner_trouble = table_proxy_trouble,
    .close = table_proxy_close,
    .blocks = true,
};
