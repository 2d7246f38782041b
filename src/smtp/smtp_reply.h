/*
 * smtp_reply.h - replies (RFC 5321 section 4.2): writing them as a server, reading them as a client.
 */
#ifndef SMTP_SMTP_REPLY_H
#define SMTP_SMTP_REPLY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "mail/mail_dsn.h"

/*
 * Server: appends "CODE DSN text\r\n"; each LF in `text` begins a new line of the reply, all but the last with
 * "CODE-". `dsn` NULL or "": none. Control characters become '?'; a line is cut at 510 bytes.
 */
void smtp_reply_write(struct buf *out, int code, const char *dsn, struct span text);

/* Client: what one reply said. Zero-filled is ready for the first line. */
struct smtp_reply {
	int code;                /* 0: not a reply */
	char dsn[MAIL_DSN_SIZE]; /* from the text, or by the code (mail_dsn_of_reply) */
	struct buf text; /* all lines as they came, LF between them, unprintable bytes as '?' */
	unsigned lines;
	bool garbage;   /* a line was no reply line */
	bool truncated; /* text or lines above the limits were dropped */
};

/* Limits for a peer that never ends its reply: text kept, lines read. */
#define SMTP_REPLY_TEXT_MAX  2048
#define SMTP_REPLY_LINES_MAX 1000

enum smtp_reply_step {
	SMTP_REPLY_MORE, /* another line belongs to it */
	SMTP_REPLY_DONE,
	SMTP_REPLY_BAD, /* not SMTP, or beyond all limits: give the connection up */
};

/* Drops what was read; keeps memory. smtp_reply_done() releases it. */
void smtp_reply_clear(struct smtp_reply *r);
void smtp_reply_done(struct smtp_reply *r);

/*
 * Takes one line without its line end. A line that is no reply line is kept and skipped, as Postfix does, unless `strict`
 * (several commands are under way, so that a reply lost its place): then SMTP_REPLY_BAD.
 */
enum smtp_reply_step smtp_reply_line(struct smtp_reply *r, struct span line, bool strict);

/* 2, 3, 4, 5; 0 otherwise. */
int smtp_reply_class(const struct smtp_reply *r);

/* The text with each LF as a blank, as logs and bounces quote it. */
void smtp_reply_text(const struct smtp_reply *r, struct buf *out);

#endif
