/*
 * operator_cat.c - see operator_cat.h.
 */
#include "operator/operator_cat.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/clock.h"
#include "mail/mail_queue_id.h"
#include "queue/queue_content.h"
#include "queue/queue_list.h"

#define PIECE 262144

/* A line longer than this is shown as Postfix stores it: in records that go on. */
#define RECORD_MAX 2048

/* ---- records ------------------------------------------------------------------------------------------------ */

static void
record_prefix(const struct operator_cat_form *form, uint64_t offset, char type, struct buf *out)
{
	if (form->offsets)
		buf_printf(out, "%9llu ", (unsigned long long)offset);
	if (form->types)
		buf_printf(out, "%3d ", type);
}

static void
record(const struct operator_cat_form *form, char type, const char *name, struct span value,
    struct buf *out)
{
	record_prefix(form, 0, type, out);
	buf_printf(out, "%s: %.*s\n", name, SPAN_ARG(value));
}

static void
attribute(
    const struct operator_cat_form *form, struct span name, struct span value, struct buf *out)
{
	record_prefix(form, 0, 'A', out);
	buf_printf(out, "named_attribute: %.*s=%.*s\n", SPAN_ARG(name), SPAN_ARG(value));
}

static void
time_record(const struct operator_cat_form *form, char type, const char *name, int64_t real_us,
    struct buf *out)
{
	char when[40];

	clock_format_local(real_us / CLOCK_SECOND, "%a %b %e %H:%M:%S %Y", when, sizeof(when));
	record(form, type, name, span_str(when), out);
}

static void
headline(const char *what, enum queue_place place, int64_t msg_id, struct buf *out)
{
	char id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(msg_id, id);
	buf_printf(out, "*** %s %s/%s ***\n", what, queue_place_name(place), id);
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
envelope_first(
    const struct operator_cat_form *form, const struct queue_envelope *e, struct buf *out)
{
	struct span context = queue_envelope_attr(e, "rewrite_context");
	struct span envid = queue_envelope_attr(e, "envid");
	struct span ret = queue_envelope_attr(e, "ret");
	char id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(e->msg_id, id);
	attribute(form, SPAN_LIT("log_ident"), span_str(id), out);
	if (context.ptr != NULL)
		attribute(form, SPAN_LIT("rewrite_context"), context, out);
	if (envid.ptr != NULL)
		attribute(form, SPAN_LIT("envelope_id"), envid, out);
	if (ret.ptr != NULL)
		attribute(form, SPAN_LIT("ret_flags"),
		    span_equal_str(ret, "HDRS") ? SPAN_LIT("2") : SPAN_LIT("1"), out);
}

static void
envelope_rcpt(const struct operator_cat_form *form, const struct queue_rcpt *r, struct buf *out)
{
	char flags[16];

	(void)snprintf(flags, sizeof(flags), "%u", r->dsn_notify);
	if (r->dsn_notify != 0)
		attribute(form, SPAN_LIT("notify_flags"), span_str(flags), out);
	if (r->dsn_orcpt != NULL)
		attribute(form, SPAN_LIT("dsn_orig_rcpt"), span_str(r->dsn_orcpt), out);
	record(form, 'O', "original_recipient",
	    span_str(r->orig_addr != NULL ? r->orig_addr : r->addr), out);
	record(form, 'R', "recipient", span_str(r->addr), out);
}

void
operator_cat_envelope(const struct operator_cat_form *form, enum queue_place place,
    const struct queue_envelope *e, struct buf *out)
{
	if (!form->envelope)
		return;
	headline("ENVELOPE RECORDS", place, e->msg_id, out);
	record_prefix(form, 0, 'C', out);
	/* size, start of the content, recipients, flags, size again, SMTPUTF8 */
	buf_printf(out, "message_size: %15llu %15d %15zu %15d %15llu %15d\n",
	    (unsigned long long)e->size, 0, e->rcpt_count, 0, (unsigned long long)e->size,
	    queue_envelope_attr(e, "smtputf8").ptr != NULL);
	time_record(form, 'T', "message_arrival_time", e->arrival, out);
	time_record(form, 'A', "create_time", mail_queue_id_time(e->msg_id), out);
	envelope_first(form, e, out);
	record(form, 'S', "sender", span_str(e->sender), out);
	for (size_t i = 0; i < e->attr_count; i++)
		if (!is_placed(e->attrs[i].name))
			attribute(form, e->attrs[i].name, e->attrs[i].value, out);
	for (size_t i = 0; i < e->rcpt_count; i++)
		envelope_rcpt(form, &e->rcpts[i], out);
	record_prefix(form, 0, 'M', out);
	headline("MESSAGE CONTENTS", place, e->msg_id, out);
}

void
operator_cat_end(const struct operator_cat_form *form, enum queue_place place,
    const struct queue_envelope *e, struct buf *out)
{
	struct span filter = queue_envelope_attr(e, "content_filter");
	struct span redirect = queue_envelope_attr(e, "redirect");

	if (!form->envelope)
		return;
	record_prefix(form, e->size, 'X', out);
	headline("HEADER EXTRACTED", place, e->msg_id, out);
	if (filter.ptr != NULL)
		record(form, 'L', "content_filter", filter, out);
	if (redirect.ptr != NULL)
		record(form, '>', "redirect_to", redirect, out);
	record_prefix(form, e->size, 'E', out);
	headline("MESSAGE FILE END", place, e->msg_id, out);
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
	if (!c->in_line && !c->in_body && !is_header_line(line, c->offset == 0))
		c->in_body = true;
	if (c->in_body ? form->body : form->header) {
		record_prefix(form, c->offset, end ? 'N' : 'L', out);
		buf_add_span(out, line);
		if (end || form->offsets || form->types)
			buf_add_char(out, '\n');
	}
	c->in_line = !end;
	c->offset += line.len + (end ? 1 : 0);
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
    const struct found *f, struct buf *out, struct err *err)
{
	struct db_pool *pool = operator_session_pool(s, f->shard);
	struct operator_cat_content c = {0};
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
			operator_cat_content(form, &c, buf_span(&piece), last, out);
		operator_session_print(buf_str(out), out->len);
		buf_clear(out);
	}
	buf_done(&c.rest);
	return good;
}

bool
operator_cat_print(struct operator_session *s, const struct operator_cat_form *form,
    struct span queue_id, struct err *err)
{
	struct found f = {0};
	struct buf out CLEANUP(buf_done) = {0};
	int64_t msg_id;
	bool good;

	if (!mail_queue_id_parse(queue_id, &msg_id))
		return err_set(err, ERR_GONE, "", "No such file or directory");
	good = find(s, msg_id, &f, err);
	if (good) {
		operator_cat_envelope(form, f.place, &f.envelope, &out);
		good = print_content(s, form, &f, &out, err);
	}
	if (good) {
		operator_cat_end(form, f.place, &f.envelope, &out);
		operator_session_print(buf_str(&out), out.len);
	}
	arena_done(&f.arena);
	return good;
}
