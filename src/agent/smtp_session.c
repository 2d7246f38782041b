/*
 * smtp_session.c - one connection to a mail server (RFC 5321 sections 3 and 4). With PIPELINING a transaction is two round trips: the
 * envelope group, then the message with its dot in one piece (RFC 2920). Facts go to session->trouble; what they mean is
 * decided in smtp_outcome.c.
 */
#include <string.h>

#include "agent/agent_content.h"
#include "agent/smtp_int.h"
#include "base/crash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mail/mail_addr.h"
#include "net/net_connect.h"
#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"

/* Output that gathers before it is sent: the content of an ordinary message goes out in one write. */
#define SMTP_BODY_SLICE 65536

struct smtp_session *
smtp_session_new(struct smtp_state *s, const struct smtp_host *host)
{
	struct smtp_session *session = mem_new(struct smtp_session);

	session->state = s;
	session->host = *host;
	net_addr_text(&host->addr, session->address, sizeof(session->address));
	return session;
}

void
smtp_session_free(struct smtp_session **session)
{
	if (*session == NULL)
		return;
	MUST(!list_is_linked(&(*session)->node));
	task_timer_disarm(&(*session)->expiry);
	stream_free(&(*session)->stream);
	smtp_reply_done(&(*session)->reply);
	buf_done(&(*session)->trouble.text);
	mem_free(*session);
	*session = NULL;
}

/* The connection is lost, or of no more use. Returns false. */
static bool
smtp_lost(struct smtp_session *session, enum smtp_step step, enum stream_result why)
{
	session->broken = true;
	session->trouble.step = step;
	session->trouble.lost = why;
	session->trouble.code = 0;
	return false;
}

/* The server refused: its reply is the trouble. Returns false. */
static bool
smtp_refused(struct smtp_session *session, enum smtp_step step)
{
	struct smtp_trouble *t = &session->trouble;

	t->step = step;
	t->lost = STREAM_OK;
	t->local = false;
	t->code = session->reply.code;
	memcpy(t->dsn, session->reply.dsn, sizeof(t->dsn));
	buf_clear(&t->text);
	smtp_reply_text(&session->reply, &t->text);
	/* 421 to anything: the server closes (RFC 5321 section 3.8). */
	if (t->code == 421)
		session->broken = true;
	return false;
}

/* Reads one reply into session->reply. */
static bool
smtp_read_reply(struct smtp_session *session, enum smtp_step step, int64_t timeout)
{
	enum smtp_reply_step more = SMTP_REPLY_MORE;

	smtp_reply_clear(&session->reply);
	stream_set_deadline(session->stream, clock_deadline(timeout));
	while (more == SMTP_REPLY_MORE) {
		struct span line;
		enum stream_result r =
		    stream_read_line(session->stream, SMTP_REPLY_TEXT_MAX, &line, NULL);

		if (r != STREAM_OK && r != STREAM_TOO_LONG)
			return smtp_lost(session, step, r);
		more = smtp_reply_line(&session->reply, line, false);
	}
	if (more == SMTP_REPLY_BAD)
		return smtp_lost(session, step, STREAM_ERROR);
	return true;
}

static bool
smtp_flush(struct smtp_session *session, enum smtp_step step, int64_t timeout)
{
	enum stream_result r;

	stream_set_deadline(session->stream, clock_deadline(timeout));
	r = stream_flush(session->stream);
	return r == STREAM_OK || smtp_lost(session, step, r);
}

/* ---- opening ---- */

static bool
smtp_greet(struct smtp_session *session)
{
	if (!smtp_read_reply(session, SMTP_STEP_GREETING, session->state->helo_timeout))
		return false;
	if (smtp_reply_class(&session->reply) != 2)
		return smtp_refused(session, SMTP_STEP_GREETING);
	return true;
}

/* EHLO, and HELO for servers that do not know it (RFC 5321 section 3.2). */
static bool
smtp_hello(struct smtp_session *session)
{
	struct smtp_state *s = session->state;

	(void)stream_printf(session->stream, "EHLO %s\r\n", s->helo_name);
	if (!smtp_flush(session, SMTP_STEP_EHLO, s->helo_timeout) ||
	    !smtp_read_reply(session, SMTP_STEP_EHLO, s->helo_timeout))
		return false;
	if (smtp_reply_class(&session->reply) == 2) {
		smtp_ehlo_parse(buf_span(&session->reply.text), s->discard, &session->ehlo);
		return true;
	}
	if (session->reply.code == 421)
		return smtp_refused(session, SMTP_STEP_EHLO);
	session->ehlo = (struct smtp_ehlo){0};
	(void)stream_printf(session->stream, "HELO %s\r\n", s->helo_name);
	if (!smtp_flush(session, SMTP_STEP_HELO, s->helo_timeout) ||
	    !smtp_read_reply(session, SMTP_STEP_HELO, s->helo_timeout))
		return false;
	return smtp_reply_class(&session->reply) == 2 || smtp_refused(session, SMTP_STEP_HELO);
}

