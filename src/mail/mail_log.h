/*
 * mail_log.h - the formatter of all Postfix-shaped log texts: what stands behind "postfix/smtpd[123]: ". Operators'
 * greps, fail2ban and log analysers read these lines, so their shape is a contract (Postfix 3.7 to 3.9), tested line by
 * line. Every function appends one line without line end; control characters of peers become '?' in base/log. Addresses
 * are given in internal form and written in external form, as info_log_address_format = external.
 */
#ifndef MAIL_MAIL_LOG_H
#define MAIL_MAIL_LOG_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* A client or origin: "NAME[ADDR]", with smtpd_client_port_logging "NAME[ADDR]:PORT". */
struct mail_log_client {
	const char *name; /* verified name, or "unknown" */
	const char *addr; /* numeric */
	const char *port; /* NULL: not shown */
};
void mail_log_client(struct buf *out, const struct mail_log_client *client);

/* ---- smtpd ---- */

/* "connect from NAME[ADDR]" */
void mail_log_connect(struct buf *out, const struct mail_log_client *client);

struct mail_log_command {
	const char *name; /* of either case */
	unsigned good;    /* replied to with 2xx or 3xx */
	unsigned all;
};
/* "disconnect from NAME[ADDR] ehlo=1 mail=1 rcpt=0/1 commands=2/3"; commands never used are left out. */
void mail_log_disconnect(struct buf *out, const struct mail_log_client *client,
    const struct mail_log_command *commands, size_t count);

/* An accepted transaction: "QID: client=NAME[ADDR], sasl_method=..., ...". NULL = left out. */
struct mail_log_accept {
	const char *queue_id; /* NULL: "NOQUEUE" */
	struct mail_log_client client;
	const char *sasl_method;
	const char *sasl_username;
	const char *sasl_sender;
	const char *orig_queue_id;          /* XFORWARD IDENT */
	struct mail_log_client orig_client; /* XFORWARD; name NULL: left out */
};
void mail_log_accept(struct buf *out, const struct mail_log_accept *accept);

/*
 * "NOQUEUE: reject: RCPT from NAME[ADDR]: 554 5.7.1 <x@y>: Relay access denied; from=<s> to=<r> proto=ESMTP helo=<h>".
 * Also for reject_warning, warn, info, filter, hold, discard, redirect, milter-reject, ... NULL = left out.
 */
struct mail_log_reject {
	const char *queue_id; /* NULL: "NOQUEUE" */
	const char *action;   /* "reject" */
	const char *stage;    /* CONNECT, HELO, EHLO, MAIL, RCPT, DATA, END-OF-MESSAGE, ... */
	struct mail_log_client client;
	struct span text;   /* the complete reply "554 5.7.1 ...", or the action's text */
	const char *sender; /* NULL before MAIL; "" = <> */
	const char *recipient;
	const char *proto; /* "SMTP", "ESMTP" */
	const char *helo;
};
void mail_log_reject(struct buf *out, const struct mail_log_reject *reject);

/* "lost connection after MAIL from NAME[ADDR]"; also "timeout", "too many errors" as `why`. `bytes` of DATA received, or
 * -1: " (N bytes)" behind the stage. */
void mail_log_lost(struct buf *out, const char *why, const char *stage, int64_t bytes,
    const struct mail_log_client *client);

/* "improper command pipelining after CMD from NAME[ADDR]: TEXT"; TEXT cut at 100 bytes, escaped as Postfix's escape(). */
void mail_log_pipelining(
    struct buf *out, const char *stage, const struct mail_log_client *client, struct span text);

/* "non-SMTP command from NAME[ADDR]: TEXT" (a warning); cut at 100 bytes. */
void mail_log_non_smtp(struct buf *out, const struct mail_log_client *client, struct span text);

/* ---- cleanup, pickup ---- */

/*
 * A header or body action: "QID: reject: header Subject: x from NAME[ADDR]; from=<s> to=<r> proto=P helo=<h>: text".
 * `origin` is "NAME[ADDR]" or "local"; content is cut at 200 bytes; NULL = left out.
 */
struct mail_log_content {
	const char *queue_id;
	const char *
	    action; /* reject, warning, info, hold, filter, redirect, replace, prepend, strip, bcc, discard */
	const char *what; /* "header" or "body" */
	struct span content;
	const char *origin;
	const char *sender;
	const char *recipient;
	const char *proto;
	const char *helo;
	struct span text; /* operator's text; empty: left out */
};
void mail_log_content(struct buf *out, const struct mail_log_content *content);

/* "QID: uid=N from=<s>", with " orig_id=OLD" when requeued (old_id not NULL). */
void mail_log_pickup(
    struct buf *out, const char *queue_id, unsigned uid, const char *sender, const char *old_id);

/* ---- qmgr ---- */

/* "QID: from=<s>, size=N, nrcpt=N (queue active)" */
void mail_log_active(
    struct buf *out, const char *queue_id, const char *sender, uint64_t size, uint64_t rcpt_count);
/* "QID: removed" */
void mail_log_removed(struct buf *out, const char *queue_id);
/* "QID: from=<s>, status=expired, returned to sender" (or force-expired) */
void mail_log_expired(struct buf *out, const char *queue_id, const char *sender, bool forced);

/* ---- delivery ---- */

/* Real or monotonic microseconds, all of one clock; 0 = did not happen. */
struct mail_log_times {
	int64_t arrival;   /* the message began to arrive */
	int64_t active;    /* the scheduler took it up */
	int64_t handed;    /* an agent got it */
	int64_t connected; /* the connection was ready: before MAIL; 0 = none was made */
	int64_t done;
};

struct mail_log_delivery {
	const char *queue_id;
	const char *recipient;
	const char *
	    orig_recipient; /* shown when it differs, letters of either case being equal; may be NULL */
	const char *relay; /* "host[ip]:port", "local", "none" */
	unsigned
	    conn_use; /* how often this connection was used, this time included; shown from 2 on */
	struct mail_log_times times;
	const char *dsn;
	const char *status; /* sent, deferred, bounced, deliverable, undeliverable, SOFTBOUNCE */
	struct span text;   /* what stands in parentheses */
};
/* "QID: to=<r>, orig_to=<o>, relay=R, conn_use=N, delay=D, delays=a/b/c/d, dsn=X.Y.Z, status=S (TEXT)" */
void mail_log_delivery(struct buf *out, const struct mail_log_delivery *delivery);

/* Seconds with two significant digits and at most `max_decimals` decimals (delay_logging_resolution_limit), no
 * trailing zeros: 0.05, 0.3, 1.2, 57, 4012. Negative counts as 0. */
void mail_log_seconds(struct buf *out, int64_t us, int max_decimals);

/* ---- bounce ---- */

enum mail_log_notice {
	MAIL_LOG_SENDER_FAILURE,     /* "sender non-delivery notification" */
	MAIL_LOG_SENDER_DELAY,       /* "sender delay notification" */
	MAIL_LOG_SENDER_SUCCESS,     /* "sender delivery status notification" */
	MAIL_LOG_POSTMASTER_FAILURE, /* "postmaster non-delivery notification" */
	MAIL_LOG_POSTMASTER_DELAY,   /* "postmaster delay notification" */
};
/* "QID: sender non-delivery notification: NEWQID" */
void mail_log_notice(
    struct buf *out, const char *queue_id, enum mail_log_notice kind, const char *new_id);

#endif
