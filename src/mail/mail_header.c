/*
 * mail_header.c - see mail_header.h. Lines are found with memchr; only the first bytes of each are looked at.
 */
#include "mail/mail_header.h"

#include <ctype.h>

#define SENDERS    MAIL_HEADER_SENDERS
#define RECIPIENTS MAIL_HEADER_RECIPIENTS
#define EXTRACT    MAIL_HEADER_EXTRACT
#define RESENT     MAIL_HEADER_RESENT
#define DROP       MAIL_HEADER_DROP
#define MIME       MAIL_HEADER_MIME

static const struct {
	const char *name;
	unsigned flags;
} mail_header_table[MAIL_HEADER_ID_COUNT] = {
    [MAIL_HEADER_OTHER] = {"", 0},
    [MAIL_HEADER_APPARENTLY_TO] = {"Apparently-To", RECIPIENTS},
    [MAIL_HEADER_BCC] = {"Bcc", DROP | RECIPIENTS | EXTRACT},
    [MAIL_HEADER_CC] = {"Cc", RECIPIENTS | EXTRACT},
    [MAIL_HEADER_CONTENT_DESCRIPTION] = {"Content-Description", MIME},
    [MAIL_HEADER_CONTENT_DISPOSITION] = {"Content-Disposition", MIME},
    [MAIL_HEADER_CONTENT_ID] = {"Content-ID", MIME},
    [MAIL_HEADER_CONTENT_LENGTH] = {"Content-Length", DROP},
    [MAIL_HEADER_CONTENT_TRANSFER_ENCODING] = {"Content-Transfer-Encoding", MIME},
    [MAIL_HEADER_CONTENT_TYPE] = {"Content-Type", MIME},
    [MAIL_HEADER_DATE] = {"Date", 0},
    [MAIL_HEADER_DELIVERED_TO] = {"Delivered-To", 0},
    [MAIL_HEADER_DISP_NOTIFICATION] = {"Disposition-Notification-To", SENDERS},
    [MAIL_HEADER_ERRORS_TO] = {"Errors-To", SENDERS},
    [MAIL_HEADER_FROM] = {"From", SENDERS},
    [MAIL_HEADER_MAIL_FOLLOWUP_TO] = {"Mail-Followup-To", SENDERS},
    [MAIL_HEADER_MESSAGE_ID] = {"Message-Id", 0},
    [MAIL_HEADER_MIME_VERSION] = {"MIME-Version", MIME},
    [MAIL_HEADER_RECEIVED] = {"Received", 0},
    [MAIL_HEADER_REPLY_TO] = {"Reply-To", SENDERS},
    [MAIL_HEADER_RESENT_BCC] = {"Resent-Bcc", DROP | RECIPIENTS | EXTRACT | RESENT},
    [MAIL_HEADER_RESENT_CC] = {"Resent-Cc", RECIPIENTS | EXTRACT | RESENT},
    [MAIL_HEADER_RESENT_DATE] = {"Resent-Date", RESENT},
    [MAIL_HEADER_RESENT_FROM] = {"Resent-From", SENDERS | RESENT},
    [MAIL_HEADER_RESENT_MESSAGE_ID] = {"Resent-Message-Id", RESENT},
    [MAIL_HEADER_RESENT_REPLY_TO] = {"Resent-Reply-To", RECIPIENTS | RESENT},
    [MAIL_HEADER_RESENT_SENDER] = {"Resent-Sender", SENDERS | RESENT},
    [MAIL_HEADER_RESENT_TO] = {"Resent-To", RECIPIENTS | EXTRACT | RESENT},
    [MAIL_HEADER_RETURN_PATH] = {"Return-Path", DROP | SENDERS},
    [MAIL_HEADER_RETURN_RECEIPT_TO] = {"Return-Receipt-To", SENDERS},
    [MAIL_HEADER_SENDER] = {"Sender", SENDERS},
    [MAIL_HEADER_SUBJECT] = {"Subject", 0},
    [MAIL_HEADER_TLS_REQUIRED] = {"TLS-Required", 0},
    [MAIL_HEADER_TO] = {"To", RECIPIENTS | EXTRACT},
};

enum mail_header_id
mail_header_id(struct span name)
{
	int first;

	if (name.len == 0)
		return MAIL_HEADER_OTHER;
	first = tolower((unsigned char)name.ptr[0]);
	for (int id = MAIL_HEADER_OTHER + 1; id < MAIL_HEADER_ID_COUNT; id++) {
		const char *known = mail_header_table[id].name;

		if (tolower((unsigned char)known[0]) == first && span_equal_nocase_str(name, known))
			return (enum mail_header_id)id;
	}
	return MAIL_HEADER_OTHER;
}

const char *
mail_header_name(enum mail_header_id id)
{
	return mail_header_table[id].name;
}

unsigned
mail_header_flags(enum mail_header_id id)
{
	return mail_header_table[id].flags;
}

