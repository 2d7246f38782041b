/*
 * smtpd_mail.c - MAIL FROM (RFC 5321 section 4.1.1.2) with SIZE (RFC 1870), BODY (RFC 6152), RET and ENVID (RFC 3461) and SMTPUTF8
 * (RFC 6531).
 */
#include "smtpd/smtpd_int.h"

#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "smtp/smtp_command.h"

static bool
smtpd_mail_allowed(struct smtpd_session *s)
{
	if (s->state == SMTPD_STATE_NEW && conf_bool(s->setup->conf, CONF_smtpd_helo_required)) {
		smtpd_reply(s, 503, "5.5.1", "Error: send HELO/EHLO first");
		return false;
	}
	if (s->state >= SMTPD_STATE_MAIL) {
		smtpd_reply(s, 503, "5.5.1", "Error: nested MAIL command");
		return false;
	}
	return true;
}

/* SIZE=, as far as it can be judged before the data (RFC 1870 section 6.1). */
static bool
smtpd_mail_size(struct smtpd_session *s, const struct smtp_mail *mail)
{
	size_t limit = s->setup->message_size_limit;

	struct access_request request;

	if (!mail->has_size || limit == 0 || mail->size <= limit)
		return true;
	smtpd_access_request(s, &request);
	request.sender_received = mail->addr;
	smtpd_refuse(s, "MAIL", &request, 552, "5.3.4", "Message size exceeds fixed limit");
	return false;
}

/* queue_minfree: room for one and a half of the largest message, on the disk that holds what this host keeps of the queue. */
static bool
smtpd_mail_has_room(struct smtpd_session *s)
{
	const struct conf *conf = s->setup->conf;
	uint64_t least = conf_size(conf, CONF_queue_minfree);
	uint64_t largest = s->setup->message_size_limit + s->setup->message_size_limit / 2;
	struct access_request request;
	struct statvfs disk;
	uint64_t free_bytes;

	if (statvfs(conf_str(conf, CONF_data_directory), &disk) != 0)
		return true;
	free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
	if (free_bytes > MAX(least, largest))
		return true;
	log_warn("not enough free space in mail queue: %llu bytes < 1.5*message size limit",
	    (unsigned long long)free_bytes);
	smtpd_access_request(s, &request);
	smtpd_refuse(s, "MAIL", &request, 452, "4.3.1", "Insufficient system storage");
	return false;
}

/* Can mail be taken now at all? Said here, so that no client sends a message in vain. */
static bool
smtpd_mail_queue_ready(struct smtpd_session *s)
{
	struct err err;

	if (s->server->front.shard_count == 0)
		return true;
	s->mail.front = cleanup_front_pick(&s->server->front, &err);
	if (s->mail.front != NULL)
		return true;
	smtpd_reply_err(s, &err);
	return false;
}

static bool
smtpd_mail_permitted(struct smtpd_session *s)
{
	struct access_request request;

	smtpd_access_request(s, &request);
	return smtpd_access_permits(s, ACCESS_MAIL, "MAIL", &request);
}

/* The queue keeps it decoded; the parser has seen that it can be. */
static const char *
smtpd_mail_envid(struct smtpd_session *s, const struct smtp_mail *mail)
{
	struct buf text CLEANUP(buf_done) = {0};

	if (mail->envid == NULL || !smtp_command_xtext_decode(span_str(mail->envid), &text))
		return NULL;
	return arena_dup(&s->mail.arena, buf_span(&text));
}

void
smtpd_mail(struct smtpd_session *s, struct span args)
{
	struct smtp_mail mail;
	struct err err;

	if (!smtpd_mail_allowed(s) ||
	    !smtpd_client_may_name(s, ACCESS_CLIENT_MESSAGE, args, "FROM:"))
		return;
	smtpd_mail_clear(s);
	if (!smtp_command_parse_mail(args, &s->options, &s->mail.arena, &mail, &err))
		return smtpd_reply_syntax(s, args, "FROM:", &err);
	if (mail.verp != NULL && mail.addr[0] == '\0')
		return smtpd_reply(s, 503, "5.5.4", "Error: XVERP requires non-null sender");
	/* An address that the queue cannot store unchanged is refused here, never bent (protocol rule 5a.12). */
	if (!queue_address_is_storable(span_str(mail.addr)))
		return smtpd_reply_improper(s, args, "FROM:", "5.1.7");
	if (!smtpd_mail_size(s, &mail) || !smtpd_mail_has_room(s) || !smtpd_mail_queue_ready(s))
		return;
	s->mail.sender = rewrite_address(s->setup->rewrite, &s->mail.arena, span_str(mail.addr));
	if (!access_address_is_proper(s->setup->access, s->mail.sender, mail.smtputf8))
		return smtpd_reply_improper(s, args, "FROM:", "5.1.7");
	s->mail.sender_received = mail.addr;
	s->mail.sender_as_given = mail.addr;
	s->mail.body_8bit = mail.body == SMTP_BODY_8BITMIME;
	s->mail.body_7bit = mail.body == SMTP_BODY_7BIT;
	s->mail.smtputf8 = mail.smtputf8;
	s->mail.envid = smtpd_mail_envid(s, &mail);
	s->mail.ret = mail.ret;
	s->mail.verp = mail.verp;
	s->mail.arrival = clock_real_us();
	smtpd_enter(s, SMTPD_STATE_MAIL);
	if (!smtpd_mail_permitted(s))
		return smtpd_mail_reset(s);
	smtpd_reply(s, 250, "2.1.0", "Ok");
}
