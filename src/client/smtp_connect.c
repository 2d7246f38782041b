/*
 * smtp_connect.c - opening a connection: connect, greeting, EHLO, HELO for servers that do not know it (RFC 5321 section 3.2),
 * LHLO for LMTP (RFC 2033).
 */
#include <strings.h>

#include "base/log.h"
#include "client/smtp_int.h"
#include "net/net_connect.h"
#include "smtp/smtp_ehlo.h"

#define SMTP_CONNECT_PORT 25

/* ---- connecting ----------------------------------------------------------------------------------------------- */

static const struct net_addr *
smtp_connect_from(const struct smtp_session *session)
{
	const struct smtp_setup *s = session->setup;
	int family = net_addr_family(&session->host.addr);

	if (family == AF_INET && s->bind4.set)
		return &s->bind4.addr;
	if (family == AF_INET6 && s->bind6.set)
		return &s->bind6.addr;
	return NULL;
}

static bool
smtp_connect_failed(struct smtp_session *session, const struct err *err)
{
	struct smtp_trouble *t = &session->trouble;

	memcpy(t->dsn, err->dsn, sizeof(t->dsn));
	buf_clear(&t->text);
	buf_add_str(&t->text, err->kind == ERR_CONFIG ? "server configuration error" : err->text);
	(void)smtp_session_lost(session, SMTP_STEP_CONNECT, STREAM_ERROR);
	t->local = err->kind == ERR_CONFIG;
	return false;
}

static bool
smtp_connect_stream(struct smtp_session *session)
{
	const struct smtp_setup *s = session->setup;
	const struct net_addr *from = smtp_connect_from(session);
	int64_t deadline =
	    s->connect_timeout > 0 ? clock_deadline(s->connect_timeout) : CLOCK_NEVER;
	struct err err = {0};

	session->stream = net_connect(&session->host.addr, from, deadline, &err);
	if (session->stream == NULL && err.kind == ERR_CONFIG) {
		log_warn("smtp_connect_addr: %s", err.text);
		if (!s->bind_enforce)
			session->stream = net_connect(&session->host.addr, NULL, deadline, &err);
	}
	if (session->stream == NULL)
		return smtp_connect_failed(session, &err);
	session->opened = clock_mono_us();
	return true;
}

/* ---- greeting ------------------------------------------------------------------------------------------------- */

/* Firewalls that show stars instead of the greeting break more than that: "220 ****** *** 2***". */
static bool
smtp_connect_is_masked(const struct smtp_reply *reply)
{
	struct span text = buf_span(&reply->text);

	for (size_t i = 0; i < text.len; i++)
		if (strchr("20 *\t\n", text.ptr[i]) == NULL)
			return false;
	return true;
}

/* Best effort: table trouble counts as no entry. */
static void
smtp_connect_pix(struct smtp_session *session, const struct agent_job *job)
{
	const struct smtp_setup *s = session->setup;
	bool young = clock_real_us() - job->request.arrival < s->pix_threshold;
	struct buf listed CLEANUP(buf_done) = {0};
	struct span rest;
	struct span word;
	bool trouble;

	rest = smtp_filter_pix(session->setup->filter, session->address, &listed, &trouble)
		   ? buf_span(&listed)
		   : span_str(conf_str(
			 s->conf, s->lmtp ? CONF_lmtp_pix_workarounds : CONF_smtp_pix_workarounds));
	while (span_word(&rest, ", \t\r\n", &word)) {
		session->pix_no_esmtp |= span_equal_nocase_str(word, "disable_esmtp");
		session->pix_slow_dot |= span_equal_nocase_str(word, "delay_dotcrlf") && !young;
	}
	if (!session->pix_no_esmtp && !session->pix_slow_dot)
		return;
	log_info("%s: enabling PIX workarounds: %s%s%s for %s[%s]:%u", job->request.queue_id.ptr,
	    session->pix_no_esmtp ? "disable_esmtp" : "",
	    session->pix_no_esmtp && session->pix_slow_dot ? " " : "",
	    session->pix_slow_dot ? "delay_dotcrlf" : "", session->host.name, session->address,
	    net_addr_port(&session->host.addr));
}

/* Mail would come back, if this is our own port 25. */
static bool
smtp_connect_is_myself(const struct smtp_session *session, struct span name)
{
	return net_addr_port(&session->host.addr) == SMTP_CONNECT_PORT &&
	       span_equal_nocase_str(name, session->setup->hostname);
}

static bool
smtp_connect_says_esmtp(const struct smtp_session *session)
{
	struct span rest = buf_span(&session->reply.text);
	struct span word;

	while (span_word(&rest, "- \t\n", &word))
		if (span_equal_nocase_str(word, "ESMTP"))
			return true;
	return false;
}

static void
smtp_connect_read_name(const struct smtp_session *session)
{
	struct span rest = span_from(buf_span(&session->reply.text), 4);
	struct span name;

	if (span_word(&rest, " \t\n", &name) && smtp_connect_is_myself(session, name))
		log_warn("host %s[%s]:%u greeted me with my own hostname %s", session->host.name,
		    session->address, net_addr_port(&session->host.addr), session->setup->hostname);
}

