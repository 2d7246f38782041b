/*
 * cleanup.c - see cleanup.h. The content gathers whole in memory up to the inline limit. Where it grows beyond, its header
 * section is completed and everything moves to an upload, chunk by chunk, so that a session never holds more than the inline
 * limit and one piece of input.
 */
#include "cleanup/cleanup.h"

#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mail/mail_addr.h"
#include "mail/mail_date.h"
#include "mail/mail_header.h"
#include "mail/mail_log.h"
#include "mail/mail_msgid.h"
#include "queue/queue_front.h"
#include "queue/queue_upload.h"

/* How long a client waits for its 250; it would give up itself some minutes later (RFC 5321 section 4.5.3.2.6). */
#define CLEANUP_STORE_TIMEOUT (120 * CLOCK_SECOND)

/* A header section is completed as a whole, so it is kept in memory as a whole: up to this, or the inline limit. */
#define CLEANUP_HEADERS_MAX (4u << 20)

struct cleanup {
	const struct cleanup_settings *settings; /* borrowed */
	struct queue_front *front;               /* borrowed */
	struct cleanup_envelope envelope;
	struct queue_rcpt *rcpts; /* owned */
	size_t rcpt_count;
	struct buf content;          /* what is not uploaded yet */
	size_t counted;              /* bytes of `content` that cleanup_added() has seen */
	uint64_t size;               /* with CRLF line ends, for the limit */
	uint64_t stored_size;        /* bytes uploaded so far */
	struct queue_upload *upload; /* owned; NULL while the content is small */
	bool completed;              /* the header section is done */
	bool header_utf8;            /* it has bytes that are not ASCII */
	char *message_id;            /* owned; for the log */
	bool failed;                 /* sticky: `err` says why; further content is dropped */
	struct err err;
};

struct cleanup_settings
cleanup_settings_from(const struct conf *conf)
{
	return (struct cleanup_settings){
	    .hostname = conf_str(conf, CONF_myhostname),
	    .mail_name = conf_str(conf, CONF_mail_name),
	    .message_size_limit = conf_size(conf, CONF_message_size_limit),
	    .inline_limit = conf_size(conf, CONF_queue_inline_size_limit),
	    .header_limit = conf_size(conf, CONF_header_size_limit),
	    .hop_limit = (unsigned)conf_int(conf, CONF_hopcount_limit),
	    .always_add_headers = conf_bool(conf, CONF_always_add_missing_headers),
	    .origin = conf_str(conf, CONF_myorigin),
	    .from_obsolete = conf_is(conf, CONF_header_from_format, "obsolete"),
	    .long_queue_ids = conf_bool(conf, CONF_enable_long_queue_ids),
	};
}

struct cleanup *
cleanup_new(const struct cleanup_settings *settings, struct queue_front *front)
{
	struct cleanup *c = mem_new(struct cleanup);

	c->settings = settings;
	c->front = front;
	return c;
}

void
cleanup_free(struct cleanup **c)
{
	if (*c == NULL)
		return;
	queue_upload_free(&(*c)->upload);
	buf_done(&(*c)->content);
	mem_free((*c)->rcpts);
	mem_free((*c)->message_id);
	mem_free(*c);
	*c = NULL;
}

struct cleanup_envelope *
cleanup_envelope(struct cleanup *c)
{
	return &c->envelope;
}

void
cleanup_add_rcpt(struct cleanup *c, const char *addr, const char *orig_addr, const char *dsn_orcpt,
    unsigned dsn_notify)
{
	/* Grown by doubling; the front end has bounded the number. */
	if ((c->rcpt_count & (c->rcpt_count - 1)) == 0)
		c->rcpts = mem_resize(
		    c->rcpts, c->rcpt_count != 0 ? c->rcpt_count * 2 : 1, sizeof(*c->rcpts));
	c->rcpts[c->rcpt_count++] = (struct queue_rcpt){
	    .addr = addr,
	    .orig_addr = strcmp(addr, orig_addr) != 0 ? orig_addr : NULL,
	    .dsn_orcpt = dsn_orcpt,
	    .dsn_notify = dsn_notify,
	};
}

struct buf *
cleanup_content(struct cleanup *c)
{
	return &c->content;
}

uint64_t
cleanup_size(const struct cleanup *c)
{
	return c->size;
}

/* Further content is of no use: forget what is there. */
static void
cleanup_fail(struct cleanup *c)
{
	c->failed = true;
	buf_clear(&c->content);
	c->counted = 0;
	queue_upload_free(&c->upload);
}

/* A word of a display name that is more than atoms needs quotes (RFC 5322 section 3.2.5). */
static void
cleanup_add_phrase(struct buf *out, struct span name)
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

