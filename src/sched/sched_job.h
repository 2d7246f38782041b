/*
 * sched_job.h - which entry of a transport runs next: Postfix's preemptive scheduler (SCHEDULER_README). Pure: no clock, no log, no
 * input or output; the simulation in tests/unit/sched drives it as the scheduler does.
 *
 *	transport ── jobs ── peers ── entries        a job is one message on one transport, a peer its part for one destination
 *	     └── destinations ── peers               the same peers, in the order of their jobs
 *
 * Jobs run in the order in which they came. The job at the front gathers a slot with each entry that it hands out; a later, smaller job may
 * buy its way before it with them, so that single mails pass large lists, and lists are slowed down by k/(k-1) at most. A
 * job whose destinations are all full is passed over as if it were not there. Invariants:
 *	J1  a destination is in the transport's heap exactly while it has an entry, room in its window, and is neither dead nor suspended;
 *	    the heap's order is that of the jobs of their first peers, and between peers of one job whose turn it is.
 *	J2  the peers of a destination are in the order of their jobs' ranks; so are the transport's jobs.
 *	J3  a peer has an entry, a job has a peer: with its last one it is freed.
 */
#ifndef SCHED_SCHED_JOB_H
#define SCHED_SCHED_JOB_H

#include "base/base.h"
#include "base/hmap.h"
#include "base/list.h"
#include "sched/sched_window.h"

/* Of the scheduler at work: carried here, never looked into. */
struct qmgr_message;
struct qmgr_agent;

/* What the scheduler does by itself instead of an agent. */
enum sched_builtin {
	SCHED_AGENT,   /* an agent does it */
	SCHED_ERROR,   /* bounce with the nexthop as text */
	SCHED_RETRY,   /* defer with the nexthop as text */
	SCHED_DISCARD, /* succeed and drop */
};

/* The price of overtaking. */
struct sched_slots {
	int cost;     /* *_delivery_slot_cost, below 2: nobody overtakes */
	int loan;     /* *_delivery_slot_loan */
	int discount; /* *_delivery_slot_discount, percent */
	int minimum;  /* *_minimum_delivery_slots */
};

/* Recipients in memory. */
struct sched_pool {
	size_t limit;         /* *_recipient_limit */
	size_t extra;         /* *_extra_recipient_limit */
	size_t refill_limit;  /* *_recipient_refill_limit */
	int64_t refill_delay; /* *_recipient_refill_delay, us */
};

/* A site or an agent failed: nothing is tried before `until`. */
struct sched_failure {
	bool on;
	int64_t until; /* mono us */
	char *reason;  /* owned */
	char dsn[12];
};

/* A binary heap of destinations. */
struct sched_heap {
	struct sched_destination **items; /* owned */
	size_t count;
	size_t room;
};

struct sched_transport {
	char *name; /* owned */
	enum sched_builtin builtin;
	bool unknown;  /* master.cf has no such service */
	bool deferred; /* defer_transports names it */
	struct sched_window_limits limits;
	int cluster_limit; /* deliveries to one destination in the whole cluster; 0: no such limit */
	struct sched_slots slots;
	struct sched_pool pool;
	size_t recipient_limit;         /* recipients of one delivery; 0: any number */
	int64_t destination_rate_delay; /* us */
	int64_t transport_rate_delay;   /* us */

	struct hmap destinations;  /* by name */
	struct list jobs;          /* in the order in which they are served */
	struct list jobs_by_time;  /* in the order in which they came */
	struct sched_heap ready;   /* destinations that could take an entry now */
	struct sched_job *look_at; /* where the search for a candidate goes on, or NULL */
	uint64_t turn;             /* the last one given to a peer */
	size_t waiting;            /* recipients in entries that wait */

	struct list dead;      /* destinations, the first to revive first */
	struct list suspended; /* destinations, the first to go on first */
	bool rate_locked;      /* a delivery runs, or ended less than transport_rate_delay ago */
	int64_t rate_until;    /* mono us; 0: not known before the delivery ends */
	struct sched_failure failure;

	struct list agents; /* enlisted agent processes */
	struct list node;   /* in qmgr->transports */
	size_t busy;        /* deliveries running */
	int64_t since;      /* mono us: last time that an agent was enlisted, or the start */
};

