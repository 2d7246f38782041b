/*
 * smtpd_service.c - the process around the sessions: its door to the database, its listeners, reload, and leaving in order.
 */
#include "smtpd/smtpd.h"

#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "db/db.h"
#include "dns/dns.h"
#include "net/net_connect.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "service/service_database.h"
#include "smtpd/smtpd_int.h"
#include "smtpd/smtpd_setup.h"
#include "task/task.h"

/* How long the first clients wait for a database that is slow to come, before they are told 451. */
#define SMTPD_READY_WAIT (3 * CLOCK_SECOND)

/* The work of an ETRN may not hold a leaving process back for longer. */
#define SMTPD_FLUSH_WAIT (5 * CLOCK_SECOND)

struct smtpd_listener {
	struct smtpd_server *server;
	struct net_server net;
	struct task *task;
};

/* One front end talks to one shard at a time; two connections: the commit in flight, and uploads. */
static struct db_pool *
smtpd_open_pool(const struct service *s, size_t shard)
{
	const struct conf *conf = s->conf;
	struct buf conninfo CLEANUP(buf_done) = {0};

	service_database_conninfo(conf, SERVICE_FRONT_END, shard, &conninfo);
	return db_pool_new(&(struct db_settings){
	    .conninfo = buf_str(&conninfo),
	    .role = queue_session_role(QUEUE_SESSION_FRONT),
	    .application_name = "rowpost/smtpd",
	    .pooler = conf_bool(conf, CONF_queue_database_pooler),
	    .options = queue_session_options(QUEUE_SESSION_FRONT),
	    .connections = conf_size(conf, CONF_queue_database_front_connections),
	    .connect_timeout = conf_time(conf, CONF_queue_database_connect_timeout),
	    .statement_timeout = conf_time(conf, CONF_queue_database_timeout),
	    .backoff_min = conf_time(conf, CONF_queue_database_retry_min_time),
	    .backoff_max = conf_time(conf, CONF_queue_database_retry_max_time),
	    .on_connect = queue_schema_check,
	});
}

static struct queue_front *
smtpd_open_front(
    const struct service *s, struct db_pool *pool, size_t shard, size_t shards, struct poke *poke)
{
	const struct conf *conf = s->conf;

	return queue_front_new(&(struct queue_front_settings){
	    .pool = pool,
	    .node = conf_str(conf, CONF_node_name),
	    .program = "smtpd",
	    .shard = shard,
	    .shards = shards,
	    .batch_messages = conf_size(conf, CONF_queue_batch_message_limit),
	    .batch_bytes = conf_size(conf, CONF_queue_batch_size_limit),
	    .batch_rcpts = conf_size(conf, CONF_queue_batch_recipient_limit),
	    .gather = conf_time(conf, CONF_queue_batch_gather_time),
	    .inline_max = conf_size(conf, CONF_queue_inline_size_limit),
	    .chunk_size = conf_size(conf, CONF_queue_chunk_size),
	    .commit_timeout = conf_time(conf, CONF_queue_database_commit_timeout),
	    .latency_limit = conf_time(conf, CONF_queue_database_latency_limit),
	    .size_limit = (int64_t)conf_size(conf, CONF_database_size_limit),
	    .upload_timeout = conf_time(conf, CONF_queue_upload_timeout),
	    .on_stored = poke_send,
	    .on_stored_arg = poke,
	});
}

/* Clients are counted in one place, also by those processes that have another queue database. */
static void
smtpd_open_counter(struct service *s, struct smtpd_server *server, size_t shard)
{
	if (shard != 0)
		server->first_pool = smtpd_open_pool(s, 0);
	server->counter = cluster_counter_new(&(struct cluster_counter_settings){
	    .pool = shard != 0 ? server->first_pool : server->pool,
	    .window = conf_time(s->conf, CONF_anvil_rate_time_unit),
	});
}

