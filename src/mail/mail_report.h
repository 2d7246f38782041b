/*
 * mail_report.h - composes notifications: multipart/report messages with a text for people, a delivery status report
 * (RFC 3464, RFC 6533 with UTF-8) and the returned message or its headers, in exactly Postfix's shape. Pure text: who is
 * told what, and when, is decided in room bounce.
 */
#ifndef MAIL_MAIL_REPORT_H
#define MAIL_MAIL_REPORT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

enum mail_report_kind {
	MAIL_REPORT_FAILURE, /* "Undelivered Mail Returned to Sender" */
	MAIL_REPORT_DELAY,   /* "Delayed Mail (still being retried)" */
	MAIL_REPORT_SUCCESS, /* "Successful Mail Delivery Report" */
	MAIL_REPORT_VERIFY,  /* "Mail Delivery Status Report" (sendmail -bv) */
};

/* One recipient. Empty spans are left out. */
struct mail_report_rcpt {
	struct span final;      /* final recipient, internal form */
	struct span original;   /* DSN ORCPT, "rfc822;addr", xtext decoded; empty: none given */
	struct span orig_addr;  /* internal form: "(expanded from <>)"; empty: it was not */
	const char *action;     /* failed, delayed, delivered, relayed, expanded, ... */
	const char *dsn;        /* "5.1.1" */
	struct span text;       /* reason, as in the log line */
	struct span remote_mta; /* "dns; mx.example.com", or the host name only */
	struct span diagnostic; /* complete: "smtp; 550 ..."; empty: "X-MAIL_NAME; text" */
	int64_t retry_until;    /* second since 1970 for Will-Retry-Until; 0: left out */
};

/* Texts of bounce_template_file; variables already replaced. `text` is lines with LF. */
struct mail_report_template {
	const char *charset; /* "us-ascii", "utf-8" */
	const char *from;    /* value of From: */
	const char *subject;
	const char *postmaster_subject; /* NULL: subject */
	const char *text;
};

struct mail_report_settings {
	const char *host;      /* myhostname */
	const char *origin;    /* myorigin: domain of MAILER-DAEMON */
	const char *mail_name; /* product: X-MAIL_NAME-Queue-ID */
	int64_t delay_warning; /* delay_warning_time, seconds: in the text of delay reports */
	int64_t max_lifetime;  /* maximal_queue_lifetime, seconds: there too */
	bool threaded;         /* enable_threaded_bounces */
	bool ascii;            /* smtputf8_enable = no: the built-in texts say us-ascii */
	bool
	    only_7bit; /* no Content-Transfer-Encoding: neither the message nor we have 8-bit text */
	bool msgid_stamp;                            /* form of the Message-Id: see mail_msgid.h */
	const struct mail_report_template *template; /* NULL: the built-in text of the kind */
};

struct mail_report {
	enum mail_report_kind kind;
	struct mail_report_settings settings;
	const char *queue_id; /* of the message that is reported */
	const char *new_id;   /* of the notification */
	int64_t now;          /* second since 1970 */
	struct span to;       /* whom it goes to, internal form */
	bool for_postmaster;  /* a postmaster copy: other subject, no text */
	struct span sender;   /* of that message, internal form; empty = null sender */
	struct span envid;    /* DSN ENVID, xtext decoded; empty: none */
	int64_t arrival;      /* second since 1970; 0: not shown */
	bool smtputf8;        /* message/global* types */
	bool headers_only;    /* RET=HDRS, too large, delays, successes */
	struct span content;  /* of that message, LF line ends; may be cut with headers_only */
	const struct mail_report_rcpt *rcpts;
	size_t rcpt_count;
};

/* Appends the content of the notification except its Received: header. */
void mail_report_write(struct buf *out, const struct mail_report *report);

/* Its subject: built in, or from the template. */
const char *mail_report_subject(const struct mail_report *report);

/*
 * Appends `text` in lines of at most `width` columns, broken at white space, all but the first indented by four
 * blanks; control characters become '?'. A word too long stays whole.
 */
void mail_report_wrap(struct buf *out, struct span text, size_t width);

#endif
