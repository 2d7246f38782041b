/*
 * mail_transcript.h - what was said in a session, kept for a notice to the postmaster (notify_classes), and the text of such notices,
 * in Postfix's words. Pure text: who is told, and when, is the session's affair.
 */
#ifndef MAIL_MAIL_TRANSCRIPT_H
#define MAIL_MAIL_TRANSCRIPT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* What is kept of a session; what comes later is left out, and the notice says so. */
#define MAIL_TRANSCRIPT_MAX      32768
/* And of a line. */
#define MAIL_TRANSCRIPT_LINE_MAX 2048

/* notify_classes, as bits. */
enum mail_trouble {
	MAIL_TROUBLE_BOUNCE = 1,
	MAIL_TROUBLE_DATA = 2,
	MAIL_TROUBLE_POLICY = 4,
	MAIL_TROUBLE_PROTOCOL = 8,
	MAIL_TROUBLE_RESOURCE = 16,
	MAIL_TROUBLE_SOFTWARE = 32,
};

/* A zero-filled one is empty. */
struct mail_transcript {
	struct buf text;
	size_t lines;
	bool cut;
};

void mail_transcript_done(struct mail_transcript *t);
void mail_transcript_clear(struct mail_transcript *t);

/* A command as it may be kept: passwords are nobody's business, of AUTH only the mechanism is left. */
struct span mail_transcript_command(struct span line);

/* One line or, with their line ends, several: what the other side said (`in`), or we. */
void mail_transcript_add(struct mail_transcript *t, bool in, struct span lines);

struct mail_transcript_notice {
	const char *host;      /* myhostname: MAILER-DAEMON's domain */
	const char *mail_name; /* product */
	const char *to;        /* error_notice_recipient with its domain */
	const char *side;      /* "SMTP server", "LMTP client" */
	const char *peer;      /* NAME[ADDRESS] */
	const char *intro;  /* a client's notice: a line before the transcript; NULL: a server's */
	const char *reason; /* why the session was ended early; NULL: it was not */
	int64_t now;        /* second since 1970 */
};

/* The notice's headers, but for Received: and Message-Id:, and its body. */
void mail_transcript_write(
    struct buf *out, const struct mail_transcript *t, const struct mail_transcript_notice *notice);

#endif
