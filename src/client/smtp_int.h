/*
 * smtp_int.h - the SMTP and LMTP client, shared by its files.
 *
 *	smtp_setup.c     what one configuration compiles to, for either protocol
 *	smtp_target.c    a nexthop taken apart: host, port, [ ]; pure
 *	smtp_host.c      from a target to the addresses to try (MX, A, AAAA, own addresses)
 *	smtp_order.c     their order: preference, chance, protocol; pure
 *	smtp_deliver.c   one delivery: hosts in turn, until every recipient has an outcome
 *	smtp_connect.c   one connection: connect, greeting, EHLO or LHLO, goodbye
 *	smtp_tls.c       STARTTLS: when, and whom to trust
 *	smtp_sasl.c      AUTH
 *	smtp_session.c   commands and replies over a connection
 *	smtp_chat.c      what was said, kept for the postmaster; which trouble he hears of
 *	smtp_mail.c      one transaction: MAIL, RCPT, DATA and the replies
 *	smtp_envelope.c  the text of these commands
 *	smtp_body.c      the content: dot stuffing, conversion for 7-bit servers, deadlines
 *	smtp_flags.c     headers in front of a content: flags=DORX
 *	smtp_checks.c    changes to headers and body by tables
 *	smtp_generic.c   addresses of this host made fit for the world
 *	smtp_filter.c    the tables that change replies, outcomes and DNS answers
 *	smtp_cache.c     connections kept for the next delivery to the same nexthop
 *	smtp_outcome.c   what a failure means: next host, defer, bounce
 */
#ifndef CLIENT_SMTP_INT_H
#define CLIENT_SMTP_INT_H

#include "agent/agent.h"
#include "base/hmap.h"
#include "client/smtp_checks.h"
#include "client/smtp_filter.h"
#include "client/smtp_generic.h"
#include "client/smtp_order.h"
#include "client/smtp_sasl.h"
#include "client/smtp_target.h"
#include "client/smtp_tls.h"
#include "conf/conf_host.h"
#include "dns/dns.h"
#include "mail/mail_dsn.h"
#include "mail/mail_transcript.h"
#include "net/net_addr.h"
#include "net/stream.h"
#include "smtp/smtp_ehlo.h"
#include "smtp/smtp_reply.h"

/* How an address may be used. */
struct smtp_bind {
	bool set;
	struct net_addr addr;
};

/*
 * What one configuration compiles to; counted: deliveries and connections keep the one they began with over a reload, and with it
 * all that it owns.
 */
struct smtp_setup {
	size_t refs;
	struct conf *conf;            /* counted */
	struct smtp_filter *filter;   /* owned */
	struct smtp_generic *generic; /* owned */
	struct smtp_checks *checks;   /* owned */
	struct smtp_tls *tls;         /* owned */
	struct smtp_sasl *sasl;       /* owned */
	bool lmtp;
	const char *helo_name;
	const char *hostname;
	const char *fallback_relay; /* sites tried after those of the nexthop */
	const char *tcp_port;
	const char *best_mx_transport;
	bool dns_enabled; /* smtp_dns_support_level is not "disabled" */
	bool dns_search;  /* smtp_dns_resolver_options */
	bool lookup_dns;  /* smtp_host_lookup */
	bool lookup_native;
	bool ipv4;
	bool ipv6;
	bool ignore_mx_error;
	bool defer_no_mx_address;
	struct smtp_order_rules order;
	struct conf_addresses own;   /* inet_interfaces */
	struct conf_addresses proxy; /* proxy_interfaces */
	struct smtp_bind bind4;
	struct smtp_bind bind6;
	bool bind_enforce;
	uint16_t port;        /* smtp_tcp_port */
	unsigned discard;     /* smtp_discard_ehlo_keywords */
	size_t session_limit; /* smtp_mx_session_limit; 0: none */
	size_t line_limit;    /* smtp_line_length_limit */
	size_t min_data_rate;
	size_t reuse_count; /* transactions of a connection; 0: no limit */
	bool request_deadline;
	bool skip_5xx_greeting;
	bool skip_quit_response;
	bool never_ehlo;
	bool always_ehlo;
	bool quote_envelope;
	bool send_xforward;
	bool keep_8bit; /* disable_mime_output_conversion */
	bool cache_on_demand;
	bool soft_bounce;
	bool assume_final;  /* flags=X of the master.cf line, lmtp_assume_final */
	bool add_delivered; /* flags=D */
	bool add_original;  /* flags=O */
	bool add_return;    /* flags=R */
	bool probe_to_data; /* smtp_address_verify_target = data */
	const char *cache_destinations;
	unsigned notify; /* notify_classes that a client has: enum mail_trouble bits */
	int64_t pix_threshold;
	int64_t pix_delay;
	int64_t connect_timeout;
	int64_t helo_timeout; /* greeting and EHLO */
	int64_t xforward_timeout;
	int64_t mail_timeout;
	int64_t rcpt_timeout;
	int64_t data_init_timeout;
	int64_t data_xfer_timeout;
	int64_t data_done_timeout;
	int64_t rset_timeout;
	int64_t quit_timeout;
	int64_t cache_time; /* how long an idle connection is kept */
	int64_t reuse_time; /* how old a connection may get */
};

