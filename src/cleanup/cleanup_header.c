/*
 * cleanup_header.c - one header after the other: checked, counted, rewritten, dropped; and at the end of the section those that are
 * missing.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cleanup/cleanup_int.h"
#include "mail/mail_addr.h"
#include "mail/mail_date.h"
#include "mail/mail_msgid.h"

#define BIT(id) (UINT64_C(1) << (id))
#define VISIBLE                                                                                    \
	(BIT(MAIL_HEADER_TO) | BIT(MAIL_HEADER_CC) | BIT(MAIL_HEADER_RESENT_TO) |                  \
	    BIT(MAIL_HEADER_RESENT_CC))

/* A word of a display name that is more than atoms needs quotes (RFC 5322 section 3.2.5). */
static void
add_phrase(struct buf *out, struct span name)
{
	bool quote = false;

	for (size_t i = 0; i < name.len && !quote; i++)
		quote = strchr("()<>[]:;@\\,.\"", name.ptr[i]) != NULL;
	if (!quote) {
		buf_add_span(out, name);
		return;
	}
	buf_add_char(out, '"');
	for (size_t i = 0; i < name.len; i++) {
		if (name.ptr[i] == '"' || name.ptr[i] == '\\')
			buf_add_char(out, '\\');
		buf_add_char(out, name.ptr[i]);
	}
	buf_add_char(out, '"');
}

static bool
is_balanced(struct span text)
{
	size_t depth = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == ')' && depth-- == 0)
			return false;
		depth += text.ptr[i] == '(';
	}
	return depth == 0;
}

/* A comment that would end too early, or never, gets backslashes. */
static void
add_comment(struct buf *out, struct span text)
{
	buf_add_str(out, " (");
	if (is_balanced(text)) {
		buf_add_span(out, text);
		buf_add_char(out, ')');
		return;
	}
	for (size_t i = 0; i < text.len; i++) {
		if (strchr("()\\", text.ptr[i]) != NULL)
			buf_add_char(out, '\\');
		buf_add_char(out, text.ptr[i]);
	}
	buf_add_char(out, ')');
}

/* The value of a From: made here: the envelope sender, with his name if it is known; "MAILER-DAEMON" alone where there is none. */
static void
add_from(const struct cleanup *c, struct buf *out)
{
	const struct cleanup_envelope *e = &c->envelope;
	struct buf addr CLEANUP(buf_done) = {0};
	struct span name = span_str(e->full_name);

	if (e->sender[0] == '\0') {
		buf_add_str(out, "MAILER-DAEMON");
		return;
	}
	mail_addr_quote(&addr, span_str(e->sender));
	if (name.len != 0 && !c->settings->from_obsolete) {
		add_phrase(out, name);
		buf_printf(out, " <%s>", buf_str(&addr));
		return;
	}
	buf_add_span(out, buf_span(&addr));
	if (name.len != 0)
		add_comment(out, name);
}

static bool
has(const struct cleanup *c, enum mail_header_id id)
{
	return (c->present >> id & 1) != 0;
}

/* For mail that does not say to whom it goes (undisclosed_recipients_header). */
static void
add_undisclosed(struct cleanup *c)
{
	const char *text = c->settings->undisclosed;

	if (text == NULL || text[0] == '\0')
		return;
	if (mail_header_name_length(span_str(text)) == 0)
		log_warn(
		    "bad undisclosed_recipients_header header text \"%s\" -- need \"headername: headervalue\"",
		    text);
	else
		buf_printf(&c->content, "%s\n", text);
}

/* Every id is logged where it stands: mail that is refused later is found by it too. */
static void
note_id(struct cleanup *c, enum mail_header_id id, struct span value)
{
	const char *title =
	    id == MAIL_HEADER_RESENT_MESSAGE_ID ? "resent-message-id" : "message-id";

	log_info_as(
	    "cleanup", "%s: %s=%.*s", c->envelope.queue_id, title, SPAN_ARG(span_trim(value)));
}

