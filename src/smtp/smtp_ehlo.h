/*
 * smtp_ehlo.h - the service extensions of EHLO (RFC 5321 section 4.1.1.1): reading a server's list, writing ours,
 * keywords to discard on either side.
 */
#ifndef SMTP_SMTP_EHLO_H
#define SMTP_SMTP_EHLO_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#define SMTP_EHLO_PIPELINING (1u << 0)
#define SMTP_EHLO_SIZE       (1u << 1)
#define SMTP_EHLO_VRFY       (1u << 2)
#define SMTP_EHLO_ETRN       (1u << 3)
#define SMTP_EHLO_STARTTLS   (1u << 4)
#define SMTP_EHLO_AUTH       (1u << 5)
#define SMTP_EHLO_XVERP      (1u << 6)
#define SMTP_EHLO_XCLIENT    (1u << 7)
#define SMTP_EHLO_XFORWARD   (1u << 8)
#define SMTP_EHLO_ENHANCED   (1u << 9)
#define SMTP_EHLO_8BITMIME   (1u << 10)
#define SMTP_EHLO_DSN        (1u << 11)
#define SMTP_EHLO_SMTPUTF8   (1u << 12)
#define SMTP_EHLO_CHUNKING   (1u << 13)
#define SMTP_EHLO_REQUIRETLS (1u << 14)
#define SMTP_EHLO_HELP       (1u << 15)
#define SMTP_EHLO_SILENT     (1u << 31) /* "silent-discard" in a discard list */

/* XFORWARD attributes. */
#define SMTP_EHLO_XFORWARD_NAME   1u
#define SMTP_EHLO_XFORWARD_ADDR   2u
#define SMTP_EHLO_XFORWARD_PROTO  4u
#define SMTP_EHLO_XFORWARD_HELO   8u
#define SMTP_EHLO_XFORWARD_SOURCE 16u
#define SMTP_EHLO_XFORWARD_PORT   32u
#define SMTP_EHLO_XFORWARD_IDENT  64u

/* What a server can do. Zero-filled: nothing (HELO). */
struct smtp_ehlo {
	unsigned features; /* SMTP_EHLO_ bits */
	uint64_t size;     /* SIZE limit; 0 = none given */
	unsigned xforward; /* SMTP_EHLO_XFORWARD_ bits */
	char auth
	    [256]; /* mechanisms, upper case, one blank between; what does not fit is left out */
	char name[256]; /* the server's name: first word of the first line; may be empty */
};

/* Reads the text of a 250 reply to EHLO as struct smtp_reply has it ("250-name\n250-SIZE 1\n..."). Keywords in `discard`
 * are ignored. */
void smtp_ehlo_parse(struct span reply_text, unsigned discard, struct smtp_ehlo *ret);

/* The bit of one keyword, of either case ("silent-discard" too); 0 = not known. */
unsigned smtp_ehlo_keyword(struct span word);

/*
 * A list like smtpd_discard_ehlo_keywords, separated by blanks and commas. *ret gets the known words in any case; false:
 * err names an unknown one, worth a warning, which Postfix does not even give.
 */
bool smtp_ehlo_parse_discard(struct span list, unsigned *ret, struct err *err) MUST_CHECK;

/* What our server announces. */
struct smtp_ehlo_offer {
	const char *host;    /* myhostname */
	unsigned features;   /* wanted; discarded ones already taken off */
	uint64_t size_limit; /* message_size_limit; 0: SIZE without a number */
	const char *auth;    /* mechanisms; needed with SMTP_EHLO_AUTH */
	bool broken_auth;    /* also "AUTH=..." (broken_sasl_auth_clients) */
	const char *xclient; /* attribute names; needed with SMTP_EHLO_XCLIENT */
};
/* Appends the whole reply in Postfix's order, "250-host\r\n250-PIPELINING\r\n ... 250 CHUNKING\r\n". */
void smtp_ehlo_write(struct buf *out, const struct smtp_ehlo_offer *offer);

#endif
