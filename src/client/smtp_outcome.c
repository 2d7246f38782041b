/*
 * smtp_outcome.c - what a failure means. Facts come in, the judgement is here and nowhere else:
 *
 *	connect, greeting, EHLO failed, connection lost, time-out   the site is in trouble: next host; after the last one defer, and the
 *	                                                            scheduler narrows its window
 *	5xx to the greeting                                         as 4xx, with smtp_skip_5xx_greeting; else bounce
 *	5xx to EHLO and HELO, MAIL, DATA, the final dot             bounce all
 *	4xx to them                                                 next host; after the last one defer
 *	5xx to RCPT, and to the final dot of LMTP                   bounce that recipient
 *	4xx to them                                                 that recipient: next host; after the last one defer
 *	2xx to the final dot                                        sent
 *
 * What counts is the class of the enhanced code, which fits the reply's, and is 5 for replies that are none. With soft_bounce a
 * 5 is a reason to try the next host, too.
 */
#include <string.h>

#include "base/log.h"
#include "client/smtp_int.h"
#include "mail/mail_log.h"

static const struct {
	const char *waiting; /* for "lost connection ... while" */
	const char *command; /* for "(in reply to ...)" */
} smtp_steps[] = {
    [SMTP_STEP_CONNECT] = {"connecting", ""},
    [SMTP_STEP_GREETING] = {"receiving the initial server greeting", ""},
    [SMTP_STEP_EHLO] = {"performing the EHLO handshake", "EHLO command"},
    [SMTP_STEP_HELO] = {"performing the HELO handshake", "HELO command"},
    [SMTP_STEP_LHLO] = {"performing the LHLO handshake", "LHLO command"},
    [SMTP_STEP_STARTTLS] = {"receiving the STARTTLS response", "STARTTLS command"},
    [SMTP_STEP_AUTH] = {"sending AUTH", "AUTH command"},
    [SMTP_STEP_XFORWARD_NAME] = {"sending XFORWARD name/address", "XFORWARD name/address command"},
    [SMTP_STEP_XFORWARD_HELO] = {"sending XFORWARD protocol/helo_name",
	"XFORWARD helo/protocol command"},
    [SMTP_STEP_MAIL] = {"sending MAIL FROM", "MAIL FROM command"},
    [SMTP_STEP_RCPT] = {"sending RCPT TO", "RCPT TO command"},
    [SMTP_STEP_DATA] = {"sending DATA command", "DATA command"},
    [SMTP_STEP_BODY] = {"sending message body", "message body"},
    [SMTP_STEP_DOT] = {"sending end of data -- message may be sent more than once",
	"end of DATA command"},
    [SMTP_STEP_RSET] = {"sending RSET", "RSET command"},
    [SMTP_STEP_QUIT] = {"sending QUIT", "QUIT command"},
};

bool
smtp_outcome_is_open(const struct smtp_delivery *d, size_t rcpt)
{
	return d->job->outcomes[rcpt].status == 0;
}

bool
smtp_outcome_any_open(const struct smtp_delivery *d)
{
	for (size_t i = 0; i < d->job->request.rcpt_count; i++)
		if (smtp_outcome_is_open(d, i))
			return true;
	return false;
}

/* ---- texts ---------------------------------------------------------------------------------------------------- */

/* "host[address]:port", without the port for a UNIX socket. */
static const char *
smtp_outcome_relay(const struct smtp_session *session, struct agent_job *job)
{
	uint16_t port = net_addr_port(&session->host.addr);

	if (port == 0)
		return arena_printf(&job->arena, "%s[%s]", session->host.name, session->address);
	return arena_printf(&job->arena, "%s[%s]:%u", session->host.name, session->address, port);
}

/* "host NAME[ADDR] said: REPLY (in reply to CMD)", or that it would not even begin. */
static const char *
smtp_outcome_said(const struct smtp_session *session, struct agent_job *job, enum smtp_step step,
    struct span reply)
{
	if (step <= SMTP_STEP_LHLO)
		return arena_printf(&job->arena, "host %s[%s] refused to talk to me: %.*s",
		    session->host.name, session->address, SPAN_ARG(reply));
	if (step == SMTP_STEP_STARTTLS)
		return arena_printf(&job->arena,
		    "TLS is required, but host %s[%s] refused to start TLS: %.*s",
		    session->host.name, session->address, SPAN_ARG(reply));
	if (step == SMTP_STEP_AUTH)
		return arena_printf(&job->arena,
		    "SASL authentication failed; server %s[%s] said: %.*s", session->host.name,
		    session->address, SPAN_ARG(reply));
	return arena_printf(&job->arena, "host %s[%s] said: %.*s (in reply to %s)",
	    session->host.name, session->address, SPAN_ARG(reply), smtp_steps[step].command);
}

