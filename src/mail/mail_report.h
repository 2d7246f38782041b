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

/* One recipient. Addresses in internal form; empty spans are left out. */
struct mail_report_rcpt {
	struct span final;    /* final recipient */
	struct span original; /* DSN ORCPT "rfc822;addr", xtext decoded; empty: none was given */
	struct span
	    orig_addr; /* recipient as first given (X-Original-To); shown as "(expanded from <>)" when it differs */
	const char
	    *action; /* failed, delayed, delivered, relayed, expanded, deliverable, undeliverable */
	const char *dsn;  /* "5.1.1" */
	struct span text; /* reason, as in the log line */
	struct span
	    remote_mta; /* host name or "host", from which came the reply: becomes "dns; host" */
	struct span diagnostic; /* "smtp; 550 ..." complete, or empty: "X-MAIL_NAME; text" */
	bool show_diagnostic; /* write Diagnostic-Code even when the outcome has no remote reply */
	int64_t
	    retry_until; /* second since 1970 for Will-Retry-Until (delay reports); 0: left out */
};

/* What a template variable is replaced with, and what else is configured. */
struct mail_report_settings {
	const char *host;      /* myhostname */
	const char *origin;    /* myorigin: domain of MAILER-DAEMON@ */
	const char *mail_name; /* product: X-MAIL_NAME-Queue-ID */
	int64_t delay_warning; /* delay_warning_time, seconds */
	int64_t max_lifetime;  /* maximal_queue_lifetime, seconds */
	bool threaded;         /* enable_threaded_bounces */
};

struct mail_report {
	enum mail_report_kind kind;
	struct mail_report_settings settings;
	const char *queue_id; /* of the message that is reported */
	const char *new_id;   /* of the notification */
	int64_t now;          /* second since 1970: Date and boundary */
	struct span to;       /* whom it goes to, internal form; empty: "postmaster" */
	bool
	    for_postmaster; /* a postmaster copy: other subject, headers only, Auto-Submitted: auto-generated */
	struct span
	    sender;        /* of the message that is reported, internal form; empty = null sender */
	struct span envid; /* DSN ENVID, xtext decoded; empty: none */
	int64_t arrival;   /* second since 1970 */
	bool smtputf8;     /* message/global* types */
	bool eight_bit;    /* the returned content may have bytes above 127 */
	bool headers_only; /* RET=HDRS, too large, success */
	struct span
	    content; /* of the reported message, LF line ends; with headers_only only its headers are used */
	const struct mail_report_rcpt *rcpts;
	size_t rcpt_count;
};

/*
 * Appends the notification without its Received: header: headers, parts, end. The returned part gets "Return-Path:
 * <sender>" on top.
 */
void mail_report_write(struct buf *out, const struct mail_report *report);

/* "Undelivered Mail Returned to Sender" and the like. */
const char *mail_report_subject(const struct mail_report *report);

#endif
