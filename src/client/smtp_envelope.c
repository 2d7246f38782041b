/*
 * smtp_envelope.c - the text of XFORWARD, MAIL and RCPT, with what the server's extensions allow.
 */
#include <string.h>

#include "base/utf8.h"
#include "client/smtp_int.h"
#include "mail/mail_addr.h"
#include "smtp/smtp_command.h"

struct span
smtp_envelope_attr(const struct agent_job *job, const char *name)
{
	const struct delivery_request *r = &job->request;

	for (size_t i = 0; i < r->attr_count; i++)
		if (span_equal_str(r->attrs[i].name, name))
			return r->attrs[i].value;
	return (struct span){0};
}

bool
smtp_envelope_needs_utf8(const struct agent_job *job)
{
	const struct delivery_request *r = &job->request;
	bool needs = span_equal_str(smtp_envelope_attr(job, "smtputf8"), "header") ||
		     !utf8_is_ascii(r->sender);

	for (size_t i = 0; i < r->rcpt_count; i++)
		needs = needs || !utf8_is_ascii(r->rcpts[i].addr);
	return needs;
}

bool
smtp_envelope_is_downgraded(const struct smtp_session *session, const struct agent_job *job)
{
	return !session->setup->keep_8bit && !smtp_session_offers(session, SMTP_EHLO_8BITMIME) &&
	       !span_equal_str(smtp_envelope_attr(job, "encoding"), "7bit");
}

static void
smtp_envelope_write(struct smtp_session *session, const struct buf *line)
{
	smtp_session_write(session, SMTP_STEP_MAIL, buf_span(line));
}

/* ---- XFORWARD (Postfix's XFORWARD_README) --------------------------------------------------------------------- */

/* What the previous hop told us by XFORWARD goes on, and only that; else what we know ourselves. */
static struct span
smtp_envelope_origin(const struct agent_job *job, const char *forwarded, const char *own)
{
	bool told = smtp_envelope_attr(job, "log_client_name").len != 0;

	return smtp_envelope_attr(job, told ? forwarded : own);
}

static bool
smtp_envelope_add_xforward(const struct smtp_session *session, struct buf *line, unsigned wanted,
    const char *name, struct span value)
{
	if ((session->ehlo.xforward & wanted) == 0 || value.len == 0 ||
	    span_equal_str(value, "unknown"))
		return false;
	buf_printf(line, " %s=", name);
	/* xtext, but "=" means nothing in a value here. */
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] == '=')
			buf_add_char(line, '=');
		else
			smtp_command_xtext_encode(span_of(value.ptr + i, 1), line);
	return true;
}

static bool
smtp_envelope_has_xforward(const struct smtp_session *session)
{
	return session->setup->send_xforward && smtp_session_offers(session, SMTP_EHLO_XFORWARD);
}

bool
smtp_envelope_write_xforward_name(struct smtp_session *session, const struct agent_job *job)
{
	struct buf line CLEANUP(buf_done) = {0};
	bool any;

	if (!smtp_envelope_has_xforward(session))
		return false;
	buf_add_str(&line, "XFORWARD");
	any = smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_NAME, "NAME",
	    smtp_envelope_origin(job, "log_client_name", "client_name"));
	any |= smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_ADDR, "ADDR",
	    smtp_envelope_origin(job, "log_client_address", "client_address"));
	any |= smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_PORT, "PORT",
	    smtp_envelope_origin(job, "log_client_port", "client_port"));
	if (any)
		smtp_envelope_write(session, &line);
	return any;
}

bool
smtp_envelope_write_xforward_helo(struct smtp_session *session, const struct agent_job *job)
{
	struct buf line CLEANUP(buf_done) = {0};
	struct span ident = smtp_envelope_attr(job, "log_ident");
	bool local = span_equal_str(smtp_envelope_attr(job, "rewrite_context"), "local");
	bool remote = smtp_envelope_attr(job, "client_name").len != 0;
	bool any;

	if (!smtp_envelope_has_xforward(session))
		return false;
	buf_add_str(&line, "XFORWARD");
	any = smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_PROTO, "PROTO",
	    smtp_envelope_origin(job, "log_protocol_name", "protocol_name"));
	any |= smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_HELO, "HELO",
	    smtp_envelope_origin(job, "log_helo_name", "helo_name"));
	any |= smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_IDENT, "IDENT",
	    ident.len != 0 || !remote ? ident : job->request.queue_id);
	any |= smtp_envelope_add_xforward(session, &line, SMTP_EHLO_XFORWARD_SOURCE, "SOURCE",
	    local ? SPAN_LIT("LOCAL") : SPAN_LIT("REMOTE"));
	if (any)
		smtp_envelope_write(session, &line);
	return any;
}

