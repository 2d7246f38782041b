/*
 * operator_cat.c - see operator_cat.h.
 */
#include "operator/operator_cat.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_maildrop.h"
#include "pickup/maildrop.h"
#include "queue/queue_content.h"
#include "queue/queue_list.h"

#define PIECE 262144

/* A line longer than this is shown as Postfix stores it: in records that go on. */
#define RECORD_MAX 2048

/* ---- records ------------------------------------------------------------------------------------------------ */

/* Where records are written, and at which offset of Postfix's file the next one would begin. */
struct pen {
	const struct operator_cat_form *form;
	uint64_t at;
	struct buf *out;
};

/* Bytes of a record: its type, its length in 7 bits a byte, its data. */
static uint64_t
record_size(size_t len)
{
	uint64_t size = 2 + len;

	for (size_t rest = len; rest > 127; rest >>= 7)
		size++;
	return size;
}

static void
record_prefix(struct pen *p, char type, size_t len)
{
	if (p->form->offsets)
		buf_printf(p->out, "%9llu ", (unsigned long long)p->at);
	if (p->form->types)
		buf_printf(p->out, "%3d ", type);
	p->at += record_size(len);
}

static void
record(struct pen *p, char type, const char *name, struct span value)
{
	record_prefix(p, type, value.len);
	buf_printf(p->out, "%s: %.*s\n", name, SPAN_ARG(value));
}

static void
attribute(struct pen *p, struct span name, struct span value)
{
	record_prefix(p, 'A', name.len + 1 + value.len);
	buf_printf(p->out, "named_attribute: %.*s=%.*s\n", SPAN_ARG(name), SPAN_ARG(value));
}

/* `raw`: the length of what the file has instead of the date. */
static void
time_record(struct pen *p, char type, const char *name, int64_t real_us, size_t raw)
{
	char when[40];

	clock_format_local(real_us / CLOCK_SECOND, "%a %b %e %H:%M:%S %Y", when, sizeof(when));
	record_prefix(p, type, raw);
	buf_printf(p->out, "%s: %s\n", name, when);
}

static size_t
digits(int64_t n)
{
	char text[32];

	return (size_t)snprintf(text, sizeof(text), "%lld", (long long)n);
}

static void
headline(const char *what, const char *name, struct buf *out)
{
	buf_printf(out, "*** %s %s ***\n", what, name);
}

/* "deferred/ID", as Postfix calls the file. */
static void
name_of(enum queue_place place, int64_t msg_id, char *ret, size_t size)
{
	char id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(msg_id, id);
	(void)snprintf(ret, size, "%s/%s", queue_place_name(place), id);
}

/* ---- envelope ----------------------------------------------------------------------------------------------- */

/* Attributes that Postfix shows in places of their own. */
static const char *const placed[] = {
    "rewrite_context", "envid", "ret", "content_filter", "redirect", "smtputf8"};

static bool
is_placed(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(placed); i++)
		if (span_equal_str(name, placed[i]))
			return true;
	return false;
}

/* The attributes in front of the sender. */
static void
envelope_first(struct pen *p, const struct queue_envelope *e)
{
	struct span context = queue_envelope_attr(e, "rewrite_context");
	struct span envid = queue_envelope_attr(e, "envid");
	struct span ret = queue_envelope_attr(e, "ret");
	char id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(e->msg_id, id);
	attribute(p, SPAN_LIT("log_ident"), span_str(id));
	if (context.ptr != NULL)
		attribute(p, SPAN_LIT("rewrite_context"), context);
	if (envid.ptr != NULL)
		attribute(p, SPAN_LIT("envelope_id"), envid);
	if (ret.ptr != NULL)
		attribute(p, SPAN_LIT("ret_flags"),
		    span_equal_str(ret, "HDRS") ? SPAN_LIT("2") : SPAN_LIT("1"));
}

