/*
 * smtp_body.c - sending the content: dot stuffing, conversion for servers without 8BITMIME, time limits. The content of an ordinary
 * message goes out in one write, its dot with it; of a large one no more than a slice is in memory, however slow the server is.
 */
#include "agent/agent_content.h"
#include "base/crash.h"
#include "client/smtp_int.h"
#include "mail/mail_qp.h"
#include "smtp/smtp_data.h"

/* Bytes of a content that are converted at a time. Contents that came with the request are there already, larger ones are not. */
#define SMTP_BODY_SLICE       65536
#define SMTP_BODY_SLICE_LARGE 8192
/* A header section longer than this is rewritten no further. */
#define SMTP_BODY_HEAD_MAX    262144

struct smtp_body {
	struct smtp_session *session;
	struct agent_job *job;
	struct smtp_data_out out;
	struct smtp_checking *checking; /* owned; NULL: no tables */
	struct buf checked;             /* what they made of it */
	struct mail_qp *qp;             /* owned; NULL: no conversion */
	struct buf
	    head;    /* with smtp_generic_maps: the content up to the end of its header section */
	bool headed; /* ... has gone out */
	struct buf seven; /* what it gave */
	struct buf slice; /* ready for the wire */
	int64_t deadline; /* smtp_per_request_deadline: for the whole content */
	size_t slice_size;
};

/* The server may have said why before it closed: that reply is worth more than "lost connection". */
static bool
smtp_body_lost(struct smtp_session *session, enum stream_result why)
{
	if ((why == STREAM_ERROR || why == STREAM_EOF) &&
	    smtp_session_reply(session, SMTP_STEP_BODY, session->setup->data_done_timeout) &&
	    smtp_reply_class(&session->reply) >= 4) {
		session->broken = true;
		return smtp_session_refused(session, SMTP_STEP_DOT);
	}
	return smtp_session_lost(session, SMTP_STEP_BODY, why);
}

/* How long the next bytes may take: each its own time, or all together at least smtp_min_data_rate. */
static void
smtp_body_set_deadline(struct smtp_body *b, size_t bytes)
{
	const struct smtp_setup *s = b->session->setup;

	if (!s->request_deadline) {
		stream_set_deadline(b->session->stream, clock_deadline(s->data_xfer_timeout));
		return;
	}
	b->deadline += (int64_t)bytes * CLOCK_SECOND / (int64_t)MAX(s->min_data_rate, (size_t)1);
	stream_set_deadline(b->session->stream, b->deadline);
}

/* Through the conversion for 7-bit servers, if there is one, into what goes on the wire; `last`: nothing follows. */
static void
smtp_body_convert(struct smtp_body *b, struct span part, bool last)
{
	buf_clear(&b->slice);
	if (b->qp != NULL) {
		buf_clear(&b->seven);
		mail_qp_write(b->qp, part, &b->seven);
		if (last)
			mail_qp_finish(b->qp, &b->seven);
		part = buf_span(&b->seven);
	}
	smtp_data_write(&b->out, part, &b->slice);
}

/* Through the tables. */
static bool
smtp_body_check(struct smtp_body *b, struct span *part, bool last)
{
	if (b->checking == NULL)
		return true;
	buf_clear(&b->checked);
	if (!smtp_checking_write(b->checking, *part, last, &b->checked))
		return smtp_session_table_trouble(b->session, SMTP_STEP_BODY);
	*part = buf_span(&b->checked);
	return true;
}

static bool
smtp_body_put(struct smtp_body *b, struct span part)
{
	enum stream_result r;

	smtp_body_convert(b, part, false);
	smtp_body_set_deadline(b, b->slice.len);
	r = stream_write_span(b->session->stream, buf_span(&b->slice));
	if (r == STREAM_OK && b->slice_size == SMTP_BODY_SLICE_LARGE)
		r = stream_flush(b->session->stream);
	return r == STREAM_OK || smtp_body_lost(b->session, r);
}

static bool
smtp_body_send(struct smtp_body *b, struct span part)
{
	return smtp_body_check(b, &part, false) && smtp_body_put(b, part);
}

/* The headers of flags=DOR, which are not the sender's and no table's business. */
static bool
smtp_body_send_flags(struct smtp_body *b)
{
	struct buf headers CLEANUP(buf_done) = {0};

	smtp_flags_write(b->session->setup, b->job, &headers);
	return headers.len == 0 || smtp_body_put(b, buf_span(&headers));
}

