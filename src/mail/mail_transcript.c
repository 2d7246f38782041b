/*
 * mail_transcript.c - see mail_transcript.h.
 */
#include "mail/mail_transcript.h"

#include "mail/mail_date.h"
#include "mail/mail_report.h"

#define MAIL_TRANSCRIPT_WIDTH 78

void
mail_transcript_done(struct mail_transcript *t)
{
	buf_done(&t->text);
	*t = (struct mail_transcript){0};
}

void
mail_transcript_clear(struct mail_transcript *t)
{
	buf_clear(&t->text);
	t->lines = 0;
	t->cut = false;
}

struct span
mail_transcript_command(struct span line)
{
	struct span rest;

	if (!span_starts_nocase(line, "AUTH "))
		return line;
	rest = span_trim(span_from(line, 5));
	rest = span_head(rest, span_find(rest, ' '));
	return span_head(line, (size_t)(rest.ptr + rest.len - line.ptr));
}

void
mail_transcript_add(struct mail_transcript *t, bool in, struct span lines)
{
	while (lines.len != 0) {
		struct span line = span_head(lines, span_find(lines, '\n'));

		lines = span_from(lines, line.len + 1);
		if (line.len != 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
		line = span_head(line, MAIL_TRANSCRIPT_LINE_MAX);
		if (t->text.len + line.len > MAIL_TRANSCRIPT_MAX) {
			t->cut = true;
			return;
		}
		buf_add_str(&t->text, in ? "In:  " : "Out: ");
		buf_add_span(&t->text, line);
		buf_add_char(&t->text, '\n');
		t->lines++;
	}
}

/* Wrapped, each line of it behind a blank. */
static void
mail_transcript_line(struct buf *out, struct buf *scratch, struct span line)
{
	struct span rest;

	buf_clear(scratch);
	mail_report_wrap(scratch, line, MAIL_TRANSCRIPT_WIDTH);
	rest = buf_span(scratch);
	while (rest.len != 0) {
		struct span one = span_head(rest, span_find(rest, '\n') + 1);

		buf_add_char(out, ' ');
		buf_add_span(out, one);
		rest = span_from(rest, one.len);
	}
}

void
mail_transcript_write(
    struct buf *out, const struct mail_transcript *t, const struct mail_transcript_notice *n)
{
	struct span rest = buf_span(&t->text);
	struct buf scratch CLEANUP(buf_done) = {0};

	buf_add_str(out, "Date: ");
	mail_date_write(out, n->now);
	buf_printf(out,
	    "\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\n"
	    "To: Postmaster <%s>\n"
	    "Subject: %s %s: errors from %s\n\n",
	    n->host, n->to, n->mail_name, n->side, n->peer);
	if (n->intro != NULL)
		buf_printf(out, "%s\n\n", n->intro);
	buf_add_str(out, "Transcript of session follows.\n\n");
	while (rest.len != 0) {
		struct span line = span_head(rest, span_find(rest, '\n'));

		rest = span_from(rest, line.len + 1);
		mail_transcript_line(out, &scratch, line);
	}
	if (t->cut)
		buf_add_str(out, " (the rest of the session is not kept)\n");
	/* A server's notice has room for the reason here, were there none. */
	if (n->reason != NULL)
		buf_printf(out, "\nSession aborted, reason: %s\n", n->reason);
	else if (n->intro == NULL)
		buf_add_char(out, '\n');
	buf_add_str(out, "\nFor other details, see the local mail logfile\n");
}
