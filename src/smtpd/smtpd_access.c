/*
 * smtpd_access.c - what the access rules are told of a session, and what becomes of their answer: the log, the reply, and what they
 * want done with the message.
 */
#include "smtpd/smtpd_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_log.h"

void
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
	    .proto = s->esmtp ? "ESMTP" : "SMTP",
	    .helo = request->helo,
	};

	mail_log_reject(&line, &reject);
	log_info("%s", buf_str(&line));
}

void
smtpd_refuse(struct smtpd_session *s, const char *word, const struct access_request *request,
    int code, const char *dsn, const char *text)
{
	struct buf line CLEANUP(buf_done) = {0};
	bool soft = code >= 500 && s->setup->soft_bounce;

	buf_printf(
	    &line, "%d %c%s %s", soft ? code - 100 : code, soft ? '4' : dsn[0], dsn + 1, text);
	smtpd_log_action(s, "reject", word, request, buf_span(&line));
	smtpd_reply(s, code, dsn, "%s", text);
}

static void
smtpd_reject(struct smtpd_session *s, const char *word, const struct access_request *request,
    const struct access_verdict *verdict)
{
	/* A code that is set so that it would accept, or nothing: relay_domains_reject_code = 450 for defer_unauth_destination. */
	if (verdict->code < 400 || verdict->code > 599) {
		log_warn("SMTP reply code configuration error: %d %s %s", verdict->code,
		    verdict->dsn, buf_str(&verdict->text));
		return smtpd_refuse(s, word, request, 450, "4.7.1", "Service unavailable");
	}
	smtpd_refuse(s, word, request, verdict->code, verdict->dsn, buf_str(&verdict->text));
	/* RFC 5321 section 3.8, RFC 7504: with these codes the server closes the channel. */
	if (verdict->code == 421 || verdict->code == 521)
		smtpd_enter(s, SMTPD_STATE_CLOSED);
}

static void
smtpd_add_text(struct smtpd_texts *texts, struct arena *arena, const char *text)
{
	texts->items = mem_resize(texts->items, texts->count + 1, sizeof(*texts->items));
	texts->items[texts->count++] = arena_strdup(arena, text);
}

/* A copy for an address is sent once, however many rules ask for it. */
static void
smtpd_add_bcc(struct smtpd_mail *mail, const char *address)
{
	for (size_t i = 0; i < mail->bccs.count; i++)
		if (span_equal_nocase_str(span_str(mail->bccs.items[i]), address))
			return;
	smtpd_add_text(&mail->bccs, &mail->arena, address);
}

/* What a rule wants done with the message. The last FILTER and REDIRECT win. */
static void
smtpd_apply_note(struct smtpd_mail *mail, const struct access_note *note)
{
	switch (note->kind) {
	case ACCESS_NOTE_FILTER:
		mail->filter = arena_strdup(&mail->arena, note->value);
		return;
	case ACCESS_NOTE_REDIRECT:
		mail->redirect = arena_strdup(&mail->arena, note->value);
		return;
	case ACCESS_NOTE_HOLD:
		mail->hold = arena_strdup(&mail->arena, note->text);
		return;
	case ACCESS_NOTE_DISCARD:
		mail->discard = true;
		return;
	case ACCESS_NOTE_BCC:
		smtpd_add_bcc(mail, note->value);
		return;
	case ACCESS_NOTE_PREPEND:
		smtpd_add_text(&mail->headers, &mail->arena, note->value);
		return;
	case ACCESS_NOTE_REJECT_WARNING:
	case ACCESS_NOTE_PERMIT:
	case ACCESS_NOTE_INFO:
	case ACCESS_NOTE_WARN:
		return;
	}
	UNREACHED();
}

static void
smtpd_apply_notes(struct smtpd_session *s, const char *word, const struct access_request *request,
    const struct access_verdict *verdict)
{
	for (size_t i = 0; i < verdict->note_count; i++) {
		const struct access_note *note = &verdict->notes[i];

		if (note->kind == ACCESS_NOTE_HOLD && s->mail.hold != NULL)
			continue;
		if (note->kind != ACCESS_NOTE_PREPEND)
			smtpd_log_action(
			    s, access_note_word(note->kind), word, request, span_str(note->text));
		smtpd_apply_note(&s->mail, note);
	}
}

bool
smtpd_access_permits(struct smtpd_session *s, enum access_stage stage, const char *word,
    const struct access_request *request)
{
	struct access_verdict verdict = {0};
	bool permit;

	/* The user of sendmail -bs may submit, and postdrop has the last word. */
	if (s->server->front.shard_count == 0)
		return true;
	/* A message that nobody gets may go to anybody. */
	if (s->mail.discard && stage >= ACCESS_RCPT)
		return true;
	access_check(s->setup->access, stage, request, &verdict);
	permit = verdict.permit;
	smtpd_apply_notes(s, word, request, &verdict);
	if (!permit) {
		smtpd_notice_rejected(s, verdict.code, verdict.dsn, buf_span(&verdict.text));
		smtpd_reject(s, word, request, &verdict);
	}
	access_verdict_done(&verdict);
	return permit;
}

void
smtpd_access_request(struct smtpd_session *s, struct access_request *ret)
{
	bool in_mail = s->state >= SMTPD_STATE_MAIL && s->state <= SMTPD_STATE_BDAT;
	const struct smtpd_rcpt *last =
	    in_mail && s->mail.rcpt_count > 0 ? &s->mail.rcpts[s->mail.rcpt_count - 1] : NULL;

	*ret = (struct access_request){
	    .client_name = s->client_name,
	    .client_name_status = s->name_status,
	    .client_reverse_name = s->client_reverse_name,
	    .client_reverse_name_status = s->reverse_name_status,
	    .client_address = s->client_address,
	    .client_port = s->client_port,
	    .connection = (const struct sockaddr *)(const void *)&s->connection.sa,
	    .helo = s->helo,
	    .sender = in_mail ? s->mail.sender : NULL,
	    .sender_received = in_mail ? s->mail.sender_received : NULL,
	    .sender_as_given = in_mail ? s->mail.sender_as_given : NULL,
	    .recipient = last != NULL ? last->addr : NULL,
	    .recipient_received = last != NULL ? last->received : NULL,
	    .recipient_as_given = last != NULL ? last->received : NULL,
	    .rcpt_count = s->mail.rcpt_count,
	    .sasl_username = s->sasl_username,
	    .memory = &s->memory,
	    .improper_pipelining = s->seen_pipelining,
	};
}

bool
smtpd_access_permits_message(struct smtpd_session *s, enum access_stage stage, const char *word)
{
	struct access_request request;

	smtpd_access_request(s, &request);
	/* What holds for all recipients alike must not name one of them. */
	if (s->mail.rcpt_count > 1)
		request.recipient = request.recipient_received = request.recipient_as_given = NULL;
	return smtpd_access_permits(s, stage, word, &request);
}
