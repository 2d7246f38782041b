/*
 * cleanup.c - see cleanup.h. The content gathers whole in memory up to the inline limit. Where it grows beyond, everything moves to
 * an upload, chunk by chunk, once its header section has ended, so that a session never holds more than the inline limit, a
 * header section and one piece of input.
 */
#include "cleanup/cleanup.h"

#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cleanup/cleanup_int.h"
#include "mail/mail_addr.h"
#include "mail/mail_qp.h"
#include "queue/queue_front.h"
#include "queue/queue_upload.h"
#include "rewrite/rewrite.h"
#include "table/table.h"
#include "table/table_type.h"

/* How long a client waits for its 250; it would give up itself some minutes later (RFC 5321 section 4.5.3.2.6). */
#define CLEANUP_STORE_TIMEOUT (120 * CLOCK_SECOND)

/* The header section is kept in memory as a whole: up to this, or the inline limit. */
#define CLEANUP_HEADERS_MAX (4u << 20)

/* A line that has not ended yet is passed on in pieces of at least this size. */
#define CLEANUP_PIECE 4096

struct cleanup *
cleanup_new(const struct cleanup_settings *settings, struct queue_front *front)
{
	struct cleanup *c = mem_new(struct cleanup);

	c->settings = settings;
	c->front = front;
	/* Whoever takes it will look at it. */
	c->raw = c->completed = settings->unchanged;
	if (settings->make_7bit && !c->raw)
		c->qp = mail_qp_new();
	return c;
}

void
cleanup_free(struct cleanup **cp)
{
	struct cleanup *c = *cp;

	if (c == NULL)
		return;
	queue_upload_free(&c->upload);
	cleanup_mime_done(&c->mime);
	mail_qp_free(&c->qp);
	buf_done(&c->in);
	buf_done(&c->header);
	buf_done(&c->content);
	buf_done(&c->returned);
	hmap_done(&c->dups);
	arena_done(&c->arena);
	mem_free(c->rcpts);
	mem_free(c->expanded);
	mem_free(c);
	*cp = NULL;
}

struct cleanup_envelope *
cleanup_envelope(struct cleanup *c)
{
	return &c->envelope;
}

/* Was a recipient like this added before? Only the first duplicate_filter_limit are remembered. */
static bool
cleanup_is_dup(struct cleanup *c, const struct queue_rcpt *r, const char *orig_addr)
{
	struct buf given CLEANUP(buf_done) = {0};
	struct buf key CLEANUP(buf_done) = {0};

	buf_printf(&given, "%s\n%u\n%s\n%s", r->dsn_orcpt != NULL ? r->dsn_orcpt : "",
	    r->dsn_notify, c->settings->no_orig_rcpt ? "" : orig_addr, r->addr);
	if (utf8_is_ascii(buf_span(&given))) {
		mail_addr_fold(given.ptr, given.len);
		buf_add_span(&key, buf_span(&given));
	} else {
		table_fold(&key, buf_span(&given), utf8_is_valid(buf_span(&given)));
	}
	if (hmap_get(&c->dups, buf_span(&key)) != NULL)
		return true;
	if (c->settings->dup_limit == 0 || c->dups.count < c->settings->dup_limit)
		(void)hmap_put(&c->dups, buf_span(&key), c);
	return false;
}

void
cleanup_add_rcpt(struct cleanup *c, const char *addr, const char *orig_addr, const char *dsn_orcpt,
    unsigned dsn_notify)
{
	const struct queue_rcpt rcpt = {
	    .addr = addr,
	    .orig_addr = strcmp(addr, orig_addr) != 0 ? orig_addr : NULL,
	    .dsn_orcpt = dsn_orcpt,
	    .dsn_notify = dsn_notify,
	};

	if ((dsn_notify & QUEUE_NOTIFY_NEVER) == 0 || c->last_rcpt == NULL)
		c->last_rcpt = addr;
	if (cleanup_is_dup(c, &rcpt, orig_addr))
		return;
	/* Grown by doubling; the front end has bounded the number. */
	if ((c->rcpt_count & (c->rcpt_count - 1)) == 0)
		c->rcpts = mem_resize(
		    c->rcpts, c->rcpt_count != 0 ? c->rcpt_count * 2 : 1, sizeof(*c->rcpts));
	c->rcpts[c->rcpt_count++] = rcpt;
}

