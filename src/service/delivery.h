/*
 * delivery.h - the one format in which scheduler and agents speak of a delivery: plain structs and their encoding as
 * frames of a link (link.h). Pure: bytes in, values out. Both ends are ours and on one host; a frame that does not parse is
 * a broken peer: the link is closed.
 */
#ifndef SERVICE_DELIVERY_H
#define SERVICE_DELIVERY_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum delivery_frame {
	DELIVERY_HELLO = 1, /* agent -> scheduler: who I am, how many slots */
	DELIVERY_REQUEST,   /* scheduler -> agent: deliver this */
	DELIVERY_CONTENT,   /* scheduler -> agent: a piece of a large content */
	DELIVERY_PULL, /* agent -> scheduler: send from this offset, this many bytes may be under way */
	DELIVERY_RESULT, /* agent -> scheduler: the outcome, one entry per recipient; ends the delivery */
	DELIVERY_CANCEL, /* scheduler -> agent: drop it if its final dot was not sent yet, and report it untried */
	DELIVERY_IDLE,    /* agent -> scheduler: idle connections that I hold to a destination */
	DELIVERY_LEAVING, /* agent -> scheduler: hand me nothing more, I finish what I have */
	DELIVERY_DOUBT, /* agent -> scheduler, after HELLO: an earlier one's delivery whose outcome I shall report */
	DELIVERY_LEASE, /* scheduler -> agent: until when final dots may be sent; after HELLO and at each renewal */
	DELIVERY_RECORDED, /* scheduler -> agent: numbers of deliveries whose results are stored; now and then */
	DELIVERY_NOTICE, /* agent -> scheduler: a session had trouble that the postmaster wants to hear of */
};

/*
 * Numbers from here up are the agent's own: results of deliveries that an earlier scheduler asked for. A result is kept by the agent
 * until it is recorded, and said again to the next scheduler if that one dies first.
 */
#define DELIVERY_STRANGER 0x80000000u

/* Contents up to this size travel inside the request; larger ones are pulled. */
#define DELIVERY_INLINE_MAX 65536
/* Largest frame: a request with all its recipients and an inline content. */
#define DELIVERY_FRAME_MAX  (64u << 20)

struct delivery_hello {
	struct span service; /* the transport: name of the master.cf line */
	int64_t pid;
	uint32_t slots; /* deliveries at once */
};

/* DSN NOTIFY bits (RFC 3461 section 4.1); 0 = not given. */
#define DELIVERY_NOTIFY_NEVER   1u
#define DELIVERY_NOTIFY_SUCCESS 2u
#define DELIVERY_NOTIFY_FAILURE 4u
#define DELIVERY_NOTIFY_DELAY   8u

struct delivery_rcpt {
	uint32_t rcpt_no;
	struct span addr;      /* internal (unquoted) form */
	struct span orig_addr; /* as the client gave it; empty = same */
	struct span dsn_orcpt; /* "rfc822;addr" or empty */
	uint32_t dsn_notify;
	struct span user; /* resolved recipient for local agents; empty for remote ones */
};

/* An envelope attribute: name and value, as stored with the message (client_name, client_address, sasl_username, ...). */
struct delivery_attr {
	struct span name;
	struct span value;
};

struct delivery_request {
	int64_t msg_id;
	int64_t epoch; /* of the scheduler that asks */
	struct span queue_id;
	struct span transport;
	struct span nexthop;
	struct span sender;  /* internal form; empty = null sender */
	int64_t arrival;     /* real us: when the message came in */
	int64_t activated;   /* real us: when this scheduler took it up (for delays=) */
	uint64_t size;       /* of the content, bytes, LF line ends */
	bool content_inline; /* all of it is in `content` */
	struct span content;
	bool verify_only; /* an address probe: stop after RCPT */
	bool
	    partly; /* more is to come of a recipient once it is sent, which only this scheduler knows */
	struct delivery_attr *attrs;
	size_t attr_count;
	struct delivery_rcpt *rcpts;
	size_t rcpt_count;
};

enum delivery_status {
	DELIVERY_SENT = 1,
	DELIVERY_DEFERRED,
	DELIVERY_BOUNCED,
	DELIVERY_UNTRIED, /* nothing was sent for this recipient; the scheduler may hand it out again at once */
	DELIVERY_PASSED, /* local agents: the transport in `text`, "transport:nexthop", is to deliver it */
};

/* What a probe says of such an outcome, in the log and in its report: "deliverable", "undeliverable". */
const char *delivery_probe_word(enum delivery_status status);

