/*
 * queue_claimed.h - from rows of a claim to claimed messages; used by the claims only.
 */
#ifndef QUEUE_QUEUE_CLAIMED_H
#define QUEUE_QUEUE_CLAIMED_H

#include "db/db.h"
#include "queue/queue_claim.h"

/* The columns that queue_claimed_from_ring() wants, of tables i (incoming) and b (batch or lease); $N = inline, $M = page. */
#define QUEUE_CLAIMED_COLUMNS(content_wanted, page)                                                \
	"b.batch_id, b.recipients, i.msg_id, i.arrival, i.size, i.content_id, i.recipients, "      \
	"i.sender, i.attrs, CASE WHEN " content_wanted " THEN i.content END, "                     \
	"CASE WHEN i.recipients <= " page "::int8 THEN i.rcpts END, i.orig_addrs, i.dsn_orcpts, "  \
	"i.dsn_notifies"
/* Further columns: int4[] of recipients that have a result; the number of results of the whole batch. */
#define QUEUE_CLAIMED_SETTLED 14

/* The columns of a page of recipients. */
#define QUEUE_CLAIMED_RCPT_COLUMNS "rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt"

/*
 * A message from row `row`, without the settled recipients when `settled`; a large one without recipients: next_rcpt is 0
 * then. NULL when all are settled.
 */
struct queue_claimed *queue_claimed_from_ring(
    struct queue_lease *lease, const struct db_result *r, size_t row, bool settled);

/* A message with the recipients of rows from..to-1, whose columns begin at `column`; the rest is copied from `like`. */
struct queue_claimed *queue_claimed_from_page(
    const struct queue_claimed *like, const struct db_result *r, size_t limit);

/*
 * A message from rows of deferred recipients: msg_id, arrival, size, content_id, sender, attrs, content, then
 * QUEUE_CLAIMED_RCPT_COLUMNS. *at moves behind its last row.
 */
struct queue_claimed *queue_claimed_from_deferred(
    struct queue_lease *lease, const struct db_result *r, size_t *at);

/* Appends; takes over `m`. */
void queue_claims_add(struct queue_claims *claims, struct queue_claimed *m);

#endif