/* ---- what actions ask for --------------------------------------------------------------------------------------- */

/* In standard form, as any envelope address. */
static const char *
cleanup_address(struct cleanup *c, const char *addr)
{
	return c->settings->rewrite != NULL
		   ? rewrite_address(c->settings->rewrite, &c->arena, span_str(addr))
		   : arena_strdup(&c->arena, addr);
}

void
cleanup_redirect(struct cleanup *c, const char *addr)
{
	c->redirect = cleanup_address(c, addr);
}

void
cleanup_filter(struct cleanup *c, const char *filter)
{
	c->filter = arena_strdup(&c->arena, filter);
}

void
cleanup_hold(struct cleanup *c, const char *why)
{
	if (c->held == NULL)
		c->held = arena_strdup(&c->arena, why);
}

void
cleanup_discard(struct cleanup *c)
{
	c->discarded = true;
}

void
cleanup_add_bcc(struct cleanup *c, const char *addr)
{
	cleanup_add_rcpt(
	    c, cleanup_address(c, addr), arena_strdup(&c->arena, addr), NULL, QUEUE_NOTIFY_NEVER);
}

/* All recipients become one, under the first one's name. */
static void
cleanup_apply_redirect(struct cleanup *c)
{
	struct queue_rcpt *r = &c->rcpts[0];
	const char *redirect = c->envelope.redirect;

	if (c->redirect == NULL && redirect != NULL && redirect[0] != '\0')
		cleanup_redirect(c, redirect);
	if (c->redirect == NULL || c->rcpt_count == 0)
		return;
	if (r->orig_addr == NULL)
		r->orig_addr = r->addr;
	r->addr = c->redirect;
	c->rcpt_count = 1;
}

/* ---- content ----------------------------------------------------------------------------------------------------- */

struct buf *
cleanup_content(struct cleanup *c)
{
	return c->raw ? &c->content : &c->in;
}

uint64_t
cleanup_size(const struct cleanup *c)
{
	return c->size;
}

void
cleanup_fail(struct cleanup *c)
{
	c->failed = true;
	buf_clear(&c->in);
	buf_clear(&c->content);
	c->counted = 0;
	queue_upload_free(&c->upload);
}

void
cleanup_refuse(struct cleanup *c)
{
	c->refused = c->unchecked = true;
	c->why = c->err;
	if (c->completed || !c->envelope.returned)
		cleanup_fail(c);
}

struct span
cleanup_returned(const struct cleanup *c)
{
	return buf_span(&c->returned);
}

/* Moves what has gathered into the upload. */
static void
cleanup_upload(struct cleanup *c)
{
	if (c->upload == NULL)
		c->upload = queue_upload_new(c->front);
	if (!queue_upload_add(
		c->upload, buf_span(&c->content), clock_deadline(CLEANUP_STORE_TIMEOUT), &c->err))
		return cleanup_fail(c);
	c->stored_size += c->content.len;
	buf_clear(&c->content);
	if (c->raw)
		c->counted = 0;
}

static uint64_t
cleanup_count_lines(struct span s)
{
	uint64_t lines = 0;

	for (const char *p = s.ptr;
	     s.len != 0 && (p = memchr(p, '\n', s.len - (size_t)(p - s.ptr))) != NULL; p++)
		lines++;
	return lines;
}

/* Does anybody want to look at the lines of the body? */
static bool
cleanup_looks_at_body(const struct cleanup *c)
{
	const struct cleanup_settings *s = c->settings;

	if (s->strip_chars != NULL || s->reject_chars != NULL || c->qp != NULL)
		return true;
	/* A part may have 8-bit text. */
	if (s->detect_8bit && !s->no_mime && !c->envelope.body_8bit &&
	    (c->mime.depth > 0 || c->mime.where != CLEANUP_BODY))
		return true;
	if (c->settings->no_checks || c->unchecked)
		return !s->no_mime && (s->strict_headers || s->strict_body || s->strict_domain);
	if (!table_list_is_empty(s->checks[CLEANUP_BODY]))
		return true;
	return !s->no_mime && (s->strict_headers || s->strict_body || s->strict_domain ||
				  !table_list_is_empty(s->checks[CLEANUP_MIME]) ||
				  !table_list_is_empty(s->checks[CLEANUP_NESTED]));
}

