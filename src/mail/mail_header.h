/*
 * mail_header.h - the header section of a content with LF line ends: iteration, look-up, folding, and one pass that
 * tells cleanup what is there and what is missing (RFC 5322 section 2.2, Postfix's is_header). Changes nothing.
 */
#ifndef MAIL_MAIL_HEADER_H
#define MAIL_MAIL_HEADER_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* Header names with a meaning here; MAIL_HEADER_OTHER for all else. */
enum mail_header_id {
	MAIL_HEADER_OTHER,
	MAIL_HEADER_APPARENTLY_TO,
	MAIL_HEADER_BCC,
	MAIL_HEADER_CC,
	MAIL_HEADER_CONTENT_DESCRIPTION,
	MAIL_HEADER_CONTENT_DISPOSITION,
	MAIL_HEADER_CONTENT_ID,
	MAIL_HEADER_CONTENT_LENGTH,
	MAIL_HEADER_CONTENT_TRANSFER_ENCODING,
	MAIL_HEADER_CONTENT_TYPE,
	MAIL_HEADER_DATE,
	MAIL_HEADER_DELIVERED_TO,
	MAIL_HEADER_DISP_NOTIFICATION,
	MAIL_HEADER_ERRORS_TO,
	MAIL_HEADER_FROM,
	MAIL_HEADER_MAIL_FOLLOWUP_TO,
	MAIL_HEADER_MESSAGE_ID,
	MAIL_HEADER_MIME_VERSION,
	MAIL_HEADER_RECEIVED,
	MAIL_HEADER_REPLY_TO,
	MAIL_HEADER_RESENT_BCC,
	MAIL_HEADER_RESENT_CC,
	MAIL_HEADER_RESENT_DATE,
	MAIL_HEADER_RESENT_FROM,
	MAIL_HEADER_RESENT_MESSAGE_ID,
	MAIL_HEADER_RESENT_REPLY_TO,
	MAIL_HEADER_RESENT_SENDER,
	MAIL_HEADER_RESENT_TO,
	MAIL_HEADER_RETURN_PATH,
	MAIL_HEADER_RETURN_RECEIPT_TO,
	MAIL_HEADER_SENDER,
	MAIL_HEADER_SUBJECT,
	MAIL_HEADER_TLS_REQUIRED,
	MAIL_HEADER_TO,
	MAIL_HEADER_ID_COUNT,
};

#define MAIL_HEADER_SENDERS    1u  /* holds sender addresses, to be rewritten */
#define MAIL_HEADER_RECIPIENTS 2u  /* holds recipient addresses, to be rewritten */
#define MAIL_HEADER_EXTRACT    4u  /* `sendmail -t` takes recipients from it */
#define MAIL_HEADER_RESENT     8u  /* Resent-: has precedence for `sendmail -t` */
#define MAIL_HEADER_DROP       16u /* Postfix removes it from new mail (message_drop_headers) */
#define MAIL_HEADER_MIME       32u

/* Case-insensitive. */
enum mail_header_id mail_header_id(struct span name);
/* "Resent-Message-Id" as Postfix spells it; "" for MAIL_HEADER_OTHER. */
const char *mail_header_name(enum mail_header_id id);
unsigned mail_header_flags(enum mail_header_id id);

struct mail_header {
	enum mail_header_id id;
	struct span name;  /* without white space before the colon */
	struct span value; /* behind colon and white space; folds stay, the last line end goes */
	struct span raw;   /* the field with all its lines and line ends */
};

struct mail_header_iter {
	struct span content;
	size_t at;   /* offset of what comes next; in the end: end of the header section */
	size_t body; /* in the end: offset of the body */
	bool blank;  /* ... and an empty line stands between; if not, a line that is no header */
};

/* Starts at the front of `content` (LF line ends). */
void mail_header_start(struct mail_header_iter *iter, struct span content);
/* The next header; false at the end of the section: then iter->at, ->body and ->blank tell where. */
bool mail_header_next(struct mail_header_iter *iter, struct mail_header *ret);

/* Length of "Name" if `line` looks like "Name: ..." (also "Name :"), else 0: Postfix's is_header(). */
size_t mail_header_name_length(struct span line);

/* The first header of this name, letters of either case. */
bool mail_header_find(struct span content, const char *name, struct mail_header *ret);

/* What cleanup must know before it writes a message, from one pass. */
struct mail_header_scan {
	uint64_t present;              /* bit (1 << enum mail_header_id) */
	unsigned received;             /* number of Received: lines, for hopcount_limit */
	struct span message_id;        /* value of the first, trimmed; empty if none */
	struct span resent_message_id; /* the same */
	bool resent;                   /* at least one Resent- header */
	size_t headers;                /* bytes of the header section, before the empty line */
	size_t body;                   /* offset of the body */
	bool blank;                    /* an empty line stands between */
};
void mail_header_scan(struct span content, struct mail_header_scan *ret);
static inline bool
mail_header_has(const struct mail_header_scan *scan, enum mail_header_id id)
{
	return (scan->present >> id & 1) != 0;
}

/* Appends `value` in one line: each LF (with a CR before it) goes, the white space that follows stays. */
void mail_header_unfold(struct buf *out, struct span value);

/*
 * Appends "Name: value\n"; a value longer than 78 columns is folded before white space, with a tab where there is none
 * to be kept. For headers made here.
 */
void mail_header_write(struct buf *out, const char *name, struct span value);

#endif
