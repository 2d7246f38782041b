/*
 * cleanup_mime.c - where in a message a line stands: its own headers, headers of a part, of an attached message, or a body. Only as
 * much of MIME as that takes (RFC 2046 section 5.1): multiparts, digests, message/rfc822. Nothing is converted.
 */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cleanup/cleanup_int.h"
#include "table/table.h"

/* ---- what headers say ------------------------------------------------------------------------------------------ */

void
cleanup_mime_header(struct cleanup *c, const struct mail_header *h)
{
	struct cleanup_mime *m = &c->mime;
	struct span value = span_trim(h->value);

	if (c->settings->no_mime)
		return;
	if (h->id == MAIL_HEADER_CONTENT_TYPE) {
		m->part.type = mail_mime_parse_type(h->value, &m->boundary);
		buf_clear(&m->type_header);
		buf_add_span(&m->type_header, span_trim(h->raw));
	} else if (h->id == MAIL_HEADER_CONTENT_TRANSFER_ENCODING) {
		m->part.is_8bit = mail_mime_parse_encoding(h->value) == MAIL_MIME_8BIT;
		m->part.encoding = span_equal_nocase_str(value, "base64") ? "base64"
				   : span_equal_nocase_str(value, "quoted-printable")
				       ? "quoted-printable"
				       : NULL;
	}
}

static void
push_level(struct cleanup *c)
{
	struct cleanup_mime *m = &c->mime;
	size_t length = MIN(m->boundary.len, c->settings->boundary_limit);

	/* Postfix begins to count with the third. */
	if (m->depth >= c->settings->mime_depth + 2) {
		return cleanup_check_refuse_mime(
		    c, "MIME nesting exceeds safety limit", buf_span(&m->type_header));
	}
	m->levels = mem_resize(m->levels, m->depth + 1, sizeof(*m->levels));
	m->levels[m->depth++] = (struct cleanup_level){
	    .boundary = mem_dup(m->boundary.ptr, length),
	    .length = length,
	    .digest = m->part.type == MAIL_MIME_DIGEST,
	};
}

/* A header section begins; `type` holds where it does not say one. */
static void
begin_headers(struct cleanup *c, enum cleanup_class where, enum mail_mime_type type)
{
	c->mime.where = where;
	c->mime.part = (struct cleanup_part){.type = type};
	buf_clear(&c->mime.boundary);
}

/* The headers of a part have ended: what follows? */
static void
begin_body(struct cleanup *c)
{
	struct cleanup_mime *m = &c->mime;
	enum mail_mime_type type = m->part.type;

	m->where = CLEANUP_BODY;
	m->body_seen = 0;
	if (type == MAIL_MIME_LEAF)
		return;
	if (m->part.encoding != NULL && c->settings->strict_domain)
		return cleanup_check_refuse_mime(c,
		    "invalid message/* or multipart/* encoding domain", span_str(m->part.encoding));
	if (type == MAIL_MIME_MESSAGE || type == MAIL_MIME_GLOBAL)
		begin_headers(c, CLEANUP_NESTED, MAIL_MIME_LEAF);
	else if (m->boundary.len != 0)
		push_level(c);
}

/* ---- bodies ---------------------------------------------------------------------------------------------------- */

static void
pop_levels(struct cleanup_mime *m, size_t depth)
{
	while (m->depth > depth)
		mem_free(m->levels[--m->depth].boundary);
}

/* A line that begins a part or ends a multipart changes where we are, for the lines behind it. */
static void
follow_boundary(struct cleanup *c, struct span line)
{
	struct cleanup_mime *m = &c->mime;

	if (line.len < 2 || line.ptr[0] != '-' || line.ptr[1] != '-')
		return;
	line = span_from(line, 2);
	for (size_t i = m->depth; i > 0; i--) {
		const struct cleanup_level *l = &m->levels[i - 1];

		if (line.len < l->length || memcmp(line.ptr, l->boundary, l->length) != 0)
			continue;
		if (span_starts(span_from(line, l->length), "--")) {
			pop_levels(m, i - 1);
			m->part = (struct cleanup_part){.type = MAIL_MIME_LEAF};
			m->where = CLEANUP_BODY;
			m->body_seen = 0;
		} else {
			pop_levels(m, i);
			begin_headers(c, CLEANUP_MIME,
			    m->levels[i - 1].digest ? MAIL_MIME_MESSAGE : MAIL_MIME_LEAF);
		}
		return;
	}
}

