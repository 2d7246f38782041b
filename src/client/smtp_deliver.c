/*
 * smtp_deliver.c - one delivery by SMTP or LMTP: a kept connection if there is one, then the sites of the nexthop and the
 * fallback relays in turn, each with its hosts, until every recipient has an outcome.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/un.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/lmtp.h"
#include "client/smtp.h"
#include "client/smtp_int.h"

static bool
smtp_deliver_is_over(const struct smtp_delivery *d)
{
	return !smtp_outcome_any_open(d) || !agent_may_go_on(d->job);
}

/* A server that is slow to forget a transaction must not keep back what became of it. */
static void
smtp_deliver_end(struct smtp_delivery *d, const char *nexthop, struct smtp_session **session)
{
	if ((*session)->needs_reset && !smtp_outcome_any_open(d))
		agent_report(d->job);
	smtp_cache_give(d->state, nexthop, session);
}

/* ---- a kept connection ---------------------------------------------------------------------------------------- */

/* A connection that was idle may have died in the meantime: then nothing was sent, and a fresh one is tried. */
static void
smtp_deliver_kept(struct smtp_delivery *d, const char *nexthop)
{
	struct smtp_session *session = smtp_cache_take(d->state, nexthop);
	const struct smtp_trouble *t;

	if (session == NULL)
		return;
	smtp_chat_begin(session, d->job);
	t = &session->trouble;
	if (smtp_mail(session, d)) {
		d->sessions++;
		d->tried = session->host.addr;
	} else if (t->lost == STREAM_OK || t->step > SMTP_STEP_MAIL) {
		d->sessions++;
		d->tried = session->host.addr;
		smtp_outcome_session(session, d);
	}
	smtp_deliver_end(d, nexthop, &session);
}

/* ---- hosts ---------------------------------------------------------------------------------------------------- */

/*
 * Connects. Where TLS is only taken if it works, mail that has waited goes in the clear after a handshake that failed: a
 * server that cannot do it now will hardly learn.
 */
static struct smtp_session *
smtp_deliver_open(
    struct smtp_delivery *d, const struct smtp_host *host, bool best, bool *ret_connected)
{
	int64_t age = clock_real_us() - d->job->request.arrival;
	bool plain = false;

	for (;;) {
		struct smtp_session *session = smtp_session_new(d->state, d->setup, host);

		session->best_mx = best;
		smtp_chat_begin(session, d->job);
		session->no_tls = plain;
		*ret_connected = smtp_connect(session, d->job);
		if (*ret_connected || plain || !session->plain_next ||
		    age < conf_time(d->setup->conf, CONF_minimal_backoff_time))
			return session;
		plain = true;
		smtp_session_free(&session);
	}
}

/* One host; `last`: there is none behind it. Kept for `nexthop` if that is not NULL. */
static void
smtp_deliver_host(struct smtp_delivery *d, const struct smtp_host *host, bool best, bool last,
    const char *nexthop)
{
	const struct smtp_setup *s = d->setup;
	bool connected;
	struct smtp_session *session = smtp_deliver_open(d, host, best, &connected);

	if (connected) {
		d->sessions++;
		d->final_server =
		    d->final_nexthop &&
		    (last || (s->session_limit != 0 && d->sessions >= s->session_limit));
		if (!smtp_mail(session, d))
			smtp_outcome_session(session, d);
	} else {
		d->final_server = d->final_nexthop && last;
		smtp_outcome_session(session, d);
	}
	smtp_deliver_end(d, nexthop, &session);
}

/* The address of the kept connection had its chance. */
static void
smtp_deliver_drop_tried(const struct smtp_delivery *d, struct smtp_hosts *hosts)
{
	size_t to = 0;

	for (size_t i = 0; i < hosts->count && d->tried.len != 0; i++)
		if (!net_addr_equal_host(&hosts->list[i].addr, &d->tried))
			hosts->list[to++] = hosts->list[i];
	if (d->tried.len != 0)
		hosts->count = to;
}

