/*
 * smtpd_data.c - a message, however it comes: DATA (RFC 5321 section 4.1.1.4), and what it shares with BDAT. It goes through
 * cleanup, and 250 is answered only when the queue has it (I3).
 */
#include "smtpd/smtpd_int.h"

#include <string.h>

#include "base/log.h"
#include "mail/mail_log.h"
#include "mail/mail_received.h"
#include "task/task.h"

/* Input converted between two looks at the other tasks. */
#define SMTPD_DATA_SLICE 65536

bool
smtpd_content_allowed(struct smtpd_session *s)
{
	if (s->mail.rcpt_count == 0) {
		if (s->state == SMTPD_STATE_MAIL)
			smtpd_reply(s, 554, "5.5.1", "Error: no valid recipients");
		else
			smtpd_reply(s, 503, "5.5.1", "Error: need RCPT command");
		return false;
	}
	return smtpd_access_permits_message(s, ACCESS_DATA, smtpd_command_name(s->command));
}

/* RFC 5321 section 4.4: the trace line on top, naming the recipient when there is just one. */
static void
smtpd_data_received(struct smtpd_session *s, struct buf *out)
{
	const struct mail_received received = {
	    .helo = s->helo,
	    .client_name = s->client_name,
	    .client_addr = s->client_address,
	    .host = s->setup->hostname,
	    .mail_name = conf_str(s->setup->conf, CONF_mail_name),
	    .protocol =
		mail_received_protocol(s->esmtp, false, s->sasl_username != NULL, s->mail.smtputf8),
	    .queue_id = s->mail.queue_id,
	    .second = s->mail.arrival / CLOCK_SECOND,
	    .rcpt = s->mail.rcpt_count == 1 ? s->mail.rcpts[0].received : NULL,
	};

	mail_received_write(out, &received);
}

/* local_header_rewrite_clients, unless XFORWARD says where the mail comes from. */
static bool
smtpd_is_rewrite_client(const struct smtpd_session *s)
{
	if (s->forward != NULL && s->forward->has_source)
		return s->forward->local;
	return access_is_rewrite_client(s->setup->access,
	    (const struct sockaddr *)(const void *)&s->peer.sa,
	    (const struct sockaddr *)(const void *)&s->connection.sa);
}

static void
smtpd_content_forward(const struct smtpd_session *s, struct cleanup_envelope *e)
{
	const struct smtpd_forward *f = s->forward;

	if (f == NULL)
		return;
	e->forwarded = true;
	e->log_client_name = f->name;
	e->log_client_address = f->address;
	e->log_client_port = f->port;
	e->log_helo = f->helo;
	e->log_protocol = f->protocol;
	e->log_ident = f->ident;
}

static void
smtpd_content_describe(struct smtpd_session *s, struct cleanup *c)
{
	struct cleanup_envelope *e = cleanup_envelope(c);

	e->msg_id = s->mail.msg_id;
	e->queue_id = s->mail.queue_id;
	e->arrival = s->mail.arrival;
	e->sender = s->mail.sender;
	e->body_8bit = s->mail.body_8bit;
	e->body_7bit = s->mail.body_7bit;
	e->smtputf8 = s->mail.smtputf8;
	e->envid = s->mail.envid;
	e->discard = s->mail.discard;
	e->ret = smtp_command_ret_text(s->mail.ret);
	e->client_name = s->client_name;
	e->client_address = s->client_address;
	e->client_reverse_name = s->client_reverse_name;
	e->client_port = s->client_port;
	e->client_helo = s->helo;
	e->client_protocol = s->esmtp ? "ESMTP" : "SMTP";
	e->complete_headers = smtpd_is_rewrite_client(s);
	e->sasl_method = s->sasl_method;
	e->sasl_username = s->sasl_username;
	smtpd_content_forward(s, e);
	for (size_t i = 0; i < s->mail.rcpt_count; i++)
		cleanup_add_rcpt(c, s->mail.rcpts[i].addr, s->mail.rcpts[i].received,
		    s->mail.rcpts[i].dsn_orcpt, s->mail.rcpts[i].dsn_notify);
}

void
smtpd_content_begin(struct smtpd_session *s)
{
	struct cleanup *c = cleanup_new(&s->setup->cleanup, s->mail.front);

	s->mail.cleanup = c;
	s->mail.in = (struct smtp_data_in){
	    .mode = s->forbids_bare_lf ? s->setup->bare_newline : SMTP_DATA_NO,
	    .replace_cr = conf_bool(s->setup->conf, CONF_cleanup_replace_stray_cr_lf),
	};
	smtpd_content_describe(s, c);
	for (size_t i = 0; i < s->mail.headers.count; i++)
		buf_printf(cleanup_content(c), "%s\n", s->mail.headers.items[i]);
	smtpd_data_received(s, cleanup_content(c));
}

/* What log lines call the message's size: its bytes as they came, a line end counted as two however it came. */
uint64_t
smtpd_content_size(const struct smtpd_session *s)
{
	return s->mail.content_bytes + s->mail.in.bare_lf;
}

/* smtpd_forbid_bare_newline = reject: the client cannot be trusted about where its messages end. */
static bool
smtpd_content_bare_lf(struct smtpd_session *s)
{
	int code = conf_int(s->setup->conf, CONF_smtpd_forbid_bare_newline_reject_code);
	struct access_request request;

	if (s->mail.in.bare_lf == 0 || s->mail.in.mode < SMTP_DATA_NOTE)
		return true;
	if (s->mail.in.mode == SMTP_DATA_NOTE) {
		log_info("%s: bare <LF> received from %s[%s]", s->mail.queue_id, s->client_name,
		    s->client_address);
		return true;
	}
	smtpd_access_request(s, &request);
	if (s->mail.rcpt_count > 1)
		request.recipient_received = NULL;
	smtpd_log_action(
	    s, "reject", smtpd_after_message, &request, SPAN_LIT("bare <LF> received"));
	smtpd_reply(s, code, "5.5.2", "%s Error: bare <LF> received", s->setup->hostname);
	if (code == 521)
		smtpd_enter(s, SMTPD_STATE_CLOSED);
	return false;
}

