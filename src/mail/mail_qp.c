/*
 * mail_qp.c - see mail_qp.h. The content is taken line by line, headers field by field; memory is bounded by one line
 * piece, one header and the stack of boundaries.
 *
 *	HEADERS --empty line, leaf--> BODY
 *	HEADERS --empty line, message/rfc822--> HEADERS (the message's own)
 *	any --line "--boundary"--> HEADERS (of the next part); "--boundary--" --> BODY (after the last part)
 *
 * What a part's headers did not label as 8bit or binary passes unchanged: nobody knows what it is.
 */
#include "mail/mail_qp.h"

#include "base/mem.h"
#include "mail/mail_header.h"
#include "mail/mail_mime.h"

#define MAIL_QP_LINE_MAX   4096   /* longer lines are worked on in pieces */
#define MAIL_QP_HEADER_MAX 102400 /* the rest of a longer header is not looked at */
#define MAIL_QP_DEPTH_MAX  100    /* mime_nesting_limit: deeper parts are not taken apart */
#define MAIL_QP_WIDTH      72     /* a line longer than this is broken before its next byte */

enum mail_qp_state {
	MAIL_QP_HEADERS,
	MAIL_QP_BODY,
};

struct mail_qp_boundary {
	char *text; /* owned */
	size_t len;
	bool digest;
};

struct mail_qp {
	enum mail_qp_state state;
	enum mail_mime_type type; /* of the present part */
	bool eight_bit;           /* its encoding is 8bit or binary */
	struct buf boundary;      /* its boundary, while its headers are read */
	struct mail_qp_boundary stack[MAIL_QP_DEPTH_MAX];
	size_t depth;
	struct buf line;    /* an unfinished input line */
	bool line_began;    /* pieces of this line went out already */
	struct buf field;   /* the header being gathered, with its line ends */
	struct buf encoded; /* the output line being made */
};

struct mail_qp *
mail_qp_new(void)
{
	return mem_new(struct mail_qp);
}

static void
mail_qp_pop(struct mail_qp *qp, size_t depth)
{
	while (qp->depth > depth)
		mem_free(qp->stack[--qp->depth].text);
}

void
mail_qp_free(struct mail_qp **qp)
{
	if (*qp == NULL)
		return;
	mail_qp_pop(*qp, 0);
	buf_done(&(*qp)->boundary);
	buf_done(&(*qp)->line);
	buf_done(&(*qp)->field);
	buf_done(&(*qp)->encoded);
	mem_free(*qp);
	*qp = NULL;
}

bool
mail_qp_is_needed(struct span content)
{
	uint64_t word;
	size_t i = 0;

	for (; i + sizeof(word) <= content.len; i += sizeof(word)) {
		memcpy(&word, content.ptr + i, sizeof(word));
		if ((word & UINT64_C(0x8080808080808080)) != 0)
			return true;
	}
	for (; i < content.len; i++)
		if ((content.ptr[i] & 0x80) != 0)
			return true;
	return false;
}

/* ---- quoted-printable ---- */

static void
mail_qp_add_hex(struct buf *b, unsigned char c)
{
	static const char digits[] = "0123456789ABCDEF";

	buf_add_char(b, '=');
	buf_add_char(b, digits[c >> 4]);
	buf_add_char(b, digits[c & 15]);
}

/* White space at the end of a line would not survive. */
static void
mail_qp_flush_line(struct mail_qp *qp, struct buf *out)
{
	struct buf *e = &qp->encoded;

	if (e->len > 0 && (e->ptr[e->len - 1] == ' ' || e->ptr[e->len - 1] == '\t')) {
		unsigned char c = (unsigned char)e->ptr[e->len - 1];

		buf_truncate(e, e->len - 1);
		mail_qp_add_hex(e, c);
	}
	buf_add_span(out, buf_span(e));
	buf_add_char(out, '\n');
	buf_clear(e);
}