bool
smtp_session_open(struct smtp_session *session)
{
	struct smtp_state *s = session->state;
	struct err err;

	session->stream =
	    net_connect(&session->host.addr, NULL, clock_deadline(s->connect_timeout), &err);
	if (session->stream == NULL) {
		buf_clear(&session->trouble.text);
		buf_add_str(&session->trouble.text, err.text);
		return smtp_lost(session, SMTP_STEP_CONNECT, STREAM_ERROR);
	}
	session->opened = clock_mono_us();
	return smtp_greet(session) && smtp_hello(session);
}

/* ---- one transaction ---- */

/* An attribute of the message; empty when it is not there. */
static struct span
smtp_attr(const struct agent_job *job, const char *name)
{
	const struct delivery_request *r = &job->request;

	for (size_t i = 0; i < r->attr_count; i++)
		if (span_equal_str(r->attrs[i].name, name))
			return r->attrs[i].value;
	return (struct span){0};
}

static bool
smtp_offers(const struct smtp_session *session, unsigned feature)
{
	return (session->ehlo.features & feature) != 0;
}

/* Is there anything in the envelope or header section that a server without SMTPUTF8 must not see (RFC 6531 section 3.1)? */
static bool
smtp_needs_utf8(const struct agent_job *job)
{
	const struct delivery_request *r = &job->request;
	bool needs =
	    span_equal_str(smtp_attr(job, "smtputf8"), "header") || !utf8_is_ascii(r->sender);

	for (size_t i = 0; i < r->rcpt_count; i++)
		needs = needs || !utf8_is_ascii(r->rcpts[i].addr);
	return needs;
}

/* Mail that was taken with SMTPUTF8 and needs it goes to servers that offer it, or back. */
static bool
smtp_check_utf8(struct smtp_session *session, const struct agent_job *job)
{
	struct smtp_trouble *t = &session->trouble;

	if (smtp_attr(job, "smtputf8").len == 0 || smtp_offers(session, SMTP_EHLO_SMTPUTF8) ||
	    !smtp_needs_utf8(job))
		return true;
	t->step = SMTP_STEP_MAIL;
	t->lost = STREAM_OK;
	t->code = 550;
	t->local = true;
	memcpy(t->dsn, "5.6.7", sizeof("5.6.7"));
	buf_clear(&t->text);
	buf_printf(&t->text, "SMTPUTF8 is required, but was not offered by host %s[%s]",
	    session->host.name, session->address);
	return false;
}

static void
smtp_write_mail(struct smtp_session *session, const struct agent_job *job)
{
	struct buf line CLEANUP(buf_done) = {0};
	const struct delivery_request *r = &job->request;

	smtp_command_write_mail(&line, r->sender);
	if (smtp_offers(session, SMTP_EHLO_SIZE))
		buf_printf(&line, " SIZE=%llu", (unsigned long long)r->size);
	if (smtp_offers(session, SMTP_EHLO_8BITMIME) &&
	    span_equal_str(smtp_attr(job, "encoding"), "8bit"))
		buf_add_str(&line, " BODY=8BITMIME");
	if (smtp_offers(session, SMTP_EHLO_DSN)) {
		struct span envid = smtp_attr(job, "envid");
		struct span ret = smtp_attr(job, "ret");

		if (envid.len != 0) {
			buf_add_str(&line, " ENVID=");
			smtp_command_xtext_encode(envid, &line);
		}
		if (ret.len != 0)
			buf_printf(&line, " RET=%.*s", SPAN_ARG(ret));
	}
	if (smtp_offers(session, SMTP_EHLO_SMTPUTF8) && smtp_attr(job, "smtputf8").len != 0)
		buf_add_str(&line, " SMTPUTF8");
	buf_add_str(&line, "\r\n");
	(void)stream_write_span(session->stream, buf_span(&line));
}

