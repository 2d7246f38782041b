/*
 * mail_report.c - see mail_report.h. The order of fields and the texts are Postfix's, which people and programs that
 * sort bounces know.
 */
#include "mail/mail_report.h"

#include "base/utf8.h"
#include "mail/mail_addr.h"
#include "mail/mail_date.h"
#include "mail/mail_header.h"
#include "mail/mail_msgid.h"

#define MAIL_REPORT_WIDTH  79
#define MAIL_REPORT_INDENT 4

/* ---- the text for people ---- */

static const char mail_report_assistance[] =
    "For further assistance, please send mail to postmaster.\n"
    "\n"
    "If you do so, please include this problem report. You can\n"
    "delete your own text from the attached returned message.\n"
    "\n";

static const char mail_report_signature[] = "                   The mail system\n";

static void
mail_report_text_delay(struct buf *out, const struct mail_report_settings *s)
{
	static const char frame[] =
	    "####################################################################\n";

	buf_printf(out,
	    "%s# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n%s\n", frame,
	    frame);
	buf_printf(out,
	    "Your message could not be delivered for more than %lld hour(s).\n"
	    "It will be retried until it is %lld day(s) old.\n\n",
	    (long long)(s->delay_warning / 3600), (long long)(s->max_lifetime / 86400));
	buf_add_str(out, mail_report_assistance);
}

static void
mail_report_text(struct buf *out, const struct mail_report *r)
{
	const struct mail_report_settings *s = &r->settings;

	if (s->template != NULL) {
		buf_add_str(out, s->template->text);
		return;
	}
	buf_printf(out, "This is the mail system at host %s.\n\n", s->host);
	switch (r->kind) {
	case MAIL_REPORT_FAILURE:
		buf_add_str(out,
		    "I'm sorry to have to inform you that your message could not\n"
		    "be delivered to one or more recipients. It's attached below.\n\n");
		buf_add_str(out, mail_report_assistance);
		break;
	case MAIL_REPORT_DELAY:
		mail_report_text_delay(out, s);
		break;
	case MAIL_REPORT_SUCCESS:
		buf_add_str(out,
		    "Your message was successfully delivered to the destination(s)\n"
		    "listed below. If the message was delivered to mailbox you will\n"
		    "receive no further notifications. Otherwise you may still receive\n"
		    "notifications of mail delivery errors from other systems.\n\n");
		break;
	case MAIL_REPORT_VERIFY:
		buf_add_str(out, "Enclosed is the mail delivery report that you requested.\n\n");
		break;
	}
	buf_add_str(out, mail_report_signature);
}

const char *
mail_report_subject(const struct mail_report *report)
{
	static const char *const subjects[] = {
	    [MAIL_REPORT_FAILURE] = "Undelivered Mail Returned to Sender",
	    [MAIL_REPORT_DELAY] = "Delayed Mail (still being retried)",
	    [MAIL_REPORT_SUCCESS] = "Successful Mail Delivery Report",
	    [MAIL_REPORT_VERIFY] = "Mail Delivery Status Report",
	};
	static const char *const for_postmaster[] = {
	    [MAIL_REPORT_FAILURE] = "Postmaster Copy: Undelivered Mail",
	    [MAIL_REPORT_DELAY] = "Postmaster Warning: Delayed Mail",
	    [MAIL_REPORT_SUCCESS] = "Successful Mail Delivery Report",
	    [MAIL_REPORT_VERIFY] = "Mail Delivery Status Report",
	};
	const struct mail_report_template *t = report->settings.template;

	if (t == NULL)
		return report->for_postmaster ? for_postmaster[report->kind]
					      : subjects[report->kind];
	if (report->for_postmaster && t->postmaster_subject != NULL)
		return t->postmaster_subject;
	return t->subject;
}

/* ---- wrapped lines ---- */

static struct span
mail_report_skip_blanks(struct span s)
{
	while (s.len != 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = span_from(s, 1);
	return s;
}

/* How much of `s` goes into a line of `width` columns: whole words, at least one. */
static size_t
mail_report_line_length(struct span s, size_t width)
{
	size_t fits = 0;

	for (size_t at = 0; at < s.len;) {
		size_t end = at;

		while (end < s.len && s.ptr[end] != ' ' && s.ptr[end] != '\t')
			end++;
		if (end > width && fits != 0)
			return fits;
		fits = end;
		while (end < s.len && (s.ptr[end] == ' ' || s.ptr[end] == '\t'))
			end++;
		at = end;
	}
	return fits;
}

static void
mail_report_add_printable(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		buf_add_char(out, c < ' ' || c == 127 ? '?' : (char)c);
	}
}