/* The headers that a message must have, made up where a local client left them out (RFC 5322 section 3.6). */
static void
add_missing(struct cleanup *c)
{
	const struct cleanup_envelope *e = &c->envelope;
	struct buf *out = &c->content;
	enum mail_header_id from = c->resent ? MAIL_HEADER_RESENT_FROM : MAIL_HEADER_FROM;
	enum mail_header_id date = c->resent ? MAIL_HEADER_RESENT_DATE : MAIL_HEADER_DATE;
	enum mail_header_id id = c->resent ? MAIL_HEADER_RESENT_MESSAGE_ID : MAIL_HEADER_MESSAGE_ID;

	if (!has(c, id)) {
		struct buf value CLEANUP(buf_done) = {0};

		mail_msgid_write(&value, !c->settings->long_queue_ids, e->arrival / CLOCK_SECOND,
		    e->queue_id, c->settings->hostname);
		buf_printf(out, "%s: %s\n", mail_header_name(id), buf_str(&value));
		note_id(c, id, buf_span(&value));
		c->present |= BIT(id);
	}
	if (!has(c, date)) {
		buf_printf(out, "%s: ", mail_header_name(date));
		mail_date_write(out, e->arrival / CLOCK_SECOND);
		buf_add_char(out, '\n');
	}
	if (!has(c, from)) {
		buf_printf(out, "%s: ", mail_header_name(from));
		add_from(c, out);
		buf_add_char(out, '\n');
	}
	if ((c->present & VISIBLE) == 0)
		add_undisclosed(c);
}

void
cleanup_header_end(struct cleanup *c, bool blank)
{
	if (c->completed || c->failed)
		return;
	c->completed = true;
	cleanup_map_sender(c);
	if (c->failed)
		return;
	if (cleanup_rewrite_wanted(c) || c->settings->always_add_headers)
		add_missing(c);
	if (blank)
		buf_add_char(&c->content, '\n');
	if (c->envelope.returned)
		buf_add_span(&c->returned, buf_span(&c->content));
	if (!c->refused)
		return;
	c->err = c->why;
	cleanup_fail(c);
}

/* ---- one header ------------------------------------------------------------------------------------------------ */

/* Is the header one that message_drop_headers names? */
static bool
is_dropped(const struct cleanup *c, const struct mail_header *h)
{
	struct span rest = span_str(c->settings->drop_others);
	struct span name;

	if (h->id != MAIL_HEADER_OTHER)
		return (c->settings->drop >> h->id & 1) != 0;
	while (span_word(&rest, ", \t\r\n", &name))
		if (span_equal_nocase(name, h->name))
			return true;
	return false;
}

static void
count_hop(struct cleanup *c)
{
	if (++c->received < c->settings->hop_limit || c->refused)
		return;
	log_info_as(
	    "cleanup", "warning: %s: message rejected: hopcount exceeded", c->envelope.queue_id);
	(void)err_set_smtp(&c->err, ERR_PERM, 554, "5.4.0", "Error: too many hops");
	cleanup_refuse(c);
}

bool
cleanup_is_looping(const struct cleanup *c)
{
	return c->received >= c->settings->hop_limit;
}

/* A header of any part that says 8-bit overrides what the client said of the whole, or did not say (RFC 6152). */
static void
note_encoding(struct cleanup *c, struct span value)
{
	if (c->settings->detect_8bit &&
	    (span_equal_nocase_str(value, "8bit") || span_equal_nocase_str(value, "binary")))
		c->envelope.body_8bit = true;
}