static void
mail_qp_encode(struct mail_qp *qp, struct span text, bool line_end, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (qp->encoded.len > MAIL_QP_WIDTH) {
			buf_add_span(out, buf_span(&qp->encoded));
			buf_add_str(out, "=\n");
			buf_clear(&qp->encoded);
		}
		if ((c < ' ' && c != '\t') || c == '=' || c > 126)
			mail_qp_add_hex(&qp->encoded, c);
		else
			buf_add_char(&qp->encoded, (char)c);
	}
	if (line_end)
		mail_qp_flush_line(qp, out);
}

/* ---- headers ---- */

/* The gathered field goes out, unless it is a Content-Transfer-Encoding that will be replaced. */
static void
mail_qp_end_field(struct mail_qp *qp, struct buf *out)
{
	struct mail_header_iter iter;
	struct mail_header header;

	if (qp->field.len == 0)
		return;
	mail_header_start(&iter, buf_span(&qp->field));
	if (mail_header_next(&iter, &header)) {
		if (header.id == MAIL_HEADER_CONTENT_TYPE)
			qp->type = mail_mime_parse_type(header.value, &qp->boundary);
		if (header.id == MAIL_HEADER_CONTENT_TRANSFER_ENCODING)
			qp->eight_bit = mail_mime_parse_encoding(header.value) == MAIL_MIME_8BIT;
		if (header.id == MAIL_HEADER_CONTENT_TRANSFER_ENCODING && qp->eight_bit)
			buf_clear(&qp->field);
	}
	buf_add_span(out, buf_span(&qp->field));
	buf_clear(&qp->field);
}

static void
mail_qp_push(struct mail_qp *qp)
{
	struct mail_qp_boundary *b;

	MUST(qp->depth < MAIL_QP_DEPTH_MAX);
	b = &qp->stack[qp->depth++];
	b->text = mem_dup(buf_str(&qp->boundary), qp->boundary.len);
	b->len = qp->boundary.len;
	b->digest = qp->type == MAIL_MIME_DIGEST;
}

/* Headers of a part begin. */
static void
mail_qp_begin_headers(struct mail_qp *qp, bool in_digest)
{
	qp->state = MAIL_QP_HEADERS;
	qp->type = in_digest ? MAIL_MIME_MESSAGE : MAIL_MIME_LEAF;
	qp->eight_bit = false;
}

/* The headers have ended, with an empty line (`blank`) or with one that is no header: says how the part is encoded now, and what comes
 * next. */
static void
mail_qp_end_headers(struct mail_qp *qp, bool blank, struct buf *out)
{
	mail_qp_end_field(qp, out);
	if (qp->type == MAIL_MIME_GLOBAL)
		qp->type = qp->eight_bit ? MAIL_MIME_LEAF : MAIL_MIME_MESSAGE;
	if (qp->depth == MAIL_QP_DEPTH_MAX && qp->type != MAIL_MIME_MESSAGE)
		qp->type = MAIL_MIME_LEAF;
	if (qp->eight_bit)
		buf_printf(out, "Content-Transfer-Encoding: %s\n",
		    qp->type == MAIL_MIME_LEAF ? "quoted-printable" : "7bit");
	if (blank)
		buf_add_char(out, '\n');
	if (qp->type == MAIL_MIME_MESSAGE)
		return mail_qp_begin_headers(qp, false);
	qp->state = MAIL_QP_BODY;
	if (qp->type == MAIL_MIME_LEAF)
		return;
	/* What stands before the first boundary is nobody's text, and stays as it is. */
	qp->eight_bit = false;
	if (qp->boundary.len != 0)
		mail_qp_push(qp);
}

/* ---- lines ---- */

