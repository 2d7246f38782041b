/*
 * delivery_forward.h - what a local agent makes of a recipient besides delivering it, as the text in delivery_outcome.forwards:
 * messages to be queued anew (aliases, .forward), and failures of the addresses that it expanded to. A record is a line of
 * a letter and a value for each field; the scheduler does it all in the transaction that completes the recipient.
 */
#ifndef SERVICE_DELIVERY_FORWARD_H
#define SERVICE_DELIVERY_FORWARD_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* A message begins; recipients follow. */
struct delivery_forward {
	struct span sender;    /* internal form; empty = null sender */
	struct span delivered; /* for its Delivered-To: header; empty: none */
	struct span
	    pass; /* "transport:nexthop": it goes there as it is, no header more; empty: it is new mail */
};

struct delivery_forward_rcpt {
	struct span addr;
	struct span orig_addr; /* empty: same */
	struct span dsn_orcpt;
	uint32_t dsn_notify;
};

/* For a probe: an answer, were it "deliverable" (2.X.X). */
struct delivery_failure {
	struct span addr;
	struct span dsn;
	struct span text;
	struct span diagnostic; /* may be empty */
	struct span owner;      /* who is told; empty: the sender */
	bool of_list; /* of a list with an owner: his ORCPT, ENVID and RET do not hold here */
};

void delivery_forward_begin(struct buf *out, const struct delivery_forward *f);
void delivery_forward_add(struct buf *out, const struct delivery_forward_rcpt *r);
void delivery_forward_failure(struct buf *out, const struct delivery_failure *f);
/* The sender, who asked for reports of success, is told that the recipient was expanded: `action` "expanded" or "delivered". */
void delivery_forward_expanded(struct buf *out, const char *action);

enum delivery_forward_kind {
	DELIVERY_FORWARD_END,
	DELIVERY_FORWARD_MESSAGE,
	DELIVERY_FORWARD_RCPT,
	DELIVERY_FORWARD_FAILURE,
	DELIVERY_FORWARD_EXPANDED,
	DELIVERY_FORWARD_MALFORMED,
};

/* One record; its spans point into the text. */
struct delivery_forward_record {
	struct delivery_forward message;
	struct delivery_forward_rcpt rcpt;
	struct delivery_failure failure;
	struct span action;
};
enum delivery_forward_kind delivery_forward_next(
    struct span *rest, struct delivery_forward_record *ret);

#endif
