/*
 * smtpd_data.c - DATA (RFC 5321 section 4.1.1.4): reads the message, hands it to cleanup, and answers 250 only when the queue
 * has it (I3).
 */
#include "smtpd/smtpd_int.h"

#include "base/log.h"
#include "mail/mail_log.h"
#include "mail/mail_received.h"
#include "smtp/smtp_data.h"
#include "task/task.h"

/* Input converted between two looks at the other tasks. */
#define SMTPD_DATA_SLICE 65536

static bool
smtpd_data_allowed(struct smtpd_session *s)
{
	struct access_verdict verdict = {0};
	struct access_request request;
	bool permit;

	if (s->mail.rcpt_count == 0) {
		if (s->state == SMTPD_STATE_MAIL)
			smtpd_reply(s, 554, "5.5.1", "Error: no valid recipients");
		else
			smtpd_reply(s, 503, "5.5.1", "Error: need RCPT command");
		return false;
	}
	smtpd_access_request(s, &request);
	access_check(s->setup->access, ACCESS_DATA, &request, &verdict);
	permit = verdict.permit;
	if (!permit)
		smtpd_reject(s, "DATA", &request, &verdict);
	access_verdict_done(&verdict);
	return permit;
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
	    .protocol = mail_received_protocol(s->esmtp, false, false, s->mail.smtputf8),
	    .queue_id = s->mail.queue_id,
	    .second = s->mail.arrival / CLOCK_SECOND,
	    .rcpt = s->mail.rcpt_count == 1 ? s->mail.rcpts[0].addr : NULL,
	};

	mail_received_write(out, &received);
}

static enum smtp_data_mode
smtpd_data_mode(const struct smtpd_session *s)
{
	const struct conf *conf = s->setup->conf;

	if (access_is_mynetworks(
		s->setup->access, (const struct sockaddr *)(const void *)&s->peer.sa) &&
	    span_equal_str(span_str(conf_written(conf, CONF_smtpd_forbid_bare_newline_exclusions)),
		"$mynetworks"))
		return SMTP_DATA_NO;
	if (conf_is(conf, CONF_smtpd_forbid_bare_newline, "normalize") ||
	    conf_is(conf, CONF_smtpd_forbid_bare_newline, "yes"))
		return SMTP_DATA_NORMALIZE;
	if (conf_is(conf, CONF_smtpd_forbid_bare_newline, "note"))
		return SMTP_DATA_NOTE;
	if (conf_is(conf, CONF_smtpd_forbid_bare_newline, "reject"))
		return SMTP_DATA_REJECT;
	return SMTP_DATA_NO;
}

/* Reads up to the final dot. What cleanup does not want any more (too large) is still read, and dropped. */
static enum stream_result
smtpd_data_read(struct smtpd_session *s, struct smtp_data_in *in, struct cleanup *c)
{
	int64_t timeout = conf_time(s->setup->conf, CONF_smtpd_timeout);
	size_t since_yield = 0;

	while (!in->done) {
		struct span bytes;
		enum stream_result r;

		stream_set_deadline(s->stream, clock_deadline(timeout));
		r = stream_peek(s->stream, &bytes);
		if (r != STREAM_OK)
			return r;
		bytes = span_head(bytes, SMTPD_DATA_SLICE);
		stream_consume(s->stream, smtp_data_read(in, bytes, cleanup_content(c)));
		if (in->mode == SMTP_DATA_REJECT && in->bare_lf > 0)
			return STREAM_OK;
		cleanup_added(c);
		since_yield += bytes.len;
		if (since_yield >= SMTPD_DATA_SLICE) {
			(void)task_yield();
			since_yield = 0;
		}
	}
	return STREAM_OK;
}

static void
smtpd_data_lost(struct smtpd_session *s, struct cleanup *c, enum stream_result why)
{
	struct buf text CLEANUP(buf_done) = {0};
	const struct mail_log_client client = smtpd_log_client(s);

	mail_log_lost(&text, why == STREAM_TIMEOUT ? "timeout" : "lost connection", "DATA",
	    (int64_t)cleanup_size(c), &client);
	log_info("%s", buf_str(&text));
	if (why == STREAM_TIMEOUT)
		smtpd_give_up(s, "4.4.2", "Error: timeout exceeded");
	else
		smtpd_enter(s, SMTPD_STATE_CLOSED);
}