struct delivery_outcome {
	uint32_t rcpt_no;
	enum delivery_status status;
	bool final; /* sent, and in its mailbox: a success report says "delivered", not "relayed" */
	bool passed_on;         /* sent, to a server that reports success itself (DSN): we do not */
	struct span dsn;        /* "2.0.0" */
	struct span text;       /* what stands in the parentheses of the log line */
	struct span relay;      /* "host[ip]:port", "none" */
	struct span remote_mta; /* for the DSN: "dns; host"; may be empty */
	struct span diagnostic; /* for the DSN: "smtp; 550 5.1.1 ..."; may be empty */
	struct span reply_status; /* remote DSN code for the report; empty = dsn */
	struct span
	    forwards; /* local agents: what else comes of it (delivery_forward.h); empty for others */
};

struct delivery_result {
	int64_t
	    msg_id; /* as in the request: a scheduler that did not ask must know what it is about */
	struct span
	    site_error; /* not empty: the destination itself is in trouble (connect, greeting): lowers its window */
	struct span site_error_dsn;
	bool partly; /* as in the request: to another scheduler, "sent" is not the whole truth */
	struct delivery_outcome *outcomes;
	size_t outcome_count;
};

struct delivery_content {
	uint64_t offset;
	struct span bytes;
	bool last;
	bool failed; /* the scheduler could not read it: defer */
};

struct delivery_pull {
	uint64_t offset;
	uint32_t credit; /* bytes */
};

struct delivery_idle {
	struct span nexthop;
	uint32_t count;
};

/*
 * A scheduler that stands still cannot tell its agents that its lease is over: so they know beforehand. Both ends share the
 * monotonic clock of the host.
 */
struct delivery_lease {
	uint32_t shard; /* the queue database whose lease it is */
	int64_t epoch;  /* that it is about: requests of another one are over */
	int64_t until;  /* mono us */
};

/* Recipients of a message that may be delivered already: the final dot is sent, the reply not yet here. */
struct delivery_doubt {
	int64_t msg_id;
	uint32_t *rcpt_nos;
	size_t rcpt_count;
};

/* A session with a server for the postmaster (mail/mail_transcript.h). */
struct delivery_notice {
	bool lmtp;
	struct span peer;       /* "host[ip]:port" */
	struct span transcript; /* mail_transcript.text */
	bool cut;               /* it is not all of the session */
};

/* Each appends one payload (without the link's frame head). */
void delivery_write_hello(struct buf *b, const struct delivery_hello *hello);
void delivery_write_request(struct buf *b, const struct delivery_request *request);
void delivery_write_content(struct buf *b, const struct delivery_content *content);
void delivery_write_pull(struct buf *b, const struct delivery_pull *pull);
void delivery_write_result(struct buf *b, const struct delivery_result *result);
void delivery_write_idle(struct buf *b, const struct delivery_idle *idle);
void delivery_write_lease(struct buf *b, const struct delivery_lease *lease);
void delivery_write_doubt(struct buf *b, const struct delivery_doubt *doubt);
void delivery_write_notice(struct buf *b, const struct delivery_notice *notice);
void delivery_add_recorded(struct buf *b, uint32_t delivery); /* one number of many */

/* Is anything in it a fact, which must not be forgotten before it is recorded? */
bool delivery_result_counts(const struct delivery_result *result);

/*
 * Each parses one payload; spans point into `in`, where a NUL follows each, so that they are C strings too; arrays are in
 * `arena`. False: malformed.
 */
bool delivery_parse_hello(struct span in, struct delivery_hello *ret) MUST_CHECK;
bool delivery_parse_request(
    struct span in, struct arena *arena, struct delivery_request *ret) MUST_CHECK;
bool delivery_parse_content(struct span in, struct delivery_content *ret) MUST_CHECK;
bool delivery_parse_pull(struct span in, struct delivery_pull *ret) MUST_CHECK;
bool delivery_parse_result(
    struct span in, struct arena *arena, struct delivery_result *ret) MUST_CHECK;
bool delivery_parse_idle(struct span in, struct delivery_idle *ret) MUST_CHECK;
bool delivery_parse_lease(struct span in, struct delivery_lease *ret) MUST_CHECK;
bool delivery_parse_doubt(
    struct span in, struct arena *arena, struct delivery_doubt *ret) MUST_CHECK;
bool delivery_parse_notice(struct span in, struct delivery_notice *ret) MUST_CHECK;
/* Cuts the next number off *in; false: there is none, or what is left of *in is malformed. */
bool delivery_next_recorded(struct span *in, uint32_t *ret) MUST_CHECK;

#endif
