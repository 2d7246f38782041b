/*
 * smtpd_notice.h - notices to the postmaster about sessions in trouble (notify_classes): what was said is kept, refusals are classified as
 * Postfix does, and at the end a message with the transcript goes into the queue.
 */
#ifndef SMTPD_SMTPD_NOTICE_H
#define SMTPD_SMTPD_NOTICE_H

#include "base/span.h"
#include "mail/mail_transcript.h"

struct conf;
struct smtpd_session;

/* What a session gathers for a notice. Zero-filled: nothing. */
struct smtpd_notice {
	struct mail_transcript transcript;
	unsigned troubles;  /* enum mail_trouble bits of what was refused so far */
	unsigned next;      /* class of the refusal that comes next; 0: its code tells */
	const char *reason; /* why the session ended early; NULL: it did not */
};

/* notify_classes as enum mail_trouble bits; 0: nothing need be kept. */
unsigned smtpd_notice_wanted(const struct conf *conf);

/* A reply with its line ends; a command. */
void smtpd_notice_said(struct smtpd_session *s, struct span reply);
void smtpd_notice_heard(struct smtpd_session *s, struct span line);

/* A refusal is about to be given: what `code` and `dsn` (NULL: none) mean, unless somebody said what the next one is. */
void smtpd_notice_refused(struct smtpd_session *s, int code, const char *dsn);

/* The same where the access rules refuse. */
void smtpd_notice_rejected(struct smtpd_session *s, int code, const char *dsn, struct span text);

/* After EHLO, RSET and messages: a long session is told of, and forgotten, in parts (smtpd_history_flush_threshold). May wait. */
void smtpd_notice_flush(struct smtpd_session *s);

/* The session is over: tells, if there is something to tell, and forgets it all. May wait. */
void smtpd_notice_end(struct smtpd_session *s);

#endif