/* A known header of the message itself. */
static void
take_primary(struct cleanup *c, const struct mail_header *h)
{
	unsigned flags = mail_header_flags(h->id);

	c->present |= BIT(h->id);
	c->resent |= (flags & MAIL_HEADER_RESENT) != 0;
	if (h->id == MAIL_HEADER_MESSAGE_ID || h->id == MAIL_HEADER_RESENT_MESSAGE_ID)
		note_id(c, h->id, h->value);
	else if (h->id == MAIL_HEADER_RECEIVED)
		count_hop(c);
	if (c->failed || is_dropped(c, h))
		return;
	if ((flags & (MAIL_HEADER_SENDERS | MAIL_HEADER_RECIPIENTS)) == 0 ||
	    !cleanup_rewrite_header(c, h, &c->content))
		buf_add_span(&c->content, h->raw);
}

static void
take(struct cleanup *c, enum cleanup_class where, struct span raw)
{
	struct mail_header_iter iter;
	struct mail_header h;

	mail_header_start(&iter, raw);
	if (!mail_header_next(&iter, &h)) {
		buf_add_span(&c->content, raw);
		return;
	}
	if (h.id == MAIL_HEADER_CONTENT_TRANSFER_ENCODING)
		note_encoding(c, h.value);
	if (where == CLEANUP_PRIMARY && (h.id != MAIL_HEADER_OTHER || is_dropped(c, &h)) &&
	    (mail_header_flags(h.id) & MAIL_HEADER_MIME) == 0)
		take_primary(c, &h);
	else
		buf_add_span(&c->content, h.raw);
}

/* The whole header in one piece, without the line end of its last line. */
static struct span
text_of(struct span raw)
{
	return span_head(raw, raw.len - (raw.len != 0 && raw.ptr[raw.len - 1] == '\n'));
}

/*
 * header_size_limit: what has been checked as a whole goes on cut, with a line end. A header with addresses is cut where the limit is,
 * others at the end of the last line that fits, or in their first line.
 */
static struct span
within_limit(
    const struct cleanup *c, const struct mail_header *h, struct span raw, struct buf *room)
{
	const unsigned addresses = MAIL_HEADER_SENDERS | MAIL_HEADER_RECIPIENTS;
	size_t limit = c->settings->header_limit;
	struct span kept = span_head(raw, limit);
	size_t last = span_find_last(kept, '\n');

	if (text_of(raw).len <= limit)
		return raw;
	if ((mail_header_flags(h->id) & addresses) == 0 && last < kept.len &&
	    raw.ptr[kept.len] != '\n')
		kept = span_head(kept, last + 1);
	buf_add_span(room, kept);
	if (room->len == 0 || room->ptr[room->len - 1] != '\n')
		buf_add_char(room, '\n');
	return buf_span(room);
}

void
cleanup_header_take(struct cleanup *c)
{
	enum cleanup_class where = c->mime.where;
	struct span raw = buf_span(&c->header);
	struct buf text CLEANUP(buf_done) = {0};
	struct mail_header_iter iter;
	struct mail_header h;
	size_t before;
	bool is_mime;

	mail_header_start(&iter, raw);
	if (raw.len == 0 || c->failed || !mail_header_next(&iter, &h))
		return;
	if (c->settings->strict_headers && !c->refused && !utf8_is_ascii(raw))
		cleanup_check_refuse_mime(
		    c, "improper use of 8-bit data in message header", text_of(raw));
	if (c->failed)
		return;
	is_mime = (mail_header_flags(h.id) & MAIL_HEADER_MIME) != 0;
	cleanup_mime_header(c, &h);
	/* MIME headers have a table of their own, wherever they stand. */
	if (is_mime)
		where = CLEANUP_MIME;
	switch (cleanup_check(c, where, text_of(raw), &c->content, &text)) {
	case CLEANUP_KEEP:
		raw = within_limit(c, &h, raw, &text);
		break;
	case CLEANUP_DROP:
		return;
	case CLEANUP_REPLACE:
		buf_add_char(&text, '\n');
		raw = buf_span(&text);
		break;
	}
	if (c->failed)
		return;
	before = c->content.len;
	take(c, c->mime.where, raw);
	c->header_utf8 = c->header_utf8 || !utf8_is_ascii(span_from(buf_span(&c->content), before));
}
