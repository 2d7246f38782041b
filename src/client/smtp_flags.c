/*
 * smtp_flags.c - flags=DORX of the master.cf line: Return-Path, X-Original-To and Delivered-To in front of the content, as a
 * mailbox store wants them, and the loop that Delivered-To tells of.
 */
#include "agent/agent_content.h"
#include "base/log.h"
#include "client/smtp_int.h"
#include "mail/mail_addr.h"
#include "mail/mail_header.h"

void
smtp_flags_load(struct smtp_setup *s, const struct service *service)
{
	s->assume_final = s->lmtp && conf_bool(s->conf, CONF_lmtp_assume_final);
	if (s->assume_final)
		log_warn(
		    "lmtp_assume_final is obsolete; instead, specify \"flags=X\" in master.cf");
	for (size_t i = 0; i < service->arg_count; i++) {
		struct span word = span_str(service->args[i]);

		if (!span_starts(word, "flags="))
			continue;
		for (size_t k = 6; k < word.len; k++) {
			s->add_delivered |= word.ptr[k] == 'D';
			s->add_original |= word.ptr[k] == 'O';
			s->add_return |= word.ptr[k] == 'R';
			s->assume_final |= word.ptr[k] == 'X';
		}
	}
}

static const struct delivery_rcpt *
smtp_flags_rcpt(const struct agent_job *job)
{
	return &job->request.rcpts[0];
}

/* Does the header section say that this recipient had the mail before? */
static bool
smtp_flags_is_loop(const struct agent_job *job, struct span content)
{
	struct buf addr CLEANUP(buf_done) = {0};
	struct mail_header_iter iter;
	struct mail_header h;

	mail_addr_quote(&addr, smtp_flags_rcpt(job)->addr);
	mail_header_start(&iter, content);
	while (mail_header_next(&iter, &h))
		if (h.id == MAIL_HEADER_DELIVERED_TO &&
		    span_equal_nocase(span_trim(h.value), buf_span(&addr)))
			return true;
	return false;
}

bool
smtp_flags_allow(struct smtp_delivery *d)
{
	const struct smtp_setup *s = d->setup;
	struct agent_job *job = d->job;
	int64_t deadline = clock_deadline(s->data_xfer_timeout);
	struct span piece;
	bool last;

	if ((s->add_delivered || s->add_original) && job->request.rcpt_count > 1) {
		log_warn("flag `%c' requires %.*s_destination_recipient_limit = 1",
		    s->add_delivered ? 'D' : 'O', SPAN_ARG(job->request.transport));
		(void)smtp_why_set(&d->why, "4.3.5", "mail system configuration error");
		smtp_outcome_refuse(d);
		return false;
	}
	if (!s->add_delivered)
		return true;
	agent_content_rewind(job);
	if (!agent_content_next(job, deadline, &piece, &last) || !smtp_flags_is_loop(job, piece))
		return true;
	(void)smtp_why_set(&d->why, "5.4.6", "mail forwarding loop for %.*s",
	    SPAN_ARG(smtp_flags_rcpt(job)->addr));
	smtp_outcome_refuse(d);
	return false;
}

static void
smtp_flags_header(struct buf *out, const char *name, struct span addr, bool bracketed)
{
	buf_printf(out, "%s: %s", name, bracketed ? "<" : "");
	mail_addr_quote(out, addr);
	buf_add_str(out, bracketed ? ">\n" : "\n");
}

void
smtp_flags_write(const struct smtp_setup *s, const struct agent_job *job, struct buf *out)
{
	const struct delivery_rcpt *r = smtp_flags_rcpt(job);

	if (s->add_return)
		smtp_flags_header(out, "Return-Path", job->request.sender, true);
	if (s->add_original)
		smtp_flags_header(
		    out, "X-Original-To", r->orig_addr.len != 0 ? r->orig_addr : r->addr, false);
	if (s->add_delivered)
		smtp_flags_header(out, "Delivered-To", r->addr, false);
}
