/*
 * queue_types.h - the plain values in which the rest of the program speaks of queued mail. No state, no statements:
 * a front end fills them in for queue_front.h, a scheduler gets them from queue_claim.h.
 *
 * Addresses are in internal (unquoted) form. Every text here must be valid UTF-8 without NUL and LF: addresses are
 * refused where they come in unless queue_address_is_storable(); all other text is cleaned when it is stored.
 */
#ifndef QUEUE_QUEUE_TYPES_H
#define QUEUE_QUEUE_TYPES_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* Longest address that the queue takes, in bytes (RFC 5321 allows 256; Postfix takes what fits into a line). */
#define QUEUE_ADDRESS_MAX 2000
/* Texts from peers (replies, reasons) are cut to this many bytes. */
#define QUEUE_TEXT_MAX    1000

/* DSN NOTIFY bits (RFC 3461 section 4.1); 0 = not given. */
#define QUEUE_NOTIFY_NEVER   1u
#define QUEUE_NOTIFY_SUCCESS 2u
#define QUEUE_NOTIFY_FAILURE 4u
#define QUEUE_NOTIFY_DELAY   8u

struct queue_rcpt {
	int32_t rcpt_no; /* from 0; set by the queue when the message is stored */
	const char *addr;
	const char *orig_addr; /* as the client gave it; NULL: same */
	const char *dsn_orcpt; /* "rfc822;addr", xtext decoded; NULL: none */
	unsigned dsn_notify;   /* QUEUE_NOTIFY_ bits */
	int32_t attempts;      /* finished attempts; 0 for a new message */
};

/*
 * Everything about a message that is not a column of its own, by name, so that the list can grow without a migration.
 * Names in use:
 *	client_name, client_address, client_port, helo_name, protocol_name     where it came from
 *	log_client_name, log_client_address, log_client_port, log_helo_name, log_protocol_name, log_ident    what XFORWARD
 *	                         says instead, for logs and the next server; none of them without XFORWARD
 *	sasl_method, sasl_username, sasl_sender
 *	envid, ret               DSN ENVID (xtext decoded), "FULL" or "HDRS"
 *	encoding                 "7bit" or "8bit"
 *	smtputf8                 "yes": the client asked for it; "header": and the header section needs it
 *	rewrite_context          "local" or "remote"
 *	content_filter, redirect
 *	message_id               for the log
 *	trace                    "record" (sendmail -v): the sender hears what became of each recipient at the first attempt;
 *	                         "verify" (sendmail -bv): what would become of it, and nothing is delivered
 *	expanded                 one for each recipient that became others and wanted a report of success: NOTIFY bits of that
 *	                         recipient, its address, the one first given and ORCPT, with TAB between them
 */
struct queue_attr {
	struct span name;
	struct span value;
};

struct queue_envelope {
	int64_t msg_id;     /* also the queue id: mail/mail_queue_id.h */
	const char *sender; /* "": null sender */
	int64_t arrival;    /* real us */
	uint64_t size;      /* of the content, bytes, LF line ends */
	const struct queue_attr *attrs;
	size_t attr_count;
	const struct queue_rcpt *rcpts;
	size_t rcpt_count;
};

/* A message on its way into the queue. */
struct queue_message {
	struct queue_envelope envelope;
	struct span content;         /* all of it; empty when it was uploaded */
	struct queue_upload *upload; /* a finished upload (queue_upload.h) instead; NULL: none */
	int64_t content_id;          /* or what queue_large.h stored; 0: nothing */
	const char *hold;            /* not NULL: to be put on hold, for this reason */
};

/* Where a recipient is, in the words of postqueue -j. */
enum queue_place {
	QUEUE_INCOMING,
	QUEUE_ACTIVE,
	QUEUE_DEFERRED_PLACE,
	QUEUE_HOLD,
};
const char *queue_place_name(enum queue_place p); /* "incoming", "active", "deferred", "hold" */

/* May `addr` be stored unchanged: valid UTF-8, no control characters, not too long? (rule 5a.12) */
bool queue_address_is_storable(struct span addr);

/* The value of an attribute; an empty span (ptr NULL) when it is not there. */
struct span queue_envelope_attr(const struct queue_envelope *e, const char *name);

/*
 * Attributes as one text, "name LF value LF name LF value", as the tables keep them (cleaned on the way), and back:
 * the parsed array is in `arena` and points into `text`.
 */
void queue_attrs_write(struct buf *out, const struct queue_attr *attrs, size_t count);
/* Is there an attribute `name` in the text? */
bool queue_attrs_have(struct span text, const char *name);
void queue_attrs_parse(
    struct span text, struct arena *arena, const struct queue_attr **ret, size_t *ret_count);

#endif
