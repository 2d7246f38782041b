/*
 * smtp_mail.c - one mail transaction (RFC 5321 section 3.3). With PIPELINING it is two round trips: the envelope group, then the
 * content with its dot (RFC 2920). LMTP has one reply per accepted recipient after the dot (RFC 2033 section 4.2).
 *
 *	all replies of a group are read, also after one of them ended the transaction, so that the next command finds its own;
 *	a transaction that ends before its dot leaves session->needs_reset.
 */
#include <string.h>

#include "base/crash.h"
#include "base/log.h"
#include "client/smtp_int.h"

/* Recipients in one group: more might fill the buffers of both ends while neither reads. */
#define SMTP_MAIL_GROUP 200

struct smtp_transaction {
	struct smtp_session *session;
	struct smtp_delivery *d;
	bool pipelined;
	bool data; /* DATA follows RCPT: no probe that ends there */
	bool xforward_name;
	bool xforward_helo;
	size_t accepted;
};

/* Without PIPELINING every command waits for its reply. */
static bool
smtp_mail_sent(struct smtp_transaction *t, enum smtp_step step, int64_t timeout)
{
	return t->pipelined || smtp_session_flush(t->session, step, timeout);
}

/* ---- XFORWARD, MAIL ------------------------------------------------------------------------------------------- */

/* A refusal is only worth a warning: the mail itself is not concerned. */
static bool
smtp_mail_read_xforward(struct smtp_transaction *t, enum smtp_step step, const char *what)
{
	struct smtp_session *session = t->session;
	struct buf text CLEANUP(buf_done) = {0};

	if (!smtp_session_reply(session, step, session->setup->xforward_timeout))
		return false;
	if (smtp_reply_class(&session->reply) == 2)
		return true;
	smtp_reply_text(&session->reply, &text);
	log_warn("host %s[%s]:%u said: %s (in reply to XFORWARD %s command)", session->host.name,
	    session->address, net_addr_port(&session->host.addr), buf_str(&text), what);
	return true;
}

static bool
smtp_mail_write_xforward(struct smtp_transaction *t)
{
	int64_t timeout = t->session->setup->xforward_timeout;

	t->xforward_name = smtp_envelope_write_xforward_name(t->session, t->d->job);
	if (t->xforward_name && !t->pipelined &&
	    (!smtp_mail_sent(t, SMTP_STEP_XFORWARD_NAME, timeout) ||
		!smtp_mail_read_xforward(t, SMTP_STEP_XFORWARD_NAME, "name/address")))
		return false;
	t->xforward_helo = smtp_envelope_write_xforward_helo(t->session, t->d->job);
	if (t->xforward_helo && !t->pipelined &&
	    (!smtp_mail_sent(t, SMTP_STEP_XFORWARD_HELO, timeout) ||
		!smtp_mail_read_xforward(t, SMTP_STEP_XFORWARD_HELO, "helo/protocol")))
		return false;
	return true;
}

static bool
smtp_mail_read_group_xforward(struct smtp_transaction *t)
{
	if (!t->pipelined)
		return true;
	return (!t->xforward_name ||
		   smtp_mail_read_xforward(t, SMTP_STEP_XFORWARD_NAME, "name/address")) &&
	       (!t->xforward_helo ||
		   smtp_mail_read_xforward(t, SMTP_STEP_XFORWARD_HELO, "helo/protocol"));
}

/* The reply to MAIL. *ret_refused: the rest of the group is still to be read. */
static bool
smtp_mail_read_mail(struct smtp_transaction *t, bool *ret_refused)
{
	struct smtp_session *session = t->session;

	if (!smtp_session_reply(session, SMTP_STEP_MAIL, session->setup->mail_timeout))
		return false;
	*ret_refused = smtp_reply_class(&session->reply) != 2;
	if (*ret_refused) {
		session->needs_reset = true;
		(void)smtp_session_refused(session, SMTP_STEP_MAIL);
	}
	return true;
}

/* Replies nobody cares for any more. */
static void
smtp_mail_drain(struct smtp_transaction *t, size_t replies)
{
	struct smtp_session *session = t->session;
	struct smtp_trouble trouble = session->trouble;

	session->trouble.text = (struct buf){0};
	while (replies > 0 &&
	       smtp_session_reply(session, SMTP_STEP_RCPT, session->setup->rcpt_timeout))
		replies--;
	buf_done(&session->trouble.text);
	session->trouble = trouble;
}