static bool
smtp_body_send_all(struct smtp_body *b, struct span bytes)
{
	while (bytes.len != 0) {
		struct span part = span_head(bytes, b->slice_size);

		bytes = span_from(bytes, part.len);
		if (!smtp_body_send(b, part))
			return false;
	}
	return true;
}

/* Gathers the header section, and sends it rewritten as soon as all of it is here, or more than there may be. */
static bool
smtp_body_send_head(struct smtp_body *b, struct span piece, bool last)
{
	struct smtp_session *session = b->session;
	struct buf out CLEANUP(buf_done) = {0};
	size_t len;
	bool ok;

	buf_add_span(&b->head, piece);
	if (!last && b->head.len < SMTP_BODY_HEAD_MAX &&
	    !smtp_generic_has_header(buf_span(&b->head)))
		return true;
	if (!smtp_generic_header(session->setup->generic, buf_span(&b->head), &out, &len))
		return smtp_session_table_trouble(session, SMTP_STEP_BODY);
	buf_add_span(&out, span_from(buf_span(&b->head), len));
	b->headed = true;
	ok = smtp_body_send_all(b, buf_span(&out));
	buf_done(&b->head);
	return ok;
}

/* True when all of it was written. */
static bool
smtp_body_content(struct smtp_body *b)
{
	struct smtp_session *session = b->session;
	int64_t timeout = session->setup->data_xfer_timeout;
	bool last = false;

	agent_content_rewind(b->job);
	while (!last) {
		struct span piece;

		if (!agent_may_go_on(b->job) ||
		    !agent_content_next(b->job, clock_deadline(timeout), &piece, &last))
			return smtp_session_lost(session, SMTP_STEP_BODY, STREAM_CANCELLED);
		if (!(b->headed ? smtp_body_send_all(b, piece)
				: smtp_body_send_head(b, piece, last)))
			return false;
	}
	return true;
}

/* The tail of the content and the final dot in one write: a pause between them costs a delayed ACK with some servers. */
static bool
smtp_body_end(struct smtp_body *b)
{
	struct smtp_session *session = b->session;
	struct span rest = {0};
	enum stream_result r;

	if (!smtp_body_check(b, &rest, true))
		return false;
	smtp_body_convert(b, rest, true);
	if (session->pix_slow_dot) {
		/* A firewall that does not see a dot of its own packet. */
		smtp_data_write_line_end(&b->out, &b->slice);
		(void)stream_write_span(session->stream, buf_span(&b->slice));
		buf_clear(&b->slice);
		if (!smtp_session_flush(session, SMTP_STEP_BODY, session->setup->data_xfer_timeout))
			return false;
		(void)task_sleep_until(clock_deadline(session->setup->pix_delay));
	}
	/* Whoever took the mail over from our scheduler must not find it delivered twice. */
	if (!agent_may_finish(b->job))
		return smtp_session_lost(session, SMTP_STEP_BODY, STREAM_CANCELLED);
	smtp_data_write_end(&b->out, &b->slice);
	smtp_body_set_deadline(b, b->slice.len);
	(void)stream_write_span(session->stream, buf_span(&b->slice));
	smtp_chat_said(session, SMTP_STEP_DOT, SPAN_LIT("."));
	CRASH_POINT("deliver-before-dot");
	r = stream_flush(session->stream);
	return r == STREAM_OK || smtp_body_lost(session, r);
}

bool
smtp_body(struct smtp_session *session, struct agent_job *job)
{
	struct smtp_body b = {
	    .session = session,
	    .job = job,
	    .out = {.line_limit = session->setup->line_limit},
	    .deadline = clock_deadline(session->setup->data_xfer_timeout),
	    .slice_size = job->request.content_inline ? SMTP_BODY_SLICE : SMTP_BODY_SLICE_LARGE,
	};
	bool ok;

	b.headed = !smtp_generic_is_on(session->setup->generic);
	if (smtp_checks_is_on(session->setup->checks))
		b.checking = smtp_checking_new(session->setup->checks, job->request.queue_id.ptr);
	if (smtp_envelope_is_downgraded(session, job))
		b.qp = mail_qp_new();
	ok = smtp_body_send_flags(&b) && smtp_body_content(&b) && smtp_body_end(&b);
	if (b.qp != NULL)
		mail_qp_free(&b.qp);
	smtp_checking_free(&b.checking);
	buf_done(&b.checked);
	buf_done(&b.head);
	buf_done(&b.seven);
	buf_done(&b.slice);
	return ok;
}