void
mail_report_wrap(struct buf *out, struct span text, size_t width)
{
	for (bool first = true; first || text.len != 0; first = false) {
		size_t n = mail_report_line_length(text, width);

		if (!first)
			buf_printf(out, "%*s", MAIL_REPORT_INDENT, "");
		else
			width -= MIN(width, (size_t)MAIL_REPORT_INDENT);
		mail_report_add_printable(out, span_head(text, n));
		buf_add_char(out, '\n');
		text = mail_report_skip_blanks(span_from(text, n));
	}
}

/* ---- the parts ---- */

static void
mail_report_boundary(struct buf *out, const struct mail_report *r)
{
	buf_printf(out, "%s.%lld/%s", r->queue_id, (long long)r->now, r->settings.host);
}

static void
mail_report_part(struct buf *out, const struct mail_report *r, const char *description)
{
	buf_add_str(out, "\n--");
	mail_report_boundary(out, r);
	buf_printf(out, "\nContent-Description: %s\n", description);
}

/* The sender as it is shown: the null sender is the mailer daemon. */
static void
mail_report_add_sender(struct buf *out, const struct mail_report *r)
{
	if (r->sender.len != 0)
		mail_addr_quote(out, r->sender);
	else
		buf_printf(out, "MAILER-DAEMON@%s", r->settings.host);
}

/* "rfc822", or RFC 6533's "utf-8" for an address that needs it. */
static const char *
mail_report_addr_type(const struct mail_report *r, struct span addr)
{
	return r->smtputf8 && !utf8_is_ascii(addr) ? "utf-8" : "rfc822";
}

/* RFC 5322 message ids of the reported message, to let mail readers show both together. */
static void
mail_report_threading(struct buf *out, const struct mail_report *r)
{
	struct mail_header header;
	struct span id;

	if (!r->settings.threaded || !mail_header_find(r->content, "Message-Id", &header))
		return;
	id = span_trim(header.value);
	if (id.len == 0 || id.len > 500 || span_find(id, '\n') < id.len)
		return;
	buf_printf(out, "References: %.*s\nIn-Reply-To: %.*s\n", SPAN_ARG(id), SPAN_ARG(id));
}

/* The line that says so where there may be 8-bit text. */
static const char *
mail_report_encoding(const struct mail_report *r)
{
	return r->settings.only_7bit ? "" : "Content-Transfer-Encoding: 8bit\n";
}

static void
mail_report_header(struct buf *out, const struct mail_report *r)
{
	const struct mail_report_settings *s = &r->settings;

	buf_add_str(out, "Date: ");
	mail_date_write(out, r->now);
	if (s->template != NULL)
		buf_printf(out, "\nFrom: %s", s->template->from);
	else
		buf_printf(out, "\nFrom: Mail Delivery System <MAILER-DAEMON@%s>", s->origin);
	buf_printf(out, "\nSubject: %s\nTo: ", mail_report_subject(r));
	mail_addr_quote(out, r->to);
	buf_add_char(out, '\n');
	mail_report_threading(out, r);
	buf_printf(out,
	    "Auto-Submitted: auto-%s\n"
	    "MIME-Version: 1.0\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"",
	    r->for_postmaster ? "generated" : "replied");
	mail_report_boundary(out, r);
	buf_printf(out, "\"\n%sMessage-Id: ", mail_report_encoding(r));
	mail_msgid_write(out, s->msgid_stamp, r->now, r->new_id, s->host);
	buf_add_str(out, "\n\nThis is a MIME-encapsulated message.\n");
}

/* "<final> (expanded from <original>): reason" */
static void
mail_report_reason(struct buf *out, struct buf *scratch, const struct mail_report_rcpt *rcpt)
{
	buf_clear(scratch);
	buf_add_char(scratch, '<');
	mail_addr_quote(scratch, rcpt->final);
	if (rcpt->orig_addr.len != 0) {
		buf_add_str(scratch, "> (expanded from <");
		mail_addr_quote(scratch, rcpt->orig_addr);
		buf_add_str(scratch, ">): ");
	} else {
		buf_add_str(scratch, ">: ");
	}
	buf_add_span(scratch, rcpt->text);
	buf_add_char(out, '\n');
	mail_report_wrap(out, buf_span(scratch), MAIL_REPORT_WIDTH);
}

static void
mail_report_notification(struct buf *out, struct buf *scratch, const struct mail_report *r)
{
	const struct mail_report_template *t = r->settings.template;
	const char *charset = r->settings.ascii ? "us-ascii" : "utf-8";

	if (t != NULL)
		charset = t->charset;
	mail_report_part(out, r, "Notification");
	buf_printf(
	    out, "Content-Type: text/plain; charset=%s\n%s\n", charset, mail_report_encoding(r));
	if (!r->for_postmaster)
		mail_report_text(out, r);
	for (size_t i = 0; i < r->rcpt_count; i++)
		mail_report_reason(out, scratch, &r->rcpts[i]);
}