static void
smtpd_init(struct service *s)
{
	struct smtpd_server *server = mem_new(struct smtpd_server);
	struct err err;

	server->service = s;
	list_init(&server->sessions);
	s->state = server;
	if (!smtpd_setup_new(s->conf, &server->setup, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
}

static void
smtpd_listen(void *arg)
{
	struct smtpd_listener *l = arg;

	net_server_run(&l->net);
}

static void
smtpd_run(struct service *s)
{
	struct smtpd_server *server = s->state;
	size_t shards = service_database_count(s->conf);
	size_t shard = s->instance % shards;
	struct err err;

	/* As often as libc's resolver asks: clients wait for it. */
	if (!dns_init(&(struct dns_settings){.tries = 2}, &err))
		log_fatal(EX_OSERR, "%s", err.text);
	server->pool = smtpd_open_pool(s, shard);
	poke_init(&server->poke, conf_str(s->conf, CONF_queue_directory));
	server->front = smtpd_open_front(s, server->pool, shard, shards, &server->poke);
	smtpd_open_counter(s, server, shard);
	/* Clients wait in the kernel's queue for the moment that the database needs, rather than hear 451 after each start. */
	if (!queue_front_wait_ready(server->front, clock_deadline(SMTPD_READY_WAIT), &err))
		log_warn("%s: answering 451 until it is there", err.text);
	for (size_t i = 0; i < s->listen_count; i++) {
		struct smtpd_listener *l = mem_new(struct smtpd_listener);

		l->server = server;
		l->net = (struct net_server){
		    .fd = s->listen_fds[i],
		    .limit = s->slots,
		    .task_name = "smtpd session",
		    .session = smtpd_session_run,
		    .arg = server,
		};
		server->listeners =
		    mem_resize(server->listeners, i + 1, sizeof(*server->listeners));
		server->listeners[i] = l;
		server->listener_count = i + 1;
		l->task = task_start("smtpd listener", smtpd_listen, l);
	}
}

static void
smtpd_reload(struct service *s)
{
	struct smtpd_server *server = s->state;
	struct smtpd_setup *setup;
	struct err err;

	if (!smtpd_setup_new(s->conf, &setup, &err)) {
		log_warn("%s: the old configuration stays in force", err.text);
		return;
	}
	smtpd_setup_unref(&server->setup);
	server->setup = setup;
	cluster_counter_set_window(server->counter, conf_time(s->conf, CONF_anvil_rate_time_unit));
}

/* The flush of an ETRN uses the pool: nothing may be freed before it has ended. */
static void
smtpd_end_flush(struct smtpd_server *server)
{
	if (task_group_wait(&server->flushes, clock_deadline(SMTPD_FLUSH_WAIT)) == TASK_READY)
		return;
	if (server->flushes.alive > 0)
		task_cancel(server->flush);
	while (server->flushes.alive > 0 &&
	       task_group_wait(&server->flushes, CLOCK_NEVER) == TASK_READY)
		continue;
}

/* Sessions end by themselves between two mail transactions (smtpd_loop); waiting ones are woken. */
static void
smtpd_stopping(struct service *s)
{
	struct smtpd_server *server = s->state;

	for (size_t i = 0; i < server->listener_count; i++)
		task_cancel(server->listeners[i]->task);
	LIST_FOREACH_SAFE (session, &server->sessions, struct smtpd_session, node) {
		if (session->waiting_for_command)
			task_cancel(session->task);
	}
	while (!list_is_empty(&server->sessions) &&
	       task_cond_wait(&server->session_ended, CLOCK_NEVER) == TASK_READY)
		continue;
	smtpd_end_flush(server);
	cluster_counter_free(&server->counter);
	queue_front_free(&server->front);
	db_pool_free(&server->first_pool);
	db_pool_free(&server->pool);
	poke_done(&server->poke);
	task_stop(CLOCK_SECOND);
}

const struct service_kind smtpd_kind = {
    .program = "smtpd",
    .privilege = SERVICE_FRONT_END,
    .init = smtpd_init,
    .run = smtpd_run,
    .reload = smtpd_reload,
    .stopping = smtpd_stopping,
};
