/*
 * smtp_outcome.c - what a failure means. Facts come in, the judgement is here and nowhere else (Postfix's smtp_trouble.c):
 *
 *	connect, greeting, EHLO failed, connection lost, time-out   the site is in trouble: next host; after the last one defer, and the
 *	                                                            scheduler narrows its window
 *	5xx to the greeting                                         as 4xx, with smtp_skip_5xx_greeting; else bounce
 *	5xx to EHLO and HELO, MAIL, DATA, the final dot             bounce all
 *	4xx to them                                                 next host; after the last one defer
 *	5xx to RCPT                                                 bounce that recipient
 *	4xx to RCPT                                                 that recipient: next host; after the last one defer
 *	2xx to the final dot                                        sent
 */
#include "agent/smtp_int.h"

#include <string.h>

#include "base/log.h"
#include "mail/mail_log.h"

static const struct {
	const char *waiting; /* for "lost connection ... while" */
	const char *command; /* for "(in reply to ... command)" */
} smtp_steps[] = {
    [SMTP_STEP_CONNECT] = {"connecting", ""},
    [SMTP_STEP_GREETING] = {"receiving the initial server greeting", ""},
    [SMTP_STEP_EHLO] = {"performing the EHLO handshake", "EHLO command"},
    [SMTP_STEP_HELO] = {"performing the HELO handshake", "HELO command"},
    [SMTP_STEP_MAIL] = {"sending MAIL FROM", "MAIL FROM command"},
    [SMTP_STEP_RCPT] = {"sending RCPT TO", "RCPT TO command"},
    [SMTP_STEP_DATA] = {"sending DATA command", "DATA command"},
    [SMTP_STEP_BODY] = {"sending message body", "message body"},
    [SMTP_STEP_DOT] = {"sending end of data -- message may be sent more than once",
	"end of DATA command"},
    [SMTP_STEP_QUIT] = {"sending QUIT command", "QUIT command"},
};

static struct span
smtp_relay(const struct smtp_session *session, struct agent_job *job)
{
	return span_str(arena_printf(&job->arena, "%s[%s]:%u", session->host.name, session->address,
	    net_addr_port(&session->host.addr)));
}

/* "host NAME[ADDR] said: REPLY (in reply to CMD)", or Postfix's words for a greeting. */
static const char *
smtp_said(const struct smtp_session *session, struct agent_job *job, enum smtp_step step,
    struct span reply)
{
	if (step == SMTP_STEP_GREETING)
		return arena_printf(&job->arena, "host %s[%s] refused to talk to me: %.*s",
		    session->host.name, session->address, SPAN_ARG(reply));
	return arena_printf(&job->arena, "host %s[%s] said: %.*s (in reply to %s)",
	    session->host.name, session->address, SPAN_ARG(reply), smtp_steps[step].command);
}

static const char *
smtp_lost_text(const struct smtp_session *session, struct agent_job *job)
{
	const struct smtp_trouble *t = &session->trouble;

	if (t->step == SMTP_STEP_CONNECT)
		return arena_printf(&job->arena, "connect to %s[%s]:%u: %s", session->host.name,
		    session->address, net_addr_port(&session->host.addr), buf_str(&t->text));
	if (t->lost == STREAM_TIMEOUT)
		return arena_printf(&job->arena, "conversation with %s[%s] timed out while %s",
		    session->host.name, session->address, smtp_steps[t->step].waiting);
	if (t->lost == STREAM_CANCELLED)
		return "the content of the message is not to be had now";
	return arena_printf(&job->arena, "lost connection with %s[%s] while %s", session->host.name,
	    session->address, smtp_steps[t->step].waiting);
}

static void
smtp_fill(struct smtp_session *session, struct agent_job *job, size_t i,
    enum delivery_status status, const char *dsn, const char *text, struct span reply)
{
	struct delivery_outcome *o = &job->outcomes[i];

	o->status = status;
	o->dsn = span_str(arena_strdup(&job->arena, dsn));
	o->text = span_str(text);
	o->relay = session->trouble.step == SMTP_STEP_CONNECT && session->stream == NULL
		       ? SPAN_LIT("none")
		       : smtp_relay(session, job);
	if (reply.len == 0)
		return;
	o->remote_mta = span_str(arena_strdup(&job->arena, session->host.name));
	o->diagnostic = span_str(arena_printf(&job->arena, "smtp; %.*s", SPAN_ARG(reply)));
}

void
smtp_outcome_rcpt(struct smtp_session *session, struct agent_job *job, size_t rcpt,
    enum smtp_step step, bool last_host)
{
	struct buf text CLEANUP(buf_done) = {0};
	int class = smtp_reply_class(&session->reply);
	const char *reply;