/* ---- RCPT, DATA ----------------------------------------------------------------------------------------------- */

/* Writes RCPT for open recipients from `at` on: how many, and where the next group begins. */
static bool
smtp_mail_write_group(struct smtp_transaction *t, size_t at, size_t *ret_next, size_t *ret_written)
{
	size_t count = t->d->job->request.rcpt_count;
	size_t most = t->pipelined ? SMTP_MAIL_GROUP : 1;
	size_t written = 0;

	for (; at < count && written < most; at++) {
		if (!smtp_outcome_is_open(t->d, at))
			continue;
		if (!smtp_envelope_write_rcpt(t->session, t->d->job, at))
			return false;
		written++;
	}
	while (at < count && !smtp_outcome_is_open(t->d, at))
		at++;
	*ret_next = at;
	*ret_written = written;
	return true;
}

static bool
smtp_mail_read_rcpt(struct smtp_transaction *t, size_t rcpt)
{
	struct smtp_session *session = t->session;

	if (!smtp_session_reply(session, SMTP_STEP_RCPT, session->setup->rcpt_timeout))
		return false;
	if (smtp_reply_class(&session->reply) == 2) {
		t->d->accepted[rcpt] = true;
		t->accepted++;
		/* A probe has its answer. */
		if (!t->data)
			smtp_outcome_rcpt(session, t->d, rcpt, SMTP_STEP_RCPT);
	} else {
		smtp_outcome_rcpt(session, t->d, rcpt, SMTP_STEP_RCPT);
	}
	return true;
}

/* The replies to the group of recipients between `from` and `to`. */
static bool
smtp_mail_read_group(struct smtp_transaction *t, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (smtp_outcome_is_open(t->d, i) && !smtp_mail_read_rcpt(t, i))
			return false;
	return true;
}

/*
 * MAIL and all RCPTs, DATA too with PIPELINING: group by group. The first group has MAIL in front, the last one DATA
 * behind.
 */
static bool
smtp_mail_envelope(struct smtp_transaction *t)
{
	struct smtp_session *session = t->session;
	const struct smtp_setup *s = session->setup;
	size_t count = t->d->job->request.rcpt_count;
	size_t at = 0;
	bool first = true;
	bool refused = false;

	if (!smtp_mail_write_xforward(t))
		return false;
	if (!smtp_envelope_write_mail(session, t->d->job))
		return false;
	if (!t->pipelined && (!smtp_session_flush(session, SMTP_STEP_MAIL, s->mail_timeout) ||
				 !smtp_mail_read_mail(t, &refused)))
		return false;
	while (at < count && !refused) {
		size_t next;
		size_t written;
		bool data;

		if (!smtp_mail_write_group(t, at, &next, &written))
			return false;
		data = t->pipelined && t->data && next == count;
		if (data)
			smtp_session_write(session, SMTP_STEP_DATA, SPAN_LIT("DATA"));
		if (!smtp_session_flush(session, first ? SMTP_STEP_MAIL : SMTP_STEP_RCPT,
			first ? s->mail_timeout : s->rcpt_timeout))
			return false;
		if (first && t->pipelined &&
		    (!smtp_mail_read_group_xforward(t) || !smtp_mail_read_mail(t, &refused)))
			return false;
		if (refused)
			smtp_mail_drain(t, written + data);
		else if (!smtp_mail_read_group(t, at, next))
			return false;
		at = next;
		first = false;
	}
	return !refused;
}

/* DATA's reply, DATA itself without PIPELINING. *ret_go: the server waits for a content. */
static bool
smtp_mail_data(struct smtp_transaction *t, bool *ret_go)
{
	struct smtp_session *session = t->session;
	int64_t timeout = session->setup->data_init_timeout;

	*ret_go = false;
	session->needs_reset = true;
	if (!t->data || (!t->pipelined && t->accepted == 0))
		return true;
	if (!t->pipelined) {
		smtp_session_write(session, SMTP_STEP_DATA, SPAN_LIT("DATA"));
		if (!smtp_session_flush(session, SMTP_STEP_DATA, timeout))
			return false;
	}
	if (!smtp_session_reply(session, SMTP_STEP_DATA, timeout))
		return false;
	*ret_go = session->reply.code / 100 == 3;
	if (!*ret_go && t->accepted != 0)
		return smtp_session_refused(session, SMTP_STEP_DATA);
	return true;
}

/* ---- content -------------------------------------------------------------------------------------------------- */

