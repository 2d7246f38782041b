/*
 * smtpd_reply.c - every line that goes to the client passes here, and what it means for the session's counters and for
 * the log.
 */
#include "smtpd/smtpd_int.h"

#include <stdarg.h>

#include "base/log.h"
#include "mail/mail_log.h"

static void smtpd_vreply(struct smtpd_session *s, int code, const char *dsn, const char *fmt,
    va_list args) PRINTF_LIKE(4, 0);

static void
smtpd_vreply(struct smtpd_session *s, int code, const char *dsn, const char *fmt, va_list args)
{
	bool soft = code >= 500 && conf_bool(s->setup->conf, CONF_soft_bounce);

	buf_clear(&s->reply);
	buf_printf(&s->reply, "%d ", soft ? code - 100 : code);
	if (dsn != NULL && dsn[0] != '\0')
		buf_printf(&s->reply, "%c%s ", soft && dsn[0] == '5' ? '4' : dsn[0], dsn + 1);
	buf_vprintf(&s->reply, fmt, args);
	/* RFC 5321 section 4.5.3.1.5: 512 bytes, the line end included */
	if (s->reply.len > 510)
		buf_truncate(&s->reply, 510);
	buf_add_str(&s->reply, "\r\n");
	(void)stream_write_span(s->stream, buf_span(&s->reply));
	if (code >= 400) {
		s->failed = true;
		s->errors++;
	}
}

void
smtpd_reply(struct smtpd_session *s, int code, const char *dsn, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	smtpd_vreply(s, code, dsn, fmt, args);
	va_end(args);
}

void
smtpd_reply_err(struct smtpd_session *s, const struct err *err)
{
	int code = err->smtp_code;

	if (code == 0)
		code = err->kind == ERR_PERM ? 550 : 451;
	smtpd_reply(s, code, err->dsn[0] != '\0' ? err->dsn : "4.3.0", "%s", err->text);
}

void
smtpd_give_up(struct smtpd_session *s, const char *dsn, const char *fmt, ...)
{
	struct buf text CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&text, fmt, args);
	va_end(args);
	smtpd_reply(s, 421, dsn, "%s %s", s->setup->hostname, buf_str(&text));
	smtpd_enter(s, SMTPD_STATE_CLOSED);
}

struct mail_log_client
smtpd_log_client(const struct smtpd_session *s)
{
	return (struct mail_log_client){
	    .name = s->client_name,
	    .addr = s->client_address,
	    .port =
		conf_bool(s->setup->conf, CONF_smtpd_client_port_logging) ? s->client_port : NULL,
	};
}

void
smtpd_log_lost(const struct smtpd_session *s, const char *why, const char *stage, int64_t bytes)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_client client = smtpd_log_client(s);

	mail_log_lost(&text, why, stage, bytes, &client);
	log_info("%s", buf_str(&text));
}

static void
smtpd_log_action(struct smtpd_session *s, const char *action, const char *stage,
    const struct access_request *request, struct span text)
{
	struct buf line CLEANUP(buf_done) = {0};
	const struct mail_log_reject reject = {
	    .queue_id = s->mail.msg_id != 0 ? s->mail.queue_id : NULL,
	    .action = action,
	    .stage = stage,
	    .client = smtpd_log_client(s),
	    .text = text,
	    .sender = request->sender_received,
	    .recipient = request->recipient_received,
	    .proto = s->helo == NULL ? NULL
		     : s->esmtp      ? "ESMTP"
				     : "SMTP",
	    .helo = s->helo,
	};

	mail_log_reject(&line, &reject);
	log_info("%s", buf_str(&line));
}

/* The lines of warn_if_reject. */
static void
smtpd_log_warnings(struct smtpd_session *s, const char *word, const struct access_request *request,
    const struct access_verdict *verdict)
{
	struct span rest = buf_span(&verdict->warning);
	struct span line;

	while (span_word(&rest, "\n", &line))
		smtpd_log_action(s, "reject_warning", word, request, line);
}

static void
smtpd_reject(struct smtpd_session *s, const char *word, const struct access_request *request,
    const struct access_verdict *verdict)
{
	struct buf text CLEANUP(buf_done) = {0};

	buf_printf(&text, "%d %s %s", verdict->code, verdict->dsn, buf_str(&verdict->text));
	smtpd_log_action(s, "reject", word, request, buf_span(&text));
	smtpd_reply(s, verdict->code, verdict->dsn, "%s", buf_str(&verdict->text));
	/* RFC 5321 section 3.8, RFC 7504: with these codes the server closes the channel. */
	if (verdict->code == 421 || verdict->code == 521)
		smtpd_enter(s, SMTPD_STATE_CLOSED);
}

bool
smtpd_access_permits(struct smtpd_session *s, enum access_stage stage, const char *word,
    const struct access_request *request)
{
	struct access_verdict verdict = {0};
	bool permit;

	access_check(s->setup->access, stage, request, &verdict);
	permit = verdict.permit;
	smtpd_log_warnings(s, word, request, &verdict);
	if (!permit)
		smtpd_reject(s, word, request, &verdict);
	access_verdict_done(&verdict);
	return permit;
}

void
smtpd_access_request(struct smtpd_session *s, struct access_request *ret)
{
	bool in_mail = s->state >= SMTPD_STATE_MAIL && s->state <= SMTPD_STATE_BDAT;

	*ret = (struct access_request){
	    .client_name = s->client_name,
	    .client_name_status = s->name_status,
	    .client_reverse_name = s->client_reverse_name,
	    .client_reverse_name_status = s->reverse_name_status,
	    .client_address = s->client_address,
	    .client_port = s->client_port,
	    .client_sa = (const struct sockaddr *)(const void *)&s->peer.sa,
	    .helo = s->helo,
	    .sender = in_mail ? s->mail.sender : NULL,
	    .sender_received = in_mail ? s->mail.sender_received : NULL,
	    .sender_as_given = in_mail ? s->mail.sender_as_given : NULL,
	    .rcpt_count = s->mail.rcpt_count,
	    .improper_pipelining = s->seen_pipelining,
	};
}
