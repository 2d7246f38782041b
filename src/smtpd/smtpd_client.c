/*
 * smtpd_client.c - how much this client may do: access/access_client_rate.h asked at connect, MAIL, RCPT and so on.
 */
#include "smtpd/smtpd_int.h"

#include <string.h>

#include "base/log.h"
#include "smtp/smtp_ehlo.h"

/* Sessions of one client are counted from here on; a client that XCLIENT names is another one. */
bool
smtpd_client_begin(struct smtpd_session *s)
{
	struct access_client_excess excess;
	bool trusted = (s->authorized & SMTP_EHLO_XCLIENT) != 0;

	access_client_done(&s->client);
	if (access_client_begin(&s->client, s->setup->client_rate, s->server->counter, trusted,
		s->server->service->name, s->client_name, s->client_address, &excess))
		return true;
	smtpd_give_up(s, excess.dsn, "%s", excess.text);
	log_warn("%s", excess.warning);
	return false;
}

bool
smtpd_client_may(struct smtpd_session *s, enum access_client_event event)
{
	struct access_client_excess excess;

	if (access_client_event(&s->client, event, s->client_name, s->client_address, &excess))
		return true;
	smtpd_reply(s, excess.code, excess.dsn, "%s", excess.text);
	log_warn("%s", excess.warning);
	return false;
}

bool
smtpd_client_may_name(
    struct smtpd_session *s, enum access_client_event event, struct span args, const char *word)
{
	struct span path = span_from(args, strlen(word));

	return !span_starts_nocase(args, word) || span_trim(path).len == 0 ||
	       smtpd_client_may(s, event);
}