static bool
cleanup_is_discarded(const struct cleanup *c)
{
	return c->discarded || c->envelope.discard;
}

/* message_strip_characters; `piece` itself when there is nothing to do. */
static struct span
cleanup_strip(const struct cleanup *c, struct span piece, struct buf *room)
{
	const struct cleanup_settings *s = c->settings;

	if (s->strip_chars == NULL)
		return piece;
	for (size_t i = 0; i < piece.len; i++)
		if (memchr(s->strip_chars, piece.ptr[i], s->strip_count) == NULL)
			buf_add_char(room, piece.ptr[i]);
	return buf_span(room);
}

/* message_reject_characters */
static bool
cleanup_is_forbidden(const struct cleanup *c, struct span piece)
{
	const struct cleanup_settings *s = c->settings;

	for (size_t i = 0; s->reject_chars != NULL && i < piece.len; i++)
		if (memchr(s->reject_chars, piece.ptr[i], s->reject_count) != NULL)
			return true;
	return false;
}

static void
cleanup_line(struct cleanup *c, struct span piece)
{
	bool ends = piece.len != 0 && piece.ptr[piece.len - 1] == '\n';
	bool starts = !c->mid_line;
	struct buf room CLEANUP(buf_done) = {0};

	/* What nobody gets nobody looks at. */
	if (cleanup_is_discarded(c))
		return;
	if (!c->refused && cleanup_is_forbidden(c, piece))
		return cleanup_check_refuse_characters(
		    c, span_head(piece, piece.len - (ends ? 1 : 0)));
	c->mid_line = !ends;
	cleanup_mime_line(c, cleanup_strip(c, piece, &room), starts, ends);
}

/* All lines of `in` that are complete; the rest too, in pieces, when it is long or the content has ended. */
static void
cleanup_lines(struct cleanup *c, bool all)
{
	size_t at = 0;

	while (!c->failed && at < c->in.len) {
		struct span rest = span_from(buf_span(&c->in), at);
		size_t lf = span_find(rest, '\n');
		size_t len = lf < rest.len ? lf + 1 : rest.len;

		if (c->completed && !cleanup_looks_at_body(c)) {
			c->raw = true;
			buf_add_span(&c->content, rest);
			at = c->in.len;
			break;
		}
		if (lf == rest.len && !all && rest.len < CLEANUP_PIECE)
			break;
		/* body_checks see long lines in parts (line_length_limit). */
		if (c->mime.where == CLEANUP_BODY && lf > c->settings->line_limit)
			len = c->settings->line_limit;
		cleanup_line(c, span_head(rest, len));
		at += len;
	}
	if (c->failed)
		return;
	buf_consume(&c->in, at);
	c->counted = c->raw ? c->content.len : c->in.len;
}

/* What parts call 8-bit becomes quoted-printable, before anybody looks at it (force_mime_input_conversion). */
static void
cleanup_make_7bit(struct cleanup *c, size_t from, bool ends)
{
	struct buf made CLEANUP(buf_done) = {0};

	mail_qp_write(c->qp, span_from(buf_span(&c->in), from), &made);
	if (ends)
		mail_qp_finish(c->qp, &made);
	c->qp_left_8bit = c->qp_left_8bit || mail_qp_is_needed(buf_span(&made));
	buf_truncate(&c->in, from);
	buf_add_span(&c->in, buf_span(&made));
	c->counted = c->in.len;
	if (ends)
		c->envelope.body_8bit = c->envelope.body_8bit && c->qp_left_8bit;
}

static size_t
cleanup_length(const char *s)
{
	return s != NULL ? strlen(s) : 0;
}

/*
 * message_size_limit is "including envelope information": what Postfix's queue file has beside the content, as near as
 * its admins will notice. Counted once, before content is: all recipients are known by then.
 */
