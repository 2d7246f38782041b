/*
 * maildrop.c - see maildrop.h. What users write is judged here twice: by postdrop when it comes, by pickup when it is read.
 */
#include "pickup/maildrop.h"

#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#include "mail/mail_queue_id.h"
#include "queue/queue_types.h"

#define READ_SIZE  65536
#define DIGITS_MAX 8

enum stage {
	STAGE_START,
	STAGE_ENVELOPE,
	STAGE_CONTENT,
	STAGE_EXTRACTED, /* recipients found in the headers, behind the content */
	STAGE_END,
};

void
maildrop_put(struct buf *out, enum maildrop_type type, struct span data)
{
	buf_printf(out, "%c%zu:", (char)type, data.len);
	buf_add_span(out, data);
	buf_add_char(out, '\n');
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

void
maildrop_reader_done(struct maildrop_reader *r)
{
	buf_done(&r->in);
}

/* Makes at least `need` bytes available behind `at`; false: there are not so many, or trouble (errno). */
static bool
fill(struct maildrop_reader *r, size_t need)
{
	errno = 0;
	while (r->in.len - r->at < need) {
		ssize_t n;

		if (r->at > READ_SIZE) {
			buf_consume(&r->in, r->at);
			r->at = 0;
		}
		n = read(r->fd, buf_room(&r->in, READ_SIZE), READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		buf_added(&r->in, (size_t)n);
	}
	return true;
}

static enum maildrop_result
bad(struct err *err)
{
	if (errno != 0)
		err_set(err, ERR_TEMP, "4.3.0", "read: %s", strerror(errno));
	else
		err_set(err, ERR_PERM, "5.6.0", "not a record, or cut off");
	return MAILDROP_BAD;
}

/* The length at `at` + 1; *ret_data = where the bytes begin. */
static bool
read_length(struct maildrop_reader *r, size_t *ret_length, size_t *ret_data)
{
	size_t length = 0;

	for (size_t i = 1; i <= DIGITS_MAX + 1; i++) {
		char c;

		if (!fill(r, i + 1))
			return false;
		c = r->in.ptr[r->at + i];
		if (c == ':' && i > 1) {
			*ret_length = length;
			*ret_data = i + 1;
			return true;
		}
		if (!isdigit((unsigned char)c))
			return false;
		length = length * 10 + (size_t)(c - '0');
	}
	return false;
}

enum maildrop_result
maildrop_read(struct maildrop_reader *r, struct maildrop_record *ret, struct err *err)
{
	size_t length, data;

	if (!fill(r, 1))
		return errno != 0 ? bad(err) : MAILDROP_EOF;
	if (!read_length(r, &length, &data) || length > MAILDROP_PIECE_MAX)
		return bad(err);
	if (!fill(r, data + length + 1) || r->in.ptr[r->at + data + length] != '\n')
		return bad(err);
	ret->type = (enum maildrop_type)(unsigned char)r->in.ptr[r->at];
	ret->data = span_of(r->in.ptr + r->at + data, length);
	r->at += data + length + 1;
	return MAILDROP_RECORD;
}

/* ---- what may follow what ------------------------------------------------------------------------------------ */

static bool
is_one_of(struct span data, const char *a, const char *b)
{
	return span_equal_str(data, a) || (b != NULL && span_equal_str(data, b));
}

static bool
is_printable(struct span data)
{
	for (size_t i = 0; i < data.len; i++)
		if ((unsigned char)data.ptr[i] < ' ' || data.ptr[i] == 127)
			return false;
	return true;
}

/* Is the value one that this type can have? */
static bool
is_good(const struct maildrop_record *r)
{
	uint64_t n;

	if (r->type != MAILDROP_PIECE && r->data.len > MAILDROP_FIELD_MAX)
		return false;
	switch (r->type) {
	case MAILDROP_VERSION:
		return span_equal_str(r->data, "1");
	case MAILDROP_TIME:
		return span_number(r->data, INT64_MAX, &n);
	case MAILDROP_SENDER:
		return r->data.len == 0 || queue_address_is_storable(r->data);
	case MAILDROP_RCPT:
		return r->data.len != 0 && queue_address_is_storable(r->data);
	case MAILDROP_ORIGINAL:
		return queue_address_is_storable(r->data);
	case MAILDROP_ORCPT:
		return queue_address_is_storable(r->data) && span_find(r->data, ';') != r->data.len;
	case MAILDROP_OLD_ID:
		return mail_queue_id_looks_valid(r->data);
	case MAILDROP_FULL_NAME:
	case MAILDROP_ENVID:
		return is_printable(r->data);
	case MAILDROP_RET:
		return is_one_of(r->data, "FULL", "HDRS");
	case MAILDROP_BODY:
		return is_one_of(r->data, "8BITMIME", "7BIT");
	case MAILDROP_CONTEXT:
		return is_one_of(r->data, "remote", NULL);
	case MAILDROP_VERP:
		return r->data.len == 2 && is_printable(r->data);
	case MAILDROP_PURPOSE:
		return is_one_of(r->data, "record", "verify");
	case MAILDROP_NOTIFY:
		return span_number(r->data,
		    QUEUE_NOTIFY_NEVER | QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_FAILURE |
			QUEUE_NOTIFY_DELAY,
		    &n);
	case MAILDROP_PIECE:
		return r->data.len <= MAILDROP_PIECE_MAX;
	case MAILDROP_CONTENT:
	case MAILDROP_END:
		return r->data.len == 0;
	}
	return false;
}

/* Does the type belong into this stage? *ret_next: the stage after it. */
static bool
is_in_place(const struct maildrop_check *c, enum maildrop_type type, int *ret_next)
{
	*ret_next = c->stage;
	switch (c->stage) {
	case STAGE_START:
		*ret_next = STAGE_ENVELOPE;
		return type == MAILDROP_VERSION;
	case STAGE_ENVELOPE:
		if (type == MAILDROP_CONTENT) {
			*ret_next = STAGE_CONTENT;
			return c->sender;
		}
		if (type == MAILDROP_SENDER)
			return !c->sender;
		if (type == MAILDROP_TIME || type == MAILDROP_OLD_ID || type == MAILDROP_ORIGINAL)
			return !c->by_user;
		return type != MAILDROP_VERSION && type != MAILDROP_PIECE && type != MAILDROP_END;
	case STAGE_CONTENT:
	case STAGE_EXTRACTED:
		if (type == MAILDROP_END)
			*ret_next = STAGE_END;
		else if (type == MAILDROP_NOTIFY || type == MAILDROP_RCPT)
			*ret_next = STAGE_EXTRACTED;
		else
			return c->stage == STAGE_CONTENT && type == MAILDROP_PIECE;
		return true;
	default:
		return false;
	}
}

bool
maildrop_allow(struct maildrop_check *c, const struct maildrop_record *r, struct err *err)
{
	int next;

	if (!is_in_place(c, r->type, &next))
		return err_set(err, ERR_PERM, "5.6.0", "unexpected record type: %d", (int)r->type);
	if (!is_good(r))
		return err_set(err, ERR_PERM, "5.6.0", "bad record of type %d", (int)r->type);
	c->stage = next;
	c->sender |= r->type == MAILDROP_SENDER;
	c->rcpts += r->type == MAILDROP_RCPT;
	return true;
}

bool
maildrop_is_complete(const struct maildrop_check *c)
{
	return c->stage == STAGE_END;
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

bool
maildrop_parse_name(struct span name, struct span *ret_base, int64_t *ret_msg_id)
{
	size_t dot = span_find(name, '.');

	*ret_base = span_head(name, dot);
	*ret_msg_id = 0;
	if (!mail_queue_id_looks_valid(*ret_base))
		return false;
	return dot == name.len || mail_queue_id_parse(span_from(name, dot + 1), ret_msg_id);
}