/* smtpd_forbid_bare_newline = reject: the client cannot be trusted about where its messages end. */
static void
smtpd_data_bare_lf(struct smtpd_session *s)
{
	int code = conf_int(s->setup->conf, CONF_smtpd_forbid_bare_newline_reject_code);

	log_info("%s: reject: bare <LF> received from %s[%s]", s->mail.queue_id, s->client_name,
	    s->client_address);
	smtpd_reply(s, code, "5.5.2", "%s Error: bare <LF> received", s->setup->hostname);
	smtpd_enter(s, SMTPD_STATE_CLOSED);
}

static bool
smtpd_data_permitted(struct smtpd_session *s)
{
	struct access_verdict verdict = {0};
	struct access_request request;
	bool permit;

	smtpd_access_request(s, &request);
	access_check(s->setup->access, ACCESS_END_OF_DATA, &request, &verdict);
	permit = verdict.permit;
	if (!permit)
		smtpd_reject(s, "END-OF-MESSAGE", &request, &verdict);
	access_verdict_done(&verdict);
	return permit;
}

/* Everything was read: to the queue, and the answer. */
static void
smtpd_data_end(struct smtpd_session *s, struct cleanup *c)
{
	struct err err;

	if (!smtpd_data_permitted(s))
		return;
	/* The other replies of the group need not wait for the disk (I4). */
	(void)stream_flush(s->stream);
	if (!cleanup_finish(c, &err))
		return smtpd_reply_err(s, &err);
	smtpd_reply(s, 250, "2.0.0", "Ok: queued as %s", s->mail.queue_id);
}

static void
smtpd_data_describe(struct smtpd_session *s, struct cleanup *c)
{
	struct cleanup_envelope *e = cleanup_envelope(c);

	e->msg_id = s->mail.msg_id;
	e->queue_id = s->mail.queue_id;
	e->arrival = s->mail.arrival;
	e->sender = s->mail.sender;
	e->body_8bit = s->mail.body_8bit;
	e->client_name = s->client_name;
	e->client_address = s->client_address;
	e->client_reverse_name = s->client_reverse_name;
	e->client_port = net_addr_port(&s->peer);
	e->client_helo = s->helo;
	e->client_protocol = s->esmtp ? "ESMTP" : "SMTP";
	e->complete_headers = access_is_rewrite_client(
	    s->setup->access, (const struct sockaddr *)(const void *)&s->peer.sa);
	for (size_t i = 0; i < s->mail.rcpt_count; i++)
		cleanup_add_rcpt(c, s->mail.rcpts[i].addr, s->mail.rcpts[i].addr,
		    s->mail.rcpts[i].dsn_orcpt, s->mail.rcpts[i].dsn_notify);
}

void
smtpd_data(struct smtpd_session *s, struct span args)
{
	struct smtp_data_in in = {.mode = smtpd_data_mode(s)};
	struct cleanup *c;
	enum stream_result r;

	if (span_trim(args).len != 0)
		return smtpd_reply(s, 501, "5.5.4", "Syntax: DATA");
	if (!smtpd_data_allowed(s))
		return;
	smtpd_reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
	if (!stream_has_input(s->stream))
		(void)stream_flush(s->stream);
	c = cleanup_new(&s->setup->cleanup, s->server->front);
	smtpd_data_describe(s, c);
	smtpd_data_received(s, cleanup_content(c));
	r = smtpd_data_read(s, &in, c);
	if (r != STREAM_OK)
		smtpd_data_lost(s, c, r);
	else if (!in.done)
		smtpd_data_bare_lf(s);
	else
		smtpd_data_end(s, c);
	cleanup_free(&c);
	if (s->state != SMTPD_STATE_CLOSED)
		smtpd_mail_reset(s);
}