	smtp_reply_text(&session->reply, &text);
	reply = arena_dup(&job->arena, buf_span(&text));
	session->trouble.step = step;
	if (class == 2) {
		smtp_fill(
		    session, job, rcpt, DELIVERY_SENT, session->reply.dsn, reply, span_str(reply));
		return;
	}
	if (class != 5 && !last_host)
		return;
	smtp_fill(session, job, rcpt, class == 5 ? DELIVERY_BOUNCED : DELIVERY_DEFERRED,
	    session->reply.dsn, smtp_said(session, job, step, span_str(reply)), span_str(reply));
}

/* Does the trouble say that the site, not this message, has a problem? */
static bool
smtp_is_site_trouble(const struct smtp_trouble *t)
{
	if (t->lost == STREAM_CANCELLED)
		return false;
	return t->lost != STREAM_OK || t->step <= SMTP_STEP_HELO;
}

static bool
smtp_is_permanent(const struct smtp_session *session)
{
	const struct smtp_trouble *t = &session->trouble;

	if (t->lost != STREAM_OK || t->code / 100 != 5)
		return false;
	return t->step != SMTP_STEP_GREETING || !session->state->skip_5xx_greeting;
}

static void
smtp_site_error(struct agent_job *job, const char *dsn, const char *text)
{
	job->result.site_error = span_str(text);
	job->result.site_error_dsn = span_str(arena_strdup(&job->arena, dsn));
}

void
smtp_outcome_session(struct smtp_session *session, struct agent_job *job, bool last_host)
{
	const struct smtp_trouble *t = &session->trouble;
	bool permanent = smtp_is_permanent(session);
	struct span reply = {0};
	const char *text;
	char dsn[MAIL_DSN_SIZE] = "4.4.2";

	/* Dropped before the final dot: untried, and no line in the log, for it is somebody else's now. */
	if (agent_is_dropped(job) || (t->lost == STREAM_CANCELLED && !agent_may_go_on(job)))
		return;
	if (t->lost == STREAM_OK) {
		reply = span_str(arena_dup(&job->arena, buf_span(&t->text)));
		text = t->local ? reply.ptr : smtp_said(session, job, t->step, reply);
		if (t->local)
			reply = (struct span){0};
		memcpy(dsn, t->dsn, sizeof(dsn));
		mail_dsn_fit(dsn, permanent ? 550 : 450);
	} else {
		text = smtp_lost_text(session, job);
		if (t->step == SMTP_STEP_CONNECT)
			memcpy(dsn, "4.4.1", sizeof("4.4.1"));
	}
	if (!permanent && !last_host) {
		log_info("%s: %s", job->request.queue_id.ptr, text);
		return;
	}
	if (smtp_is_site_trouble(t) && !permanent)
		smtp_site_error(job, dsn, text);
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		if (job->outcomes[i].status == 0)
			smtp_fill(session, job, i, permanent ? DELIVERY_BOUNCED : DELIVERY_DEFERRED,
			    dsn, text, reply);
}

void
smtp_outcome_no_host(struct agent_job *job, const struct err *err)
{
	bool permanent = err->kind == ERR_PERM;
	const char *text = arena_strdup(&job->arena, err->text);

	if (agent_is_dropped(job))
		return;
	if (!permanent)
		smtp_site_error(job, err->dsn, text);
	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		struct delivery_outcome *o = &job->outcomes[i];

		if (o->status != 0)
			continue;
		o->status = permanent ? DELIVERY_BOUNCED : DELIVERY_DEFERRED;
		o->dsn = span_str(arena_strdup(&job->arena, err->dsn));
		o->text = span_str(text);
		o->relay = SPAN_LIT("none");
	}
}

void
smtp_outcome_log(const struct agent_job *job, const struct smtp_session *session, int64_t ready)
{
	static const char *const names[] = {[DELIVERY_SENT] = "sent",
	    [DELIVERY_DEFERRED] = "deferred",
	    [DELIVERY_BOUNCED] = "bounced",
	    [DELIVERY_UNTRIED] = "untried"};
	int64_t now = clock_real_us();
	struct buf line CLEANUP(buf_done) = {0};

	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		const struct delivery_outcome *o = &job->outcomes[i];
		const struct delivery_rcpt *r = &job->request.rcpts[i];
		const struct mail_log_delivery d = {
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
			    .connected = ready,
			    .done = now,
			},
		    .dsn = o->dsn.ptr,
		    .status = names[o->status],
		    .text = o->text,
		};

		if (o->status == 0 || o->status == DELIVERY_UNTRIED)
			continue;
		buf_clear(&line);
		mail_log_delivery(&line, &d);
		log_info("%s", buf_str(&line));
	}
}