/* RFC 3461 section 4.2: what the client gave, or the address as it was before any rewriting. */
static void
smtp_write_orcpt(struct buf *line, const struct delivery_rcpt *r)
{
	struct buf external CLEANUP(buf_done) = {0};
	struct span type = SPAN_LIT("rfc822");
	struct span addr;

	if (r->dsn_orcpt.len != 0) {
		size_t semicolon = span_find(r->dsn_orcpt, ';');

		type = span_head(r->dsn_orcpt, semicolon);
		addr = span_from(r->dsn_orcpt, MIN(semicolon + 1, r->dsn_orcpt.len));
	} else {
		mail_addr_quote(&external, r->orig_addr.len != 0 ? r->orig_addr : r->addr);
		addr = buf_span(&external);
		if (!utf8_is_ascii(addr))
			type = SPAN_LIT("utf-8");
	}
	buf_printf(line, " ORCPT=%.*s;", SPAN_ARG(type));
	smtp_command_xtext_encode(addr, line);
}

static void
smtp_write_rcpt(struct smtp_session *session, const struct agent_job *job, size_t i)
{
	const struct delivery_rcpt *r = &job->request.rcpts[i];
	struct buf line CLEANUP(buf_done) = {0};

	smtp_command_write_rcpt(&line, r->addr);
	if (smtp_offers(session, SMTP_EHLO_DSN)) {
		smtp_write_orcpt(&line, r);
		if (r->dsn_notify != 0)
			buf_printf(&line, " NOTIFY=%s", smtp_command_notify_text(r->dsn_notify));
	}
	buf_add_str(&line, "\r\n");
	(void)stream_write_span(session->stream, buf_span(&line));
}

static bool
smtp_is_pipelined(const struct smtp_session *session)
{
	return smtp_offers(session, SMTP_EHLO_PIPELINING);
}

/* Writes MAIL, and with PIPELINING the RCPTs and DATA behind it. */
static bool
smtp_write_envelope(struct smtp_session *session, const struct agent_job *job)
{
	smtp_write_mail(session, job);
	if (smtp_is_pipelined(session)) {
		for (size_t i = 0; i < job->request.rcpt_count; i++)
			if (job->outcomes[i].status == 0)
				smtp_write_rcpt(session, job, i);
		(void)stream_write(session->stream, "DATA\r\n", 6);
	}
	return smtp_flush(session, SMTP_STEP_MAIL, session->state->mail_timeout);
}

/* The RCPT replies in order; *ret_accepted = how many recipients the server takes. */
static bool
smtp_read_rcpts(struct smtp_session *session, struct agent_job *job, bool last_host, bool *accepted,
    size_t *ret_accepted)
{
	int64_t timeout = session->state->rcpt_timeout;

	*ret_accepted = 0;
	for (size_t i = 0; i < job->request.rcpt_count; i++) {
		if (job->outcomes[i].status != 0)
			continue;
		if (!smtp_is_pipelined(session)) {
			smtp_write_rcpt(session, job, i);
			if (!smtp_flush(session, SMTP_STEP_RCPT, timeout))
				return false;
		}
		if (!smtp_read_reply(session, SMTP_STEP_RCPT, timeout))
			return false;
		accepted[i] = smtp_reply_class(&session->reply) == 2;
		if (accepted[i])
			++*ret_accepted;
		else if (session->reply.code == 421)
			return smtp_refused(session, SMTP_STEP_RCPT);
		else
			smtp_outcome_rcpt(session, job, i, SMTP_STEP_RCPT, last_host);
	}
	return true;
}

/* The reply to DATA. False with trouble; true: *ret_go says whether the server waits for the message. */
static bool
smtp_read_data(struct smtp_session *session, size_t accepted, bool *ret_go)
{
	int64_t timeout = session->state->data_init_timeout;

	*ret_go = false;
	if (!smtp_is_pipelined(session)) {
		if (accepted == 0) {
			(void)stream_write(session->stream, "RSET\r\n", 6);
			return smtp_flush(session, SMTP_STEP_DATA, timeout) &&
			       smtp_read_reply(session, SMTP_STEP_DATA, timeout);
		}
		(void)stream_write(session->stream, "DATA\r\n", 6);
		if (!smtp_flush(session, SMTP_STEP_DATA, timeout))
			return false;
	}
	if (!smtp_read_reply(session, SMTP_STEP_DATA, timeout))
		return false;
	*ret_go = session->reply.code / 100 == 3;
	if (!*ret_go && accepted != 0)
		return smtp_refused(session, SMTP_STEP_DATA);
	return true;
}

