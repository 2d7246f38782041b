/*
 * queue_record.h - how mail leaves a scheduler's hands: outcomes of recipients, many in one transaction (rules 5a.4, 5a.6,
 * 5a.12, 5a.13). `sent` is a fact whoever reports it; everything else counts only while the lease is ours.
 *
 *	sent, discarded      the recipient is gone, history says so
 *	deferred             a row in `deferred`, due at next_attempt
 *	bounced, expired     gone, with a notification row from which a bounce is composed in the transaction that settles the
 *	                     last recipient of the message in our hands: one bounce, exactly
 *	held                 a row in `held`
 *	deleted              gone by an operator's order
 */
#ifndef QUEUE_QUEUE_RECORD_H
#define QUEUE_QUEUE_RECORD_H

#include "base/base.h"
#include "base/err.h"
#include "queue/queue_desk.h"
#include "queue/queue_types.h"

enum queue_outcome {
	QUEUE_SENT = 1,
	QUEUE_DISCARDED,
	QUEUE_DEFERRED,
	QUEUE_BOUNCED,
	QUEUE_EXPIRED,
	QUEUE_HELD,
	QUEUE_DELETED,
};
const char *queue_outcome_name(enum queue_outcome o); /* "sent", ... as history has it */

enum queue_recorded {
	QUEUE_RECORD_NOT_YET, /* not stored: keep it and record it again */
	QUEUE_RECORD_STORED,
	QUEUE_RECORD_FENCED, /* no longer ours (or stored before, by a commit that was in doubt): forget it */
};

/* One outcome. Everything is borrowed for the call. Texts may be raw bytes of a peer; NULL texts are "". */
struct queue_result {
	struct queue_lease *lease;
	const struct queue_envelope *envelope;
	const struct queue_rcpt *rcpt;
	enum queue_outcome outcome;
	int64_t at;            /* real us: when it was known; the same in each try to record it */
	const char *dsn;       /* "2.0.0" */
	const char *text;      /* what stands in the parentheses of the log line */
	const char *relay;     /* "host[ip]:port" */
	const char *transport; /* where it was resolved to */
	const char *nexthop;
	/* deferred */
	int64_t next_attempt; /* real us */
	bool no_attempt; /* does not count as an attempt: the agent died, the destination is dead */
	/* deferred, bounced, expired, held: when the message expires, and when its sender is to be warned (0: never) */
	int64_t expires_at;
	int64_t warn_at;
	/* a notification to be sent for this outcome: QUEUE_NOTIFY_FAILURE, _SUCCESS, _DELAY; 0: none */
	unsigned notify;
	const char *action; /* of that notification: "failed", "delivered", "relayed", "expanded" */
	const char *remote_mta;
	const char *diagnostic;
	/* what else the sender is to be told with it: rows of `notification` too, told apart by rcpt_no and kind */
	const struct queue_notice *notices;
	size_t notice_count;
	/* the messages that an alias or .forward makes of this recipient, stored in the same transaction */
	const struct queue_message *forwards;
	size_t forward_count;
	/* with this outcome (and the others of this call) no recipient of the message is left in our hands: compose */
	bool last;
	bool
	    notified; /* one of the message's outcomes so far, this one included, has a notification */
	/* set by queue_record_flush() */
	enum queue_recorded recorded;
};

/*
 * Records `count` outcomes (queue_result_batch_limit at a time is a good size; one call at a time). False: the
 * database is away; whatever is still QUEUE_RECORD_NOT_YET is to be recorded again, with the same values: everything here
 * can be repeated. True: each is STORED or FENCED, or NOT_YET where a row was locked by somebody else: again in a second.
 * Waits; never longer than 200 ms for somebody's lock.
 */
bool queue_record_flush(struct queue_desk *d, struct queue_result *const *results, size_t count,
    int64_t deadline, struct err *err) MUST_CHECK;

/*
 * Of which of these messages is nothing left in the queue? For those whose last recipients in our hands are settled, but which may
 * have others: a scheduler has only some of a message's deferred recipients. Waits.
 */
bool queue_record_gone(struct queue_desk *d, const int64_t *msg_ids, size_t count, bool *ret_gone,
    int64_t deadline, struct err *err) MUST_CHECK;

#endif