/* Nobody is to get it, but the server waits for a content: an empty one ends it (RFC 2920 section 3.1). */
static bool
smtp_mail_end_empty(struct smtp_session *session)
{
	int64_t timeout = session->setup->data_done_timeout;

	smtp_session_write(session, SMTP_STEP_DOT, SPAN_LIT("."));
	return smtp_session_flush(session, SMTP_STEP_DOT, timeout) &&
	       smtp_session_reply(session, SMTP_STEP_DOT, timeout);
}

static bool
smtp_mail_dot_smtp(struct smtp_transaction *t)
{
	struct smtp_session *session = t->session;

	if (!smtp_session_reply(session, SMTP_STEP_DOT, session->setup->data_done_timeout))
		return false;
	CRASH_POINT("deliver-after-dot");
	if (smtp_reply_class(&session->reply) != 2)
		return smtp_session_refused(session, SMTP_STEP_DOT);
	for (size_t i = 0; i < t->d->job->request.rcpt_count; i++)
		if (t->d->accepted[i])
			smtp_outcome_rcpt(session, t->d, i, SMTP_STEP_DOT);
	return true;
}

static bool
smtp_mail_dot_lmtp(struct smtp_transaction *t)
{
	struct smtp_session *session = t->session;

	for (size_t i = 0; i < t->d->job->request.rcpt_count; i++) {
		if (!t->d->accepted[i])
			continue;
		if (!smtp_session_reply(session, SMTP_STEP_DOT, session->setup->data_done_timeout))
			return false;
		CRASH_POINT("deliver-after-dot");
		smtp_outcome_rcpt(session, t->d, i, SMTP_STEP_DOT);
	}
	return true;
}

/* An address probe ends at RCPT, or where the server says that it would take the content. */
static bool
smtp_mail_probe(struct smtp_transaction *t, bool go)
{
	if (!go)
		return true;
	t->session->broken = true;
	for (size_t i = 0; i < t->d->job->request.rcpt_count; i++)
		if (t->d->accepted[i])
			smtp_outcome_accept(t->session, t->d, i, SMTP_STEP_DATA);
	return true;
}

/* Mail that was taken with SMTPUTF8 and needs it goes to servers that offer it, or back. */
static bool
smtp_mail_check_utf8(struct smtp_session *session, const struct agent_job *job)
{
	if (smtp_envelope_attr(job, "smtputf8").len == 0 ||
	    smtp_session_offers(session, SMTP_EHLO_SMTPUTF8) || !smtp_envelope_needs_utf8(job))
		return true;
	return smtp_session_object(session, SMTP_STEP_MAIL, "5.6.7",
	    "SMTPUTF8 is required, but was not offered by host %s[%s]", session->host.name,
	    session->address);
}

/* RFC 1870 section 6.2: what is larger than the server takes is not even tried. */
static bool
smtp_mail_check_size(struct smtp_session *session, const struct agent_job *job)
{
	uint64_t limit = session->ehlo.size;

	if (!smtp_session_offers(session, SMTP_EHLO_SIZE) || limit == 0 ||
	    job->request.size <= limit)
		return true;
	return smtp_session_object(session, SMTP_STEP_MAIL, "5.3.4",
	    "message size %llu exceeds size limit %llu of server %s[%s]",
	    (unsigned long long)job->request.size, (unsigned long long)limit, session->host.name,
	    session->address);
}

bool
smtp_mail(struct smtp_session *session, struct smtp_delivery *d)
{
	const struct agent_job *job = d->job;
	struct smtp_transaction t = {
	    .session = session,
	    .d = d,
	    .pipelined = smtp_session_offers(session, SMTP_EHLO_PIPELINING),
	    .data = !job->request.verify_only || session->setup->probe_to_data,
	};
	bool go;

	session->uses++;
	session->ready = clock_real_us();
	memset(d->accepted, 0, job->request.rcpt_count * sizeof(*d->accepted));
	if (!smtp_mail_check_size(session, job) || !smtp_mail_check_utf8(session, job) ||
	    !smtp_mail_envelope(&t) || !smtp_mail_data(&t, &go))
		return false;
	if (job->request.verify_only)
		return smtp_mail_probe(&t, go);
	if (!go)
		return true;
	session->needs_reset = false;
	if (t.accepted == 0)
		return smtp_mail_end_empty(session);
	return smtp_body(session, d->job) &&
	       (session->setup->lmtp ? smtp_mail_dot_lmtp(&t) : smtp_mail_dot_smtp(&t));
}
