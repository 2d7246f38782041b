/*
 * proxymap_service.c - the process and its sessions. A session is another process of Rowpost that asks, one request after the
 * other. Tables that do not block are asked here; for those that do there are other processes (proxymap_pool.c).
 *
 * The line that is called as proxywrite_service_name says answers for proxy_write_maps. A reload puts a new process in the place of
 * this one, as settings may be readable for root only.
 */
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster_table.h"
#include "net/stream.h"
#include "proxymap/proxymap.h"
#include "proxymap/proxymap_int.h"
#include "service/service_listen.h"
#include "service/service_queue.h"
#include "task/task.h"

struct proxymap {
	struct service *service;
	struct proxymap_allowed *allowed;
	struct service_worker_pool *pool;
	struct service_listen *listen;
	struct list sessions;
	bool writing;
};

struct proxymap_session {
	struct proxymap *map;
	struct list in_all;
	struct task *task;
	struct stream *stream;
	struct buf frame;
	struct buf reply;
	bool answering; /* not to be disturbed */
};

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void
proxymap_deny(const struct proxymap *map, const struct table_proxy_request *r, struct buf *reply)
{
	const char *list = map->writing ? "proxy_write_maps" : "proxy_read_maps";

	log_warn("request for unapproved table: \"%.*s\"", SPAN_ARG(span_head(r->spec, 300)));
	log_warn("to approve this table for %s access, list %s%.*s in main.cf:%s",
	    map->writing ? "read-write" : "read-only", "proxy:", SPAN_ARG(span_head(r->spec, 300)),
	    list);
	table_proxy_write_reply(reply, TABLE_PROXY_DENIED, (struct span){0});
}

/* False: this is no request. */
static bool
proxymap_session_answer(struct proxymap_session *s)
{
	struct proxymap *map = s->map;
	struct table_proxy_request r;

	if (!table_proxy_parse_request(buf_span(&s->frame), &r))
		return false;
	buf_clear(&s->reply);
	if (!proxymap_allowed_has(map->allowed, r.spec, r.approved))
		proxymap_deny(map, &r, &s->reply);
	else if (table_proxy_blocks(r.spec))
		proxymap_pool_ask(map->pool, buf_span(&s->frame), &s->reply);
	else
		proxymap_answer(map->service->conf, &r, &s->reply);
	return true;
}

/* One request and its answer. False: the session is over. */
static bool
proxymap_session_turn(struct proxymap_session *s)
{
	enum stream_result r;
	bool good;

	stream_set_deadline(s->stream, CLOCK_NEVER);
	r = table_proxy_read(s->stream, &s->frame);
	if (r == STREAM_TOO_LONG)
		log_warn("a request larger than any lookup");
	if (r != STREAM_OK)
		return false;
	s->answering = true;
	good = proxymap_session_answer(s);
	if (!good)
		log_warn("a request that cannot be understood");
	stream_set_deadline(
	    s->stream, clock_deadline(conf_time(s->map->service->conf, CONF_ipc_timeout)));
	good = good && stream_write_span(s->stream, buf_span(&s->reply)) == STREAM_OK &&
	       stream_flush(s->stream) == STREAM_OK;
	s->answering = false;
	return good;
}

static void
proxymap_session_run(struct stream *stream, const struct net_addr *peer UNUSED, void *arg)
{
	struct proxymap *map = arg;
	struct proxymap_session s = {.map = map, .task = task_self(), .stream = stream};

	list_add(&map->sessions, &s.in_all);
	/* One that comes as we leave asks the next process. */
	while (!map->service->leaving && proxymap_session_turn(&s))
		continue;
	list_remove(&s.in_all);
	stream_free(&s.stream);
	buf_done(&s.frame);
	buf_done(&s.reply);
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

static void
proxymap_init(struct service *service)
{
	struct proxymap *map = mem_new(struct proxymap);
	const struct conf *conf = service->conf;

	map->service = service;
	map->writing = strcmp(service->name, conf_str(conf, CONF_proxywrite_service_name)) == 0;
	map->allowed = proxymap_allowed_new(service->conf, map->writing);
	list_init(&map->sessions);
	service->state = map;
}

static void
proxymap_run(struct service *service)
{
	struct proxymap *map = service->state;
	const struct net_server door = {
	    .task_name = "proxymap session",
	    .session = proxymap_session_run,
	    .arg = map,
	};

	/* Tables of the cluster, for processes that do not log in to the queue database: the agents. */
	cluster_table_start(&(struct cluster_table_settings){
	    .pool = service_queue_pool(service, 0, CLUSTER_TABLE_CONNECTIONS)});
	map->pool = proxymap_pool_new(service);
	map->listen = service_listen_start(service, &door);
}

/* Who is being answered gets its answer; the others find a closed connection and ask the next process. */
static void
proxymap_stopping(struct service *service)
{
	struct proxymap *map = service->state;

	service_listen_stop(map->listen);
	LIST_FOREACH (s, &map->sessions, struct proxymap_session, in_all)
		if (!s->answering)
			task_cancel(s->task);
	(void)service_listen_wait(map->listen, CLOCK_NEVER);
	service_worker_pool_stop(map->pool);
	task_stop(CLOCK_SECOND);
}

const struct service_kind proxymap_kind = {
    .program = "proxymap",
    .privilege = SERVICE_FRONT_END,
    .init = proxymap_init,
    .run = proxymap_run,
    .stopping = proxymap_stopping,
};