/* ---- MAIL ----------------------------------------------------------------------------------------------------- */

static void
smtp_envelope_add_dsn(struct buf *line, const struct agent_job *job)
{
	struct span envid = smtp_envelope_attr(job, "envid");
	struct span ret = smtp_envelope_attr(job, "ret");

	if (envid.len != 0) {
		buf_add_str(line, " ENVID=");
		smtp_command_xtext_encode(envid, line);
	}
	if (ret.len != 0)
		buf_printf(line, " RET=%.*s", SPAN_ARG(ret));
}

/* "MAIL FROM:<addr>" or "RCPT TO:<addr>", the address by smtp_generic_maps. */
static bool
smtp_envelope_add_path(
    struct smtp_session *session, enum smtp_step step, struct span addr, struct buf *line)
{
	struct buf mapped CLEANUP(buf_done) = {0};

	if (smtp_generic_is_on(session->setup->generic)) {
		if (!smtp_generic_address(session->setup->generic, addr, &mapped))
			return smtp_session_table_trouble(session, step);
		addr = buf_span(&mapped);
	}
	if (!session->setup->quote_envelope)
		buf_printf(line, "%s:<%.*s>", step == SMTP_STEP_MAIL ? "MAIL FROM" : "RCPT TO",
		    SPAN_ARG(addr));
	else if (step == SMTP_STEP_MAIL)
		smtp_command_write_mail(line, addr);
	else
		smtp_command_write_rcpt(line, addr);
	return true;
}

bool
smtp_envelope_write_mail(struct smtp_session *session, const struct agent_job *job)
{
	struct span encoding = smtp_envelope_attr(job, "encoding");
	struct buf line CLEANUP(buf_done) = {0};
	const struct delivery_request *r = &job->request;

	if (!smtp_envelope_add_path(session, SMTP_STEP_MAIL, r->sender, &line))
		return false;
	/* The size after a conversion is not known yet (RFC 1870 wants no less than the real one). */
	if (smtp_session_offers(session, SMTP_EHLO_SIZE) &&
	    !smtp_envelope_is_downgraded(session, job))
		buf_printf(&line, " SIZE=%llu", (unsigned long long)r->size);
	if (smtp_session_offers(session, SMTP_EHLO_8BITMIME) && encoding.len != 0)
		buf_printf(
		    &line, " BODY=%s", span_equal_str(encoding, "8bit") ? "8BITMIME" : "7BIT");
	if (smtp_session_offers(session, SMTP_EHLO_DSN))
		smtp_envelope_add_dsn(&line, job);
	if (smtp_session_offers(session, SMTP_EHLO_SMTPUTF8) &&
	    smtp_envelope_attr(job, "smtputf8").len != 0)
		buf_add_str(&line, " SMTPUTF8");
	smtp_envelope_write(session, &line);
	return true;
}

/* ---- RCPT ----------------------------------------------------------------------------------------------------- */

/* RFC 3461 section 4.2: what the client gave, or the address as it was before any rewriting. */
static void
smtp_envelope_add_orcpt(struct buf *line, const struct delivery_rcpt *r, bool utf8)
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
		if (utf8 && !utf8_is_ascii(addr))
			type = SPAN_LIT("utf-8");
	}
	buf_printf(line, " ORCPT=%.*s;", SPAN_ARG(type));
	if (span_equal_nocase_str(type, "utf-8"))
		smtp_command_utf8_encode(addr, line);
	else
		smtp_command_xtext_encode(addr, line);
}

bool
smtp_envelope_write_rcpt(struct smtp_session *session, const struct agent_job *job, size_t rcpt)
{
	const struct delivery_rcpt *r = &job->request.rcpts[rcpt];
	struct buf line CLEANUP(buf_done) = {0};

	if (!smtp_envelope_add_path(session, SMTP_STEP_RCPT, r->addr, &line))
		return false;
	if (smtp_session_offers(session, SMTP_EHLO_DSN)) {
		smtp_envelope_add_orcpt(&line, r,
		    smtp_session_offers(session, SMTP_EHLO_SMTPUTF8) &&
			smtp_envelope_attr(job, "smtputf8").len != 0);
		if (r->dsn_notify != 0)
			buf_printf(&line, " NOTIFY=%s", smtp_command_notify_text(r->dsn_notify));
	}
	smtp_envelope_write(session, &line);
	return true;
}
