/*
 * qmgr_int.h - the scheduler's picture of the mail it has claimed, shared by the files of this room.
 *
 *	qmgr ── transports ── jobs, destinations ── entries (sched_job.h)
 *	  └──── messages ──── recipients ────────── (each waiting recipient is in one entry)
 *
 * A message is here from its claim until all its claimed recipients are recorded. An entry is some recipients of one message for one
 * destination: the unit of a delivery. Invariants:
 *	I1  each recipient of a message here is in exactly one of: an entry, a doubt (qmgr_doubt.h), the outcome list waiting for the
 *	    next record; or is still to be resolved (message->resolved), by the claim or, for large lists, by a task of its own.
 *	I2  nothing is handed out while the lease is in doubt or outcomes cannot be recorded (qmgr_shard_may_deliver()): it is parked
 *	    then, an entry still.
 *	I3  a recipient is forgotten only after queue_record said that its outcome is stored, or that the lease was lost.
 *	I4  no list changes while somebody walks it: only the scheduling functions, which never wait, touch them.
 */
#ifndef QMGR_QMGR_INT_H
#define QMGR_QMGR_INT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/hmap.h"
#include "base/list.h"
#include "cluster/cluster_node.h"
#include "conf/conf.h"
#include "mail/mail_queue_id.h"
#include "net/net_connect.h"
#include "qmgr/qmgr_setup.h"
#include "queue/queue_claim.h"
#include "queue/queue_order.h"
#include "queue/queue_record.h"
#include "sched/sched_job.h"
#include "service/delivery.h"
#include "service/link.h"
#include "service/service.h"
#include "task/task.h"

/* A claimed message. */
struct qmgr_message {
	struct qmgr_shard *shard;              /* borrowed */
	struct queue_claimed *claimed;         /* owned */
	const struct queue_envelope *envelope; /* = &claimed->envelope */
	char queue_id[MAIL_QUEUE_ID_SIZE];
	int64_t activated; /* real us: when it was claimed */
	struct delivery_attr
	    *attrs; /* of the envelope, for agents, in the claimed message's arena */
	size_t attr_count;
	size_t open;       /* recipients whose outcome is not stored yet */
	size_t undecided;  /* recipients without an outcome */
	size_t in_batch;   /* while a batch is recorded: how many of its results are in it */
	size_t holds;      /* somebody is using it: do not free */
	uint32_t resolved; /* recipients whose destination has been looked up */
	struct list jobs;  /* sched_job.h: one for each transport where it waits */
	/* Pages of recipients of one message, and what different claims brought of it: */
	struct qmgr_message *older;
	struct qmgr_message *newer;
	struct list unread; /* in shard->unread while further recipients are to be read */
	int64_t read;       /* mono us: when this page was read */
	struct sched_transport *transport; /* of the last recipient that was queued, or NULL */
	bool notified; /* an outcome has a notification, of this part or one that is gone */
	bool stays;    /* not all of it has left the queue */
	bool probe;    /* sendmail -bv: nothing is delivered */
	enum queue_verb
	    order;          /* what an operator wants done with recipients under way; 0: nothing */
	int32_t order_rcpt; /* -1: of them all */
	int64_t order_id;
	struct list node; /* in qmgr->messages */
};

struct qmgr_agent {
	struct qmgr *qmgr;
	struct sched_transport *transport;
	struct link *link; /* owned */
	int64_t pid;
	size_t slots;
	size_t busy;
	bool leaving;
	uint32_t next_delivery;
	struct hmap entries; /* running, by delivery number */
	struct list doubts;  /* what it has finished, perhaps, for an earlier scheduler */
	struct list
	    receipts; /* its deliveries whose outcomes are not recorded yet (qmgr_receipt.h) */
	struct buf recorded; /* numbers that it is still to be told */
	struct hmap idle;    /* nexthops to which it holds an idle connection */
	struct list node;    /* in transport->agents */
};

/* A queue database. */
struct qmgr_shard {
	struct qmgr *qmgr;
	size_t number;
	struct db_pool *pool;      /* owned */
	struct queue_desk *desk;   /* owned */
	struct cluster_node *node; /* owned */

	/* Of its messages here: each shard has its share of the room, so that one that is away leaves the others theirs. */
	size_t message_count;
	size_t rcpt_count;
	size_t deferred_rcpt_count;    /* of these, from deferred mail */
	size_t content_bytes;          /* contents held in memory */
	bool claim_blocked;            /* claims wait for room */
	struct task_cond claim_wanted; /* new mail may be there, or room */
	struct list parked;            /* entries that wait for the end of a doubtful lease */

	struct list unread; /* messages with recipients that are not in memory, oldest first */
	struct task_cond page_wanted;

	struct list
	    news; /* struct qmgr_news: destinations that died, or live again; oldest first */
	size_t news_count;
	struct task_cond news_wanted;
	int64_t flushed_all; /* real us: when an operator flushed all its mail last; 0: never */

	struct list records; /* outcomes to be recorded, oldest first */
	size_t record_count;
	int64_t record_since; /* mono us: since when the database has taken none of them */
	struct task_cond record_wanted;
	struct task_lock record_lock; /* one flush at a time */

	struct buf finished; /* int64_t ids of messages that may have left the queue */
	struct task_cond finished_wanted;

	bool ordered;                   /* operators have ordered something for messages here */
	struct task_cond upkeep_wanted; /* an operator has ordered something */
	bool takeover_wanted;           /* a node was declared dead */
	int64_t trouble_logged;         /* mono us */
};

/* The process. */
struct qmgr {
	struct service *service;
	struct qmgr_setup *setup;   /* a reference */
	struct qmgr_shard **shards; /* owned; as long as the process lives */
	size_t shard_count;
	struct net_server agent_door;
	struct net_server poke_door;
	bool stopping;

	struct hmap transports; /* by name */
	struct hmap services;   /* of master.cf, by name: who can be a transport */
	struct list transport_list;
	size_t dead_destinations;
	struct task_cond pauses_wanted; /* a pause of a destination or transport has begun */

	struct list messages;       /* claimed, oldest first */
	struct hmap messages_by_id; /* the newest of each; the others by its ->older */

	struct task_cond record_done; /* outcomes were recorded, or a delivery ended */

	struct list facts; /* reported by agents, about messages not here */
	struct hmap facts_by_key;

	struct hmap doubts; /* struct qmgr_doubt by message and recipient */
	size_t doubts_held; /* recipients that they keep back */

	size_t notices; /* to the postmaster, on their way to the queue */

	int64_t takeover_after; /* mono us: by then the agents have told what they have under way */
	struct task_group tasks;
	struct task_group goodbyes;
};

#endif