static void
mail_report_add_field(struct buf *out, struct buf *scratch, const char *name, struct span value)
{
	if (value.len == 0)
		return;
	buf_clear(scratch);
	buf_printf(scratch, "%s: ", name);
	buf_add_span(scratch, value);
	mail_report_wrap(out, buf_span(scratch), MAIL_REPORT_WIDTH);
}

static void
mail_report_status_rcpt(struct buf *out, struct buf *scratch, const struct mail_report *r,
    const struct mail_report_rcpt *rcpt)
{
	buf_printf(out, "\nFinal-Recipient: %s; ", mail_report_addr_type(r, rcpt->final));
	mail_addr_quote(out, rcpt->final);
	buf_add_char(out, '\n');
	if (rcpt->original.len != 0)
		buf_printf(out, "Original-Recipient: %.*s\n", SPAN_ARG(rcpt->original));
	buf_printf(out, "Action: %s\nStatus: %s\n", rcpt->action, rcpt->dsn);
	if (span_find(rcpt->remote_mta, ';') < rcpt->remote_mta.len)
		mail_report_add_field(out, scratch, "Remote-MTA", rcpt->remote_mta);
	else if (rcpt->remote_mta.len != 0)
		buf_printf(out, "Remote-MTA: dns; %.*s\n", SPAN_ARG(rcpt->remote_mta));
	if (rcpt->diagnostic.len != 0) {
		mail_report_add_field(out, scratch, "Diagnostic-Code", rcpt->diagnostic);
	} else {
		buf_clear(scratch);
		buf_printf(scratch, "Diagnostic-Code: X-%s; ", r->settings.mail_name);
		buf_add_span(scratch, rcpt->text);
		mail_report_wrap(out, buf_span(scratch), MAIL_REPORT_WIDTH);
	}
	if (rcpt->retry_until != 0) {
		buf_add_str(out, "Will-Retry-Until: ");
		mail_date_write(out, rcpt->retry_until);
		buf_add_char(out, '\n');
	}
}

static void
mail_report_status(struct buf *out, struct buf *scratch, const struct mail_report *r)
{
	const char *mail_name = r->settings.mail_name;

	mail_report_part(out, r, "Delivery report");
	if (r->smtputf8)
		buf_add_str(out, "Content-Type: message/global-delivery-status\n"
				 "Content-Transfer-Encoding: 8bit\n\n");
	else
		buf_add_str(out, "Content-Type: message/delivery-status\n\n");
	buf_printf(out, "Reporting-MTA: dns; %s\n", r->settings.host);
	if (r->envid.len != 0)
		buf_printf(out, "Original-Envelope-Id: %.*s\n", SPAN_ARG(r->envid));
	buf_printf(out, "X-%s-Queue-ID: %s\n", mail_name, r->queue_id);
	buf_printf(out, "X-%s-Sender: %s; ", mail_name, mail_report_addr_type(r, r->sender));
	mail_report_add_sender(out, r);
	buf_add_char(out, '\n');
	if (r->arrival > 0) {
		buf_add_str(out, "Arrival-Date: ");
		mail_date_write(out, r->arrival);
		buf_add_char(out, '\n');
	}
	for (size_t i = 0; i < r->rcpt_count; i++)
		mail_report_status_rcpt(out, scratch, r, &r->rcpts[i]);
}

static const char *
mail_report_returned_type(const struct mail_report *r)
{
	if (r->headers_only)
		return r->smtputf8 ? "message/global-headers" : "text/rfc822-headers";
	return r->smtputf8 ? "message/global" : "message/rfc822";
}

static void
mail_report_returned(struct buf *out, const struct mail_report *r)
{
	bool undelivered = r->kind == MAIL_REPORT_FAILURE || r->kind == MAIL_REPORT_DELAY;
	struct mail_header_scan scan;
	struct span content = r->content;

	if (undelivered)
		mail_report_part(out, r,
		    r->headers_only ? "Undelivered Message Headers" : "Undelivered Message");
	else
		mail_report_part(out, r, r->headers_only ? "Message Headers" : "Message");
	buf_printf(
	    out, "Content-Type: %s\n%s\n", mail_report_returned_type(r), mail_report_encoding(r));
	buf_add_str(out, "Return-Path: <");
	mail_report_add_sender(out, r);
	buf_add_str(out, ">\n");
	if (r->headers_only) {
		mail_header_scan(content, &scan);
		content = span_head(content, scan.headers);
	}
	buf_add_span(out, content);
	if (content.len != 0 && content.ptr[content.len - 1] != '\n')
		buf_add_char(out, '\n');
}

void
mail_report_write(struct buf *out, const struct mail_report *report)
{
	struct buf scratch CLEANUP(buf_done) = {0};

	mail_report_header(out, report);
	mail_report_notification(out, &scratch, report);
	mail_report_status(out, &scratch, report);
	mail_report_returned(out, report);
	buf_add_str(out, "\n--");
	mail_report_boundary(out, report);
	buf_add_str(out, "--\n");
}
