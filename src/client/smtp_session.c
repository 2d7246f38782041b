/*
 * smtp_session.c - commands and replies over one connection (RFC 5321 section 4). Facts go to session->trouble; what they mean
 * is decided in smtp_outcome.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client/smtp_int.h"

/* A peer that is slow to say goodbye is not waited for longer than this. */
#define SMTP_SESSION_GOODBYE (5 * CLOCK_SECOND)

struct smtp_session *
smtp_session_new(struct smtp_state *s, struct smtp_setup *setup, const struct smtp_host *host)
{
	struct smtp_session *session = mem_new(struct smtp_session);

	session->state = s;
	session->setup = smtp_setup_ref(setup);
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
	smtp_chat_end(*session);
	task_timer_disarm(&(*session)->expiry);
	stream_free(&(*session)->stream);
	smtp_reply_done(&(*session)->reply);
	buf_done(&(*session)->trouble.text);
	smtp_setup_unref(&(*session)->setup);
	mem_free(*session);
	*session = NULL;
}

bool
smtp_session_offers(const struct smtp_session *session, unsigned feature)
{
	return (session->ehlo.features & feature) != 0;
}

/* ---- trouble -------------------------------------------------------------------------------------------------- */

bool
smtp_session_lost(struct smtp_session *session, enum smtp_step step, enum stream_result why)
{
	session->broken = true;
	session->trouble.step = step;
	session->trouble.lost = why;
	session->trouble.local = false;
	return false;
}

bool
smtp_session_refused(struct smtp_session *session, enum smtp_step step)
{
	struct smtp_trouble *t = &session->trouble;

	t->step = step;
	t->lost = STREAM_OK;
	t->local = false;
	t->code = session->reply.code;
	memcpy(t->dsn, session->reply.dsn, sizeof(t->dsn));
	buf_clear(&t->text);
	smtp_reply_text(&session->reply, &t->text);
	return false;
}

bool
smtp_session_object(
    struct smtp_session *session, enum smtp_step step, const char *dsn, const char *fmt, ...)
{
	struct smtp_trouble *t = &session->trouble;
	va_list args;

	t->step = step;
	t->lost = STREAM_OK;
	t->local = true;
	(void)snprintf(t->dsn, sizeof(t->dsn), "%s", dsn);
	buf_clear(&t->text);
	va_start(args, fmt);
	buf_vprintf(&t->text, fmt, args);
	va_end(args);
	return false;
}

bool
smtp_session_table_trouble(struct smtp_session *session, enum smtp_step step)
{
	/* Inside a transaction nobody knows what answers what; before, there is time for QUIT. */
	session->broken = session->broken || step > SMTP_STEP_AUTH;
	session->retire = true;
	smtp_chat_trouble(session, MAIL_TROUBLE_DATA);
	return smtp_session_object(session, step, "4.3.0",
	    "local data error while talking to %s[%s]", session->host.name, session->address);
}

/* ---- commands and replies ------------------------------------------------------------------------------------- */

void
smtp_session_write(struct smtp_session *session, enum smtp_step step, struct span command)
{
	(void)stream_write_span(session->stream, command);
	(void)stream_write(session->stream, "\r\n", 2);
	smtp_chat_said(session, step, command);
}

bool
smtp_session_flush(struct smtp_session *session, enum smtp_step step, int64_t timeout)
{
	enum stream_result r;

	stream_set_deadline(session->stream, clock_deadline(timeout));
	r = stream_flush(session->stream);
	return r == STREAM_OK || smtp_session_lost(session, step, r);
}

/* One line; what is too much of it is skipped, in `room` is what is not. */
static enum stream_result
smtp_session_line(struct smtp_session *session, struct buf *room, struct span *ret)
{
	enum stream_result r = stream_read_line(session->stream, SMTP_REPLY_TEXT_MAX, ret, NULL);
	struct span rest;

	if (r != STREAM_TOO_LONG)
		return r;
	buf_clear(room);
	buf_add_span(room, *ret);
	while (r == STREAM_TOO_LONG)
		r = stream_read_line(session->stream, SMTP_REPLY_TEXT_MAX, &rest, NULL);
	*ret = buf_span(room);
	return r;
}

bool
smtp_session_reply(struct smtp_session *session, enum smtp_step step, int64_t timeout)
{
	enum smtp_reply_step more = SMTP_REPLY_MORE;
	int64_t deadline = clock_deadline(timeout);
	struct buf room CLEANUP(buf_done) = {0};
	struct buf filtered CLEANUP(buf_done) = {0};

	smtp_reply_clear(&session->reply);
	while (more == SMTP_REPLY_MORE) {
		struct span line;
		enum stream_result r;

		/* A limit for each line, unless smtp_per_request_deadline has it for the reply. */
		stream_set_deadline(session->stream,
		    session->setup->request_deadline ? deadline : clock_deadline(timeout));
		r = smtp_session_line(session, &room, &line);
		if (r != STREAM_OK)
			return smtp_session_lost(session, step, r);
		while (line.len != 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
		smtp_chat_heard(session, line);
		/* What ends a transaction or a connection has nothing to tell. */
		if (step < SMTP_STEP_RSET &&
		    !smtp_filter_reply(session->setup->filter, &line, &filtered))
			return smtp_session_table_trouble(session, step);
		more = smtp_reply_line(&session->reply, line, false);
		if (session->reply.garbage)
			smtp_chat_trouble(session, MAIL_TROUBLE_PROTOCOL);
	}
	if (more == SMTP_REPLY_BAD)
		return smtp_session_lost(session, step, STREAM_ERROR);
	/* 421 to anything: the server closes (RFC 5321 section 3.8). After garbage, who knows what answers what. */
	if (session->reply.code == 421 || session->reply.code == 521 || session->reply.garbage)
		session->retire = true;
	return true;
}

bool
smtp_session_ask(
    struct smtp_session *session, enum smtp_step step, int64_t timeout, const char *fmt, ...)
{
	struct buf line CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&line, fmt, args);
	va_end(args);
	smtp_session_write(session, step, buf_span(&line));
	return smtp_session_flush(session, step, timeout) &&
	       smtp_session_reply(session, step, timeout);
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

bool
smtp_session_reset(struct smtp_session *session)
{
	if (!session->needs_reset)
		return true;
	session->needs_reset = false;
	return smtp_session_ask(session, SMTP_STEP_RSET, session->setup->rset_timeout, "RSET") &&
	       smtp_reply_class(&session->reply) == 2;
}

void
smtp_session_quit(struct smtp_session *session)
{
	const struct smtp_setup *s = session->setup;
	int64_t timeout = MIN(s->quit_timeout, SMTP_SESSION_GOODBYE);

	if (session->stream == NULL || session->broken)
		return;
	if (session->needs_reset && !smtp_session_offers(session, SMTP_EHLO_PIPELINING) &&
	    !smtp_session_reset(session) && session->broken)
		return;
	if (session->needs_reset)
		smtp_session_write(session, SMTP_STEP_RSET, SPAN_LIT("RSET"));
	smtp_session_write(session, SMTP_STEP_QUIT, SPAN_LIT("QUIT"));
	if (!smtp_session_flush(session, SMTP_STEP_QUIT, timeout))
		return;
	for (int replies = session->needs_reset + !s->skip_quit_response; replies > 0; replies--)
		if (!smtp_session_reply(session, SMTP_STEP_QUIT, timeout))
			break;
	session->broken = true;
}