/* The agent's own state. */
struct smtp_state {
	struct agent *agent;
	struct smtp_setup *setup; /* of the present configuration; counted */
	struct hmap nexthops;     /* the connection cache: of struct smtp_nexthop */
	size_t idle_count;
};

enum smtp_step {
	SMTP_STEP_CONNECT,
	SMTP_STEP_GREETING,
	SMTP_STEP_EHLO,
	SMTP_STEP_HELO,
	SMTP_STEP_LHLO,
	SMTP_STEP_STARTTLS,
	SMTP_STEP_AUTH, /* the last one before a transaction */
	SMTP_STEP_XFORWARD_NAME,
	SMTP_STEP_XFORWARD_HELO,
	SMTP_STEP_MAIL,
	SMTP_STEP_RCPT,
	SMTP_STEP_DATA,
	SMTP_STEP_BODY,
	SMTP_STEP_DOT,
	SMTP_STEP_RSET,
	SMTP_STEP_QUIT,
};

/* What went wrong with a connection or a command; a fact, not yet a judgement. */
struct smtp_trouble {
	enum smtp_step step;
	enum stream_result lost; /* not STREAM_OK: the connection ended so */
	int code;                /* of the reply */
	bool local;              /* the refusal is our own: `text` is no reply of the server */
	char dsn[MAIL_DSN_SIZE];
	struct buf text; /* of the reply, or of the connection error */
};

/* What is kept of a session for a notice; empty unless notify_classes wants it. */
struct smtp_chat {
	struct mail_transcript transcript;
	unsigned troubles; /* enum mail_trouble bits */
	bool muted;        /* the mail is itself a notification: no notice about it */
};

struct smtp_session {
	struct smtp_state *state; /* borrowed */
	struct smtp_setup *setup; /* counted */
	struct stream *stream;    /* owned */
	struct smtp_host host;
	char address[NET_ADDR_TEXT];
	struct smtp_ehlo ehlo;
	struct smtp_reply reply; /* scratch */
	unsigned uses;           /* transactions begun */
	int64_t opened;          /* mono us */
	int64_t ready;           /* real us: when the present transaction began; 0: not yet */
	bool greeted;            /* EHLO or HELO was accepted */
	bool best_mx;            /* no host of the destination has a better preference */
	bool pix_no_esmtp;       /* a firewall that breaks ESMTP */
	bool pix_slow_dot;
	bool no_tls;      /* in the clear, after a handshake that failed */
	bool plain_next;  /* the handshake failed, and is not insisted on */
	bool broken;      /* nothing more can be said */
	bool retire;      /* not to be kept for further mail */
	bool needs_reset; /* a transaction was left open: RSET before the next */
	struct smtp_trouble trouble;
	struct smtp_chat chat;
	struct list node; /* in a nexthop's idle list */
	struct task_timer expiry;
	struct smtp_nexthop *nexthop; /* while idle */
};

/* Why the recipients that are left have no outcome yet. */
struct smtp_why {
	char dsn[MAIL_DSN_SIZE]; /* "" = nothing went wrong so far */
	struct buf text;
	bool site; /* the destination is in trouble, not this message */
};

/* One delivery under way. */
struct smtp_delivery {
	struct smtp_state *state; /* borrowed */
	struct smtp_setup *setup; /* counted */
	struct agent_job *job;    /* borrowed */
	bool *accepted;  /* in the job's arena: recipients the server took in this transaction */
	size_t sessions; /* connections that got as far as a transaction */
	struct net_addr tried; /* the address of the kept connection that was used; len 0: none */
	bool final_nexthop;    /* there is no site behind the present one */
	bool final_server;     /* there is no host behind the present one */
	struct smtp_why why;
};