static bool
smtp_deliver_is_limited(const struct smtp_delivery *d)
{
	return d->setup->session_limit != 0 && d->sessions >= d->setup->session_limit;
}

/* What DNS said is asked anew where it led nowhere: the answer may be older than the trouble. */
static void
smtp_deliver_forget(
    const struct smtp_delivery *d, const struct smtp_target *target, const struct smtp_hosts *hosts)
{
	bool waits = smtp_outcome_any_open(d);

	for (size_t i = 0; i < d->job->request.rcpt_count; i++)
		waits = waits || d->job->outcomes[i].status == DELIVERY_DEFERRED;
	if (!waits)
		return;
	dns_forget(target->host);
	for (size_t i = 0; i < hosts->count; i++)
		dns_forget(hosts->list[i].name);
}

/* All hosts of one site. */
static void
smtp_deliver_site(struct smtp_delivery *d, const struct smtp_target *target, const char *nexthop)
{
	struct smtp_hosts hosts;
	struct smtp_why kept = d->why;
	uint16_t best;
	bool self;

	d->why.text = (struct buf){0};
	smtp_host_find(d->setup, target, &hosts, &self, &d->why);
	best = hosts.count != 0 ? hosts.list[0].preference : 0;
	/* A backup of the destination that handed its mail on to a fallback relay could get it back. */
	if (self || span_equal_str(span_str(d->why.dsn), "5.4.6"))
		d->final_nexthop = true;
	smtp_deliver_drop_tried(d, &hosts);
	if (hosts.count == 0 && d->why.dsn[0] == '\0') {
		buf_done(&d->why.text);
		d->why = kept;
		kept.text = (struct buf){0};
	}
	for (size_t i = 0; i < hosts.count && !smtp_deliver_is_over(d); i++) {
		if (smtp_deliver_is_limited(d))
			break;
		smtp_deliver_host(d, &hosts.list[i], hosts.list[i].preference == best,
		    i + 1 == hosts.count, nexthop);
	}
	smtp_deliver_forget(d, target, &hosts);
	buf_done(&kept.text);
	smtp_hosts_done(&hosts);
}

/* ---- sites ---------------------------------------------------------------------------------------------------- */

/*
 * A relay that was configured and does not resolve, or is ourselves, is a mistake to be mended: the mail waits for it. Mail for
 * ourselves as the best MX may have a transport of its own.
 */
static void
smtp_deliver_blame(struct smtp_delivery *d, bool fallback)
{
	const char *relayhost = conf_str(d->setup->conf, CONF_relayhost);
	bool relayed =
	    relayhost[0] != '\0' && span_equal_nocase_str(d->job->request.nexthop, relayhost);

	if (d->why.dsn[0] != '5' || (!fallback && !relayed))
		return;
	log_warn("%s configuration problem", !fallback        ? "relayhost"
					     : d->setup->lmtp ? "lmtp_fallback_relay"
							      : "smtp_fallback_relay");
	(void)snprintf(d->why.dsn, sizeof(d->why.dsn), "4.3.5");
}

/* The sites of a list. `more`: others follow behind them. */
static void
smtp_deliver_sites(struct smtp_delivery *d, struct span list, bool more, const char *nexthop)
{
	struct span rest = list;
	struct span site;

	while (!smtp_deliver_is_over(d) && !d->final_nexthop && smtp_target_next(&rest, &site)) {
		struct smtp_target target;
		struct span peek = rest;
		struct span ignored;
		struct err err;

		/* The limit is on the hosts of a site; a kept connection counts for the first one. */
		if (d->tried.len == 0 || site.ptr != list.ptr)
			d->sessions = 0;
		d->final_nexthop = !more && !smtp_target_next(&peek, &ignored);
		if (smtp_target_parse(site, d->setup->tcp_port, &target, &err))
			smtp_deliver_site(d, &target, nexthop);
		else
			(void)smtp_why_set(&d->why, err.dsn, "%s", err.text);
	}
}