/* Is it a boundary of one of the multiparts that are open? Deals with it then. */
static bool
mail_qp_boundary_line(struct mail_qp *qp, struct span line, struct buf *out)
{
	struct span text = span_from(line, 2);

	if (qp->depth == 0 || line.len >= MAIL_QP_LINE_MAX || !span_starts(line, "--"))
		return false;
	for (size_t i = qp->depth; i-- > 0;) {
		const struct mail_qp_boundary *b = &qp->stack[i];
		bool digest = b->digest;

		if (!span_equal(span_head(text, b->len), span_of(b->text, b->len)))
			continue;
		if (span_starts(span_from(text, b->len), "--")) {
			mail_qp_pop(qp, i);
			qp->state = MAIL_QP_BODY;
			qp->eight_bit = false;
		} else {
			mail_qp_pop(qp, i + 1);
			mail_qp_begin_headers(qp, digest);
		}
		buf_add_span(out, line);
		return true;
	}
	return false;
}

static void
mail_qp_body(struct mail_qp *qp, struct span line, bool line_end, struct buf *out)
{
	if (qp->eight_bit)
		mail_qp_encode(qp, line, line_end, out);
	else
		buf_add_span(out, line);
	if (line_end && !qp->eight_bit)
		buf_add_char(out, '\n');
}

/* A complete line of the header section, its LF included. */
static void
mail_qp_header_line(struct mail_qp *qp, struct span line, bool line_end, struct buf *out)
{
	bool more = line.len != 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t') &&
		    qp->field.len != 0 && !qp->line_began;

	if (qp->line_began || more) {
		if (qp->field.len > MAIL_QP_HEADER_MAX)
			mail_qp_end_field(qp, out);
		buf_add_span(qp->field.len != 0 ? &qp->field : out, line);
		if (line_end)
			buf_add_char(qp->field.len != 0 ? &qp->field : out, '\n');
		return;
	}
	if (mail_header_name_length(span_head(line, MAIL_QP_LINE_MAX)) != 0) {
		mail_qp_end_field(qp, out);
		buf_add_span(&qp->field, line);
		if (line_end)
			buf_add_char(&qp->field, '\n');
		return;
	}
	mail_qp_end_headers(qp, line.len == 0, out);
	if (line.len == 0)
		return;
	/* the first line of the body stands where the empty line should be */
	if (line_end && mail_qp_boundary_line(qp, line, out))
		return buf_add_char(out, '\n');
	if (qp->state == MAIL_QP_BODY)
		mail_qp_body(qp, line, line_end, out);
	else
		mail_qp_header_line(qp, line, line_end, out);
}

/* One line, or with `line_end` false a piece of a long one. */
static void
mail_qp_line(struct mail_qp *qp, struct span line, bool line_end, struct buf *out)
{
	if (!qp->line_began && line_end && qp->field.len == 0 &&
	    mail_qp_boundary_line(qp, line, out))
		buf_add_char(out, '\n');
	else if (qp->state == MAIL_QP_HEADERS)
		mail_qp_header_line(qp, line, line_end, out);
	else
		mail_qp_body(qp, line, line_end, out);
	qp->line_began = !line_end;
}

void
mail_qp_write(struct mail_qp *qp, struct span content, struct buf *out)
{
	while (content.len != 0) {
		size_t lf = span_find(content, '\n');
		bool line_end = lf < content.len;

		if (line_end && qp->line.len == 0) {
			mail_qp_line(qp, span_head(content, lf), true, out);
		} else {
			lf = MIN(lf, (size_t)MAIL_QP_LINE_MAX);
			line_end = lf < content.len && content.ptr[lf] == '\n';
			buf_add_span(&qp->line, span_head(content, lf));
			if (line_end || qp->line.len >= MAIL_QP_LINE_MAX) {
				mail_qp_line(qp, buf_span(&qp->line), line_end, out);
				buf_clear(&qp->line);
			}
		}
		content = span_from(content, lf + line_end);
	}
}

void
mail_qp_finish(struct mail_qp *qp, struct buf *out)
{
	if (qp->line.len != 0 || qp->line_began)
		mail_qp_line(qp, buf_span(&qp->line), true, out);
	buf_clear(&qp->line);
	if (qp->state == MAIL_QP_HEADERS)
		mail_qp_end_field(qp, out);
}