static void
envelope_rcpt(struct pen *p, const struct queue_rcpt *r)
{
	char flags[16];

	(void)snprintf(flags, sizeof(flags), "%u", r->dsn_notify);
	if (r->dsn_notify != 0)
		attribute(p, SPAN_LIT("notify_flags"), span_str(flags));
	if (r->dsn_orcpt != NULL)
		attribute(p, SPAN_LIT("dsn_orig_rcpt"), span_str(r->dsn_orcpt));
	record(
	    p, 'O', "original_recipient", span_str(r->orig_addr != NULL ? r->orig_addr : r->addr));
	record(p, 'R', "recipient", span_str(r->addr));
}

/* All records before the content; `content`: the offset at which that begins. */
static void
envelope(struct pen *p, const struct queue_envelope *e, uint64_t content)
{
	int64_t created = mail_queue_id_time(e->msg_id) / CLOCK_SECOND;

	record_prefix(p, 'C', 6 * 15 + 5);
	/* size, start of the content, recipients, flags, size again, SMTPUTF8 */
	buf_printf(p->out, "message_size: %15llu %15llu %15zu %15d %15llu %15d\n",
	    (unsigned long long)e->size, (unsigned long long)content, e->rcpt_count, 0,
	    (unsigned long long)e->size, queue_envelope_attr(e, "smtputf8").ptr != NULL);
	time_record(p, 'T', "message_arrival_time", e->arrival,
	    digits(e->arrival / CLOCK_SECOND) + 1 + digits(e->arrival % CLOCK_SECOND));
	time_record(p, 'A', "create_time", mail_queue_id_time(e->msg_id),
	    strlen("create_time=") + digits(created));
	envelope_first(p, e);
	record(p, 'S', "sender", span_str(e->sender));
	for (size_t i = 0; i < e->attr_count; i++)
		if (!is_placed(e->attrs[i].name))
			attribute(p, e->attrs[i].name, e->attrs[i].value);
	for (size_t i = 0; i < e->rcpt_count; i++)
		envelope_rcpt(p, &e->rcpts[i]);
	record_prefix(p, 'M', 0);
}

void
operator_cat_envelope(const struct operator_cat_form *form, struct operator_cat_content *c,
    enum queue_place place, const struct queue_envelope *e, struct buf *out)
{
	struct buf nowhere CLEANUP(buf_done) = {0};
	struct pen measure = {.form = form, .out = &nowhere};
	struct pen pen = {.form = form, .out = out};
	char name[64];

	envelope(&measure, e, 0);
	c->offset = measure.at;
	if (!form->envelope)
		return;
	name_of(place, e->msg_id, name, sizeof(name));
	headline("ENVELOPE RECORDS", name, out);
	envelope(&pen, e, measure.at);
	headline("MESSAGE CONTENTS", name, out);
}

void
operator_cat_end(const struct operator_cat_form *form, const struct operator_cat_content *c,
    enum queue_place place, const struct queue_envelope *e, struct buf *out)
{
	struct pen p = {.form = form, .at = c->offset, .out = out};
	struct span filter = queue_envelope_attr(e, "content_filter");
	struct span redirect = queue_envelope_attr(e, "redirect");
	char name[64];

	if (!form->envelope)
		return;
	name_of(place, e->msg_id, name, sizeof(name));
	record_prefix(&p, 'X', 0);
	headline("HEADER EXTRACTED", name, out);
	if (filter.ptr != NULL)
		record(&p, 'L', "content_filter", filter);
	if (redirect.ptr != NULL)
		record(&p, '>', "redirect_to", redirect);
	record_prefix(&p, 'E', 0);
	headline("MESSAGE FILE END", name, out);
}

/* ---- content ------------------------------------------------------------------------------------------------ */

/* A header line begins "name:" without white space (RFC 5322 section 2.2), or goes on with white space. */
static bool
is_header_line(struct span line, bool first)
{
	if (line.len == 0)
		return false;
	if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
		return !first;
	for (size_t i = 0; i < line.len; i++) {
		unsigned char c = (unsigned char)line.ptr[i];

		if (c == ':')
			return i > 0;
		if (c <= ' ' || c == 0x7f)
			return false;
	}
	return false;
}