static void
smtp_deliver_inet(struct smtp_delivery *d, struct span sites)
{
	struct span fallback = span_str(d->setup->fallback_relay);
	struct span peek = fallback;
	struct span ignored;
	bool has_fallback = smtp_target_next(&peek, &ignored);

	smtp_deliver_sites(d, sites, has_fallback, d->job->request.nexthop.ptr);
	if (has_fallback && !smtp_deliver_is_over(d) && !d->final_nexthop) {
		smtp_deliver_sites(d, fallback, false, NULL);
		smtp_deliver_blame(d, true);
	} else if (!smtp_deliver_is_over(d)) {
		smtp_deliver_blame(d, false);
	}
}

/* A path that is not absolute is below queue_directory, where the process stands. */
static void
smtp_deliver_unix(struct smtp_delivery *d, struct span path)
{
	struct smtp_host host = {0};
	char *name = span_dup(path);

	(void)snprintf(host.name, sizeof(host.name), "%s", d->setup->hostname);
	if (net_addr_unix(name, &host.addr)) {
		d->final_nexthop = true;
		if (d->tried.len == 0)
			smtp_deliver_host(d, &host, false, true, d->job->request.nexthop.ptr);
	} else {
		log_warn("unix-domain name too long: %s", name);
		(void)smtp_why_set(&d->why, "4.3.5", "Server configuration error");
	}
	mem_free(name);
}

static void
smtp_deliver_to(struct smtp_delivery *d, struct span nexthop)
{
	struct span path;

	if (d->setup->lmtp && smtp_target_is_unix(nexthop, &path))
		return smtp_deliver_unix(d, path);
	if (d->setup->lmtp && span_starts(nexthop, "inet:"))
		nexthop = span_from(nexthop, 5);
	smtp_deliver_inet(d, nexthop);
}

static void
smtp_deliver(struct agent_job *job)
{
	struct smtp_state *s = job->agent->state;
	const char *nexthop = job->request.nexthop.ptr;
	struct smtp_delivery d = {
	    .state = s,
	    .setup = smtp_setup_ref(s->setup),
	    .job = job,
	    .accepted = arena_alloc(&job->arena, job->request.rcpt_count * sizeof(bool)),
	};

	smtp_cache_begin(s, nexthop);
	if (smtp_flags_allow(&d))
		smtp_deliver_kept(&d, nexthop);
	if (!smtp_deliver_is_over(&d))
		smtp_deliver_to(&d, job->request.nexthop);
	if (agent_may_go_on(job) || job->in_doubt)
		smtp_outcome_leftover(&d);
	smtp_cache_end(s, nexthop);
	buf_done(&d.why.text);
	smtp_setup_unref(&d.setup);
}

/* ---- service -------------------------------------------------------------------------------------------------- */

static void
smtp_deliver_configure(struct agent *agent, bool lmtp)
{
	struct smtp_state *s = agent->state;
	struct err err;

	if (s == NULL) {
		if (!dns_init(&(struct dns_settings){0}, &err))
			log_fatal(EX_OSERR, "%s", err.text);
		s = agent->state = mem_new(struct smtp_state);
		s->agent = agent;
	}
	smtp_cache_flush(s);
	smtp_setup_unref(&s->setup);
	s->setup = smtp_setup_new(agent->service, lmtp);
}

static void
smtp_configure(struct agent *agent)
{
	smtp_deliver_configure(agent, false);
}

static void
lmtp_configure(struct agent *agent)
{
	smtp_deliver_configure(agent, true);
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

const struct agent_kind lmtp_agent_kind = {
    .service = {.program = "lmtp", .privilege = SERVICE_AGENT},
    .deliver = smtp_deliver,
    .configure = lmtp_configure,
    .stopping = smtp_stopping,
};