size_t
mail_header_name_length(struct span line)
{
	size_t len = 0;
	size_t i;

	/* RFC 5322 section 2.2: printable ASCII without the colon */
	while (len < line.len && line.ptr[len] > ' ' && line.ptr[len] < 127 && line.ptr[len] != ':')
		len++;
	for (i = len; i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t'); i++)
		continue;
	return i < line.len && line.ptr[i] == ':' ? len : 0;
}

/* Length of the line at the front, its LF included. */
static size_t
mail_header_line(struct span s)
{
	size_t lf = span_find(s, '\n');

	return lf < s.len ? lf + 1 : s.len;
}

void
mail_header_start(struct mail_header_iter *iter, struct span content)
{
	*iter = (struct mail_header_iter){.content = content};
}

static bool
mail_header_is_blank(struct span rest)
{
	return rest.ptr[0] == '\n' || (rest.len >= 2 && rest.ptr[0] == '\r' && rest.ptr[1] == '\n');
}

/* All lines of the field at the front: the first and those that begin with white space. */
static struct span
mail_header_raw(struct span rest)
{
	size_t len = mail_header_line(rest);

	while (len < rest.len && (rest.ptr[len] == ' ' || rest.ptr[len] == '\t'))
		len += mail_header_line(span_from(rest, len));
	return span_head(rest, len);
}

static struct span
mail_header_value(struct span raw, size_t name_length)
{
	struct span value = span_from(raw, name_length);

	value = span_from(value, span_find(value, ':') + 1);
	while (value.len != 0 && (value.ptr[0] == ' ' || value.ptr[0] == '\t'))
		value = span_from(value, 1);
	while (value.len != 0 &&
	       (value.ptr[value.len - 1] == '\n' || value.ptr[value.len - 1] == '\r'))
		value.len--;
	return value;
}

bool
mail_header_next(struct mail_header_iter *iter, struct mail_header *ret)
{
	struct span rest = span_from(iter->content, iter->at);
	size_t len;

	if (rest.len == 0 || mail_header_is_blank(rest)) {
		iter->blank = rest.len != 0;
		iter->body = iter->at + (iter->blank ? mail_header_line(rest) : 0);
		return false;
	}
	len = mail_header_name_length(span_head(rest, mail_header_line(rest)));
	if (len == 0) {
		iter->body = iter->at;
		return false;
	}
	ret->raw = mail_header_raw(rest);
	ret->name = span_head(rest, len);
	ret->value = mail_header_value(ret->raw, len);
	ret->id = mail_header_id(ret->name);
	iter->at += ret->raw.len;
	return true;
}

bool
mail_header_find(struct span content, const char *name, struct mail_header *ret)
{
	struct mail_header_iter iter;

	mail_header_start(&iter, content);
	while (mail_header_next(&iter, ret))
		if (span_equal_nocase_str(ret->name, name))
			return true;
	return false;
}

void
mail_header_scan(struct span content, struct mail_header_scan *ret)
{
	struct mail_header_iter iter;
	struct mail_header header;

	*ret = (struct mail_header_scan){0};
	mail_header_start(&iter, content);
	while (mail_header_next(&iter, &header)) {
		if (header.id == MAIL_HEADER_OTHER)
			continue;
		if (header.id == MAIL_HEADER_MESSAGE_ID && !mail_header_has(ret, header.id))
			ret->message_id = span_trim(header.value);
		if (header.id == MAIL_HEADER_RESENT_MESSAGE_ID && !mail_header_has(ret, header.id))
			ret->resent_message_id = span_trim(header.value);
		ret->received += header.id == MAIL_HEADER_RECEIVED;
		ret->resent = ret->resent || (mail_header_flags(header.id) & RESENT) != 0;
		ret->present |= UINT64_C(1) << header.id;
	}
	ret->headers = iter.at;
	ret->body = iter.body;
	ret->blank = iter.blank;
}

void
mail_header_unfold(struct buf *out, struct span value)
{
	while (value.len != 0) {
		size_t lf = span_find(value, '\n');
		size_t text = lf > 0 && lf < value.len && value.ptr[lf - 1] == '\r' ? lf - 1 : lf;

		buf_add(out, value.ptr, text);
		value = span_from(value, lf + 1);
	}
}

/* Where to fold: index of the last white space that keeps the line within `room` bytes; the first one behind if there is
 * none; s.len when nothing is to be done. */
static size_t
mail_header_fold_at(struct span s, size_t room)
{
	size_t best = s.len;

	if (s.len <= room)
		return s.len;
	for (size_t i = 1; i < s.len; i++) {
		if (s.ptr[i] != ' ' && s.ptr[i] != '\t')
			continue;
		if (i > room && best < s.len)
			break;
		best = i;
		if (i > room)
			break;
	}
	return best;
}

void
mail_header_write(struct buf *out, const char *name, struct span value)
{
	size_t used;

	buf_printf(out, "%s: ", name);
	used = strlen(name) + 2;
	while (value.len != 0) {
		size_t n = mail_header_fold_at(value, used < 78 ? 78 - used : 1);

		buf_add(out, value.ptr, n);
		value = span_from(value, n);
		if (value.len != 0)
			buf_add_char(out, '\n');
		used = 0;
	}
	buf_add_char(out, '\n');
}
