/*
 * smtp_data.c - see smtp_data.h. Both directions find line ends with memchr and move whole lines into room that was
 * reserved for all of the input; the states below only matter at the beginning of a line and where a piece ends.
 *
 *	LINE_START --"."--> DOT --line end--> the end of the message, or nothing
 *	LINE_START, DOT --other--> TEXT --line end--> LINE_START
 *
 * What a line was ended by matters to the next one: in the careful modes "." ends a message only between two CRLFs.
 * Everything else that looks like an end disappears, lest the next server take it for one.
 */
#include "smtp/smtp_data.h"

enum smtp_data_state {
	SMTP_DATA_LINE_START,
	SMTP_DATA_DOT, /* a dot was read at the beginning of a line; it is not part of the text */
	SMTP_DATA_TEXT,
};

static const char smtp_data_mailbox_line[] = "X-Mailbox-Line: ";

/* CRs that are held back, at most: who sends nothing else would have us hold back gigabytes. */
#define SMTP_DATA_HELD_CR 1024

/* What a piece of input can grow by, CRs held back aside. */
#define SMTP_DATA_SLACK (sizeof(smtp_data_mailbox_line) + sizeof(((struct smtp_data_in *)0)->first))

static char *
smtp_data_put(char *at, struct span s)
{
	memcpy(at, s.ptr, s.len);
	return at + s.len;
}

/* Writes all but `drop` of the CRs that were held back. */
static char *
smtp_data_put_held_cr(struct smtp_data_in *d, size_t drop, char *at)
{
	for (; d->held_cr > drop; d->held_cr--)
		*at++ = d->replace_cr ? ' ' : '\r';
	d->held_cr = 0;
	return at;
}

/* More CRs than anybody has in front of an LF: the first of them are text. */
static char *
smtp_data_hold_cr(struct smtp_data_in *d, size_t more, char *at)
{
	d->held_cr += more;
	for (; d->held_cr > SMTP_DATA_HELD_CR; d->held_cr--) {
		*at++ = d->replace_cr ? ' ' : '\r';
		d->state = SMTP_DATA_TEXT;
	}
	return at;
}

/* Text without line end; it does not end in CR. */
static char *
smtp_data_put_text(struct smtp_data_in *d, struct span text, char *at)
{
	char *end;

	if (d->held_cr > 0)
		at = smtp_data_put_held_cr(d, 0, at);
	end = smtp_data_put(at, text);
	if (d->replace_cr)
		while ((at = memchr(at, '\r', (size_t)(end - at))) != NULL)
			*at = ' ';
	d->state = SMTP_DATA_TEXT;
	return end;
}

/* An LF was read, `held_cr` CRs before it. Sets d->done when this ends the message. */
static char *
smtp_data_put_end_of_line(struct smtp_data_in *d, bool dots, char *at)
{
	bool careful = d->mode != SMTP_DATA_NO;
	bool bare_lf = d->held_cr == 0;

	if (careful && d->held_cr > 1)
		d->state = SMTP_DATA_TEXT;
	at = smtp_data_put_held_cr(d, careful ? 1 : d->held_cr, at);
	d->bare_lf += bare_lf;
	if (dots && d->state == SMTP_DATA_DOT) {
		d->state = SMTP_DATA_LINE_START;
		d->done = !careful || (!bare_lf && !d->prev_bare_lf);
		d->prev_bare_lf = bare_lf;
		return at;
	}
	d->state = SMTP_DATA_LINE_START;
	d->prev_bare_lf = bare_lf;
	d->lines++;
	*at++ = '\n';
	return at;
}

/* How the bytes at the front of a content begin: */
enum smtp_data_first {
	SMTP_DATA_FIRST_PLAIN,
	SMTP_DATA_FIRST_FROM,  /* ">>From " */
	SMTP_DATA_FIRST_BLANK, /* white space: there is no header */
	SMTP_DATA_FIRST_MORE,  /* cannot be told yet */
};

static enum smtp_data_first
smtp_data_first(struct span s)
{
	static const char from[] = "From ";
	size_t i = 0;
	size_t n = 0;

	if (s.ptr[0] == ' ' || s.ptr[0] == '\t')
		return SMTP_DATA_FIRST_BLANK;
	while (i < s.len && s.ptr[i] == '>')
		i++;
	while (i < s.len && n < sizeof(from) - 1 && s.ptr[i] == from[n]) {
		i++;
		n++;
	}
	if (n == sizeof(from) - 1)
		return SMTP_DATA_FIRST_FROM;
	return i == s.len ? SMTP_DATA_FIRST_MORE : SMTP_DATA_FIRST_PLAIN;
}

/* The beginning of the content: takes bytes of `in` until it is known what it is. Returns how many. */
static size_t
smtp_data_begin(struct smtp_data_in *d, struct span in, char **at)
{
	enum smtp_data_first first = SMTP_DATA_FIRST_MORE;
	size_t used = 0;

	while (used < in.len && first == SMTP_DATA_FIRST_MORE && d->held < sizeof(d->first)) {
		if (in.ptr[used] == '\n' || in.ptr[used] == '\r')
			first = SMTP_DATA_FIRST_PLAIN;
		else
			d->first[d->held++] = in.ptr[used++];
		if (first == SMTP_DATA_FIRST_MORE)
			first = smtp_data_first(span_of(d->first, d->held));
	}
	if (first == SMTP_DATA_FIRST_MORE && d->held < sizeof(d->first))
		return used;
	d->from_line = first == SMTP_DATA_FIRST_FROM;
	if (d->from_line)
		*at = smtp_data_put(*at, SPAN_LIT(smtp_data_mailbox_line));
	else if (first == SMTP_DATA_FIRST_BLANK)
		*(*at)++ = '\n';
	if (d->held > 0)
		*at = smtp_data_put_text(d, span_of(d->first, d->held), *at);
	d->held = 0;
	d->started = true;
	return used;
}

