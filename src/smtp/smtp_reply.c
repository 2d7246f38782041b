/*
 * smtp_reply.c - see smtp_reply.h.
 */
#include "smtp/smtp_reply.h"

#include <ctype.h>

#define SMTP_REPLY_LINE_MAX 510 /* RFC 5321 section 4.5.3.1.5, without CRLF */

void
smtp_reply_write(struct buf *out, int code, const char *dsn, struct span text)
{
	bool last;

	do {
		size_t lf = span_find(text, '\n');
		size_t begin = out->len;

		last = lf >= text.len || lf + 1 == text.len;
		buf_printf(out, "%03d%c", code, last ? ' ' : '-');
		if (dsn != NULL && dsn[0] != '\0')
			buf_printf(out, "%s ", dsn);
		buf_add_span(out, span_head(text, lf));
		if (out->len - begin > SMTP_REPLY_LINE_MAX)
			buf_truncate(out, begin + SMTP_REPLY_LINE_MAX);
		buf_mask_controls(out, begin, '?');
		buf_add_str(out, "\r\n");
		text = span_from(text, lf + 1);
	} while (!last);
}

/* ---- client ---- */

void
smtp_reply_clear(struct smtp_reply *r)
{
	buf_clear(&r->text);
	*r = (struct smtp_reply){.text = r->text};
}

void
smtp_reply_done(struct smtp_reply *r)
{
	buf_done(&r->text);
	*r = (struct smtp_reply){0};
}

/* Keeps a line, printable, as long as there is room for text. */
static void
smtp_reply_keep(struct smtp_reply *r, struct span line)
{
	size_t begin;

	r->lines++;
	if (r->text.len >= SMTP_REPLY_TEXT_MAX) {
		r->truncated = true;
		return;
	}
	if (line.len > SMTP_REPLY_TEXT_MAX) {
		r->truncated = true;
		line = span_head(line, SMTP_REPLY_TEXT_MAX);
	}
	if (r->lines > 1)
		buf_add_char(&r->text, '\n');
	begin = r->text.len;
	buf_add_span(&r->text, line);
	buf_mask_controls(&r->text, begin, '?');
}

/* Three digits, then '-', ' ' or the end. */
static bool
smtp_reply_is_reply_line(struct span line)
{
	if (line.len < 3 || (line.len > 3 && line.ptr[3] != ' ' && line.ptr[3] != '-'))
		return false;
	return isdigit((unsigned char)line.ptr[0]) && isdigit((unsigned char)line.ptr[1]) &&
	       isdigit((unsigned char)line.ptr[2]);
}

enum smtp_reply_step
smtp_reply_line(struct smtp_reply *r, struct span line, bool strict)
{
	struct span text;

	smtp_reply_keep(r, line);
	if (r->lines > SMTP_REPLY_LINES_MAX)
		return SMTP_REPLY_BAD;
	if (!smtp_reply_is_reply_line(line)) {
		r->garbage = true;
		return strict ? SMTP_REPLY_BAD : SMTP_REPLY_MORE;
	}
	if (line.len > 3 && line.ptr[3] == '-')
		return SMTP_REPLY_MORE;
	r->code = (line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0');
	text = span_from(line, 4);
	while (text.len != 0 && text.ptr[0] == ' ')
		text = span_from(text, 1);
	mail_dsn_of_reply(r->code, text, r->dsn);
	return SMTP_REPLY_DONE;
}

int
smtp_reply_class(const struct smtp_reply *r)
{
	int class = r->code / 100;

	return class >= 2 && class <= 5 ? class : 0;
}

void
smtp_reply_text(const struct smtp_reply *r, struct buf *out)
{
	size_t begin = out->len;

	buf_add_span(out, buf_span(&r->text));
	for (size_t i = begin; i < out->len; i++)
		if (out->ptr[i] == '\n')
			out->ptr[i] = ' ';
}
