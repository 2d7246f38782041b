/*
 * mail_received.h - the Received: header (RFC 5321 section 4.4), byte for byte as Postfix forms it in smtpd, pickup and
 * for its own notifications. Lines end in LF, like contents.
 */
#ifndef MAIL_MAIL_RECEIVED_H
#define MAIL_MAIL_RECEIVED_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* What TLS adds with smtpd_tls_received_header = yes; NULL or 0 = not known. */
struct mail_received_tls {
	const char *protocol; /* "TLSv1.3" */
	const char *cipher;
	int cipher_bits;
	int cipher_all_bits;
	const char *kex; /* "X25519" or, with a curve, "ECDHE" */
	const char *kex_curve;
	int kex_bits;
	const char *server_signature; /* "RSA-PSS" */
	const char *server_curve;
	int server_bits;
	const char *server_digest;
	const char *client_signature;
	const char *client_curve;
	int client_bits;
	const char *client_digest;
	bool client_asked;     /* a client certificate was asked for (smtpd_tls_ask_ccert) */
	bool client_present;   /* ... and given */
	bool client_trusted;   /* ... and verified */
	const char *client_cn; /* printable */
	const char *issuer_cn;
};

struct mail_received {
	const char *helo;        /* NULL before HELO: client_name is used */
	const char *client_name; /* verified name or "unknown" */
	const char *client_addr; /* numeric; "IPv6:" is put before addresses with a colon */
	const char *host;        /* myhostname */
	const char *mail_name;   /* product, "Postfix" */
	const char *protocol; /* "ESMTP", "SMTP", "QMQP"; mail_received_protocol() adds suffixes */
	const char *queue_id; /* NULL before a proxy filter: left out */
	int64_t second;       /* arrival, since 1970 */
	const char *rcpt; /* internal form, when the message has exactly one recipient; else NULL */
	const char *auth_user; /* with smtpd_sasl_authenticated_header = yes; else NULL */
	const struct mail_received_tls *tls; /* NULL: none to show */
};

/* "Received: from HELO (NAME [ADDR])\n\tby HOST (MAIL_NAME) with PROTOCOL id QID\n\tfor <RCPT>; DATE\n". */
void mail_received_write(struct buf *out, const struct mail_received *r);

/* Pickup: "Received: by HOST (MAIL_NAME, from userid UID)\n\tid QID; DATE\n". */
void mail_received_write_local(struct buf *out, const char *host, const char *mail_name,
    unsigned uid, const char *queue_id, int64_t second);

/* Notifications and forwarded mail: "Received: by HOST (MAIL_NAME)\n\tid QID; DATE\n". */
void mail_received_write_internal(
    struct buf *out, const char *host, const char *mail_name, const char *queue_id, int64_t second);

/* The word after "with": SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP... (RFC 3848, RFC 6531 section 4.3). */
const char *mail_received_protocol(bool esmtp, bool tls, bool auth, bool smtputf8);

#endif