/* ---- smtp_setup.c ---- */

/*
 * Reads all settings from the service's configuration and the arguments of its master.cf line. What is wrong was logged. Blocks in
 * the resolver for names of interfaces.
 */
struct smtp_setup *smtp_setup_new(const struct service *service, bool lmtp);
struct smtp_setup *smtp_setup_ref(struct smtp_setup *s);
void smtp_setup_unref(struct smtp_setup **s);

/* ---- smtp_host.c ---- */

/*
 * The addresses of `target` in the order to be tried. With none of them, `why` says why. *ret_self: this host is a mail
 * exchanger of it. Waits.
 */
void smtp_host_find(const struct smtp_setup *s, const struct smtp_target *target,
    struct smtp_hosts *ret, bool *ret_self, struct smtp_why *why);
void smtp_hosts_done(struct smtp_hosts *hosts);

/* Sets the reason; returns false. */
bool smtp_why_set(struct smtp_why *why, const char *dsn, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* ---- smtp_session.c ---- */

/* A connection to be, by the settings of `setup`. */
struct smtp_session *smtp_session_new(
    struct smtp_state *s, struct smtp_setup *setup, const struct smtp_host *host);
void smtp_session_free(struct smtp_session **session);

bool smtp_session_offers(const struct smtp_session *session, unsigned feature);

/* Writes one command, whose line end is added; it goes out with the next flush. */
void smtp_session_write(struct smtp_session *session, enum smtp_step step, struct span command);
/* Sends what was written; the time limit of the request begins. False: lost. Waits. */
bool smtp_session_flush(
    struct smtp_session *session, enum smtp_step step, int64_t timeout) MUST_CHECK;
/* Reads one reply into session->reply. False: lost. Waits. */
bool smtp_session_reply(
    struct smtp_session *session, enum smtp_step step, int64_t timeout) MUST_CHECK;
/* Both, for the line "fmt" that is sent before. */
bool smtp_session_ask(struct smtp_session *session, enum smtp_step step, int64_t timeout,
    const char *fmt, ...) PRINTF_LIKE(4, 5) MUST_CHECK;

/* The connection is lost, or of no more use: fills the trouble. Returns false. */
bool smtp_session_lost(struct smtp_session *session, enum smtp_step step, enum stream_result why);
/* The server refused: its reply is the trouble. Returns false. */
bool smtp_session_refused(struct smtp_session *session, enum smtp_step step);
/* We refuse to go on: the text is the trouble. Returns false. */
bool smtp_session_object(struct smtp_session *session, enum smtp_step step, const char *dsn,
    const char *fmt, ...) PRINTF_LIKE(4, 5);

/* A table cannot tell what to do: the connection is given up, the mail waits. Returns false. */
bool smtp_session_table_trouble(struct smtp_session *session, enum smtp_step step);

/* Ends a transaction that was left open, so that another can follow. Waits. */
bool smtp_session_reset(struct smtp_session *session) MUST_CHECK;
/* RSET if need be and QUIT. Waits. */
void smtp_session_quit(struct smtp_session *session);

/* ---- smtp_chat.c ---- */

/* Mail of `job` is next on this connection. */
void smtp_chat_begin(struct smtp_session *session, const struct agent_job *job);

/* A command without its line end; a line of a reply as it came. */
void smtp_chat_said(struct smtp_session *session, enum smtp_step step, struct span line);
void smtp_chat_heard(struct smtp_session *session, struct span line);

/* Trouble of a class (enum mail_trouble); a refusal in answer to `step`, which may be none that the postmaster hears of. */
void smtp_chat_trouble(struct smtp_session *session, unsigned class);
void smtp_chat_refused(struct smtp_session *session, enum smtp_step step, int code);

/* What was said is over: the postmaster is told, if there was trouble, and all is forgotten. Never waits. */
void smtp_chat_end(struct smtp_session *session);

/* ---- smtp_connect.c ---- */

/*
 * Connects to session->host, reads the greeting, says EHLO. False: session->trouble says why; session->stream is NULL when no
 * connection came about. `job` for messages, and for the age of the mail. Waits.
 */
bool smtp_connect(struct smtp_session *session, const struct agent_job *job) MUST_CHECK;

/* ---- smtp_envelope.c ---- */

/* An attribute of the message; empty when it is not there. */
struct span smtp_envelope_attr(const struct agent_job *job, const char *name);
/* Is there anything in envelope or header that a server without SMTPUTF8 must not see (RFC 6531 section 3.1)? */
bool smtp_envelope_needs_utf8(const struct agent_job *job);
/* Must the content be made 7-bit for this server? */
bool smtp_envelope_is_downgraded(const struct smtp_session *session, const struct agent_job *job);

/* Each writes one command, with what the server's extensions allow. XFORWARD: false when there is nothing to be said. MAIL, RCPT: false
 * on table trouble, which is then session->trouble; may wait. */
bool smtp_envelope_write_xforward_name(struct smtp_session *session, const struct agent_job *job);
bool smtp_envelope_write_xforward_helo(struct smtp_session *session, const struct agent_job *job);
bool smtp_envelope_write_mail(struct smtp_session *session, const struct agent_job *job) MUST_CHECK;
bool smtp_envelope_write_rcpt(
    struct smtp_session *session, const struct agent_job *job, size_t rcpt) MUST_CHECK;

/* ---- smtp_flags.c ---- */

/* Reads flags=DORX of the master.cf line. */
void smtp_flags_load(struct smtp_setup *s, const struct service *service);
/* May this delivery be made with them? If not, all recipients are settled. Waits. */
bool smtp_flags_allow(struct smtp_delivery *d) MUST_CHECK;
/* Appends the headers that they put in front of the content. */
void smtp_flags_write(const struct smtp_setup *s, const struct agent_job *job, struct buf *out);

/* ---- smtp_mail.c ---- */

/*
 * One mail transaction for the recipients that have no outcome yet: settles those accepted or refused one by one. False: the
 * transaction failed as a whole; session->trouble says why, smtp_outcome_session() what it means. Waits.
 */
bool smtp_mail(struct smtp_session *session, struct smtp_delivery *d) MUST_CHECK;

/* ---- smtp_body.c ---- */

/* Sends the content and the final dot; the reply is still to be read. Waits. */
bool smtp_body(struct smtp_session *session, struct agent_job *job) MUST_CHECK;

/* ---- smtp_cache.c ---- */

/* A delivery to `nexthop` begins / has ended: back-to-back or concurrent deliveries make connections worth keeping. */
void smtp_cache_begin(struct smtp_state *s, const char *nexthop);
void smtp_cache_end(struct smtp_state *s, const char *nexthop);
/* An idle connection to `nexthop`, or NULL. */
struct smtp_session *smtp_cache_take(struct smtp_state *s, const char *nexthop);
/*
 * Keeps the connection, or says goodbye if nobody needs it, `nexthop` is NULL or it was made by settings that are no longer in
 * force; takes it over. Waits.
 */
void smtp_cache_give(struct smtp_state *s, const char *nexthop, struct smtp_session **session);
/* Lets go of all, without waiting: connections made by other settings. */
void smtp_cache_flush(struct smtp_state *s);
/* Closes all. Waits. */
void smtp_cache_close(struct smtp_state *s);

/* ---- smtp_outcome.c ---- */

/* Has recipient `rcpt` no outcome yet? Has any? */
bool smtp_outcome_is_open(const struct smtp_delivery *d, size_t rcpt);
bool smtp_outcome_any_open(const struct smtp_delivery *d);

/* The outcome of one recipient by a reply of its own. A temporary failure of a host that is not the last: it stays open. */
void smtp_outcome_rcpt(
    struct smtp_session *session, struct smtp_delivery *d, size_t rcpt, enum smtp_step step);

/* It takes what this recipient would get, as its last reply says: the end of a probe. */
void smtp_outcome_accept(
    struct smtp_session *session, struct smtp_delivery *d, size_t rcpt, enum smtp_step step);

/* All open recipients, by session->trouble: next host, defer, bounce; and whether the site is in trouble. */
void smtp_outcome_session(struct smtp_session *session, struct smtp_delivery *d);

/* All that are open, by d->why, without a host: `relay` is the service's name. */
void smtp_outcome_refuse(struct smtp_delivery *d);
/* All that are still open when there is no host left, by d->why. */
void smtp_outcome_leftover(struct smtp_delivery *d);

#endif