static size_t
cleanup_envelope_size(struct cleanup *c)
{
	const struct cleanup_envelope *e = &c->envelope;

	if (c->envelope_size != 0)
		return c->envelope_size;
	c->envelope_size = 520 + cleanup_length(e->sender) +
			   2 * (cleanup_length(e->client_name) + cleanup_length(e->client_address) +
				   cleanup_length(e->client_helo));
	for (size_t i = 0; i < c->rcpt_count; i++)
		c->envelope_size += 20 + 3 * strlen(c->rcpts[i].addr);
	return c->envelope_size;
}

void
cleanup_added(struct cleanup *c)
{
	struct span added = span_from(buf_span(cleanup_content(c)), c->counted);

	c->size += added.len + cleanup_count_lines(added);
	c->counted += added.len;
	if (c->failed)
		return cleanup_fail(c);
	if (c->qp != NULL)
		cleanup_make_7bit(c, c->counted - added.len, false);
	if (c->settings->message_size_limit != 0 &&
	    c->size + cleanup_envelope_size(c) > c->settings->message_size_limit) {
		(void)err_set_smtp(&c->err, ERR_PERM, 552, "5.3.4", "Error: message file too big");
		return cleanup_fail(c);
	}
	if (!c->raw)
		cleanup_lines(c, false);
	if (c->failed || c->content.len <= c->settings->inline_limit ||
	    c->settings->store_elsewhere != NULL)
		return;
	if (c->completed)
		return cleanup_upload(c);
	if (c->content.len > CLEANUP_HEADERS_MAX) {
		(void)err_set_smtp(
		    &c->err, ERR_PERM, 552, "5.3.4", "Error: header section too big");
		cleanup_fail(c);
	}
}

/* The content has ended. */
static void
cleanup_end(struct cleanup *c)
{
	cleanup_added(c);
	if (c->qp != NULL && !c->failed)
		cleanup_make_7bit(c, c->in.len, true);
	if (!c->failed && !c->raw)
		cleanup_lines(c, true);
	if (!c->failed && !cleanup_is_discarded(c))
		cleanup_mime_finish(c);
	if (c->failed || c->upload == NULL)
		return;
	cleanup_upload(c);
	if (!c->failed &&
	    !queue_upload_finish(c->upload, clock_deadline(CLEANUP_STORE_TIMEOUT), &c->err))
		cleanup_fail(c);
}

/* ---- storing ----------------------------------------------------------------------------------------------------- */

/* An attribute; NULL and "": none. */
static size_t
cleanup_attribute(struct queue_attr *attrs, size_t n, struct span name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return n;
	attrs[n] = (struct queue_attr){name, span_str(value)};
	return n + 1;
}

static size_t
cleanup_attributes_forwarded(const struct cleanup_envelope *e, struct queue_attr *attrs, size_t n)
{
	n = cleanup_attribute(attrs, n, SPAN_LIT("log_client_name"), e->log_client_name);
	n = cleanup_attribute(attrs, n, SPAN_LIT("log_client_address"), e->log_client_address);
	n = cleanup_attribute(attrs, n, SPAN_LIT("log_client_port"), e->log_client_port);
	n = cleanup_attribute(attrs, n, SPAN_LIT("log_helo_name"), e->log_helo);
	n = cleanup_attribute(attrs, n, SPAN_LIT("log_protocol_name"), e->log_protocol);
	return cleanup_attribute(attrs, n, SPAN_LIT("log_ident"), e->log_ident);
}

