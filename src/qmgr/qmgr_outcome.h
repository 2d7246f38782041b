/*
 * qmgr_outcome.h - what became of recipients: gathered here from agents and from the scheduler itself, turned into results for the
 * queue, recorded in batches, and only then forgotten (I3).
 */
#ifndef QMGR_QMGR_OUTCOME_H
#define QMGR_QMGR_OUTCOME_H

#include "base/base.h"
#include "queue/queue_order.h"
#include "service/delivery.h"

struct arena;
struct qmgr;
struct qmgr_shard;
struct qmgr_message;
struct sched_entry;
struct qmgr_receipt;
struct queue_message;

/* One outcome, as its maker knows it. Texts are borrowed for the call of qmgr_outcome_add(). */
struct qmgr_outcome {
	enum delivery_status status;
	bool discarded;        /* sent, but to nowhere */
	bool final;            /* sent, and in its mailbox */
	bool passed_on;        /* sent, to a server that reports success itself */
	bool told;             /* failed, and one of `forwards` tells the sender */
	bool destination_dead; /* nothing was tried: no attempt counts */
	enum queue_verb order; /* not tried: an operator wants this instead; 0: no */
	char dsn[12];
	const char *text;
	const char *relay;
	const char *transport;
	const char *nexthop;
	const char *remote_mta; /* NULL: none */
	const char *diagnostic; /* NULL: none */
	/* What a local agent makes of it, stored with it if it is settled; all in `arena`. NULL: nothing. */
	const struct queue_message *forwards;
	size_t forward_count;
	const struct queue_notice *notices; /* what the sender is told beside, likewise */
	size_t notice_count;
	struct arena *arena; /* taken over by qmgr_outcome_add(); NULL: none */
	struct qmgr_receipt
	    *receipt; /* a reference that qmgr_outcome_add() takes over; NULL: none */
	const char
	    *program; /* not NULL: log the delivery line under this name (agents log their own) */
};

/* Takes note of the outcome of recipient `rcpt` (an index) of `m`, decides what follows from it, and has it recorded. */
void qmgr_outcome_add(
    struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const struct qmgr_outcome *o);

/* An agent's report as an outcome; qmgr_outcome_done() releases what it holds. */
void qmgr_outcome_from_agent(
    const struct sched_entry *e, const struct delivery_outcome *in, struct qmgr_outcome *ret);
void qmgr_outcome_done(struct qmgr_outcome *o);

/* The outcome of a recipient whose agent gives none: deferred, for `why`; logged as by `transport`. */
void qmgr_outcome_unreported(
    struct qmgr *q, struct qmgr_message *m, uint32_t rcpt, const char *transport, const char *why);

/*
 * Outcomes of a delivery that an earlier scheduler had asked for. Recipients that were kept back for them get them; of others only what
 * was sent counts: those that wait here are settled at once, others when their message is claimed (qmgr_outcome_known()). `receipt`
 * is borrowed (NULL: none).
 */
void qmgr_outcome_of_stranger(
    struct qmgr *q, const struct delivery_result *result, struct qmgr_receipt *receipt);

/* If an agent has reported recipient `rcpt` of a message just claimed as sent: settles it and returns true. */
bool qmgr_outcome_known(struct qmgr *q, struct qmgr_message *m, uint32_t rcpt);

/* Recipients so reported whose messages are not here, into parallel arrays with room for q->facts_by_key.count; their number. */
size_t qmgr_outcome_list_known(const struct qmgr *q, int64_t *ret_msg_ids, int32_t *ret_rcpt_nos);

/* The task that records what has gathered for a shard, to the end of the process. */
void qmgr_outcome_task(void *shard);

/* True while outcomes wait to be recorded. */
bool qmgr_outcome_pending(const struct qmgr *q);

/*
 * Do too many outcomes of a shard wait (4 times queue_result_batch_limit), or has the database taken none of them for too long (a tenth
 * of node_lease_time)? Never waits.
 */
bool qmgr_outcome_is_behind(const struct qmgr_shard *s);

/* Records all of a shard's `sent` outcomes that wait, before a lease is renewed after an outage. Waits. */
bool qmgr_outcome_flush(struct qmgr_shard *s);

#endif