/* One line, or what there is of it. Returns the bytes used. */
static size_t
smtp_data_line(struct smtp_data_in *d, struct span in, bool dots, char **at)
{
	const char *lf = memchr(in.ptr, '\n', in.len);
	size_t len = lf != NULL ? (size_t)(lf - in.ptr) : in.len;
	size_t text = len;

	while (text > 0 && in.ptr[text - 1] == '\r')
		text--;
	if (text > 0)
		*at = smtp_data_put_text(d, span_head(in, text), *at);
	*at = smtp_data_hold_cr(d, len - text, *at);
	if (lf == NULL)
		return len;
	*at = smtp_data_put_end_of_line(d, dots, *at);
	/* Another one may follow. */
	d->started = !d->from_line;
	d->from_line = false;
	return len + 1;
}

static size_t
smtp_data_convert(struct smtp_data_in *d, struct span in, bool dots, struct buf *out)
{
	bool may_begin = !d->started || d->from_line;
	size_t from_lines = may_begin ? in.len / sizeof("From ") : 0;
	char *begin = buf_room(out,
	    in.len + d->held_cr + SMTP_DATA_SLACK + from_lines * sizeof(smtp_data_mailbox_line));
	char *at = begin;
	size_t used = 0;

	while (used < in.len && !d->done) {
		if (dots && d->state == SMTP_DATA_LINE_START && d->held_cr == 0 && d->held == 0 &&
		    in.ptr[used] == '.') {
			d->state = SMTP_DATA_DOT;
			d->started = true;
			used++;
		} else if (!d->started) {
			used += smtp_data_begin(d, span_from(in, used), &at);
		} else {
			used += smtp_data_line(d, span_from(in, used), dots, &at);
		}
	}
	buf_added(out, (size_t)(at - begin));
	return used;
}

size_t
smtp_data_read(struct smtp_data_in *d, struct span in, struct buf *out)
{
	return smtp_data_convert(d, in, true, out);
}

void
smtp_data_read_chunk(struct smtp_data_in *d, struct span in, bool last, struct buf *out)
{
	char *begin;
	char *at;

	(void)smtp_data_convert(d, in, false, out);
	if (!last)
		return;
	begin = at = buf_room(out, d->held_cr + SMTP_DATA_SLACK);
	if (!d->started && d->held > 0)
		at = smtp_data_put_text(d, span_of(d->first, d->held), at);
	d->started = true;
	at = smtp_data_put_held_cr(d, 0, at);
	d->unended = d->state == SMTP_DATA_TEXT || at != begin;
	if (d->unended)
		*at++ = '\n';
	d->state = SMTP_DATA_LINE_START;
	buf_added(out, (size_t)(at - begin));
}

/* ---- sending ---- */

static char *
smtp_data_put_crlf(char *at)
{
	at[0] = '\r';
	at[1] = '\n';
	return at + 2;
}

/* Text of a line that is too long for what is left of it. */
static char *
smtp_data_put_folded(struct smtp_data_out *w, struct span text, char *at)
{
	while (text.len > w->line_limit - w->column) {
		size_t n = w->line_limit - w->column;

		at = smtp_data_put_crlf(smtp_data_put(at, span_head(text, n)));
		*at++ = ' ';
		w->column = 1;
		text = span_from(text, n);
	}
	w->column += text.len;
	return smtp_data_put(at, text);
}

void
smtp_data_write(struct smtp_data_out *w, struct span content, struct buf *out)
{
	size_t limit = w->line_limit > 1 ? w->line_limit : SIZE_MAX;
	/* At worst every byte is an LF, or a dot on a line of its own; each cut adds three. */
	size_t room = 2 * content.len + 3 * (content.len / (limit - 1)) + 8;
	char *begin = buf_room(out, room);
	char *at = begin;

	while (content.len != 0) {
		const char *lf = memchr(content.ptr, '\n', content.len);
		size_t len = lf != NULL ? (size_t)(lf - content.ptr) : content.len;

		if (w->column == 0 && content.ptr[0] == '.' && !w->no_dots)
			*at++ = '.';
		if (UNLIKELY(len > limit - w->column)) {
			at = smtp_data_put_folded(w, span_head(content, len), at);
		} else {
			at = smtp_data_put(at, span_head(content, len));
			w->column += len;
		}
		if (lf == NULL)
			break;
		at = smtp_data_put_crlf(at);
		w->column = 0;
		content = span_from(content, len + 1);
	}
	buf_added(out, (size_t)(at - begin));
}

void
smtp_data_write_line_end(struct smtp_data_out *w, struct buf *out)
{
	if (w->column != 0)
		buf_add(out, "\r\n", 2);
	w->column = 0;
}

void
smtp_data_write_end(struct smtp_data_out *w, struct buf *out)
{
	smtp_data_write_line_end(w, out);
	buf_add(out, ".\r\n", 3);
}