/* The message, dot-stuffed, its tail and the final dot in one write. */
static bool
smtp_write_body(struct smtp_session *session, struct agent_job *job)
{
	struct smtp_data_out out = {.line_limit = session->state->line_limit};
	struct buf slice CLEANUP(buf_done) = {0};
	int64_t timeout = session->state->data_xfer_timeout;
	bool last = false;

	agent_content_rewind(job);
	stream_set_deadline(session->stream, clock_deadline(timeout));
	while (!last) {
		struct span piece;

		if (!agent_may_go_on(job) ||
		    !agent_content_next(job, clock_deadline(timeout), &piece, &last))
			return smtp_lost(session, SMTP_STEP_BODY, STREAM_CANCELLED);
		while (piece.len != 0) {
			struct span part = span_head(piece, SMTP_BODY_SLICE);
			enum stream_result r;

			piece = span_from(piece, part.len);
			buf_clear(&slice);
			smtp_data_write(&out, part, &slice);
			stream_set_deadline(session->stream, clock_deadline(timeout));
			r = stream_write_span(session->stream, buf_span(&slice));
			if (r != STREAM_OK)
				return smtp_lost(session, SMTP_STEP_BODY, r);
		}
	}
	/* Whoever took the mail over from our scheduler must not find it delivered twice. */
	if (!agent_may_finish(job))
		return smtp_lost(session, SMTP_STEP_BODY, STREAM_CANCELLED);
	buf_clear(&slice);
	smtp_data_write_end(&out, &slice);
	(void)stream_write_span(session->stream, buf_span(&slice));
	CRASH_POINT("deliver-before-dot");
	return smtp_flush(session, SMTP_STEP_DOT, timeout);
}

/* No recipient was accepted, but the server waits for a message: an empty one ends it (RFC 2920 section 3.1). */
static bool
smtp_end_empty(struct smtp_session *session)
{
	(void)stream_write(session->stream, ".\r\n", 3);
	return smtp_flush(session, SMTP_STEP_DOT, session->state->data_done_timeout) &&
	       smtp_read_reply(session, SMTP_STEP_DOT, session->state->data_done_timeout);
}

static bool
smtp_transfer(
    struct smtp_session *session, struct agent_job *job, const bool *accepted, bool last_host)
{
	if (!smtp_write_body(session, job) ||
	    !smtp_read_reply(session, SMTP_STEP_DOT, session->state->data_done_timeout))
		return false;
	CRASH_POINT("deliver-after-dot");
	if (smtp_reply_class(&session->reply) != 2)
		return smtp_refused(session, SMTP_STEP_DOT);
	for (size_t i = 0; i < job->request.rcpt_count; i++)
		if (accepted[i])
			smtp_outcome_rcpt(session, job, i, SMTP_STEP_DOT, last_host);
	return true;
}

bool
smtp_session_deliver(
    struct smtp_session *session, struct agent_job *job, bool last_host, int64_t *ret_ready)
{
	bool *accepted = arena_alloc(&job->arena, job->request.rcpt_count * sizeof(*accepted));
	size_t accepted_count;
	bool go;

	session->uses++;
	*ret_ready = clock_real_us();
	if (!smtp_check_utf8(session, job))
		return false;
	if (!smtp_write_envelope(session, job) ||
	    !smtp_read_reply(session, SMTP_STEP_MAIL, session->state->mail_timeout))
		return false;
	if (smtp_reply_class(&session->reply) != 2) {
		/* The replies to what was pipelined behind it are not worth waiting for. */
		session->broken = smtp_is_pipelined(session);
		return smtp_refused(session, SMTP_STEP_MAIL);
	}
	if (!smtp_read_rcpts(session, job, last_host, accepted, &accepted_count) ||
	    !smtp_read_data(session, accepted_count, &go))
		return false;
	if (accepted_count == 0)
		return !go || smtp_end_empty(session);
	return smtp_transfer(session, job, accepted, last_host);
}

void
smtp_session_quit(struct smtp_session *session)
{
	if (session->stream == NULL || session->broken)
		return;
	stream_set_deadline(
	    session->stream, clock_deadline(MIN(session->state->quit_timeout, 5 * CLOCK_SECOND)));
	(void)stream_write(session->stream, "QUIT\r\n", 6);
	if (stream_flush(session->stream) == STREAM_OK)
		(void)smtp_read_reply(
		    session, SMTP_STEP_QUIT, MIN(session->state->quit_timeout, 5 * CLOCK_SECOND));
	session->broken = true;
}