static const char *
smtp_outcome_lost(const struct smtp_session *session, struct agent_job *job)
{
	const struct smtp_trouble *t = &session->trouble;

	if (t->step == SMTP_STEP_CONNECT && t->local)
		return arena_dup(&job->arena, buf_span(&t->text));
	if (t->step == SMTP_STEP_CONNECT)
		return arena_printf(&job->arena, "connect to %s: %s",
		    smtp_outcome_relay(session, job), buf_str(&t->text));
	if (t->lost == STREAM_TIMEOUT)
		return arena_printf(&job->arena, "conversation with %s[%s] timed out while %s",
		    session->host.name, session->address, smtp_steps[t->step].waiting);
	if (t->lost == STREAM_CANCELLED)
		return "the content of the message is not to be had now";
	return arena_printf(&job->arena, "lost connection with %s[%s] while %s", session->host.name,
	    session->address, smtp_steps[t->step].waiting);
}

/* ---- settling ------------------------------------------------------------------------------------------------- */

/* The word in the log; "soft" bounces are deferred by the scheduler. */
static const char *
smtp_outcome_status(const struct smtp_delivery *d, const struct delivery_outcome *o)
{
	if (d->job->request.verify_only)
		return delivery_probe_word(o->status);
	if (o->status == DELIVERY_SENT)
		return "sent";
	if (o->status == DELIVERY_DEFERRED)
		return "deferred";
	return d->setup->soft_bounce ? "SOFTBOUNCE" : "bounced";
}

static void
smtp_outcome_log(const struct smtp_delivery *d, const struct smtp_session *session, size_t rcpt)
{
	const struct agent_job *job = d->job;
	const struct delivery_outcome *o = &job->outcomes[rcpt];
	const struct delivery_rcpt *r = &job->request.rcpts[rcpt];
	struct buf line CLEANUP(buf_done) = {0};
	char dsn[MAIL_DSN_SIZE];
	const struct mail_log_delivery entry = {
	    .queue_id = job->request.queue_id.ptr,
	    .recipient = r->addr.ptr,
	    .orig_recipient = r->orig_addr.len != 0 ? r->orig_addr.ptr : NULL,
	    .relay = o->relay.ptr,
	    .conn_use = session != NULL ? session->uses : 0,
	    .times =
		{
		    .arrival = job->request.arrival,
		    .active = job->request.activated,
		    .handed = job->started,
		    .connected = session != NULL ? session->ready : 0,
		    .done = clock_real_us(),
		},
	    .dsn = dsn,
	    .status = smtp_outcome_status(d, o),
	    .text = o->text,
	};

	memcpy(dsn, o->dsn.ptr, MIN(o->dsn.len + 1, sizeof(dsn)));
	if (o->status == DELIVERY_BOUNCED && d->setup->soft_bounce && !job->request.verify_only)
		dsn[0] = '4';
	mail_log_delivery(&line, &entry);
	log_info("%s", buf_str(&line));
}

/* A failure: what does not depend on the host. */
static void
smtp_outcome_set(struct smtp_delivery *d, size_t rcpt, const char *dsn, const char *text)
{
	struct agent_job *job = d->job;
	struct delivery_outcome *o = &job->outcomes[rcpt];

	o->status = dsn[0] == '4' ? DELIVERY_DEFERRED : DELIVERY_BOUNCED;
	o->dsn = span_str(arena_strdup(&job->arena, dsn));
	o->text = span_str(text);
	o->relay = SPAN_LIT("none");
	o->remote_mta = o->diagnostic = (struct span){0};
}

/*
 * Texts are in the job's arena. `session` NULL: there is none to name. Only `sent` makes it a success, whatever class the
 * code has: mail is not lost over a reply that makes no sense.
 */
