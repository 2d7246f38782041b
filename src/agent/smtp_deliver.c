/*
 * smtp_deliver.c - one delivery by SMTP: a kept connection if there is one, then the hosts of the nexthop in turn, until every recipient has
 * an outcome.
 */
#include "agent/smtp.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sysexits.h>

#include "agent/smtp_int.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtp/smtp_ehlo.h"

static bool
smtp_has_open(const struct agent_job *job)
{
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		if (job->outcomes[i].status == 0)
			return true;
	return false;
}

/* A connection that was idle may have died in the meantime: then nothing was sent, and a fresh one is tried. */
static bool
smtp_deliver_cached(
    struct smtp_state *s, struct agent_job *job, const char *nexthop, int64_t *ready)
{
	struct smtp_session *session = smtp_cache_take(s, nexthop);
	bool ok;

	if (session == NULL)
		return false;
	ok = smtp_session_deliver(session, job, false, ready);
	if (!ok && !(session->trouble.lost != STREAM_OK && session->trouble.step == SMTP_STEP_MAIL))
		smtp_outcome_session(session, job, false);
	if (!smtp_has_open(job))
		smtp_outcome_log(job, session, *ready);
	smtp_cache_give(s, nexthop, &session);
	return !smtp_has_open(job);
}

/* One host. True: there is no need for another. */
static bool
smtp_deliver_host(struct smtp_state *s, struct agent_job *job, const struct smtp_host *host,
    bool last, const char *nexthop, bool *ret_session)
{
	struct smtp_session *session = smtp_session_new(s, host);
	int64_t ready = 0;
	bool done;

	*ret_session = smtp_session_open(session);
	if (!*ret_session || !smtp_session_deliver(session, job, last, &ready))
		smtp_outcome_session(session, job, last);
	done = !smtp_has_open(job);
	if (done)
		smtp_outcome_log(job, session, ready);
	smtp_cache_give(s, nexthop, &session);
	return done;
}

static void
smtp_deliver_hosts(struct smtp_state *s, struct agent_job *job, const char *nexthop)
{
	struct smtp_hosts hosts;
	size_t sessions = 0;
	struct err err;

	if (!smtp_host_find(s, nexthop, &hosts, &err)) {
		smtp_outcome_no_host(job, &err);
		smtp_outcome_log(job, NULL, 0);
		return;
	}
	for (size_t i = 0; i < hosts.count; i++) {
		bool last = i + 1 == hosts.count ||
			    (s->session_limit != 0 && sessions + 1 >= s->session_limit);
		bool session;

		if (!agent_may_go_on(job) ||
		    smtp_deliver_host(s, job, &hosts.list[i], last, nexthop, &session) || last)
			break;
		sessions += session;
	}
	smtp_hosts_done(&hosts);
}

static void
smtp_deliver(struct agent_job *job)
{
	struct smtp_state *s = job->agent->state;
	const char *nexthop = job->request.nexthop.ptr;
	int64_t ready = 0;

	smtp_cache_begin(s, nexthop);
	if (!smtp_deliver_cached(s, job, nexthop, &ready))
		smtp_deliver_hosts(s, job, nexthop);
	smtp_cache_end(s, nexthop);
}

/* ---- configuration ---- */

static uint16_t
smtp_default_port(const char *text)
{
	uint64_t port;
	const struct servent *service;

	if (span_number(span_str(text), 65535, &port))
		return (uint16_t)port;
	service = getservbyname(text, "tcp");
	return service != NULL ? ntohs((uint16_t)service->s_port) : 25;
}

static void
smtp_configure_times(struct smtp_state *s)
{
	const struct conf *c = s->conf;

	s->connect_timeout = conf_time(c, CONF_smtp_connect_timeout);
	s->helo_timeout = conf_time(c, CONF_smtp_helo_timeout);
	s->mail_timeout = conf_time(c, CONF_smtp_mail_timeout);
	s->rcpt_timeout = conf_time(c, CONF_smtp_rcpt_timeout);
	s->data_init_timeout = conf_time(c, CONF_smtp_data_init_timeout);
	s->data_xfer_timeout = conf_time(c, CONF_smtp_data_xfer_timeout);
	s->data_done_timeout = conf_time(c, CONF_smtp_data_done_timeout);
	s->quit_timeout = conf_time(c, CONF_smtp_quit_timeout);
	s->cache_time = conf_time(c, CONF_smtp_connection_cache_time_limit);
	s->reuse_time = conf_time(c, CONF_smtp_connection_reuse_time_limit);
}

static void
smtp_configure(struct agent *agent)
{
	struct smtp_state *s = agent->state;
	const struct conf *c = agent->service->conf;
	struct err err;

	if (s == NULL) {
		if (!dns_init(&(struct dns_settings){0}, &err))
			log_fatal(EX_OSERR, "%s", err.text);
		s = agent->state = mem_new(struct smtp_state);
		s->agent = agent;
		smtp_cache_init(s);
	}
	conf_unref(&s->conf);
	s->conf = conf_ref(agent->service->conf);
	s->hostname = conf_str(c, CONF_myhostname);
	s->helo_name = conf_str(c, CONF_smtp_helo_name);
	s->dns_enabled = !conf_is(c, CONF_smtp_dns_support_level, "disabled") &&
			 !conf_bool(c, CONF_disable_dns_lookups);
	s->ipv4 =
	    conf_has(c, CONF_inet_protocols, "all") || conf_has(c, CONF_inet_protocols, "ipv4");
	s->ipv6 =
	    conf_has(c, CONF_inet_protocols, "all") || conf_has(c, CONF_inet_protocols, "ipv6");
	s->port = smtp_default_port(conf_str(c, CONF_smtp_tcp_port));
	s->address_limit = conf_size(c, CONF_smtp_mx_address_limit);
	s->session_limit = conf_size(c, CONF_smtp_mx_session_limit);
	s->line_limit = conf_size(c, CONF_smtp_line_length_limit);
	s->skip_5xx_greeting = conf_bool(c, CONF_smtp_skip_5xx_greeting);
	smtp_configure_times(s);
	if (!smtp_ehlo_parse_discard(
		span_str(conf_str(c, CONF_smtp_discard_ehlo_keywords)), &s->discard, &err))
		log_warn("smtp_discard_ehlo_keywords: %s", err.text);
}

static void
smtp_stopping(struct agent *agent)
{
	smtp_cache_close(agent->state);
}

const struct agent_kind smtp_agent_kind = {
    .service = {.program = "smtp", .privilege = SERVICE_AGENT},
    .deliver = smtp_deliver,
    .configure = smtp_configure,
    .stopping = smtp_stopping,
};
