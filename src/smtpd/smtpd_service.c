/*
 * smtpd_service.c - the process around the sessions: its door to the database, its listeners, reload, and leaving in order.
 */
#include "smtpd/smtpd.h"

#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "service/service_listen.h"
#include "smtpd/smtpd_int.h"
#include "smtpd/smtpd_setup.h"
#include "task/task.h"

/* How long the first clients wait for a database that is slow to come, before they are told 451. */
#define SMTPD_READY_WAIT (3 * CLOCK_SECOND)

/* A client that has just come gets this long to begin: whoever balances load still thought us up. */
#define SMTPD_FRESH_WAIT (3 * CLOCK_SECOND)
/* The work of an ETRN may not hold a leaving process back for longer. */
#define SMTPD_FLUSH_WAIT (5 * CLOCK_SECOND)

/* Clients are counted in one place for all processes. */
static struct cluster_counter *
smtpd_open_counter(const struct service *s, const struct smtpd_server *server)
{
	return cluster_counter_new(&(struct cluster_counter_settings){
	    .pool = server->front.shards[0].pool,
	    .window = conf_time(s->conf, CONF_anvil_rate_time_unit),
	});
}

/* What holds for sessions that begin when all slots are busy; NULL where that is no other than always. */
static struct smtpd_setup *
smtpd_stressed_setup(const struct service *s)
{
	struct smtpd_setup *setup = NULL;
	struct conf *conf = NULL;
	struct err err;

	/* A service that master.cf gives a value of its own keeps it. */
	if (conf_is_set(s->conf, CONF_stress))
		return NULL;
	if (!service_conf_with("stress", "yes", &conf, &err) ||
	    !smtpd_setup_new(conf, &setup, &err))
		log_warn("with stress = yes: %s", err.text);
	conf_unref(&conf);
	return setup;
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
	server->stressed = smtpd_stressed_setup(s);
}

static void
smtpd_open_doors(void *arg)
{
	struct smtpd_server *server = arg;
	const struct net_server door = {
	    .limit = server->service->slots,
	    .task_name = "smtpd session",
	    .session = smtpd_session_run,
	    .arg = server,
	};
	struct err err;

	/* Clients wait in the kernel's queue for the moment that the database needs, rather than hear 451 after each start. */
	if (!cleanup_front_wait_ready(&server->front, clock_deadline(SMTPD_READY_WAIT), &err) &&
	    !task_is_cancelled())
		log_warn("%s: answering 451 until it is there", err.text);
	if (!task_is_cancelled())
		server->listen = service_listen_start(server->service, &door);
}

static void
smtpd_run(struct service *s)
{
	struct smtpd_server *server = s->state;
	struct err err;

	/* As often as libc's resolver asks: clients wait for it. */
	if (!dns_init(&(struct dns_settings){.tries = 2}, &err))
		log_fatal(EX_OSERR, "%s", err.text);
	cleanup_front_open(&server->front, s);
	server->counter = smtpd_open_counter(s, server);
	server->opening =
	    task_group_start(&server->openings, "smtpd doors", smtpd_open_doors, server);
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
	smtpd_setup_unref(&server->stressed);
	server->stressed = smtpd_stressed_setup(s);
	cluster_counter_set_window(server->counter, conf_time(s->conf, CONF_anvil_rate_time_unit));
}

/* Its end is waited for at any rate: it uses what is freed after it. */
static void
smtpd_cancel(struct task_group *group, struct task *task)
{
	if (group->alive > 0)
		task_cancel(task);
	while (group->alive > 0 && task_group_wait(group, CLOCK_NEVER) == TASK_READY)
		continue;
}

/* The flush of an ETRN uses the pool. */
static void
smtpd_end_flush(struct smtpd_server *server)
{
	(void)task_group_wait(&server->flushes, clock_deadline(SMTPD_FLUSH_WAIT));
	smtpd_cancel(&server->flushes, server->flush);
}

static void
smtpd_end_idle(struct smtpd_server *server)
{
	LIST_FOREACH_SAFE (session, &server->sessions, struct smtpd_session, node) {
		if (session->waiting_for_command && smtpd_session_may_end(session))
			task_cancel(session->task);
	}
}

/* They end by themselves between two mail transactions (smtpd_loop); waiting ones are woken. */
static void
smtpd_end_sessions(struct smtpd_server *server)
{
	service_listen_stop(server->listen);
	smtpd_end_idle(server);
	if (service_listen_wait(server->listen, server->leave_all))
		return;
	smtpd_end_idle(server);
	(void)service_listen_wait(server->listen, CLOCK_NEVER);
}

static void
smtpd_stopping(struct service *s)
{
	struct smtpd_server *server = s->state;

	smtpd_cancel(&server->openings, server->opening);
	server->leave_all = MIN(clock_deadline(SMTPD_FRESH_WAIT), s->leave_by);
	if (server->listen != NULL)
		smtpd_end_sessions(server);
	smtpd_end_flush(server);
	cluster_counter_free(&server->counter);
	cleanup_front_close(&server->front);
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