struct sched_destination {
	struct sched_transport *transport; /* borrowed: transports live as long as the process */
	char *name;                        /* owned; nexthop, or user@nexthop */
	char *nexthop;                     /* owned */
	struct sched_window window;
	int busy;           /* deliveries running */
	int cluster_slots;  /* that may run, by a limit over all nodes; -1: there is none */
	bool cluster_asked; /* somebody waits for an answer about it: not to be freed */
	struct list peers;  /* with entries waiting */
	size_t todo_count;  /* entries waiting */
	size_t ready_at;    /* place in transport->ready, from 1; 0: not in it */
	struct list dead;   /* in transport->dead */
	struct sched_failure failure;
	bool told_dead;        /* the cluster knows, or will, that it died */
	struct list suspended; /* in transport->suspended */
	int64_t suspended_until;
	int64_t clog_silent_until; /* mono us: no warning before */
};

struct sched_job {
	struct sched_transport *transport;
	struct qmgr_message *message;
	struct list node;     /* in transport->jobs */
	struct list by_time;  /* in transport->jobs_by_time */
	struct list siblings; /* in message->jobs */
	struct list peers;
	int64_t rank;    /* grows along transport->jobs */
	int64_t queued;  /* real us: when its message was taken up */
	size_t entries;  /* made so far, those handed out included */
	size_t selected; /* of these, handed out */
	size_t unread;   /* recipients of the message that are not in memory, about */
	int64_t slots;   /* gathered, less those spent; may be below 0 */

	struct sched_job *parent; /* that was overtaken last; NULL: none, or it ended */
	struct list children;     /* jobs that overtook this one */
	struct list child_node;   /* in parent->children */
	size_t bought;            /* entries for which the parent was charged */
	size_t selected_before;   /* `selected` at that time */
};

struct sched_peer {
	struct sched_job *job;
	struct sched_destination *destination;
	struct list entries;
	struct list by_job;         /* in job->peers */
	struct list by_destination; /* in destination->peers */
	uint64_t turn;              /* when it was served last */
};

/* Some recipients of one message for one destination: the unit of a delivery. */
struct sched_entry {
	struct sched_destination *destination;
	struct qmgr_message *message;
	struct sched_peer *peer; /* while waiting */
	uint32_t *rcpts;         /* owned: indexes into message->envelope->rcpts */
	size_t rcpt_count;
	size_t bytes;             /* of the recipients in a request, about */
	struct list node;         /* in peer->entries while waiting */
	struct qmgr_agent *agent; /* while running */
	uint32_t delivery;        /* its number on the agent's link */
	int64_t handed;           /* mono us */
};

/* An empty transport / destination; names and limits are the caller's. */
void sched_job_init_transport(struct sched_transport *t);
void sched_job_done_transport(struct sched_transport *t);
void sched_job_init_destination(struct sched_destination *d, struct sched_transport *t);

/* A message as the functions below see it. */
/* Recipients of one entry: a frame to an agent (DELIVERY_FRAME_MAX) has room for them, whatever recipient_limit is. */
#define SCHED_ENTRY_BYTES (4u << 20)

struct sched_job_owner {
	struct qmgr_message *message;
	struct list *jobs; /* its jobs */
	int64_t queued;    /* real us: when it was taken up */
	size_t unread;     /* recipients that are still to be read, about */
	bool singly;       /* one recipient a delivery, whatever the transport takes (VERP) */
	size_t
	    bytes; /* of the recipient that is added: as many as fit into a request go together */
};

/* Queues recipient number `rcpt` of a message for `d`: in its last waiting entry if that has room, else in a new one. */
void sched_job_add(struct sched_destination *d, const struct sched_job_owner *owner, uint32_t rcpt);

/* To be called after a change of d->busy, window, dead or suspended: J1. */
void sched_job_check(struct sched_destination *d);

/* The destination whose first entry is next; NULL: nothing can run. */
struct sched_destination *sched_job_next(const struct sched_transport *t);

/*
 * Lets the best later job overtake the job whose turn it is, if there is one and the slots gathered are enough. True: the order has
 * changed. `now`: real us.
 */
bool sched_job_could_preempt(const struct sched_transport *t);
bool sched_job_preempt(struct sched_transport *t, int64_t now);

/* Takes out the entry that sched_job_next() meant, for delivery; it counts for the job. The caller owns it. */
struct sched_entry *sched_job_take(struct sched_destination *d);

/* Takes out a waiting entry that is not to be delivered (now). The caller owns it. */
void sched_job_withdraw(struct sched_entry *e);

/* The first entry that waits for `d`, or NULL. */
struct sched_entry *sched_job_first(const struct sched_destination *d);

/* Frees an entry that is in no list. */
void sched_entry_free(struct sched_entry **e);

#endif
