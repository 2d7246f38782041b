/*
 * smtpd_rcpt.c - RCPT TO (RFC 5321 section 4.1.1.3), VRFY, and what access rules say to them.
 */
#include "smtpd/smtpd_int.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mail/mail_addr.h"
#include "mail/mail_log.h"
#include "mail/mail_queue_id.h"
#include "smtp/smtp_command.h"

static bool
smtpd_rcpt_allowed(struct smtpd_session *s)
{
	const struct conf *conf = s->setup->conf;

	if (s->state == SMTPD_STATE_BDAT || s->mail.chunks_failed) {
		smtpd_reply(s, 503, "5.5.1", "Error: RCPT after BDAT");
		return false;
	}
	if (s->state != SMTPD_STATE_MAIL && s->state != SMTPD_STATE_RCPT) {
		smtpd_reply(s, 503, "5.5.1", "Error: need MAIL command");
		return false;
	}
	if (s->mail.rcpt_count < conf_size(conf, CONF_smtpd_recipient_limit))
		return true;
	smtpd_reply(s, 452, "4.5.3", "Error: too many recipients");
	/* A well-meaning client may send the rest of its list before it reads our first 452. */
	if (s->mail.overshoot++ < conf_size(conf, CONF_smtpd_recipient_overshoot_limit))
		s->errors--;
	return false;
}

/* Asks the access rules about one recipient, at RCPT or VRFY; a rejection has been answered. */
static bool
smtpd_rcpt_permitted(
    struct smtpd_session *s, const char *word, const char *addr, const struct smtp_rcpt *rcpt)
{
	struct access_request request;

	smtpd_access_request(s, &request);
	request.recipient = addr;
	request.recipient_received = rcpt->addr;
	request.recipient_as_given = rcpt->addr;
	return smtpd_access_permits(s, ACCESS_RCPT, word, &request);
}

/* The queue id is minted with the first accepted recipient (I2), and logged with the client. */
static bool
smtpd_rcpt_first(struct smtpd_session *s)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_accept accept = {
	    .queue_id = s->mail.queue_id,
	    .client = smtpd_log_client(s),
	    .sasl_method = s->sasl_method,
	    .sasl_username = s->sasl_username,
	    .orig_queue_id = s->forward != NULL ? s->forward->ident : NULL,
	    .orig_client = {.name = s->forward != NULL ? s->forward->name : NULL,
		.addr = s->forward != NULL ? s->forward->address : NULL},
	};
	struct err err;

	/* Without a queue (sendmail -bs) the id only serves log and trace. */
	if (s->mail.front == NULL) {
		s->mail.msg_id = mail_queue_id_make(clock_real_us(), 0);
	} else if (!queue_front_mint(s->mail.front, &s->mail.msg_id, &err)) {
		smtpd_reply_err(s, &err);
		return false;
	}
	mail_queue_id_format(s->mail.msg_id, s->mail.queue_id);
	mail_log_accept(&text, &accept);
	log_info("%s", buf_str(&text));
	smtpd_enter(s, SMTPD_STATE_RCPT);
	return true;
}

/*
 * What a DSN calls the original recipient: what the client said it is, else the address as the client wrote it; NULL where that
 * is its usual written form, from which everybody can make it.
 */
static const char *
smtpd_rcpt_orcpt(struct smtpd_session *s, const struct smtp_rcpt *rcpt)
{
	struct buf usual CLEANUP(buf_done) = {0};

	if (rcpt->orcpt != NULL)
		return rcpt->orcpt;
	if (strcmp(rcpt->addr, rcpt->given) == 0 &&
	    !mail_addr_needs_quotes(mail_addr_split(span_str(rcpt->addr)).local))
		return NULL;
	mail_addr_quote(&usual, span_str(rcpt->addr));
	if (strcmp(buf_str(&usual), rcpt->given) == 0 ||
	    !queue_address_is_storable(span_str(rcpt->given)))
		return NULL;
	return arena_printf(&s->mail.arena, "rfc822;%s", rcpt->given);
}

static void
smtpd_rcpt_add(struct smtpd_session *s, const struct smtp_rcpt *rcpt, const char *addr)
{
	struct smtpd_mail *mail = &s->mail;

	/* Grown by doubling; bounded by smtpd_recipient_limit above. */
	if ((mail->rcpt_count & (mail->rcpt_count - 1)) == 0)
		mail->rcpts = mem_resize(mail->rcpts,
		    mail->rcpt_count != 0 ? mail->rcpt_count * 2 : 1, sizeof(*mail->rcpts));
	mail->rcpts[mail->rcpt_count++] = (struct smtpd_rcpt){
	    .addr = addr,
	    .received = rcpt->addr,
	    .dsn_orcpt = smtpd_rcpt_orcpt(s, rcpt),
	    .dsn_notify = rcpt->notify,
	};
}

void
smtpd_rcpt(struct smtpd_session *s, struct span args)
{
	struct smtp_rcpt rcpt;
	const char *addr;
	struct err err;

	if (!smtpd_rcpt_allowed(s) ||
	    !smtpd_client_may_name(s, ACCESS_CLIENT_RECIPIENT, args, "TO:"))
		return;
	if (!smtp_command_parse_rcpt(args, &s->options, &s->mail.arena, &rcpt, &err))
		return smtpd_reply_syntax(s, args, "TO:", &err);
	if (!queue_address_is_storable(span_str(rcpt.addr)))
		return smtpd_reply_improper(s, args, "TO:", "5.1.3");
	if (rcpt.orcpt != NULL && !queue_address_is_storable(span_str(rcpt.orcpt)))
		return smtpd_reply(s, 501, "5.5.4", "Error: Bad ORCPT parameter syntax");
	addr = rewrite_address(s->setup->rewrite, &s->mail.arena, span_str(rcpt.addr));
	if (!access_address_is_proper(s->setup->access, addr, s->mail.smtputf8))
		return smtpd_reply_improper(s, args, "TO:", "5.1.3");
	if (s->options.strict_smtputf8 && !s->mail.smtputf8 && !utf8_is_ascii(span_str(addr)))
		return smtpd_reply(
		    s, 553, "5.6.7", "Must declare SMTPUTF8 to send unicode address");
	if (!smtpd_rcpt_permitted(s, "RCPT", addr, &rcpt))
		return;
	if (s->mail.msg_id == 0 && !smtpd_rcpt_first(s))
		return;
	smtpd_rcpt_add(s, &rcpt, addr);
	smtpd_reply(s, 250, "2.1.5", "Ok");
}

void
smtpd_vrfy(struct smtpd_session *s, struct span args)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct smtp_rcpt rcpt;
	const char *addr;
	struct err err;

	if (conf_bool(s->setup->conf, CONF_disable_vrfy_command))
		return smtpd_reply(s, 502, "5.5.1", "VRFY command is disabled");
	if (!smtp_command_parse_vrfy(args, &s->options, &arena, &rcpt, &err))
		return smtpd_reply_syntax(s, args, "", &err);
	addr = rewrite_address(s->setup->rewrite, &arena, span_str(rcpt.addr));
	if (!access_address_is_proper(s->setup->access, addr, rcpt.smtputf8))
		return smtpd_reply_improper(s, args, "", "5.1.3");
	if (!smtpd_rcpt_permitted(s, "VRFY", addr, &rcpt))
		return;
	/* RFC 5321 section 3.5.3: 252 says that delivery will be tried, not that the mailbox exists. */
	smtpd_reply(s, 252, "2.0.0", "%s", rcpt.given);
}