/* A line, or (end false) a part of a very long one. */
static void
content_line(const struct operator_cat_form *form, struct operator_cat_content *c, struct span line,
    bool end, struct buf *out)
{
	struct pen p = {.form = form, .at = c->offset, .out = out};

	if (!c->in_line && !c->in_body && !is_header_line(line, !c->begun))
		c->in_body = true;
	if (c->in_body ? form->body : form->header) {
		record_prefix(&p, end ? 'N' : 'L', line.len);
		if (form->names && !c->in_line)
			buf_add_str(out, "regular_text: ");
		buf_add_span(out, line);
		if (end || form->offsets || form->types)
			buf_add_char(out, '\n');
	}
	c->in_line = !end;
	c->begun = true;
	c->offset += record_size(line.len);
}

void
operator_cat_content(const struct operator_cat_form *form, struct operator_cat_content *c,
    struct span piece, bool last, struct buf *out)
{
	struct span rest;

	buf_add_span(&c->rest, piece);
	rest = buf_span(&c->rest);
	while (rest.len > 0) {
		size_t end = span_find(rest, '\n');

		if (end <= RECORD_MAX && (end < rest.len || last)) {
			content_line(form, c, span_head(rest, end), true, out);
			rest = span_from(rest, end + 1);
		} else if (end > RECORD_MAX) {
			content_line(form, c, span_head(rest, RECORD_MAX), false, out);
			rest = span_from(rest, RECORD_MAX);
		} else {
			break;
		}
	}
	buf_consume(&c->rest, c->rest.len - rest.len);
}

/* ---- from the databases ------------------------------------------------------------------------------------- */

struct found {
	struct arena arena; /* of the envelope */
	struct queue_envelope envelope;
	enum queue_place place;
	struct queue_content_ref content;
	size_t shard;
};

static bool
find(struct operator_session *s, int64_t msg_id, struct found *ret, struct err *err)
{
	for (size_t i = 0; i < operator_session_shards(s); i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);

		if (conn == NULL)
			return false;
		if (queue_list_envelope(conn, msg_id, clock_deadline(OPERATOR_PATIENCE),
			&ret->arena, &ret->place, &ret->envelope, &ret->content.content_id,
			&ret->content.set, err)) {
			ret->content.msg_id = msg_id;
			ret->shard = i;
			return true;
		}
		if (err->kind != ERR_GONE)
			return false;
	}
	return err_set(err, ERR_GONE, "", "No such file or directory");
}

static bool
print_content(struct operator_session *s, const struct operator_cat_form *form,
    const struct found *f, struct operator_cat_content *c, struct buf *out, struct err *err)
{
	struct db_pool *pool = operator_session_pool(s, f->shard);
	struct buf piece CLEANUP(buf_done) = {0};
	uint64_t offset = 0;
	bool last = !form->header && !form->body;
	bool good = true;

	while (good && !last) {
		buf_clear(&piece);
		good = queue_content_read(pool, &f->content, offset, PIECE,
		    clock_deadline(OPERATOR_PATIENCE), &piece, err);
		last = piece.len < PIECE;
		offset += piece.len;
		if (good)
			operator_cat_content(form, c, buf_span(&piece), last, out);
		operator_session_print(buf_str(out), out->len);
		buf_clear(out);
	}
	return good;
}

/* ---- from maildrop ------------------------------------------------------------------------------------------ */

/* An envelope record in Postfix's words; false: it is none that is shown. */
static bool
drop_record(struct pen *p, const struct maildrop_record *r)
{
	uint64_t time = 0;

	switch (r->type) {
	case MAILDROP_TIME:
		(void)!span_number(r->data, INT64_MAX, &time);
		time_record(p, 'T', "message_arrival_time", (int64_t)time, r->data.len);
		return true;
	case MAILDROP_SENDER:
		record(p, 'S', "sender", r->data);
		return true;
	case MAILDROP_RCPT:
		record(p, 'R', "recipient", r->data);
		return true;
	case MAILDROP_FULL_NAME:
		record(p, 'F', "sender_fullname", r->data);
		return true;
	case MAILDROP_ENVID:
		attribute(p, SPAN_LIT("envelope_id"), r->data);
		return true;
	case MAILDROP_ORCPT:
		attribute(p, SPAN_LIT("dsn_orig_rcpt"), r->data);
		return true;
	case MAILDROP_ORIGINAL:
		record(p, 'O', "original_recipient", r->data);
		return true;
	case MAILDROP_NOTIFY:
		attribute(p, SPAN_LIT("notify_flags"), r->data);
		return true;
	case MAILDROP_VERSION:
	case MAILDROP_RET:
	case MAILDROP_BODY:
	case MAILDROP_CONTEXT:
	case MAILDROP_VERP:
	case MAILDROP_PURPOSE:
	case MAILDROP_OLD_ID:
	case MAILDROP_CONTENT:
	case MAILDROP_PIECE:
	case MAILDROP_END:
		break;
	}
	return false;
}

