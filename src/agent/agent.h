/*
 * agent.h - the skeleton of a remote delivery agent: enlists with the node's scheduler, takes requests over its link, runs each
 * as a task, sends the outcomes back. What a delivery does is the kind's deliver(). What was delivered is kept until a scheduler
 * says that it is recorded: if that one dies first, the next one of the node is told.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/arena.h"
#include "base/base.h"
#include "base/hmap.h"
#include "base/list.h"
#include "base/span.h"
#include "service/delivery.h"
#include "service/service.h"
#include "task/task.h"

struct agent;

/* One delivery. */
struct agent_job {
	struct agent *agent;
	uint32_t delivery; /* its number on the link */
	struct arena arena;
	struct delivery_request request; /* in the arena */
	struct delivery_outcome
	    *outcomes; /* in the arena, one per recipient, in its order; status 0 = open */
	struct delivery_result result; /* site_error may be set by deliver() */
	struct task *task;
	bool cancelled; /* the scheduler wants it dropped, if its final dot was not sent yet */
	bool reported;  /* the scheduler has its outcome */
	bool in_doubt;  /* it was finished, or is about to be: only its outcome can tell */
	struct agent_content *content; /* owned; private to agent_content.c */
	int64_t started;               /* real us */
	struct list node;              /* in agent->all */
};

struct agent_kind {
	struct service_kind service;
	/* Delivers: fills job->outcomes for every recipient. Waits. */
	void (*deliver)(struct agent_job *job);
	/* Prepares the kind's own state from the configuration, at start and on reload; fatal lines are its own. May be NULL. */
	void (*configure)(struct agent *agent);
	/* Told to leave: close idle connections. May be NULL. */
	void (*stopping)(struct agent *agent);
};

struct agent {
	struct service *service;
	const struct agent_kind *kind;
	struct link *link;             /* NULL while there is no scheduler */
	struct delivery_lease *leases; /* owned: of that scheduler, by queue database */
	size_t lease_count;
	struct hmap jobs; /* running, by delivery number of the present link */
	struct list all;  /* running, also those of links that broke */
	size_t running;
	struct list kept; /* encoded outcomes that no scheduler has recorded yet, oldest first */
	struct hmap kept_by_number; /* by delivery number of the present link */
	size_t kept_bytes;
	uint32_t strangers;    /* numbers given to results of earlier links */
	struct task_cond idle; /* woken when a job ends, and when `kept` is empty */
	void *state;           /* the kind's own */
};

/* Fills in the service callbacks of an agent: service_kind.run, reload, stopping; `service->state` is the struct agent. */
int agent_main(int argc, char **argv, const struct agent_kind *kind);

/*
 * May this delivery still be finished? False when the scheduler dropped it, or its lease is over: then another node may have
 * the mail.
 */
bool agent_may_go_on(const struct agent_job *job);

/*
 * The same, to be asked at once before anything that cannot be taken back (the final dot): when true, it is taken for done until
 * the delivery ends, and never dropped. A scheduler that comes meanwhile is told so, and delivers to nobody a second time.
 */
bool agent_may_finish(struct agent_job *job);

/* The scheduler dropped it in time: nothing was delivered, whatever its waits say now, and there is nothing to log. */
bool agent_is_dropped(const struct agent_job *job);

/*
 * Reports the outcomes before deliver() returns, when there is only tidying up left to be done, which may take long. What is open
 * counts as untried. Afterwards the scheduler knows nothing of the delivery any more. Never waits.
 */
void agent_report(struct agent_job *job);

/* All outcomes still open get this one. Texts are copied into the job's arena. */
void agent_settle_open(
    struct agent_job *job, enum delivery_status status, const char *dsn, const char *text);

/*
 * Has the postmaster told of a session. Never waits; without a scheduler, or if that one dies, it is lost, as a line in the log may say.
 */
void agent_notice(struct agent *agent, const struct delivery_notice *notice);

/* Tells the scheduler how many idle connections to `nexthop` there are now. */
void agent_report_idle(struct agent *agent, const char *nexthop, uint32_t count);

#endif