/* Backslashes before what would end a comment. */
static void
cleanup_add_comment(struct buf *out, struct span text)
{
	buf_add_str(out, " (");
	for (size_t i = 0; i < text.len; i++) {
		if (strchr("()\\", text.ptr[i]) != NULL)
			buf_add_char(out, '\\');
		buf_add_char(out, text.ptr[i]);
	}
	buf_add_char(out, ')');
}

/* The value of a From: made here: the envelope sender, with his name if it is known. */
static void
cleanup_from(const struct cleanup *c, struct buf *out)
{
	const struct cleanup_envelope *e = &c->envelope;
	struct buf addr CLEANUP(buf_done) = {0};
	struct span name = span_str(e->full_name);

	if (e->sender[0] != '\0')
		mail_addr_quote(&addr, span_str(e->sender));
	else
		buf_printf(&addr, "MAILER-DAEMON@%s", c->settings->origin);
	if (name.len != 0 && !c->settings->from_obsolete) {
		cleanup_add_phrase(out, name);
		buf_printf(out, " <%s>", buf_str(&addr));
		return;
	}
	buf_add_span(out, buf_span(&addr));
	if (name.len != 0)
		cleanup_add_comment(out, name);
}

/* The headers that a message must have, made up where a local client left them out (RFC 5322 section 3.6). */
static void
cleanup_missing_headers(struct cleanup *c, const struct mail_header_scan *scan, struct buf *out)
{
	const struct cleanup_envelope *e = &c->envelope;
	enum mail_header_id from = scan->resent ? MAIL_HEADER_RESENT_FROM : MAIL_HEADER_FROM;
	enum mail_header_id date = scan->resent ? MAIL_HEADER_RESENT_DATE : MAIL_HEADER_DATE;
	enum mail_header_id id =
	    scan->resent ? MAIL_HEADER_RESENT_MESSAGE_ID : MAIL_HEADER_MESSAGE_ID;

	if (!mail_header_has(scan, id)) {
		struct buf value CLEANUP(buf_done) = {0};

		mail_msgid_write(&value, !c->settings->long_queue_ids, e->arrival / CLOCK_SECOND,
		    e->queue_id, c->settings->hostname);
		buf_printf(out, "%s: %s\n", mail_header_name(id), buf_str(&value));
		if (c->message_id == NULL)
			c->message_id = buf_take(&value);
	}
	if (!mail_header_has(scan, date)) {
		buf_printf(out, "%s: ", mail_header_name(date));
		mail_date_write(out, e->arrival / CLOCK_SECOND);
		buf_add_char(out, '\n');
	}
	if (!mail_header_has(scan, from)) {
		buf_printf(out, "%s: ", mail_header_name(from));
		cleanup_from(c, out);
		buf_add_char(out, '\n');
	}
}

/* Does anything in the header section have to go? */
static bool
cleanup_has_dropped(const struct mail_header_scan *scan)
{
	for (int id = 1; id < MAIL_HEADER_ID_COUNT; id++)
		if (mail_header_has(scan, id) && (mail_header_flags(id) & MAIL_HEADER_DROP) != 0)
			return true;
	return false;
}

/* Copies the header section without Bcc:, Return-Path: and the like (message_drop_headers). */
static void
cleanup_copy_headers(struct span content, struct buf *out)
{
	struct mail_header_iter iter;
	struct mail_header header;

	mail_header_start(&iter, content);
	while (mail_header_next(&iter, &header))
		if ((mail_header_flags(header.id) & MAIL_HEADER_DROP) == 0)
			buf_add_span(out, header.raw);
}

/*
 * Completes the header section at the front of c->content. Everything after it stays as it is; a message whose header section
 * does not end with an empty line gets one.
 */
static void
cleanup_complete_headers(struct cleanup *c)
{
	struct mail_header_scan scan;
	struct buf head CLEANUP(buf_done) = {0};
	struct span content = buf_span(&c->content);
	bool add = c->envelope.complete_headers || c->settings->always_add_headers;
	bool drop;

	c->completed = true;
	mail_header_scan(content, &scan);
	if (scan.received > c->settings->hop_limit + 1) { /* our own is one of them */
		(void)err_set_smtp(&c->err, ERR_PERM, 554, "5.4.0", "Error: too many hops");
		return cleanup_fail(c);
	}
	c->header_utf8 = !utf8_is_ascii(span_head(content, scan.headers));
	if (scan.message_id.len != 0)
		c->message_id = span_dup(scan.message_id);
	drop = cleanup_has_dropped(&scan);
	if (add)
		cleanup_missing_headers(c, &scan, &head);
	if (!drop && head.len == 0 && scan.blank)
		return;
	if (drop || head.len != 0 || !scan.blank) {
		struct buf whole = {0};

		if (drop)
			cleanup_copy_headers(content, &whole);
		else
			buf_add_span(&whole, span_head(content, scan.headers));
		buf_add_span(&whole, buf_span(&head));
		if (scan.blank || scan.body < content.len)
			buf_add_char(&whole, '\n');
		buf_add_span(&whole, span_from(content, scan.body));
		buf_done(&c->content);
		c->content = whole;
	}
}