static void
smtp_outcome_settle(struct smtp_delivery *d, const struct smtp_session *session, size_t rcpt,
    bool sent, const char *dsn, const char *text, struct span reply)
{
	struct agent_job *job = d->job;
	struct delivery_outcome *o = &job->outcomes[rcpt];

	MUST(sent == (dsn[0] == '2'));
	smtp_filter_status(d->setup->filter, &job->arena, &dsn, &text);
	smtp_outcome_set(d, rcpt, dsn, text);
	if (sent)
		o->status = DELIVERY_SENT;
	if (session != NULL)
		o->relay = span_str(smtp_outcome_relay(session, job));
	if (o->status == DELIVERY_SENT) {
		o->passed_on = smtp_session_offers(session, SMTP_EHLO_DSN);
		o->final = d->setup->assume_final && !o->passed_on;
	}
	if (session != NULL && reply.len != 0) {
		o->remote_mta = span_str(arena_strdup(&job->arena, session->host.name));
		o->diagnostic = span_str(arena_printf(&job->arena, "smtp; %.*s", SPAN_ARG(reply)));
	}
	smtp_outcome_log(d, session, rcpt);
}

/* Is there reason to try another host, and one to try? */
static bool
smtp_outcome_goes_on(const struct smtp_delivery *d, const char *dsn)
{
	return !d->final_server && (dsn[0] == '4' || (dsn[0] == '5' && d->setup->soft_bounce));
}

static void
smtp_outcome_by_reply(struct smtp_session *session, struct smtp_delivery *d, size_t rcpt,
    enum smtp_step step, bool sent)
{
	struct agent_job *job = d->job;
	struct buf text CLEANUP(buf_done) = {0};
	const char *reply;
	const char *said;

	smtp_reply_text(&session->reply, &text);
	reply = arena_dup(&job->arena, buf_span(&text));
	if (sent) {
		smtp_outcome_settle(d, session, rcpt, true,
		    session->reply.dsn[0] == '2' ? session->reply.dsn : "2.0.0", reply,
		    span_str(reply));
		return;
	}
	smtp_chat_refused(session, step, session->reply.code);
	said = smtp_outcome_said(session, job, step, span_str(reply));
	if (smtp_outcome_goes_on(d, session->reply.dsn)) {
		log_info("%s: %s", job->request.queue_id.ptr, said);
		(void)smtp_why_set(&d->why, session->reply.dsn, "%s", said);
		return;
	}
	smtp_outcome_settle(d, session, rcpt, false, session->reply.dsn, said, span_str(reply));
}

void
smtp_outcome_rcpt(
    struct smtp_session *session, struct smtp_delivery *d, size_t rcpt, enum smtp_step step)
{
	smtp_outcome_by_reply(session, d, rcpt, step, smtp_reply_class(&session->reply) == 2);
}

void
smtp_outcome_accept(
    struct smtp_session *session, struct smtp_delivery *d, size_t rcpt, enum smtp_step step)
{
	smtp_outcome_by_reply(session, d, rcpt, step, true);
}

/* Does the trouble say that the site, not this message, has a problem? */
static bool
smtp_outcome_is_site_trouble(const struct smtp_trouble *t)
{
	if (t->lost == STREAM_CANCELLED)
		return false;
	return t->lost != STREAM_OK || t->step <= SMTP_STEP_AUTH;
}

static void
smtp_outcome_site_error(struct agent_job *job, const char *dsn, const char *text)
{
	if (job->result.site_error.len != 0)
		return;
	job->result.site_error = span_str(text);
	job->result.site_error_dsn = span_str(arena_strdup(&job->arena, dsn));
}

