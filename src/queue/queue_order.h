/*
 * queue_order.h - what operators order (rule 5a.13). What is free is done at once in the operator's transaction; what a
 * scheduler has in its hands becomes a pending order, which its owner obeys: it reads orders each second, before a hand-out, and when
 * an outcome comes in. In SQL the same are rowpost.hold(), rowpost.release() and so on.
 */
#ifndef QUEUE_QUEUE_ORDER_H
#define QUEUE_QUEUE_ORDER_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"
#include "queue/queue_desk.h"

enum queue_verb {
	QUEUE_VERB_HOLD = 1,
	QUEUE_VERB_RELEASE, /* from hold to deferred, due in some seconds */
	QUEUE_VERB_REQUEUE, /* due now, attempts forgotten, also from hold */
	QUEUE_VERB_DELETE,
	QUEUE_VERB_EXPIRE, /* no further attempt: returned instead of the next one */
	QUEUE_VERB_BOUNCE, /* returned at once, also from hold */
	QUEUE_VERB_FLUSH,  /* due now */
};
const char *queue_verb_name(enum queue_verb v);

/* ---- for commands ------------------------------------------------------------------------------------------ */

struct queue_answer {
	uint64_t done; /* messages for which all was done at once */
	uint64_t
	    pending; /* messages with recipients in a scheduler's hands, not under way to a peer as far as is known */
	uint64_t not_found;
};

/*
 * Gives the order for `count` messages. `who` and `why` are kept with it. ret_found (may be NULL, room for count) says for
 * each whether there was such a message. Waits.
 */
bool queue_order_give(struct db_conn *c, enum queue_verb verb, const int64_t *msg_ids, size_t count,
    const char *who, const char *why, bool *ret_found, int64_t deadline, struct queue_answer *ret,
    struct err *err) MUST_CHECK;

/*
 * The same for all messages, or all in one place (postsuper -d ALL deferred), slice by slice. on_message (may be NULL) is
 * called for each message done or pending. Waits.
 */
bool queue_order_give_all(struct db_conn *c, enum queue_verb verb, const enum queue_place *place,
    const char *who, const char *why, void (*on_message)(void *arg, int64_t msg_id), void *arg,
    int64_t deadline, struct queue_answer *ret, struct err *err) MUST_CHECK;

/* postqueue -s: all deferred mail for recipients in `domain`, or whose nexthop it is, is due now. Waits. */
bool queue_order_flush_site(struct db_conn *c, const char *domain, int64_t deadline,
    uint64_t *ret_rows, struct err *err) MUST_CHECK;

/* postqueue -f: all deferred mail is due now and no destination is dead, slice by slice. Waits. */
bool queue_order_flush_all(
    struct db_conn *c, int64_t deadline, uint64_t *ret_rows, struct err *err) MUST_CHECK;

/* Is any scheduler running that could obey? Waits. */
bool queue_order_is_obeyed(
    struct db_conn *c, int64_t deadline, bool *ret, struct err *err) MUST_CHECK;

/* ---- for schedulers ---------------------------------------------------------------------------------------- */

struct queue_order {
	int64_t order_id;
	int64_t msg_id;
	int32_t rcpt_no; /* -1: all */
	enum queue_verb verb;
};

/*
 * Does what pending orders want of mail that is free by now, then returns those that are still pending for mail of ours:
 * a fresh array, oldest first. *ret_flush: destinations were flushed since the last call: revive dead ones. Waits.
 */
bool queue_order_poll(struct queue_desk *d, int64_t deadline, struct queue_order **ret,
    size_t *ret_count, bool *ret_flush, struct err *err) MUST_CHECK;

/* Real us of the last flush of all mail (postqueue -f) that a poll has seen; 0: never. */
int64_t queue_order_flushed_all(const struct queue_desk *d);

/* These were obeyed by us (their outcomes are recorded) or are moot. Waits. */
bool queue_order_done(struct queue_desk *d, const int64_t *order_ids, size_t count,
    int64_t deadline, struct err *err) MUST_CHECK;

#endif
