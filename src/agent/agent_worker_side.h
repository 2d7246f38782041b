/*
 * agent_worker_side.h - a delivery as a worker sees it, with what it may ask its agent for. Everything here blocks, and ends the
 * process when the agent is gone: then nobody is left to report to.
 */
#ifndef AGENT_AGENT_WORKER_SIDE_H
#define AGENT_AGENT_WORKER_SIDE_H

#include <sys/types.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "service/delivery.h"
#include "service/service.h"

enum agent_work_lookup {
	AGENT_WORK_FOUND,
	AGENT_WORK_ABSENT,
	AGENT_WORK_TRY_AGAIN, /* a table is broken or away: defer */
};

struct agent_worker_kind;

/* One delivery. */
struct agent_work {
	const struct service *service;
	const struct agent_worker_kind *kind;
	const struct conf *conf;
	int fd; /* to the agent */
	struct arena arena;
	struct delivery_request request; /* in the arena, as all below */
	struct delivery_outcome *outcomes;
	int64_t started;   /* real us */
	const char *relay; /* for the log: "local", "virtual", the service's name */
	enum conf_param
	    filter;         /* a delivery_status_filter among the kind's tables; CONF_COUNT: none */
	bool final;         /* what is sent is in its mailbox: "delivered", not "relayed" */
	struct buf answer;  /* the last frame */
	bool content_given; /* the inline content was handed out */
	bool content_rewind; /* the next piece is the first */
};

/* The content from its front. */
void agent_work_rewind(struct agent_work *w);
/* The next piece, valid until the next call here; *ret_last: nothing follows. False: it is not to be had now: defer. */
bool agent_work_piece(struct agent_work *w, struct span *ret_piece, bool *ret_last);

/* What is looked up. */
enum agent_work_key {
	AGENT_WORK_WHOLE,   /* the key as it is */
	AGENT_WORK_PART,    /* part of an address: not asked of patterns */
	AGENT_WORK_MAILBOX, /* an address: user+ext@domain, user@domain, @domain */
	AGENT_WORK_ALIAS, /* a name; the value begins with the number of the table's owner and a blank */
	AGENT_WORK_ROUTE, /* an address as a person wrote it: its standard form, transport, nexthop, a line each */
};

/*
 * Looks `key` up in the tables of parameter `maps`, in their order; as root. FOUND: `value` holds the result; TRY_AGAIN: it holds the reason.
 */
enum agent_work_lookup agent_work_lookup(struct agent_work *w, enum conf_param maps,
    enum agent_work_key how, struct span key, struct buf *value);

/* May the delivery still be finished (agent_may_go_on())? To be asked before anything that cannot be taken back. */
bool agent_work_may_go_on(struct agent_work *w);

/* A fact about the message: "client_address", "sasl_username", ...; "" when there is none. In the arena. */
const char *agent_work_attr(struct agent_work *w, const char *name);

/*
 * Settles recipient `i` and logs it. `diagnostic` is for the DSN ("x-unix; user unknown"); NULL: none. Texts are copied into the
 * arena.
 */
void agent_work_settle(struct agent_work *w, size_t i, enum delivery_status status, const char *dsn,
    const char *text, const char *diagnostic);

/*
 * What the administrator's filter makes of a status: "4.7.1 text" for "5.7.1 text". Success stays success, failure failure; a
 * filter that is broken or says otherwise changes nothing. agent_work_settle() does this by itself.
 */
void agent_work_filter(
    struct agent_work *w, enum delivery_status *status, const char **dsn, const char **text);

/* The delivery's line in the log, for another address or status than recipient `i` itself has (aliases). */
void agent_work_log(struct agent_work *w, size_t i, const char *recipient,
    enum delivery_status status, const char *dsn, const char *text);

/*
 * Effective rights of this process: uid, gid, no other groups. To root and back for each use; failing is fatal to the process, since it
 * would otherwise act with wrong rights.
 */
void agent_work_become(uid_t uid, gid_t gid);
void agent_work_become_root(void);

#endif