static bool
smtp_connect_greet(struct smtp_session *session, const struct agent_job *job, bool *ret_esmtp)
{
	const struct smtp_setup *s = session->setup;

	if (!smtp_session_reply(session, SMTP_STEP_GREETING, s->helo_timeout))
		return false;
	if (smtp_reply_class(&session->reply) != 2) {
		if (s->skip_5xx_greeting && session->reply.dsn[0] == '5' &&
		    smtp_reply_class(&session->reply) == 5)
			session->reply.dsn[0] = '4';
		return smtp_session_refused(session, SMTP_STEP_GREETING);
	}
	if (smtp_connect_is_masked(&session->reply))
		smtp_connect_pix(session, job);
	smtp_connect_read_name(session);
	*ret_esmtp = smtp_connect_says_esmtp(session);
	if (s->always_ehlo)
		*ret_esmtp = true;
	if (s->never_ehlo || session->pix_no_esmtp)
		*ret_esmtp = false;
	return true;
}

/* ---- EHLO ----------------------------------------------------------------------------------------------------- */

/* What to overlook of the server's extensions. False: a table cannot tell. */
static bool
smtp_connect_discard(struct smtp_session *session, unsigned *ret)
{
	const struct smtp_setup *s = session->setup;
	struct buf listed CLEANUP(buf_done) = {0};
	const char *text = conf_str(
	    s->conf, s->lmtp ? CONF_lmtp_discard_lhlo_keywords : CONF_smtp_discard_ehlo_keywords);
	struct err err;
	bool trouble;

	*ret = s->discard;
	if (smtp_filter_discard(session->setup->filter, session->address, &listed, &trouble)) {
		text = buf_str(&listed);
		/* An unknown word means nothing to Postfix either. */
		if (!smtp_ehlo_parse_discard(buf_span(&listed), ret, &err))
			log_debug("%s: %s", session->address, err.text);
	}
	if (*ret != 0 && (*ret & SMTP_EHLO_SILENT) == 0)
		log_info("discarding EHLO keywords: %s", text);
	return !trouble;
}

static bool
smtp_connect_extensions(struct smtp_session *session, enum smtp_step step)
{
	unsigned discard;

	if (!smtp_connect_discard(session, &discard))
		return smtp_session_table_trouble(session, step);
	smtp_ehlo_parse(buf_span(&session->reply.text), discard, &session->ehlo);
	return true;
}

/* The best host of a destination that answers with our name is ourselves: the mail would go round for ever. */
static bool
smtp_connect_check_loop(struct smtp_session *session, const struct agent_job *job)
{
	if (!smtp_connect_is_myself(session, span_str(session->ehlo.name)))
		return true;
	log_warn("host %s[%s]:%u replied to HELO/EHLO with my own hostname %s", session->host.name,
	    session->address, net_addr_port(&session->host.addr), session->setup->hostname);
	return !session->best_mx ||
	       smtp_session_object(session, SMTP_STEP_EHLO, "5.4.6",
		   "mail for %s loops back to myself", job->request.nexthop.ptr);
}

static bool
smtp_connect_lhlo(struct smtp_session *session)
{
	const struct smtp_setup *s = session->setup;

	if (!smtp_session_ask(session, SMTP_STEP_LHLO, s->helo_timeout, "LHLO %s", s->helo_name))
		return false;
	if (smtp_reply_class(&session->reply) != 2)
		return smtp_session_refused(session, SMTP_STEP_LHLO);
	return smtp_connect_extensions(session, SMTP_STEP_LHLO);
}

static bool
smtp_connect_hello(struct smtp_session *session, bool esmtp)
{
	const struct smtp_setup *s = session->setup;

	if (esmtp) {
		if (!smtp_session_ask(
			session, SMTP_STEP_EHLO, s->helo_timeout, "EHLO %s", s->helo_name))
			return false;
		if (smtp_reply_class(&session->reply) == 2)
			return smtp_connect_extensions(session, SMTP_STEP_EHLO);
		if (session->reply.code == 421)
			return smtp_session_refused(session, SMTP_STEP_EHLO);
	}
	if (!smtp_session_ask(session, SMTP_STEP_HELO, s->helo_timeout, "HELO %s", s->helo_name))
		return false;
	if (smtp_reply_class(&session->reply) != 2)
		return smtp_session_refused(session, SMTP_STEP_HELO);
	smtp_ehlo_parse(buf_span(&session->reply.text), ~0u, &session->ehlo);
	return true;
}

static bool
smtp_connect_introduce(struct smtp_session *session, bool esmtp)
{
	session->ehlo = (struct smtp_ehlo){0};
	return session->setup->lmtp ? smtp_connect_lhlo(session)
				    : smtp_connect_hello(session, esmtp);
}

bool
smtp_connect(struct smtp_session *session, const struct agent_job *job)
{
	bool esmtp = false;
	bool encrypted;

	if (!smtp_connect_stream(session))
		return false;
	if (smtp_tls_is_wrapped(session->setup->tls) && !smtp_tls_wrap(session, job))
		return false;
	if (!smtp_connect_greet(session, job, &esmtp))
		return false;
	if (!smtp_connect_introduce(session, esmtp) || !smtp_tls_start(session, job, &encrypted))
		return false;
	/* What was said in the clear does not count (RFC 3207 section 4.2). */
	if (encrypted && !smtp_connect_introduce(session, esmtp))
		return false;
	if (!smtp_sasl_start(session, job))
		return false;
	session->greeted = true;
	return smtp_connect_check_loop(session, job);
}