/* What the access rules, all asked by now, want done with the message. */
static void
smtpd_content_actions(struct smtpd_session *s)
{
	struct cleanup_envelope *e = cleanup_envelope(s->mail.cleanup);

	e->content_filter =
	    s->mail.filter != NULL ? s->mail.filter : conf_str(s->setup->conf, CONF_content_filter);
	e->redirect = s->mail.redirect;
	e->verp = s->mail.verp;
	e->hold = s->mail.hold;
	e->discard = s->mail.discard;
	for (size_t i = 0; i < s->mail.bccs.count; i++)
		cleanup_add_rcpt(
		    s->mail.cleanup, s->mail.bccs.items[i], s->mail.bccs.items[i], NULL, 0);
}

bool
smtpd_content_end(struct smtpd_session *s)
{
	struct err err;

	if (!smtpd_content_bare_lf(s) ||
	    !smtpd_access_permits_message(s, ACCESS_END_OF_DATA, "END-OF-MESSAGE"))
		return false;
	smtpd_content_actions(s);
	/* The other replies of the group need not wait for the disk (I4). */
	(void)stream_flush(s->stream);
	if (cleanup_finish(s->mail.cleanup, &err))
		return true;
	if (strcmp(err.dsn, "5.3.4") == 0)
		log_info_as(smtpd_content_size(s) > s->setup->cleanup.message_size_limit
				? "smtpd"
				: "cleanup",
		    "warning: %s: queue file size limit exceeded", s->mail.queue_id);
	smtpd_reply_err(s, &err);
	return false;
}

void
smtpd_content_done(struct smtpd_session *s)
{
	s->errors = 0;
	s->junk = 0;
	s->where = smtpd_after_message;
	/* Mail that was taken in the end shows that the troubles on its way did not matter. */
	s->notice.troubles = 0;
	smtpd_mail_reset(s);
	smtpd_notice_flush(s);
}

void
smtpd_content_lost(struct smtpd_session *s, const char *word, enum stream_result why)
{
	smtpd_log_lost(s, why == STREAM_TIMEOUT ? "timeout" : "lost connection", word,
	    (int64_t)smtpd_content_size(s));
	if (why == STREAM_TIMEOUT)
		smtpd_give_up(s, "4.4.2", "Error: timeout exceeded");
	else
		smtpd_enter(s, SMTPD_STATE_CLOSED);
}

/*
 * smtpd_per_request_deadline: the message as a whole has a time limit, which grows with what arrives (smtpd_min_data_rate) and is
 * never longer than smtpd_timeout. Otherwise each read has that limit.
 */
void
smtpd_content_deadline(struct smtpd_session *s, size_t added)
{
	const struct conf *conf = s->setup->conf;
	int64_t rate = conf_int(conf, CONF_smtpd_min_data_rate);
	int64_t whole = clock_deadline(conf_time(conf, CONF_smtpd_timeout));

	if (!conf_bool(conf, CONF_smtpd_per_request_deadline) || s->mail.deadline == 0)
		s->mail.deadline = whole;
	else
		s->mail.deadline =
		    MIN(whole, s->mail.deadline + (int64_t)added * CLOCK_SECOND / rate);
	stream_set_deadline(s->stream, s->mail.deadline);
}

/* Reads up to the final dot. What cleanup does not want any more (too large) is still read, and dropped. */
static enum stream_result
smtpd_data_read(struct smtpd_session *s)
{
	struct smtp_data_in *in = &s->mail.in;
	struct cleanup *c = s->mail.cleanup;
	size_t since_yield = 0;
	size_t added = 0;

	while (!in->done) {
		struct span bytes;
		enum stream_result r;
		size_t used;

		smtpd_content_deadline(s, added);
		r = stream_peek(s->stream, &bytes);
		if (r != STREAM_OK)
			return r;
		bytes = span_head(bytes, SMTPD_DATA_SLICE);
		added = bytes.len;
		used = smtp_data_read(in, bytes, cleanup_content(c));
		stream_consume(s->stream, used);
		s->mail.content_bytes += used;
		cleanup_added(c);
		since_yield += bytes.len;
		if (since_yield >= SMTPD_DATA_SLICE) {
			(void)task_yield();
			since_yield = 0;
		}
	}
	return STREAM_OK;
}

void
smtpd_data(struct smtpd_session *s, struct span args)
{
	enum stream_result r;

	if (s->state == SMTPD_STATE_BDAT)
		return smtpd_reply(s, 503, "5.5.1", "Error: DATA after BDAT");
	if (s->mail.rcpt_count != 0 && span_trim(args).len != 0)
		return smtpd_reply(s, 501, "5.5.4", "Syntax: DATA");
	if (!smtpd_content_allowed(s))
		return;
	smtpd_reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
	if (!stream_has_input(s->stream))
		(void)stream_flush(s->stream);
	smtpd_content_begin(s);
	r = smtpd_data_read(s);
	if (r != STREAM_OK)
		return smtpd_content_lost(s, "DATA", r);
	if (!smtpd_content_end(s))
		return smtpd_mail_reset(s);
	smtpd_reply(s, 250, "2.0.0", "Ok: queued as %s", s->mail.queue_id);
	smtpd_content_done(s);
}
