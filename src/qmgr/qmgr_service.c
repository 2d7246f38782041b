/*
 * qmgr_service.c - the scheduler's process: its doors to the database, the agents and the front ends, its lease, reload, and leaving
 * in order.
 */
#include "qmgr/qmgr.h"

#include <sysexits.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster_table.h"
#include "dns/dns.h"
#include "net/net_connect.h"
#include "qmgr/qmgr_agent.h"
#include "qmgr/qmgr_int.h"
#include "qmgr/qmgr_limit.h"
#include "qmgr/qmgr_outcome.h"
#include "qmgr/qmgr_page.h"
#include "qmgr/qmgr_receipt.h"
#include "qmgr/qmgr_schedule.h"
#include "qmgr/qmgr_setup.h"
#include "qmgr/qmgr_shard.h"
#include "qmgr/qmgr_transport.h"
#include "service/poke.h"
#include "service/service_database.h"
#include "service/service_queue.h"
#include "task/task.h"

/*
 * Agents whose scheduler is gone enlist with the next one within a second (AGENT_RECONNECT_MAX), and say which deliveries may be done
 * already. Nothing is taken over before they can have said so.
 */
#define QMGR_ENLIST_TIME  (2 * CLOCK_SECOND)
#define QMGR_GOODBYE_TIME (4 * CLOCK_SECOND)

/* ---- doors ---- */

static void
qmgr_poked(struct qmgr_shard *s, bool order)
{
	if (order)
		task_cond_wake_all(&s->upkeep_wanted);
	queue_claim_poke(s->desk);
	task_cond_wake_all(&s->claim_wanted);
}

/* A front end of this node: each byte says that it has stored something; or an operator. */
static void
qmgr_poke_session(struct stream *stream, const struct net_addr *peer UNUSED, void *arg)
{
	struct qmgr *q = arg;
	struct span bytes;

	while (stream_peek(stream, &bytes) == STREAM_OK) {
		bool order = span_find(bytes, POKE_ORDER) < bytes.len;

		stream_consume(stream, bytes.len);
		for (size_t i = 0; i < q->shard_count; i++)
			qmgr_poked(q->shards[i], order);
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
	struct qmgr_setup *setup;
	struct err err;

	if (!qmgr_setup_new(q, &setup, &err)) {
		if (q->setup == NULL)
			log_fatal(EX_CONFIG, "%s", err.text);
		log_warn("%s: the old configuration stays in force", err.text);
		return;
	}
	qmgr_setup_unref(&q->setup);
	q->setup = setup;
	qmgr_transport_configure_all(q);
	if (conf_time(q->service->conf, CONF_bounce_queue_lifetime) >
	    conf_time(q->service->conf, CONF_maximal_queue_lifetime))
		log_warn("bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting "
			 "bounce_queue_lifetime");
}

static void
qmgr_init(struct service *s)
{
	struct qmgr *q = mem_new(struct qmgr);

	q->service = s;
	s->state = q;
	list_init(&q->transport_list);
	list_init(&q->messages);
	list_init(&q->facts);
	qmgr_configure(q);
}

/* What is to be looked at now and then, whatever the databases do. */
static void
qmgr_clock_run(void *arg)
{
	struct qmgr *q = arg;

	while (!q->stopping) {
		qmgr_schedule_tick(q);
		qmgr_transport_sweep(q);
		qmgr_receipt_send_all(q);
		qmgr_schedule_run(q);
		if (task_sleep_until(clock_deadline(CLOCK_SECOND)) == TASK_CANCELLED)
			return;
	}
}

static void
qmgr_run(struct service *s)
{
	struct qmgr *q = s->state;
	struct err err;

	if (!dns_init(&(struct dns_settings){0}, &err))
		log_fatal(EX_OSERR, "%s", err.text);
	/* Of its own, so that a lookup never waits behind mail. */
	cluster_table_start(&(struct cluster_table_settings){
	    .pool = service_queue_pool(s, 0, CLUSTER_TABLE_CONNECTIONS)});
	q->takeover_after = clock_deadline(QMGR_ENLIST_TIME);
	q->shard_count = service_database_count(s->conf);
	q->shards = mem_zalloc(q->shard_count * sizeof(struct qmgr_shard *));
	for (size_t i = 0; i < q->shard_count; i++)
		q->shards[i] = qmgr_shard_open(q, i);
	(void)task_group_start(&q->tasks, "pauses", qmgr_schedule_pauses_task, q);
	(void)task_group_start(&q->tasks, "limits", qmgr_limit_task, q);
	(void)task_group_start(&q->tasks, "clock", qmgr_clock_run, q);
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

	q->stopping = true;
	for (size_t i = 0; i < q->shard_count; i++)
		cluster_node_drain(q->shards[i]->node, true);
	while (qmgr_agent_busy(q) && task_cond_wait(&q->record_done, deadline) == TASK_READY)
		continue;
	for (size_t i = 0; i < q->shard_count; i++)
		task_cond_wake_all(&q->shards[i]->record_wanted);
	while (qmgr_outcome_pending(q) && task_cond_wait(&q->record_done, deadline) == TASK_READY)
		continue;
	qmgr_shard_leave_all(q, clock_deadline(QMGR_GOODBYE_TIME / 2));
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
