/*
 * cluster_node.h - a running scheduler as the other ones see it: a row with a random epoch and a heartbeat counter (rules
 * 5a.1, 5a.8). The epoch is the fencing token: whoever lost it can record facts, nothing else.
 *
 *	         register                     drain
 *	(none) ───────────> UP <──────────────────────> DRAINING
 *	  ^                  │ no renewal for lease - margin, counted from the send of the last good one
 *	  │                  v
 *	  │               DOUBT: hands out nothing ── recover() ── renewal hits its row ──> UP, same epoch
 *	  │                  │ renewal hits no row: another node took over
 *	  └──── FENCED <─────┘ on_lost(); a new epoch follows
 *
 * One node object per shard.
 */
#ifndef CLUSTER_CLUSTER_NODE_H
#define CLUSTER_CLUSTER_NODE_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"

struct cluster_node;

enum cluster_node_state {
	CLUSTER_NODE_NONE, /* not registered yet */
	CLUSTER_NODE_UP,
	CLUSTER_NODE_DRAINING, /* takes nothing new */
	CLUSTER_NODE_DOUBT,    /* could not renew for too long: somebody may believe us dead */
	CLUSTER_NODE_LEFT,     /* said goodbye */
};

/* The callbacks run in the node's own task and may wait. Any may be NULL. */
struct cluster_node_events {
	/* After an outage, before the renewal: record the `sent` facts that wait. False: not done yet, call again. */
	bool (*recover)(void *arg);
	/*
	 * A lease of the epoch begins: at the start, after being fenced (fresh true: all old leases are lost), or again after
	 * doubt (fresh false: re-read the leases). cluster_node_may_deliver() is false until this returned true; false: call again.
	 */
	bool (*begin)(void *arg, int64_t epoch, bool fresh);
	/* Another node declared this epoch dead. Followed by begin() with a fresh one. */
	void (*lost)(void *arg, int64_t epoch);
	/* The lease of `epoch` was renewed: deliveries may be finished until `until` (mono us). Must not wait. */
	void (*renewed)(void *arg, int64_t epoch, int64_t until);
	/* We declared `count` nodes dead, or found some: take over their leases (queue_claim_takeover). */
	void (*dead)(void *arg, size_t count);
	void *arg;
};

/* Zero in a number means its default. Texts are copied. */
struct cluster_node_settings {
	struct db_pool *pool; /* borrowed; holds one of its connections for long */
	const char *name;     /* node_name */
	int64_t heartbeat;    /* node_heartbeat_time, us: 2 s */
	int64_t lease;        /* node_lease_time, us: 10 s */
	int64_t margin;       /* node_lease_margin, us: 2 s */
	bool pooler;          /* queue_database_pooler: no advisory lock */
	struct cluster_node_events events;
};

/* Starts its task, which registers, renews and observes until cluster_node_free(). */
struct cluster_node *cluster_node_new(const struct cluster_node_settings *settings);

/* Ends the task. Without cluster_node_leave() before it the others notice by the heartbeat. Waits. */
void cluster_node_free(struct cluster_node **n);

/* May a delivery that was begun be finished at this moment? Looks at the clock; never waits. */
bool cluster_node_may_deliver(const struct cluster_node *n);

/*
 * May one be begun? As above, but only while the last renewal is younger than half a lease: who has not heard from the database for so
 * long may be cut off, and what he delivers then others will deliver too. Ask before each hand-out.
 */
bool cluster_node_may_begin(const struct cluster_node *n);

/* May new mail be claimed? As above, and not while draining. */
bool cluster_node_may_claim(const struct cluster_node *n);

/* Mono us up to which cluster_node_may_deliver() stays true without a further renewal; 0: it is not true now. Never waits. */
int64_t cluster_node_lease_until(const struct cluster_node *n);

int64_t cluster_node_epoch(const struct cluster_node *n); /* 0: none */
enum cluster_node_state cluster_node_state(const struct cluster_node *n);

/* A statement of ours hit no row: renew now, to learn whether we are fenced. Never waits. */
void cluster_node_suspect(struct cluster_node *n);

/* Takes no new mail from now on; another call with false takes it back. Operators can set the same in rowpost.node. Never waits. */
void cluster_node_drain(struct cluster_node *n, bool on);

/*
 * Goodbye: marks the epoch dead, so that others (or our own next run) take over at once what is left. After this nothing may be
 * delivered. Waits.
 */
bool cluster_node_leave(struct cluster_node *n, int64_t deadline, struct err *err);

#endif
