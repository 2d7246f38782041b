/*
 * queue_claim.h - how a scheduler gets mail: whole batches from the ring, due recipients of a destination from `deferred`,
 * the leases of dead nodes. Claims commit synchronously before anything is handed out (rule 5a.9). A lease is given up only
 * by recording an outcome for each recipient (queue_record.h).
 */
#ifndef QUEUE_QUEUE_CLAIM_H
#define QUEUE_QUEUE_CLAIM_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "queue/queue_desk.h"
#include "queue/queue_types.h"

/* A message with those of its recipients that were claimed. */
struct queue_claimed {
	struct arena arena;             /* owns all that is below */
	struct queue_lease *lease;      /* counted */
	struct queue_envelope envelope; /* rcpts: the claimed ones */
	bool from_deferred;             /* claimed from `deferred`; else new mail */
	bool content_here;              /* the content came with the claim */
	struct span content;
	int64_t content_id; /* of an uploaded content; 0: none */
	int16_t set;        /* of the ring, for queue_content_read() */
	/*
	 * A message with more recipients than a page: number of the first one that was not read yet, for queue_claim_page();
	 * -1: all are here.
	 */
	int32_t next_rcpt;
	int32_t total; /* recipients that the message came with; 0: not known */
};

/* What a claim brought: owned pointers; the caller takes those it wants (sets them NULL). */
struct queue_claims {
	struct queue_claimed **items;
	size_t count;
};

/* Room that the caller has; a claim stops before it is passed, but always takes at least one message if there is one. */
struct queue_budget {
	size_t messages;
	size_t rcpts;
	size_t bytes; /* of contents that come with the claim */
	size_t page;  /* most recipients of one message; 0: the desk's claim_page */
	/*
	 * New mail whose contents the caller can have elsewhere, so they do not come with the claim: messages from this id on, of this
	 * size and more, that were minted under one of these process numbers (int32_t each).
	 */
	int64_t elsewhere_from;
	size_t elsewhere_size;
	struct span elsewhere;
};

/*
 * New mail: looks into those sets of the ring whose turn it is. ret->count 0: nothing there. A message with more than a page of
 * recipients is claimed alone. Waits; one call at a time.
 */
bool queue_claim_incoming(struct queue_desk *d, const struct queue_budget *budget, int64_t deadline,
    struct queue_claims *ret, struct err *err) MUST_CHECK;

/*
 * Deferred mail that is due, a share of each due destination; the rows get our epoch as owner. Waits; one call at a time.
 */
bool queue_claim_deferred(struct queue_desk *d, const struct queue_budget *budget, int64_t deadline,
    struct queue_claims *ret, struct err *err) MUST_CHECK;

/*
 * Deferred recipients of dead nodes that must not become free, since an agent of this node may have delivered them: they get our
 * epoch as owner. To be called before queue_claim_takeover(). Waits; one call at a time.
 */
bool queue_claim_adopt(struct queue_desk *d, const int64_t *msg_ids, const int32_t *rcpt_nos,
    size_t count, int64_t deadline, struct queue_claims *ret, struct err *err) MUST_CHECK;

/*
 * A slice of the leases of nodes that were declared dead, without the recipients that have a result; and makes their
 * deferred rows free. A scheduler that runs under the dead one's name has the first right to them. ret->count 0 and *ret_more false: nothing left. Waits; one call at a time.
 */
bool queue_claim_takeover(struct queue_desk *d, const struct queue_budget *budget, int64_t deadline,
    struct queue_claims *ret, bool *ret_more, struct err *err) MUST_CHECK;

/*
 * Compares the leases in the database with those on the desk, after an outage or a claim in doubt: what we hold without
 * knowing comes back in `ret`; what we no longer hold is marked lost. Waits; nothing else may be under way on the desk.
 */
bool queue_claim_reread(
    struct queue_desk *d, int64_t deadline, struct queue_claims *ret, struct err *err) MUST_CHECK;

/* The next page of `page` recipients of a large message, as a claimed message of its own under the same lease. Waits. */
bool queue_claim_page(struct queue_desk *d, const struct queue_claimed *m, size_t page,
    int64_t deadline, struct queue_claimed **ret, struct err *err) MUST_CHECK;

/*
 * Moves leases older than two rotations to `deferred`, their open recipients owned by us (rule 5a.5), so that a slow
 * destination does not keep a set of the ring from being emptied. For the holder nothing changes. Waits.
 */
bool queue_claim_promote_stragglers(
    struct queue_desk *d, int64_t deadline, struct err *err) MUST_CHECK;

/* Monotonic time of the next useful look for new mail / deferred mail: soon while there is some, later while not. */
int64_t queue_claim_incoming_due(const struct queue_desk *d);
int64_t queue_claim_deferred_due(const struct queue_desk *d);

/* Somebody says that there is new mail. Never waits. */
void queue_claim_poke(struct queue_desk *d);

/* Releases the memory of a claimed message and its count on the lease. Accepts NULL. */
void queue_claimed_free(struct queue_claimed **m);
/* Frees what is left in `claims`. */
void queue_claims_done(struct queue_claims *claims);

#endif
