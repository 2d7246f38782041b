/*
 * smtpd_hello.c - HELO and EHLO (RFC 5321 section 4.1.1.1), and the list of what this server can do.
 */
#include "smtpd/smtpd_int.h"

#include <string.h>

#include "base/mem.h"
#include "smtp/smtp_ehlo.h"

/* The name as it goes into logs and the Received: header: nothing in it may mean something there. */
static char *
smtpd_hello_name(struct span args)
{
	char *name = span_dup(args);

	for (char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 127 || strchr(" <>()\\\";@", *c) != NULL)
			*c = '?';
	return name;
}

/* What HELO and EHLO have in common; true when the client may go on. Resets the session; a refused name changes nothing. */
static bool
smtpd_hello(struct smtpd_session *s, struct span args, const char *verb)
{
	struct access_request request;
	char *name;

	args = span_trim(args);
	if (args.len == 0) {
		smtpd_reply(s, 501, NULL, "Syntax: %s hostname", verb);
		return false;
	}
	name = smtpd_hello_name(args);
	smtpd_access_request(s, &request);
	request.helo = name;
	if (!smtpd_access_permits(s, ACCESS_HELO, verb, &request)) {
		mem_free(name);
		return false;
	}
	smtpd_mail_reset(s);
	mem_free(s->helo);
	s->helo = name;
	return true;
}

void
smtpd_helo(struct smtpd_session *s, struct span args)
{
	if (!smtpd_hello(s, args, "HELO"))
		return;
	/* Once he has said EHLO, trace lines say ESMTP, as Postfix's do. */
	smtpd_enter(s, SMTPD_STATE_HELO);
	smtpd_reply(s, 250, NULL, "%s", s->setup->hostname);
}

void
smtpd_ehlo(struct smtpd_session *s, struct span args)
{
	const struct smtp_ehlo_offer offer = {
	    .host = s->setup->hostname,
	    .features = s->offers,
	    .xclient = "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT",
	    .size_limit = s->setup->message_size_limit,
	};

	if (!smtpd_hello(s, args, "EHLO"))
		return;
	smtpd_notice_flush(s);
	s->esmtp = true;
	smtpd_enter(s, SMTPD_STATE_HELO);
	buf_clear(&s->reply);
	smtp_ehlo_write(&s->reply, &offer);
	smtpd_notice_said(s, buf_span(&s->reply));
	(void)stream_write_span(s->stream, buf_span(&s->reply));
}