/* Moves what has gathered into the upload. */
static void
cleanup_upload(struct cleanup *c)
{
	if (!c->completed)
		cleanup_complete_headers(c);
	if (c->failed)
		return;
	if (c->upload == NULL)
		c->upload = queue_upload_new(c->front);
	if (!queue_upload_add(
		c->upload, buf_span(&c->content), clock_deadline(CLEANUP_STORE_TIMEOUT), &c->err))
		return cleanup_fail(c);
	c->stored_size += c->content.len;
	buf_clear(&c->content);
	c->counted = 0;
}

/* Has the header section come to its end? The last line may still grow, so it does not count. */
static bool
cleanup_has_headers(const struct cleanup *c)
{
	struct span content = buf_span(&c->content);
	size_t last = span_find_last(content, '\n');
	struct mail_header_scan scan;

	if (c->completed)
		return true;
	if (last == content.len)
		return false;
	content = span_head(content, last + 1);
	mail_header_scan(content, &scan);
	return scan.blank || scan.body < content.len;
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

void
cleanup_added(struct cleanup *c)
{
	struct span added = span_from(buf_span(&c->content), c->counted);

	c->size += added.len + cleanup_count_lines(added);
	c->counted = c->content.len;
	if (c->failed) {
		buf_clear(&c->content);
		c->counted = 0;
		return;
	}
	if (c->settings->message_size_limit != 0 && c->size > c->settings->message_size_limit) {
		(void)err_set_smtp(&c->err, ERR_PERM, 552, "5.3.4", "Error: message file too big");
		return cleanup_fail(c);
	}
	if (c->content.len <= c->settings->inline_limit)
		return;
	if (cleanup_has_headers(c))
		return cleanup_upload(c);
	if (c->content.len > CLEANUP_HEADERS_MAX) {
		(void)err_set_smtp(
		    &c->err, ERR_PERM, 552, "5.3.4", "Error: header section too big");
		cleanup_fail(c);
	}
}

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
	n = cleanup_attribute(attrs, n, SPAN_LIT("content_filter"), e->content_filter);
	n = cleanup_attribute(attrs, n, SPAN_LIT("verp"), e->verp);
	n = cleanup_attribute(attrs, n, SPAN_LIT("envid"), e->envid);
	n = cleanup_attribute(attrs, n, SPAN_LIT("ret"), e->ret);
	if (e->smtputf8)
		attrs[n++] = (struct queue_attr){
		    SPAN_LIT("smtputf8"), c->header_utf8 ? SPAN_LIT("header") : SPAN_LIT("yes")};
	if (e->body_8bit)
		attrs[n++] = (struct queue_attr){SPAN_LIT("encoding"), SPAN_LIT("8bit")};
	if (e->complete_headers)
		attrs[n++] = (struct queue_attr){SPAN_LIT("rewrite_context"), SPAN_LIT("local")};
	return n;
}

static void
cleanup_log_message_id(const struct cleanup *c)
{
	struct buf text CLEANUP(buf_done) = {0};

	mail_log_message_id(&text, c->envelope.queue_id, span_str(c->message_id));
	log_info_as("cleanup", "%s", buf_str(&text));
}

#define CLEANUP_ATTR_MAX 24

static bool
cleanup_store(struct cleanup *c, struct err *err)
{
	struct queue_attr attrs[CLEANUP_ATTR_MAX];
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
	};

	return queue_front_store(c->front, &m, clock_deadline(CLEANUP_STORE_TIMEOUT), err);
}

bool
cleanup_finish(struct cleanup *c, struct err *err)
{
	cleanup_added(c);
	if (!c->failed && !c->completed)
		cleanup_complete_headers(c);
	if (!c->failed && c->upload != NULL) {
		cleanup_upload(c);
		if (!c->failed &&
		    !queue_upload_finish(c->upload, clock_deadline(CLEANUP_STORE_TIMEOUT), &c->err))
			cleanup_fail(c);
	}
	if (c->failed) {
		*err = c->err;
		return false;
	}
	cleanup_log_message_id(c);
	CRASH_POINT("accept-before-store");
	if (!cleanup_store(c, err))
		return false;
	CRASH_POINT("accept-after-store");
	return true;
}