/* One record of a file. */
static void
drop_show(const struct operator_cat_form *form, struct operator_cat_content *c,
    const struct maildrop_record *r, const char *name, struct buf *out)
{
	struct pen p = {.form = form, .at = c->offset, .out = out};
	struct buf nowhere CLEANUP(buf_done) = {0};

	if (!form->envelope)
		p.out = &nowhere;
	if (r->type == MAILDROP_PIECE)
		return operator_cat_content(form, c, r->data, false, out);
	if (c->begun) /* what follows the content, and its last line */
		operator_cat_content(form, c, SPAN_LIT(""), true, out);
	p.at = c->offset;
	if (r->type == MAILDROP_CONTENT || r->type == MAILDROP_END)
		record_prefix(&p, r->type == MAILDROP_END ? 'X' : 'M', 0);
	if (r->type == MAILDROP_CONTENT) {
		headline("MESSAGE CONTENTS", name, p.out);
	} else if (r->type == MAILDROP_END) {
		headline("HEADER EXTRACTED", name, p.out);
		record_prefix(&p, 'E', 0);
		headline("MESSAGE FILE END", name, p.out);
	} else {
		(void)drop_record(&p, r);
	}
	c->offset = p.at;
}

bool
operator_cat_file(const struct operator_cat_form *form, int fd, const char *name, struct err *err)
{
	struct maildrop_reader in = {.fd = fd};
	struct operator_cat_content c = {0};
	struct maildrop_record r = {0};
	struct maildrop_check check = {0};
	struct buf out CLEANUP(buf_done) = {0};
	bool good = true;

	if (form->envelope)
		headline("ENVELOPE RECORDS", name, &out);
	while (good && !maildrop_is_complete(&check)) {
		good = maildrop_read(&in, &r, err) == MAILDROP_RECORD &&
		       maildrop_allow(&check, &r, err);
		if (good)
			drop_show(form, &c, &r, name, &out);
		if (check.stage > 0)
			operator_session_print(buf_str(&out), out.len);
		buf_clear(&out);
	}
	buf_done(&c.rest);
	maildrop_reader_done(&in);
	return good || err_set(err, ERR_PERM, "", "%s: input is not a valid queue file", name);
}

bool
operator_cat_print(struct operator_session *s, const struct operator_cat_form *form,
    struct span queue_id, struct err *err)
{
	struct operator_cat_content c = {0};
	struct found f = {0};
	struct buf out CLEANUP(buf_done) = {0};
	char name[300];
	int64_t msg_id;
	bool good;
	int fd = operator_maildrop_open(operator_session_conf(s), queue_id);

	if (fd >= 0) {
		(void)snprintf(name, sizeof(name), MAILDROP_DIR "/%.*s", SPAN_ARG(queue_id));
		good = operator_cat_file(form, fd, name, err);
		(void)close(fd);
		return good;
	}
	if (!mail_queue_id_parse(queue_id, &msg_id))
		return err_set(err, ERR_GONE, "", "No such file or directory");
	good = find(s, msg_id, &f, err);
	if (good) {
		operator_cat_envelope(form, &c, f.place, &f.envelope, &out);
		good = print_content(s, form, &f, &c, &out, err);
	}
	if (good) {
		operator_cat_end(form, &c, f.place, &f.envelope, &out);
		operator_session_print(buf_str(&out), out.len);
	}
	buf_done(&c.rest);
	arena_done(&f.arena);
	return good;
}