static void
body_line(struct cleanup *c, struct span piece, bool starts, bool ends)
{
	struct cleanup_mime *m = &c->mime;
	struct span text = span_head(piece, piece.len - (ends && piece.len != 0 ? 1 : 0));
	struct buf instead CLEANUP(buf_done) = {0};
	bool was_seen = c->settings->body_limit == 0 || m->body_seen < c->settings->body_limit;

	if (c->settings->strict_body && !c->settings->no_mime && !m->part.is_8bit &&
	    m->part.encoding == NULL && !utf8_is_ascii(piece))
		return cleanup_check_refuse_mime(
		    c, "improper use of 8-bit data in message body", text);
	m->body_seen += piece.len;
	if (starts && !c->settings->no_mime)
		follow_boundary(c, text);
	/* Nobody is asked about an empty line. */
	switch (was_seen && text.len != 0
		    ? cleanup_check(c, CLEANUP_BODY, text, &c->content, &instead)
		    : CLEANUP_KEEP) {
	case CLEANUP_KEEP:
		buf_add_span(&c->content, piece);
		break;
	case CLEANUP_DROP:
		break;
	case CLEANUP_REPLACE:
		buf_add_span(&c->content, buf_span(&instead));
		if (ends)
			buf_add_char(&c->content, '\n');
		break;
	}
}

/* ---- headers --------------------------------------------------------------------------------------------------- */

/* Adds to the header that is being read, up to header_size_limit; a line end is always kept. */
static void
gather(struct cleanup *c, struct span piece, bool ends)
{
	size_t limit = MAX(c->settings->header_limit, (size_t)1);
	size_t part = MAX(c->settings->line_limit, (size_t)1);
	struct span text = span_head(piece, piece.len - (ends && piece.len != 0 ? 1 : 0));

	/* Parts of lines are kept whole, until there is enough. */
	if (c->header.len >= limit)
		return;
	buf_add_span(&c->header, span_head(text, (limit - c->header.len + part - 1) / part * part));
	if (ends && (c->header.len == 0 || c->header.ptr[c->header.len - 1] != '\n'))
		buf_add_char(&c->header, '\n');
}

/* "Name : value" is a form of old (RFC 5322 section 4.5); it goes on as "Name: value". */
static void
tidy_name(struct buf *header)
{
	size_t name = mail_header_name_length(buf_span(header));
	size_t colon = span_find(buf_span(header), ':');

	if (name == 0 || colon == name || colon >= header->len)
		return;
	memmove(header->ptr + name, header->ptr + colon, header->len - colon);
	buf_truncate(header, header->len - (colon - name));
}

static void
flush_header(struct cleanup *c)
{
	if (c->header.len != 0 && !c->failed) {
		tidy_name(&c->header);
		if (c->header.ptr[c->header.len - 1] != '\n')
			buf_add_char(&c->header, '\n');
		cleanup_header_take(c);
	}
	buf_clear(&c->header);
}

/* The section has ended, with an empty line or with a line that is no header. */
static void
end_headers(struct cleanup *c, struct span piece, bool blank, bool ends)
{
	bool primary = c->mime.where == CLEANUP_PRIMARY;

	flush_header(c);
	if (c->failed)
		return;
	if (primary)
		cleanup_header_end(c, true);
	else if (blank)
		buf_add_span(&c->content, piece);
	if (c->failed)
		return;
	begin_body(c);
	if (blank || c->failed)
		return;
	/* It may also be the end of the part. */
	if (c->mime.where == CLEANUP_BODY)
		body_line(c, piece, true, ends);
	else
		cleanup_mime_line(c, piece, true, ends);
}

void
cleanup_mime_line(struct cleanup *c, struct span piece, bool starts, bool ends)
{
	bool blank = piece.len == 1 && ends;

	if (c->mime.where == CLEANUP_BODY)
		return body_line(c, piece, starts, ends);
	if (!starts || (c->header.len != 0 && piece.len != 0 && !blank &&
			   (piece.ptr[0] == ' ' || piece.ptr[0] == '\t')))
		return gather(c, piece, ends);
	flush_header(c);
	if (c->failed)
		return;
	if (!blank && mail_header_name_length(piece) != 0)
		return gather(c, piece, ends);
	end_headers(c, piece, blank, ends);
}

void
cleanup_mime_finish(struct cleanup *c)
{
	bool primary = c->mime.where == CLEANUP_PRIMARY;

	flush_header(c);
	if (primary)
		cleanup_header_end(c, false);
}

void
cleanup_mime_done(struct cleanup_mime *m)
{
	pop_levels(m, 0);
	mem_free(m->levels);
	buf_done(&m->boundary);
	buf_done(&m->type_header);
}
