/*
 * qmgr_service.c - the scheduler's process: its doors to the database, the agents and the front ends, its lease, reload, and leaving
 * in order.
 */
#include "qmgr/qmgr.h"

#include <sysexits.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "net/net_connect.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_claim.h"
#include "qmgr/qmgr_doubt.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_limit.h"
#include "qmgr/qmgr_message.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_page.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_transport.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "service/poke.h"
#include "service/service_database.h"
#include "task/task.h"

#define QMGR_TROUBLE_EVERY (10 * CLOCK_SECOND)
/*
 * Agents whose scheduler is gone enlist with the next one within a second (AGENT_RECONNECT_MAX), and say which deliveries may be done
 * already. Nothing is taken over before they can have said so.
 */
#define QMGR_ENLIST_TIME   (2 * CLOCK_SECOND)
#define QMGR_GOODBYE_TIME  (4 * CLOCK_SECOND)

void
qmgr_trouble(struct qmgr *q, const struct err *err)
{
	int64_t now = clock_mono_us();

	if (q->trouble_logged != 0 && now - q->trouble_logged < QMGR_TROUBLE_EVERY)
		return;
	q->trouble_logged = now;
	log_warn("queue database: %s", err->text);
}

static struct db_pool *
qmgr_open_pool(const struct service *s)
{
	const struct conf *conf = s->conf;
	struct buf conninfo CLEANUP(buf_done) = {0};

	service_database_conninfo(conf, SERVICE_SCHEDULER, 0, &conninfo);
	return db_pool_new(&(struct db_settings){
	    .conninfo = buf_str(&conninfo),
	    .role = queue_session_role(QUEUE_SESSION_SCHEDULER),
	    .application_name = "rowpost/qmgr",
	    .pooler = conf_bool(conf, CONF_queue_database_pooler),
	    .options = queue_session_options(QUEUE_SESSION_SCHEDULER),
	    .connections = conf_size(conf, CONF_queue_database_scheduler_connections),
	    .connect_timeout = conf_time(conf, CONF_queue_database_connect_timeout),
	    .statement_timeout = conf_time(conf, CONF_queue_database_timeout),
	    .backoff_min = conf_time(conf, CONF_queue_database_retry_min_time),
	    .backoff_max = conf_time(conf, CONF_queue_database_retry_max_time),
	    .on_connect = queue_schema_check,
	});
}

static size_t
qmgr_compose(void *arg, const struct queue_bounce *b, const int64_t *ids, struct queue_message *ret,
    size_t max, struct arena *arena)
{
	struct qmgr *q = arg;

	return bounce_compose(&q->bounce, b, ids, ret, max, arena);
}

static struct queue_desk *
qmgr_open_desk(struct qmgr *q)
{
	const struct conf *conf = q->service->conf;

	return queue_desk_new(&(struct queue_desk_settings){
	    .pool = q->pool,
	    .node = conf_str(conf, CONF_node_name),
	    .shard = 0,
	    .shards = service_database_count(conf),
	    .claim_batches = conf_size(conf, CONF_queue_claim_batch_limit),
	    .claim_inline = conf_size(conf, CONF_queue_claim_inline_limit),
	    .claim_page = conf_size(conf, CONF_queue_claim_recipient_limit),
	    .poll_min = conf_time(conf, CONF_queue_poll_min_time),
	    .poll_max = conf_time(conf, CONF_queue_poll_max_time),
	    .poll_closed = conf_time(conf, CONF_ring_idle_poll_time),
	    .rotate = conf_time(conf, CONF_ring_rotate_time),
	    .set_limit = conf_size(conf, CONF_ring_set_limit),
	    .history = conf_time(conf, CONF_queue_history_time),
	    .upload_timeout = conf_time(conf, CONF_queue_upload_timeout),
	    .bounce_bytes = conf_size(conf, CONF_bounce_size_limit),
	    .compose = qmgr_compose,
	    .compose_arg = q,
	});
}

/* ---- the lease ---- */

static bool
qmgr_node_recover(void *arg)
{
	return qmgr_outcome_flush(arg);
}

static bool
qmgr_node_begin(void *arg, int64_t epoch, bool fresh)
{
	struct qmgr *q = arg;

	queue_desk_set_epoch(q->desk, epoch);
	if (fresh)
		qmgr_limit_forget(q);
	if (!fresh && !qmgr_claim_reread(q))
		return false;
	qmgr_schedule_drop_lost(q);
	qmgr_doubt_drop_lost(q);
	q->takeover_wanted = true;
	task_cond_wake_all(&q->claim_wanted);
	return true;
}

static void
qmgr_node_lost(void *arg, int64_t epoch)
{
	struct qmgr *q = arg;

	log_warn(
	    "another node has taken over the mail of epoch %lld: starting anew", (long long)epoch);
	queue_desk_set_epoch(q->desk, 0);
	qmgr_agent_cancel(q, NULL);
	qmgr_schedule_drop_lost(q);
	qmgr_doubt_drop_lost(q);
}

static void
qmgr_node_renewed(void *arg, int64_t epoch, int64_t until)
{
	qmgr_agent_tell_lease(arg, epoch, until);
}

static void
qmgr_node_dead(void *arg, size_t count)
{
	struct qmgr *q = arg;

	log_warn("%zu dead node(s): taking over their mail", count);
	q->takeover_wanted = true;
	qmgr_claim_takeover(q);
}

