/*
 * table_scan.c - see table_scan.h.
 */
#include "operator/table_scan.h"

#include "base/buf.h"
#include "base/mem.h"
#include "mail/mail_header.h"
#include "mail/mail_mime.h"

/* Parts within parts that are told apart (mime_nesting_limit's default). */
#define TABLE_SCAN_DEPTH 100

struct table_scan_state {
	const struct table_scan *scan;
	struct buf boundaries[TABLE_SCAN_DEPTH]; /* of the multiparts that are open */
	size_t depth;
	bool digest; /* a part without a type is a message */
};

/* What follows the header section of a part. */
static enum mail_mime_type
table_scan_type(struct table_scan_state *s, struct span section, bool part)
{
	struct mail_header_iter iter;
	struct mail_header header;
	struct buf boundary CLEANUP(buf_done) = {0};
	enum mail_mime_type type = part && s->digest ? MAIL_MIME_MESSAGE : MAIL_MIME_LEAF;

	mail_header_start(&iter, section);
	while (mail_header_next(&iter, &header))
		if (header.id == MAIL_HEADER_CONTENT_TYPE) {
			buf_clear(&boundary);
			type = mail_mime_parse_type(header.value, &boundary);
		}
	s->digest = type == MAIL_MIME_DIGEST;
	if ((type == MAIL_MIME_MULTIPART || type == MAIL_MIME_DIGEST) && boundary.len != 0 &&
	    s->depth < TABLE_SCAN_DEPTH) {
		buf_clear(&s->boundaries[s->depth]);
		buf_add_span(&s->boundaries[s->depth++], buf_span(&boundary));
	}
	return type;
}

/* Takes a header section off the front of `rest`, those of attached messages that follow at once too. */
static void
table_scan_headers(struct table_scan_state *s, struct span *rest, bool part)
{
	enum mail_mime_type type;

	do {
		struct mail_header_iter iter;
		struct mail_header header;
		struct span section = *rest;

		mail_header_start(&iter, section);
		while (mail_header_next(&iter, &header)) {
			struct span raw = header.raw;

			while (raw.len > 0 && raw.ptr[raw.len - 1] == '\n')
				raw.len--;
			if (s->scan->headers)
				s->scan->key(s->scan->arg, raw);
		}
		*rest = span_from(section, iter.body);
		/* What parts headers from body is a line of the body, also where it is not there. */
		if (s->scan->body && (iter.blank || rest->len != 0))
			s->scan->key(s->scan->arg, span_of("", 0));
		if (!s->scan->mime)
			return;
		type = table_scan_type(s, span_head(section, iter.at), part);
		part = false;
	} while ((type == MAIL_MIME_MESSAGE || type == MAIL_MIME_GLOBAL) && rest->len != 0);
}

/* Is it the boundary of an open multipart? Those within it end with it. */
static bool
table_scan_boundary(struct table_scan_state *s, struct span line, bool *ret_last)
{
	if (!span_starts(line, "--"))
		return false;
	for (size_t i = s->depth; i > 0; i--) {
		struct span boundary = buf_span(&s->boundaries[i - 1]);
		struct span text = span_from(line, 2);

		if (!span_equal(span_head(text, boundary.len), boundary))
			continue;
		*ret_last = span_starts(span_from(text, boundary.len), "--");
		s->depth = *ret_last ? i - 1 : i;
		return true;
	}
	return false;
}

void
table_scan(const struct table_scan *scan, struct span message)
{
	struct table_scan_state *s = mem_new(struct table_scan_state);

	s->scan = scan;
	table_scan_headers(s, &message, false);
	while (message.len != 0) {
		size_t n = span_find(message, '\n');
		struct span line = span_head(message, n);
		bool last;

		message = span_from(message, n + 1);
		if (scan->body)
			scan->key(scan->arg, line);
		if (scan->mime && table_scan_boundary(s, line, &last) && !last)
			table_scan_headers(s, &message, true);
	}
	for (size_t i = 0; i < TABLE_SCAN_DEPTH; i++)
		buf_done(&s->boundaries[i]);
	mem_free(s);
}
