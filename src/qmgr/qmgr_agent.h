/*
 * qmgr_agent.h - the agent processes that enlisted with this scheduler, one link and one reading task each: handing out
 * deliveries, serving their contents, taking their outcomes.
 */
#ifndef QMGR_QMGR_AGENT_H
#define QMGR_QMGR_AGENT_H

#include "net/net_addr.h"
#include "net/stream.h"

/* Why recipients are deferred whose agent has gone without a word. */
#define QMGR_AGENT_ENDED "the delivery agent ended before it reported an outcome"

struct qmgr;
struct qmgr_shard;
struct qmgr_agent;
struct sched_entry;
struct qmgr_message;
struct sched_transport;

/* One agent process, from its HELLO to its end: a session of the private/qmgr socket. Owns `stream`. Waits. */
void qmgr_agent_session(struct stream *stream, const struct net_addr *peer, void *qmgr);

/*
 * An enlisted agent with a free slot: first one that holds an idle connection to `nexthop`, else the least busy. NULL: none.
 */
struct qmgr_agent *qmgr_agent_pick(struct sched_transport *t, const char *nexthop);

/* Sends the request for `e`, which the agent then holds until its outcome, or its own end. Never waits. */
void qmgr_agent_hand_out(struct qmgr_agent *a, struct sched_entry *e);

/* Tells all agents until when they may finish deliveries of this epoch of a shard. Never waits. */
void qmgr_agent_tell_lease(const struct qmgr_shard *s, int64_t epoch, int64_t until);

/*
 * Asks the agents to drop what they have of `m` (NULL: of everything of shard `s`) and have not begun to send: somebody wants it stopped, and a peer
 * that does not answer would keep its slot for minutes. Each delivery still reports, as untried or with what was done. Never waits.
 */
void qmgr_agent_cancel(struct qmgr *q, const struct qmgr_shard *s, const struct qmgr_message *m);

/* Is any delivery running? */
bool qmgr_agent_busy(const struct qmgr *q);

#endif