static struct cluster_node *
qmgr_open_node(struct qmgr *q)
{
	const struct conf *conf = q->service->conf;

	return cluster_node_new(&(struct cluster_node_settings){
	    .pool = q->pool,
	    .name = conf_str(conf, CONF_node_name),
	    .heartbeat = conf_time(conf, CONF_node_heartbeat_time),
	    .lease = conf_time(conf, CONF_node_lease_time),
	    .margin = conf_time(conf, CONF_node_lease_margin),
	    .pooler = conf_bool(conf, CONF_queue_database_pooler),
	    .events =
		{
		    .recover = qmgr_node_recover,
		    .begin = qmgr_node_begin,
		    .lost = qmgr_node_lost,
		    .renewed = qmgr_node_renewed,
		    .dead = qmgr_node_dead,
		    .arg = q,
		},
	});
}

/* ---- doors ---- */

/* A front end of this node: each byte says that it has stored something; or an operator. */
static void
qmgr_poke_session(struct stream *stream, const struct net_addr *peer UNUSED, void *arg)
{
	struct qmgr *q = arg;
	struct span bytes;

	while (stream_peek(stream, &bytes) == STREAM_OK) {
		if (span_find(bytes, POKE_ORDER) < bytes.len)
			task_cond_wake_all(&q->upkeep_wanted);
		stream_consume(stream, bytes.len);
		queue_claim_poke(q->desk);
		task_cond_wake_all(&q->claim_wanted);
	}
	stream_free(&stream);
}

static void
qmgr_listen(void *arg)
{
	struct net_server *server = arg;

	net_server_run(server);
}

/* `server` outlives its sessions: it is part of the process's own struct. */
static void
qmgr_open_door(struct qmgr *q, struct net_server *server, const char *path,
    void (*session)(struct stream *, const struct net_addr *, void *))
{
	int fd = service_listen_fd(q->service, path);

	if (fd < 0)
		return;
	*server =
	    (struct net_server){.fd = fd, .task_name = "qmgr door", .session = session, .arg = q};
	(void)task_start("qmgr listener", qmgr_listen, server);
}

/* ---- life ---- */

static void
qmgr_configure(struct qmgr *q)
{
	struct rewrite *rewrite;
	struct err err;

	if (!rewrite_new(q->service->conf, &rewrite, &err)) {
		if (q->rewrite == NULL)
			log_fatal(EX_CONFIG, "%s", err.text);
		log_warn("%s: the old configuration stays in force", err.text);
		return;
	}
	rewrite_free(&q->rewrite);
	q->rewrite = rewrite;
	q->bounce = bounce_settings_from(q->service->conf);
	qmgr_transport_configure_all(q);
}

static void
qmgr_init(struct service *s)
{
	struct qmgr *q = mem_new(struct qmgr);

	q->service = s;
	s->state = q;
	list_init(&q->transport_list);
	list_init(&q->messages);
	list_init(&q->unread);
	list_init(&q->records);
	list_init(&q->facts);
	qmgr_configure(q);
}

static void
qmgr_run(struct service *s)
{
	struct qmgr *q = s->state;
	struct err err;

	if (!dns_init(&(struct dns_settings){0}, &err))
		log_fatal(EX_OSERR, "%s", err.text);
	q->takeover_after = clock_deadline(QMGR_ENLIST_TIME);
	q->pool = qmgr_open_pool(s);
	q->desk = qmgr_open_desk(q);
	q->node = qmgr_open_node(q);
	(void)task_group_start(&q->tasks, "record", qmgr_outcome_task, q);
	(void)task_group_start(&q->tasks, "claim incoming", qmgr_claim_incoming_task, q);
	(void)task_group_start(&q->tasks, "claim deferred", qmgr_claim_deferred_task, q);
	(void)task_group_start(&q->tasks, "pages", qmgr_page_task, q);
	(void)task_group_start(&q->tasks, "pauses", qmgr_schedule_pauses_task, q);
	(void)task_group_start(&q->tasks, "limits", qmgr_limit_task, q);
	(void)task_group_start(&q->tasks, "upkeep", qmgr_claim_upkeep_task, q);
	qmgr_open_door(q, &q->agent_door, "private/qmgr", qmgr_agent_session);
	qmgr_open_door(q, &q->poke_door, "public/qmgr", qmgr_poke_session);
}

static void
qmgr_reload(struct service *s)
{
	qmgr_configure(s->state);
}

/*
 * Leaving: nothing new is claimed or handed out; what runs may finish and is recorded; what waits stays leased, and the goodbye
 * frees it for the next scheduler.
 */
static void
qmgr_stopping(struct service *s)
{
	struct qmgr *q = s->state;
	/* Time for the goodbye must be left. */
	int64_t deadline = s->leave_by - QMGR_GOODBYE_TIME;
	struct err err;

	cluster_node_drain(q->node, true);
	q->stopping = true;
	while (qmgr_agent_busy(q) && task_cond_wait(&q->record_done, deadline) == TASK_READY)
		continue;
	task_cond_wake_all(&q->record_wanted);
	while (qmgr_outcome_pending(q) && task_cond_wait(&q->record_done, deadline) == TASK_READY)
		continue;
	if (!cluster_node_leave(q->node, clock_deadline(QMGR_GOODBYE_TIME / 2), &err))
		qmgr_trouble(q, &err);
	cluster_node_free(&q->node);
	task_stop(CLOCK_SECOND);
}

const struct service_kind qmgr_kind = {
    .program = "qmgr",
    .privilege = SERVICE_SCHEDULER,
    .init = qmgr_init,
    .run = qmgr_run,
    .reload = qmgr_reload,
    .stopping = qmgr_stopping,
};
