/*
 * agent_worker.h - blocking workers of a local delivery agent (local, virtual, pipe): the agent's own process speaks with the
 * scheduler over the event loop and never blocks; each delivery goes to a forked worker, one at a time, which may block in
 * file systems, locks, NSS and commands, and takes on the rights of the recipient. Workers are made on demand, at most one per
 * delivery under way, kept for the next one, and retired after max_use deliveries, max_idle of rest, and a reload.
 *
 * Tables and content stay with the agent: a worker asks for them (agent_work.h of its side is agent_worker_side.h). A worker that
 * dies fails its own delivery only, and only for now.
 */
#ifndef AGENT_AGENT_WORKER_H
#define AGENT_AGENT_WORKER_H

#include "agent/agent.h"
#include "base/base.h"
#include "conf/conf.h"

struct agent_work;

/* What a program's workers do. */
struct agent_worker_kind {
	/* In the worker: delivers `w`, blocking as it likes; every outcome must be settled (agent_worker_side.h). */
	void (*work)(struct agent_work *w);
	/* The parameters whose tables workers may ask for; ends with CONF_COUNT. */
	const enum conf_param *tables;
	/* Tables that peers must not be able to answer for: no network types, no $1 substitution. */
	bool trusted_tables;
	/* Tables of which workers want to know the owner (alias_maps), asked one by one; CONF_COUNT: none. */
	enum conf_param owned_tables;
};

/* agent_kind.configure(): opens the tables anew; workers of the old configuration end after their delivery. */
void agent_worker_configure(struct agent *agent, const struct agent_worker_kind *kind);

/* agent_kind.deliver(): hands the job to a worker and fills in what it reports. Waits. */
void agent_worker_deliver(struct agent_job *job);

/* agent_kind.stopping(): lets the workers go. */
void agent_worker_stopping(struct agent *agent);

#endif