/* The trouble as DSN code and text; *ret_reply: what the server said, empty if it did not. */
static const char *
smtp_outcome_reason(const struct smtp_session *session, struct agent_job *job,
    char dsn[MAIL_DSN_SIZE], struct span *ret_reply)
{
	const struct smtp_trouble *t = &session->trouble;
	const char *text;

	*ret_reply = (struct span){0};
	memcpy(dsn, "4.4.2", sizeof("4.4.2"));
	if (t->lost == STREAM_CANCELLED)
		memcpy(dsn, "4.3.0", sizeof("4.3.0"));
	if (t->lost != STREAM_OK && t->step != SMTP_STEP_CONNECT)
		return smtp_outcome_lost(session, job);
	memcpy(dsn, t->dsn, MAIL_DSN_SIZE);
	if (t->step == SMTP_STEP_CONNECT)
		return smtp_outcome_lost(session, job);
	text = arena_dup(&job->arena, buf_span(&t->text));
	if (t->local)
		return text;
	*ret_reply = span_str(text);
	text = smtp_outcome_said(session, job, t->step, *ret_reply);
	/* "250" where something else has to come. */
	if (dsn[0] == '2') {
		memcpy(dsn, "5.5.0", sizeof("5.5.0"));
		text = arena_printf(&job->arena, "Protocol error: %s", text);
	}
	return text;
}

void
smtp_outcome_session(struct smtp_session *session, struct smtp_delivery *d)
{
	const struct smtp_trouble *t = &session->trouble;
	struct agent_job *job = d->job;
	bool connected = session->stream != NULL;
	char dsn[MAIL_DSN_SIZE];
	struct span reply;
	const char *text;

	/* Dropped before the final dot: untried, and no line in the log, for it is somebody else's now. */
	if (agent_is_dropped(job) || (t->lost == STREAM_CANCELLED && !agent_may_go_on(job)))
		return;
	if (t->lost == STREAM_OK && !t->local)
		smtp_chat_refused(session, t->step, t->code);
	text = smtp_outcome_reason(session, job, dsn, &reply);
	if (!connected)
		log_info("%s", text);
	if (!connected || smtp_outcome_goes_on(d, dsn)) {
		if (connected)
			log_info("%s: %s", job->request.queue_id.ptr, text);
		(void)smtp_why_set(&d->why, dsn, "%s", text);
		d->why.site = smtp_outcome_is_site_trouble(t);
		return;
	}
	if (smtp_outcome_is_site_trouble(t) && dsn[0] == '4')
		smtp_outcome_site_error(job, dsn, text);
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		if (smtp_outcome_is_open(d, i))
			smtp_outcome_settle(d, session, i, false, dsn, text, reply);
}

/* Mail for ourselves as the best MX may have a transport of its own (best_mx_transport). */
static void
smtp_outcome_pass(struct smtp_delivery *d, const char *transport)
{
	struct agent_job *job = d->job;
	bool full = span_find(span_str(transport), ':') < span_str(transport).len;
	const char *to =
	    full ? arena_strdup(&job->arena, transport)
		 : arena_printf(&job->arena, "%s:%s", transport, job->request.nexthop.ptr);

	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		struct delivery_outcome *o = &job->outcomes[i];

		if (!smtp_outcome_is_open(d, i))
			continue;
		o->status = DELIVERY_PASSED;
		o->dsn = SPAN_LIT("2.0.0");
		o->text = span_str(to);
		o->relay = SPAN_LIT("none");
	}
}

void
smtp_outcome_refuse(struct smtp_delivery *d)
{
	struct agent_job *job = d->job;
	const char *text = arena_dup(&job->arena, buf_span(&d->why.text));

	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		if (!smtp_outcome_is_open(d, i))
			continue;
		smtp_outcome_set(d, i, d->why.dsn, text);
		job->outcomes[i].relay = span_str(job->agent->service->name);
		smtp_outcome_log(d, NULL, i);
	}
}

void
smtp_outcome_leftover(struct smtp_delivery *d)
{
	struct agent_job *job = d->job;
	const char *text;

	if (!smtp_outcome_any_open(d) || agent_is_dropped(job))
		return;
	/* All that was found had been tried over a kept connection. */
	if (d->why.dsn[0] == '\0')
		(void)smtp_why_set(
		    &d->why, "4.3.0", "server unavailable or unable to receive mail");
	if (span_equal_str(span_str(d->why.dsn), "5.4.6") && d->setup->best_mx_transport[0] != '\0')
		return smtp_outcome_pass(d, d->setup->best_mx_transport);
	text = arena_dup(&job->arena, buf_span(&d->why.text));
	if (d->why.site && d->why.dsn[0] == '4')
		smtp_outcome_site_error(job, d->why.dsn, text);
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		if (smtp_outcome_is_open(d, i))
			smtp_outcome_settle(d, NULL, i, false, d->why.dsn, text, (struct span){0});
}
