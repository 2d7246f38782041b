/*
 * smtp_int.h - the SMTP client, shared by its files.
 *
 *	smtp_deliver.c   one delivery: hosts in turn, until every recipient has an outcome
 *	smtp_host.c      from a nexthop to the addresses to try (MX, A, AAAA, [host]:port)
 *	smtp_session.c   one connection: greeting, EHLO, transactions, goodbye
 *	smtp_cache.c     connections kept for the next delivery to the same nexthop
 *	smtp_outcome.c   what a failure means: next host, defer, bounce
 */
#ifndef AGENT_SMTP_INT_H
#define AGENT_SMTP_INT_H

#include "agent/agent.h"
#include "base/hmap.h"
#include "dns/dns.h"
#include "mail/mail_dsn.h"
#include "net/net_addr.h"
#include "net/stream.h"
#include "smtp/smtp_ehlo.h"
#include "smtp/smtp_reply.h"

/* The agent's own state: settings of the present configuration, and the connection cache. */
struct smtp_state {
	struct agent *agent;
	struct conf *conf; /* counted */
	const char *helo_name;
	const char *hostname;
	bool dns_enabled; /* smtp_dns_support_level is not "disabled" */
	bool ipv4;
	bool ipv6;
	uint16_t port;        /* smtp_tcp_port */
	unsigned discard;     /* smtp_discard_ehlo_keywords */
	size_t address_limit; /* smtp_mx_address_limit */
	size_t session_limit; /* smtp_mx_session_limit */
	size_t line_limit;    /* smtp_line_length_limit */
	bool skip_5xx_greeting;
	int64_t connect_timeout;
	int64_t helo_timeout; /* greeting and EHLO */
	int64_t mail_timeout;
	int64_t rcpt_timeout;
	int64_t data_init_timeout;
	int64_t data_xfer_timeout;
	int64_t data_done_timeout;
	int64_t quit_timeout;
	int64_t cache_time;   /* how long an idle connection is kept */
	int64_t reuse_time;   /* how old a connection may get */
	struct hmap nexthops; /* of struct smtp_nexthop */
	size_t idle_count;
};

/* One address to try. */
struct smtp_host {
	char name[DNS_NAME_MAX];
	struct net_addr addr;
	uint16_t preference;
};

struct smtp_hosts {
	struct smtp_host *list; /* owned */
	size_t count;
};

enum smtp_step {
	SMTP_STEP_CONNECT,
	SMTP_STEP_GREETING,
	SMTP_STEP_EHLO,
	SMTP_STEP_HELO,
	SMTP_STEP_MAIL,
	SMTP_STEP_RCPT,
	SMTP_STEP_DATA,
	SMTP_STEP_BODY,
	SMTP_STEP_DOT,
	SMTP_STEP_QUIT,
};

/* What went wrong with a connection or a command; a fact, not yet a judgement. */
struct smtp_trouble {
	enum smtp_step step;
	enum stream_result lost; /* not STREAM_OK: the connection ended so */
	int code;                /* else: the reply code */
	bool local;              /* the refusal is our own: `text` is no reply of the server */
	char dsn[MAIL_DSN_SIZE];
	struct buf text; /* of the reply, or of the connection error */
};

struct smtp_session {
	struct smtp_state *state; /* borrowed */
	struct stream *stream;    /* owned */
	struct smtp_host host;
	char address[NET_ADDR_TEXT];
	struct smtp_ehlo ehlo;
	struct smtp_reply reply; /* scratch */
	unsigned uses;           /* transactions begun */
	int64_t opened;          /* mono us */
	bool broken;             /* not to be used again */
	struct smtp_trouble trouble;
	struct list node; /* in a nexthop's idle list */
	struct task_timer expiry;
	struct smtp_nexthop *nexthop; /* while idle */
};

/* ---- smtp_host.c ---- */

/*
 * The addresses of `nexthop` in the order to be tried, at most smtp_mx_address_limit. False: err is the outcome for all recipients
 * (ERR_TEMP: defer, ERR_PERM: bounce). Waits.
 */
bool smtp_host_find(
    struct smtp_state *s, const char *nexthop, struct smtp_hosts *ret, struct err *err) MUST_CHECK;
void smtp_hosts_done(struct smtp_hosts *hosts);

/* ---- smtp_session.c ---- */

/* Connects, reads the greeting, says EHLO. False: session->trouble says why. Waits. */
struct smtp_session *smtp_session_new(struct smtp_state *s, const struct smtp_host *host);
bool smtp_session_open(struct smtp_session *session) MUST_CHECK;
void smtp_session_free(struct smtp_session **session);

/*
 * One mail transaction for the recipients of `job` that have no outcome yet: fills outcomes of those accepted or refused one by one. False:
 * the transaction failed as a whole; session->trouble says why, smtp_outcome_session() what it means. Waits.
 */
bool smtp_session_deliver(struct smtp_session *session, struct agent_job *job, bool last_host,
    int64_t *ret_ready) MUST_CHECK;

/* QUIT without waiting for much. Waits. */
void smtp_session_quit(struct smtp_session *session);

/* ---- smtp_cache.c ---- */

void smtp_cache_init(struct smtp_state *s);
/* A delivery to `nexthop` begins / has ended: back-to-back or concurrent deliveries make connections worth keeping. */
void smtp_cache_begin(struct smtp_state *s, const char *nexthop);
void smtp_cache_end(struct smtp_state *s, const char *nexthop);
/* An idle connection to `nexthop`, or NULL. */
struct smtp_session *smtp_cache_take(struct smtp_state *s, const char *nexthop);
/* Keeps the connection, or says goodbye if nobody needs it; takes it over. Waits. */
void smtp_cache_give(struct smtp_state *s, const char *nexthop, struct smtp_session **session);
/* Closes all. Waits. */
void smtp_cache_close(struct smtp_state *s);

/* ---- smtp_outcome.c ---- */

/* The outcome of one recipient by a reply of its own. `last_host` false and a temporary failure: stays open. */
void smtp_outcome_rcpt(struct smtp_session *session, struct agent_job *job, size_t rcpt,
    enum smtp_step step, bool last_host);

/* All open recipients, by session->trouble: next host, defer, bounce; and whether the site is in trouble. */
void smtp_outcome_session(struct smtp_session *session, struct agent_job *job, bool last_host);

/* All open recipients, when there is no host to try. */
void smtp_outcome_no_host(struct agent_job *job, const struct err *err);

/* Logs one delivery line per recipient with an outcome. `session` NULL: none was reached. */
void smtp_outcome_log(
    const struct agent_job *job, const struct smtp_session *session, int64_t ready);

#endif