/* Attributes that the queue keeps with the message; `attrs` has room for all. */
static size_t
cleanup_attributes(const struct cleanup *c, struct queue_attr *attrs)
{
	const struct cleanup_envelope *e = &c->envelope;
	size_t n = 0;

	n = cleanup_attribute(attrs, n, SPAN_LIT("client_name"), e->client_name);
	n = cleanup_attribute(attrs, n, SPAN_LIT("client_address"), e->client_address);
	n = cleanup_attribute(attrs, n, SPAN_LIT("client_port"), e->client_port);
	n = cleanup_attribute(attrs, n, SPAN_LIT("helo_name"), e->client_helo);
	n = cleanup_attribute(attrs, n, SPAN_LIT("protocol_name"), e->client_protocol);
	n = cleanup_attribute(attrs, n, SPAN_LIT("sasl_method"), e->sasl_method);
	n = cleanup_attribute(attrs, n, SPAN_LIT("sasl_username"), e->sasl_username);
	if (e->forwarded)
		n = cleanup_attributes_forwarded(e, attrs, n);
	n = cleanup_attribute(attrs, n, SPAN_LIT("content_filter"),
	    c->redirect != NULL ? NULL
	    : c->filter != NULL ? c->filter
				: e->content_filter);
	n = cleanup_attribute(attrs, n, SPAN_LIT("verp"), e->verp);
	n = cleanup_attribute(attrs, n, SPAN_LIT("trace"), e->trace);
	n = cleanup_attribute(attrs, n, SPAN_LIT("envid"), e->envid);
	n = cleanup_attribute(attrs, n, SPAN_LIT("ret"), e->ret);
	if (e->smtputf8)
		attrs[n++] = (struct queue_attr){
		    SPAN_LIT("smtputf8"), c->header_utf8 ? SPAN_LIT("header") : SPAN_LIT("yes")};
	if (e->body_8bit)
		attrs[n++] = (struct queue_attr){SPAN_LIT("encoding"), SPAN_LIT("8bit")};
	else if (e->body_7bit)
		attrs[n++] = (struct queue_attr){SPAN_LIT("encoding"), SPAN_LIT("7bit")};
	if (e->complete_headers)
		attrs[n++] = (struct queue_attr){SPAN_LIT("rewrite_context"), SPAN_LIT("local")};
	for (size_t i = 0; i < c->expanded_count; i++)
		attrs[n++] = c->expanded[i];
	return n;
}

#define CLEANUP_ATTR_MAX 24

/* Mail of sendmail(1) says nothing about SMTPUTF8: whether it needs it is seen (smtputf8_autodetect_classes). */
static void
cleanup_detect_utf8(struct cleanup *c)
{
	struct cleanup_envelope *e = &c->envelope;
	bool needed = c->header_utf8 || !utf8_is_ascii(span_str(e->sender));

	if (!(e->local ? c->settings->detect_utf8 : c->settings->detect_utf8_all) || e->smtputf8)
		return;
	for (size_t i = 0; i < c->rcpt_count; i++)
		needed = needed || !utf8_is_ascii(span_str(c->rcpts[i].addr));
	e->smtputf8 = needed;
}

static bool
cleanup_store(struct cleanup *c, struct err *err)
{
	struct queue_attr *attrs =
	    arena_alloc(&c->arena, (CLEANUP_ATTR_MAX + c->expanded_count) * sizeof(*attrs));
	size_t attr_count = cleanup_attributes(c, attrs);
	const struct queue_message m = {
	    .envelope =
		{
		    .msg_id = c->envelope.msg_id,
		    .sender = c->envelope.sender,
		    .arrival = c->envelope.arrival,
		    .size = c->stored_size + c->content.len,
		    .attrs = attrs,
		    .attr_count = attr_count,
		    .rcpts = c->rcpts,
		    .rcpt_count = c->rcpt_count,
		},
	    .content = buf_span(&c->content),
	    .upload = c->upload,
	    .hold = c->held != NULL ? c->held : c->envelope.hold,
	};

	if (c->settings->store_elsewhere != NULL)
		return c->settings->store_elsewhere(c->settings->store_arg, &m, err);
	return queue_front_store(c->front, &m, clock_deadline(CLEANUP_STORE_TIMEOUT), err);
}

bool
cleanup_finish(struct cleanup *c, struct err *err)
{
	cleanup_end(c);
	if (c->failed) {
		*err = c->err;
		return false;
	}
	if (c->settings->unchanged)
		return cleanup_store(c, err);
	if (cleanup_is_discarded(c))
		return true;
	/* Mail without an id says so. */
	if ((c->present >> MAIL_HEADER_MESSAGE_ID & 1) == 0)
		log_info_as("cleanup", "%s: message-id=<>", c->envelope.queue_id);
	cleanup_map_sender(c);
	cleanup_map_rcpts(c);
	if (c->failed) {
		*err = c->err;
		return false;
	}
	/* Aliases may have made nobody of all recipients. */
	if (c->discarded)
		return true;
	cleanup_apply_redirect(c);
	cleanup_detect_utf8(c);
	CRASH_POINT("accept-before-store");
	if (!cleanup_store(c, err))
		return false;
	CRASH_POINT("accept-after-store");
	return true;
}
