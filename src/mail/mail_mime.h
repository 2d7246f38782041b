/*
 * mail_mime.h - the two MIME headers that decide about a part's structure: Content-Type and Content-Transfer-Encoding
 * (RFC 2045 sections 5 and 6), read leniently.
 */
#ifndef MAIL_MAIL_MIME_H
#define MAIL_MAIL_MIME_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

enum mail_mime_type {
	MAIL_MIME_LEAF,      /* anything that is not taken apart */
	MAIL_MIME_MULTIPART, /* multipart/x; without a boundary it has no parts */
	MAIL_MIME_DIGEST, /* multipart/digest: parts are message/rfc822 unless they say otherwise */
	MAIL_MIME_MESSAGE, /* message/rfc822: a header section follows */
	MAIL_MIME_GLOBAL, /* message/global: the same, and it may be encoded as a whole (RFC 6532 section 3.7) */
};

/* Longest boundary that is told apart; RFC 2046 section 5.1.1 allows 70. */
#define MAIL_MIME_BOUNDARY_MAX 256

/* From the value of a Content-Type header; the boundary parameter's value (unquoted, cut) is appended to `boundary`. */
enum mail_mime_type mail_mime_parse_type(struct span value, struct buf *boundary);

enum mail_mime_encoding {
	MAIL_MIME_7BIT, /* also quoted-printable, base64 and unknown ones: nothing to convert */
	MAIL_MIME_8BIT, /* also binary */
};
enum mail_mime_encoding mail_mime_parse_encoding(struct span value);

#endif
