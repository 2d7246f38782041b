/*
 * smtp_chat.c - what is said on a connection, kept for a notice to the postmaster where notify_classes wants one. As in Postfix a client
 * has two kinds of trouble: "protocol", a reply that is none or says that our command was wrong; "data", a table that cannot tell what to
 * send. Connections that come to nothing, and plain refusals of mail, are no trouble in this sense.
 */
#include "client/smtp_int.h"

#include <stdio.h>

void
smtp_chat_begin(struct smtp_session *session, const struct agent_job *job)
{
	const struct smtp_setup *s = session->setup;
	struct span sender = job->request.sender;
	char own[512];

	if (s->notify == 0)
		return;
	(void)snprintf(
	    own, sizeof(own), "%s@%s", conf_str(s->conf, CONF_double_bounce_sender), s->hostname);
	session->chat.muted = sender.len == 0 || span_equal_nocase_str(sender, own);
}

void
smtp_chat_said(struct smtp_session *session, enum smtp_step step, struct span line)
{
	if (session->setup->notify == 0)
		return;
	/* The answers that follow AUTH are names and passwords. */
	if (step == SMTP_STEP_AUTH && !span_starts_nocase(line, "AUTH "))
		return;
	mail_transcript_add(&session->chat.transcript, false, mail_transcript_command(line));
}

void
smtp_chat_heard(struct smtp_session *session, struct span line)
{
	if (session->setup->notify != 0)
		mail_transcript_add(
		    &session->chat.transcript, true, line.len != 0 ? line : SPAN_LIT("\n"));
}

void
smtp_chat_trouble(struct smtp_session *session, unsigned class)
{
	session->chat.troubles |= class;
}

/* Syntax errors and the like (RFC 5321 section 4.2.1: x0z; 555: RFC 1869 section 6.1), and what is no refusal at all. */
static bool
smtp_chat_is_protocol(int code)
{
	return code < 400 || code > 599 || (code >= 500 && code < 510) || code == 555;
}

void
smtp_chat_refused(struct smtp_session *session, enum smtp_step step, int code)
{
	/* A password that is not taken is no matter of protocol, whatever the code. */
	if (step != SMTP_STEP_AUTH && smtp_chat_is_protocol(code))
		smtp_chat_trouble(session, MAIL_TROUBLE_PROTOCOL);
}

static void
smtp_chat_tell(struct smtp_session *session)
{
	struct buf peer CLEANUP(buf_done) = {0};
	uint16_t port = net_addr_port(&session->host.addr);

	buf_printf(&peer, "%s[%s]", session->host.name, session->address);
	if (port != 0)
		buf_printf(&peer, ":%u", port);
	agent_notice(
	    session->state->agent, &(struct delivery_notice){
				       .lmtp = session->setup->lmtp,
				       .peer = buf_span(&peer),
				       .transcript = buf_span(&session->chat.transcript.text),
				       .cut = session->chat.transcript.cut,
				   });
}

void
smtp_chat_end(struct smtp_session *session)
{
	if ((session->chat.troubles & session->setup->notify) != 0 && !session->chat.muted)
		smtp_chat_tell(session);
	mail_transcript_done(&session->chat.transcript);
	session->chat = (struct smtp_chat){0};
}
