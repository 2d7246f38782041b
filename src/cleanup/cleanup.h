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
struct queue_message;

struct rewrite;
struct rewrite_map;
struct table_list;

/* Where in a message a header stands; which checks it meets. */
enum cleanup_class {
	CLEANUP_PRIMARY, /* the message's own headers */
	CLEANUP_MIME, /* headers about a part of it; of these, in the primary section, the MIME ones too */
	CLEANUP_NESTED, /* headers of an attached message */
	CLEANUP_BODY,   /* no header */
	CLEANUP_CLASS_COUNT,
};

/* Once per configuration; strings are borrowed from it. A zero-filled one checks and rewrites nothing. */
struct cleanup_settings {
	struct conf *conf;   /* counted: the cleanup service's; see cleanup_settings_from() */
	struct conf *caller; /* counted */
	const char *hostname;
	const char *origin; /* myorigin; NULL: unknown */
	const char *mail_name;
	size_t message_size_limit; /* bytes; 0 = none */
	size_t inline_limit;       /* larger contents are uploaded in chunks */
	size_t header_limit;       /* bytes of one header that are kept */
	unsigned hop_limit;
	bool always_add_headers; /* always_add_missing_headers */
	bool long_queue_ids;     /* enable_long_queue_ids: the shape of a Message-Id made here */
	bool from_obsolete;      /* header_from_format = obsolete */
	const char *undisclosed; /* undisclosed_recipients_header; "" or NULL: none */
	const char *
	    remote_domain; /* remote_header_rewrite_domain; "" or NULL: headers of strangers stay as they are */
	uint64_t drop; /* message_drop_headers: bits (1 << enum mail_header_id) ... */
	const char
	    *drop_others;  /* ... and the whole list, when it has names without an id; NULL: none */
	char *strip_chars; /* owned: message_strip_characters; NULL: none */
	char *reject_chars; /* owned: message_reject_characters; NULL: none */
	size_t strip_count; /* their bytes: NUL may be among them */
	size_t reject_count;
	size_t line_limit;  /* line_length_limit */
	size_t token_limit; /* header_address_token_limit */
	size_t dup_limit;   /* duplicate_filter_limit */
	bool no_orig_rcpt;  /* enable_original_recipient = no: it does not tell recipients apart */
	bool detect_8bit;   /* detect_8bit_encoding_header */
	bool detect_utf8_all;  /* smtputf8_autodetect_classes has all, and smtputf8_enable */
	bool detect_utf8;      /* smtputf8_autodetect_classes has sendmail, and smtputf8_enable */
	bool no_checks;        /* receive_override_options = no_header_body_checks */
	bool no_mime;          /* disable_mime_input_processing */
	bool make_7bit;        /* force_mime_input_conversion */
	bool strict_headers;   /* strict_7bit_headers */
	bool strict_body;      /* strict_8bitmime_body */
	bool strict_domain;    /* strict_mime_encoding_domain */
	size_t mime_depth;     /* mime_nesting_limit */
	size_t boundary_limit; /* mime_boundary_length_limit */
	size_t body_limit;     /* body_checks_size_limit */
	struct table_list *checks[CLEANUP_CLASS_COUNT]; /* owned; header_checks, ..., body_checks */
	bool no_copies;                                 /* no BCC tables: mail of our own */
	bool unchanged; /* nothing is looked at, nothing changes; only with ... */
	/* ... where messages go in a process without a way to the queue of its own (sendmail -bs, qmgr); NULL: to the queue. */
	bool (*store_elsewhere)(void *arg, const struct queue_message *m, struct err *err);
	void *store_arg;
	struct rewrite *rewrite; /* owned; NULL: header addresses stay as they are */
	/* Owned; what tables make of addresses. NULL: nothing (receive_override_options = no_address_mappings). */
	struct rewrite_map *map;
};
/*
 * The settings of a service with the configuration `caller`. Like Postfix's cleanup(8) they follow main.cf and the -o options of
 * the master.cf line that cleanup_service_name names, not those of the caller's own line, whose receive_override_options,
 * remote_header_rewrite_domain and (smaller) message_size_limit count as well. Reads these files.
 */
struct cleanup_settings cleanup_settings_from(struct conf *caller);
void cleanup_settings_done(struct cleanup_settings *settings);

/* What the front end knows of the message; all borrowed until cleanup_finish(). */
struct cleanup_envelope {
	int64_t msg_id;
	const char *queue_id;
	int64_t arrival; /* real us */
	const char *sender;
	bool body_8bit;
	bool body_7bit;    /* the client said so (BODY=7BIT) */
	bool smtputf8;     /* the client asked for it (RFC 6531) */
	const char *envid; /* DSN ENVID, decoded; NULL: none */
	const char *ret;   /* DSN RET: "FULL", "HDRS"; "" or NULL: none */
	bool
	    complete_headers; /* a local client: add From, Date, Message-Id where they are missing */
	bool local;           /* submitted on this host, by sendmail or by ourselves: no client */
	bool returned;        /* what is refused goes back to its sender: cleanup_returned() */
	const char *full_name; /* of the sender, for a From: made here; NULL: none */
	bool
	    orcpt_as_mapped; /* what has no ORCPT is known by what canonical maps make of it, as in Postfix where no smtpd was */
	const char *content_filter; /* transport:nexthop; "" or NULL: none */
	const char *redirect;       /* one recipient in place of all; "" or NULL: none */
	const char *hold;           /* to be put on hold, for this reason; NULL: no */
	bool discard;               /* to be accepted and forgotten */
	const char *
	    trace; /* "record": the sender wants to hear of all recipients; "verify": nothing else; NULL: no */
	const char *verp;        /* two VERP delimiters; NULL: none */
	const char *client_name; /* from here on NULL when `local` */
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

/*
 * After a permanent refusal of a `returned` message: its header section with what was missing, as it would have been queued, for the
 * notice to its sender. Empty when it was refused before the end of that, by its size; borrowed until cleanup_free().
 */
struct span cleanup_returned(const struct cleanup *c);

/* Has it been through too many hosts (hopcount_limit)? */
bool cleanup_is_looping(const struct cleanup *c);

/* Completes and stores the message; true when it is durable. False: the reply is in `err`. Waits for the group commit. */
bool cleanup_finish(struct cleanup *c, struct err *err) MUST_CHECK;

#endif
