/*
 * cleanup.h - from envelope and content to a queued message (Postfix's cleanup(8), as a library of the front ends): completes the
 * headers, counts hops and bytes, hands contents above the inline limit to the queue while they arrive, and stores the
 * message. One struct cleanup per message.
 *
 *	c = cleanup_new(...); fill cleanup_envelope(c); cleanup_add_rcpt(c, ...)
 *	loop: append LF-ended content to cleanup_content(c); cleanup_added(c)
 *	cleanup_finish(c, &err)      true: it is durable
 *	cleanup_free(&c)             at any time: what was not finished is forgotten
 */
#ifndef CLEANUP_CLEANUP_H
#define CLEANUP_CLEANUP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

struct cleanup;
struct queue_front;

/* From main.cf, once per configuration; strings are borrowed from it. */
struct cleanup_settings {
	const char *hostname;
	const char *mail_name;
	size_t message_size_limit; /* bytes; 0 = none */
	size_t inline_limit;       /* larger contents are uploaded in chunks */
	size_t header_limit;       /* bytes of the header section that are looked at */
	unsigned hop_limit;
	bool always_add_headers; /* always_add_missing_headers */
	bool long_queue_ids;     /* enable_long_queue_ids: the shape of a Message-Id made here */
	const char *origin;      /* myorigin */
	bool from_obsolete;      /* header_from_format = obsolete */
};
struct cleanup_settings cleanup_settings_from(const struct conf *conf);

/* What the front end knows of the message; all borrowed until cleanup_finish(). */
struct cleanup_envelope {
	int64_t msg_id;
	const char *queue_id;
	int64_t arrival; /* real us */
	const char *sender;
	bool body_8bit;
	bool smtputf8;     /* the client asked for it (RFC 6531) */
	const char *envid; /* DSN ENVID, decoded; NULL: none */
	const char *ret;   /* DSN RET: "FULL", "HDRS"; "" or NULL: none */
	bool
	    complete_headers; /* a local client: add From, Date, Message-Id where they are missing */
	bool local;           /* submitted on this host, by sendmail or by ourselves: no client */
	const char *full_name;      /* of the sender, for a From: made here; NULL: none */
	const char *content_filter; /* transport:nexthop; "" or NULL: none */
	const char *verp;           /* two VERP delimiters; NULL: none */
	const char *client_name;    /* from here on NULL when `local` */
	const char *client_address;
	const char *client_reverse_name;
	const char *client_port;
	const char *client_helo; /* may be NULL */
	const char *client_protocol;
	const char *sasl_method; /* NULL: nobody is authenticated */
	const char *sasl_username;
	bool forwarded;              /* XFORWARD: what logs and the next server are told instead */
	const char *log_client_name; /* these all set then, but for ... */
	const char *log_client_address;
	const char *log_client_port;
	const char *log_protocol;
	const char *log_helo;  /* ... these two, which may be NULL */
	const char *log_ident; /* queue id at the server before */
};

/* `settings` and `front` are borrowed. */
struct cleanup *cleanup_new(const struct cleanup_settings *settings, struct queue_front *front);
void cleanup_free(struct cleanup **c);

struct cleanup_envelope *cleanup_envelope(struct cleanup *c);

/* One recipient, in order; strings are borrowed until cleanup_finish(). */
void cleanup_add_rcpt(struct cleanup *c, const char *addr, const char *orig_addr,
    const char *dsn_orcpt, unsigned dsn_notify);

/* Where content is appended, LF line ends. Call cleanup_added() after each piece. */
struct buf *cleanup_content(struct cleanup *c);

/*
 * Takes note of what was appended: enforces the size limit (the rest is then dropped, and cleanup_finish() says so), starts and feeds
 * the upload of a large content. May wait for the database.
 */
void cleanup_added(struct cleanup *c);

/* Bytes of content so far, as message_size_limit counts them (line ends as CRLF). */
uint64_t cleanup_size(const struct cleanup *c);

/* Completes and stores the message; true when it is durable. False: the reply is in `err`. Waits for the group commit. */
bool cleanup_finish(struct cleanup *c, struct err *err) MUST_CHECK;

#endif
