/*
 * qmqpd_service.c - the process around the sessions: its way to the queue, its listeners, reload, and leaving in order.
 */
#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "qmqpd/qmqpd.h"
#include "qmqpd/qmqpd_int.h"
#include "service/service_listen.h"
#include "task/task.h"

static bool
qmqpd_setup_new(struct conf *conf, struct qmqpd_setup **ret, struct err *err)
{
	struct qmqpd_setup *setup = mem_new(struct qmqpd_setup);

	setup->refs = 1;
	setup->conf = conf_ref(conf);
	setup->cleanup = cleanup_settings_from(conf);
	setup->replace_cr = conf_bool(conf, CONF_cleanup_replace_stray_cr_lf);
	setup->subdomains =
	    conf_has(conf, CONF_parent_domain_matches_subdomains, "qmqpd_authorized_clients");
	if (!rewrite_new(conf, &setup->rewrite, err) ||
	    !conf_net_list_parse(span_str(conf_str(conf, CONF_qmqpd_authorized_clients)),
		"qmqpd_authorized_clients", &setup->clients, err)) {
		qmqpd_setup_unref(&setup);
		return false;
	}
	*ret = setup;
	return true;
}

struct qmqpd_setup *
qmqpd_setup_ref(struct qmqpd_setup *setup)
{
	setup->refs++;
	return setup;
}

void
qmqpd_setup_unref(struct qmqpd_setup **setup)
{
	struct qmqpd_setup *old = *setup;

	*setup = NULL;
	if (old == NULL || --old->refs > 0)
		return;
	rewrite_free(&old->rewrite);
	conf_net_list_free(&old->clients);
	cleanup_settings_done(&old->cleanup);
	conf_unref(&old->conf);
	mem_free(old);
}

static void
qmqpd_init(struct service *s)
{
	struct qmqpd_server *server = mem_new(struct qmqpd_server);
	struct err err;

	server->service = s;
	s->state = server;
	if (!qmqpd_setup_new(s->conf, &server->setup, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
}

static void
qmqpd_run(struct service *s)
{
	struct qmqpd_server *server = s->state;
	const struct net_server door = {
	    .limit = s->slots,
	    .task_name = "qmqpd session",
	    .session = qmqpd_session_run,
	    .arg = server,
	};
	struct err err;

	if (!dns_init(&(struct dns_settings){0}, &err))
		log_fatal(EX_OSERR, "%s", err.text);
	cleanup_front_open(&server->front, s);
	server->listen = service_listen_start(s, &door);
}

static void
qmqpd_reload(struct service *s)
{
	struct qmqpd_server *server = s->state;
	struct qmqpd_setup *setup;
	struct err err;

	if (!qmqpd_setup_new(s->conf, &setup, &err)) {
		log_warn("%s: the old configuration stays in force", err.text);
		return;
	}
	qmqpd_setup_unref(&server->setup);
	server->setup = setup;
}

/* A session is one message: those that have begun are let end. */
static void
qmqpd_stopping(struct service *s)
{
	struct qmqpd_server *server = s->state;

	service_listen_stop(server->listen);
	(void)service_listen_wait(server->listen, CLOCK_NEVER);
	cleanup_front_close(&server->front);
	task_stop(CLOCK_SECOND);
}

const struct service_kind qmqpd_kind = {
    .program = "qmqpd",
    .privilege = SERVICE_FRONT_END,
    .init = qmqpd_init,
    .run = qmqpd_run,
    .reload = qmqpd_reload,
    .stopping = qmqpd_stopping,
};
