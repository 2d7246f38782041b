/*
 * smtpd_int.h - one SMTP session, shared by the files of this room.
 *
 * States (RFC 5321 section 4.1.4); smtpd_enter() is the only setter:
 *
 *	NEW --HELO/EHLO--> HELO --MAIL--> MAIL --RCPT accepted--> RCPT --DATA--> (250 or 4xx/5xx) --> HELO
 *	RCPT --BDAT--> BDAT --BDAT LAST--> (250 or 4xx/5xx) --> HELO
 *	MAIL, RCPT, BDAT --RSET, HELO/EHLO--> HELO        any --refused HELO/EHLO--> NEW        any --QUIT, 421, lost--> CLOSED
 *
 * Invariants
 *	I1  `mail` is filled in states MAIL, RCPT and BDAT, empty in all others.
 *	I2  a queue id is minted at the first accepted recipient, so states RCPT and BDAT have one and MAIL has none.
 *	I3  a reply 250 to the end of DATA is written only after queue_front_store() said that the message is durable.
 *	I4  replies gather in the stream and are sent before each wait for input, and before each wait on anything else that may
 *	    take longer than the client should be kept in the dark.
 */
#ifndef SMTPD_SMTPD_INT_H
#define SMTPD_SMTPD_INT_H

#include "access/access.h"
#include "access/access_client_rate.h"
#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"
#include "cleanup/cleanup.h"
#include "cleanup/cleanup_front.h"
#include "conf/conf.h"
#include "mail/mail_log.h"
#include "net/net_addr.h"
#include "net/stream.h"
#include "queue/queue_front.h"
#include "rewrite/domain_list.h"
#include "rewrite/rewrite.h"
#include "service/service.h"
#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"
#include "smtpd/smtpd_notice.h"
#include "table/table_nets.h"
#include "task/task.h"

enum smtpd_state {
	SMTPD_STATE_NEW,
	SMTPD_STATE_HELO,
	SMTPD_STATE_MAIL,
	SMTPD_STATE_RCPT,
	SMTPD_STATE_BDAT,
	SMTPD_STATE_CLOSED,
};

/* What one configuration compiles to; counted: a session keeps the one it began with over a reload. */
struct smtpd_setup {
	int refs;
	struct conf *conf;                      /* counted */
	struct rewrite *rewrite;                /* owned */
	struct access *access;                  /* owned */
	struct access_client_rate *client_rate; /* owned */
	struct buf banner;                      /* "220 host ESMTP ..." without the line end */
	const char *hostname;                   /* $myhostname */
	size_t message_size_limit;
	size_t line_limit;
	bool has_help;     /* knows HELP */
	unsigned features; /* SMTP_EHLO_ bits that all clients may use, but for ... */
	unsigned discard;  /* ... smtpd_discard_ehlo_keywords, unless ... */
	struct table_list
	    *discard_maps; /* ... smtpd_discard_ehlo_keyword_address_maps says otherwise */
	struct smtp_command_options options; /* for all clients alike */
	struct cleanup_settings cleanup;
	enum smtp_data_mode bare_newline;       /* smtpd_forbid_bare_newline ... */
	struct table_nets *bare_newline_ok;     /* ... and the clients that it spares */
	struct domain_list *flush_domains;      /* fast_flush_domains: for ETRN */
	struct table_nets *verp_clients;        /* smtpd_authorized_verp_clients */
	struct table_nets *xclient_clients;     /* smtpd_authorized_xclient_hosts */
	struct table_nets *xforward_clients;    /* smtpd_authorized_xforward_hosts */
	struct table_list *footer_maps;         /* smtpd_reject_footer_maps */
	struct table_list *filter_maps;         /* smtpd_reject_filter_maps */
	struct table_list *command_filter;      /* smtpd_command_filter */
	struct domain_list *noop_commands;      /* smtpd_noop_commands */
	struct domain_list *forbidden_commands; /* smtpd_forbidden_commands */
	unsigned notify;                        /* notify_classes: enum mail_trouble bits */
	bool wants_utf8;                        /* smtputf8_enable: all text is UTF-8 */
	bool soft_bounce;
	bool haproxy; /* smtpd_upstream_proxy_protocol */
};

/* The process. */
struct smtpd_server {
	struct service *service;
	struct smtpd_setup *setup; /* current; counted */
	struct smtpd_setup
	    *stressed; /* the same with stress=yes, when all slots are busy; counted; or NULL */
	/* The way to the queue; without shards in a process that has none (smtpd_standalone.h). */
	struct cleanup_front front;
	struct cluster_counter *counter; /* owned: of clients; there, for all processes */
	struct task_group openings;      /* at most one, of the doors ... */
	struct task *opening;            /* ... which is this one, while it is alive */
	struct service_listen *listen;   /* its doors; NULL: not open yet */
	struct list sessions;            /* all alive */
	size_t session_count;
	int64_t
	    leave_all; /* mono us, once it leaves: from then on clients that sent nothing yet are told to go, too */
	struct task_group flushes;    /* of ETRN; at most one at a time ... */
	struct task *flush;           /* ... which is this one, while it is alive */
	struct smtpd_flush *flushing; /* its domains; valid while it is alive */
};

enum smtpd_command {
	SMTPD_HELO,
	SMTPD_EHLO,
	SMTPD_STARTTLS,
	SMTPD_AUTH,
	SMTPD_MAIL,
	SMTPD_RCPT,
	SMTPD_DATA,
	SMTPD_BDAT,
	SMTPD_RSET,
	SMTPD_NOOP,
	SMTPD_VRFY,
	SMTPD_ETRN,
	SMTPD_QUIT,
	SMTPD_XCLIENT,
	SMTPD_XFORWARD,
	SMTPD_HELP,
	SMTPD_UNKNOWN,
	SMTPD_COMMAND_COUNT,
};

/* Where the mail to come is from, by XFORWARD; NULL: not told. For logs and the next server, never for decisions. */
struct smtpd_forward {
	struct arena arena;
	const char *name;
	const char *address;
	const char *port;
	const char *helo;
	const char *protocol;
	const char *ident;
	bool has_source;
	bool local; /* SOURCE=LOCAL */
};

struct smtpd_rcpt {
	const char *addr;      /* internal, standard form: in the mail's arena, as all below */
	const char *received;  /* internal form, before any rewriting */
	const char *dsn_orcpt; /* NULL: none */
	unsigned dsn_notify;
};

struct smtpd_texts {
	const char **items; /* owned; the texts are in the mail's arena */
	size_t count;
};

/* One mail transaction, from MAIL to its end. */
struct smtpd_mail {
	struct arena arena;
	const char *sender;          /* internal, standard form */
	const char *sender_received; /* internal form, before any rewriting */
	const char *sender_as_given; /* between < and >, as the client wrote it */
	int64_t arrival;             /* real us: when MAIL came */
	bool body_8bit;
	bool body_7bit;
	bool smtputf8;
	const char *envid; /* DSN ENVID, decoded; NULL: none */
	enum smtp_command_ret ret;
	struct smtpd_rcpt *rcpts; /* owned */
	size_t rcpt_count;
	/* what access rules want done with it; NULL, none: nothing */
	const char *filter;         /* transport:nexthop */
	const char *verp;           /* delimiters of XVERP; NULL: none */
	const char *redirect;       /* to this recipient only */
	const char *hold;           /* for this reason */
	bool discard;               /* say 250 and forget it */
	struct smtpd_texts bccs;    /* addresses */
	struct smtpd_texts headers; /* to be put in front */
	size_t overshoot;           /* recipients refused for being too many */
	struct queue_front *front;  /* where it is stored; from MAIL on */
	int64_t msg_id;             /* 0 until the first recipient is accepted */
	char queue_id[32];
	struct cleanup *cleanup; /* owned: the message so far; NULL before DATA and BDAT */
	struct smtp_data_in in;  /* the reader's state */
	int64_t deadline;        /* mono us, of the message; 0: not begun */
	uint64_t content_bytes;  /* of the message so far, as the client sent them */
	bool chunks_failed;      /* a chunk was refused: the others are read and dropped */
};

struct smtpd_session {
	struct smtpd_server *server; /* borrowed */
	struct list node;            /* in server->sessions */
	struct task *task;
	bool
	    waiting_for_command; /* between two transactions, in no conversation with anybody else: may be ended */
	struct smtpd_setup *setup;  /* counted */
	struct stream *stream;      /* owned */
	struct net_addr peer;       /* as a proxy or XCLIENT has it; len 0: not known */
	struct net_addr connection; /* as a load balancer has it; XCLIENT changes nothing here */
	char client_address[NET_ADDR_TEXT]; /* "unknown" when XCLIENT says so */
	char client_port[8];                /* "unknown" likewise */
	char client_name[256];              /* verified, or "unknown" */
	char client_reverse_name[256];      /* PTR, or "unknown" */
	enum access_name name_status;
	enum access_name reverse_name_status;
	char server_address[NET_ADDR_TEXT]; /* "" until somebody asks: smtpd_server_address() */
	char server_port[8];
	struct access_client client; /* what is counted of him */
	unsigned
	    authorized;  /* SMTP_EHLO_ bits of XCLIENT, XFORWARD, XVERP that this client may use */
	unsigned offers; /* ... and is told of: what the configuration discards is off */
	struct smtp_command_options options; /* ... as the grammar wants to know it */
	const char *sasl_method;             /* a literal; NULL: nobody is authenticated */
	char *sasl_username;                 /* owned */
	struct smtpd_forward
	    *forward; /* owned; what XFORWARD said of the mail to come; NULL: nothing */
	enum smtpd_state state;
	bool esmtp;
	char *helo; /* owned; NULL before HELO */
	struct smtpd_mail mail;
	struct access_memory memory;
	bool access_denied;   /* refused at connect time: only QUIT is served */
	bool forbids_bare_lf; /* smtpd_forbid_bare_newline holds for this client */
	bool seen_pipelining; /* improper pipelining was logged */
	unsigned errors;
	unsigned junk;
	unsigned counts[SMTPD_COMMAND_COUNT][2]; /* good, all */
	enum smtpd_command command;              /* in progress, or last */
	bool failed;                             /* the present command got 4xx or 5xx */
	const char *where;                       /* for "lost connection after ..." */
	struct smtpd_notice notice;              /* what the postmaster may be told */
	struct buf reply;                        /* scratch for building replies */
	struct buf line;                         /* an over-long command */
};

/* The only setter of the state. */
void smtpd_enter(struct smtpd_session *s, enum smtpd_state state);

/* Reply of one line: "CODE DSN text"; `dsn` NULL: none. Gathers; counts 4xx and 5xx as an error of the command. */
void smtpd_reply(struct smtpd_session *s, int code, const char *dsn, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* What an err says, as a reply. */
void smtpd_reply_err(struct smtpd_session *s, const struct err *err);
/* The same for a command that could not be parsed; an address that is none goes into the log. `word`: "FROM:", "TO:" or "". */
void smtpd_reply_syntax(
    struct smtpd_session *s, struct span args, const char *word, const struct err *err);
/* An address that could be read and is none all the same: logs it, and answers with `dsn`, "5.1.7" or "5.1.3". */
void smtpd_reply_improper(
    struct smtpd_session *s, struct span args, const char *word, const char *dsn);
/* 421, then the session ends. */
void smtpd_give_up(struct smtpd_session *s, const char *dsn, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* The client as log lines name it; borrowed from the session. */
struct mail_log_client smtpd_log_client(const struct smtpd_session *s);
/* Logs "WHY after STAGE from client"; bytes -1: not in a message. */
void smtpd_log_lost(
    const struct smtpd_session *s, const char *why, const char *stage, int64_t bytes);

/* What access rules may look at now; borrowed from the session. */
void smtpd_access_request(struct smtpd_session *s, struct access_request *ret);

/*
 * Asks the access rules. False: it was rejected, logged ("NOQUEUE: reject: WORD from ...") and answered. `word` names the stage
 * in the log. Waits.
 */
bool smtpd_access_permits(struct smtpd_session *s, enum access_stage stage, const char *word,
    const struct access_request *request) MUST_CHECK;
/* Logs "QUEUE-ID: ACTION: STAGE from client: text; from=... to=... ". */
void smtpd_log_action(struct smtpd_session *s, const char *action, const char *stage,
    const struct access_request *request, struct span text);
/* Logs the refusal of a command for a reason that is no rule's ("reject: WORD from ..."), and answers. */
void smtpd_refuse(struct smtpd_session *s, const char *word, const struct access_request *request,
    int code, const char *dsn, const char *text);
/* The same as smtpd_access_permits() at DATA and at the end of the message. */
bool smtpd_access_permits_message(
    struct smtpd_session *s, enum access_stage stage, const char *word) MUST_CHECK;

/* ---- smtpd_data.c: a message, whichever command brings it ---- */

/* Size of the message so far with every line end as CRLF: what log lines and BDAT replies tell. */
uint64_t smtpd_content_size(const struct smtpd_session *s);
/* May a message come now? Answers if not. */
bool smtpd_content_allowed(struct smtpd_session *s) MUST_CHECK;
/* Begins s->mail.cleanup with the Received: line. */
void smtpd_content_begin(struct smtpd_session *s);
/* Sets the stream's deadline before the next piece is read; `added` bytes came since the last time. */
void smtpd_content_deadline(struct smtpd_session *s, size_t added);
/* All was read: to the queue. False: answered with the reason; true: durable, the caller says 250 (I3). Waits. */
bool smtpd_content_end(struct smtpd_session *s) MUST_CHECK;
/* The client went away, or was too slow, in the middle of it: logs, and ends the session. */
void smtpd_content_lost(struct smtpd_session *s, const char *word, enum stream_result why);
/* The message was taken: what the client did wrong before is forgiven. */
void smtpd_content_done(struct smtpd_session *s);

/* The mail transaction: dropped at RSET, HELO, its end; what XFORWARD said goes with it. */
void smtpd_mail_reset(struct smtpd_session *s);
/* Only what MAIL and later commands gathered. */
void smtpd_mail_clear(struct smtpd_session *s);

/* The client is a new one (`first`), or another one (XCLIENT): what it may do is found out, and it is greeted. May wait. */
void smtpd_client_changed(struct smtpd_session *s, bool first);

/* ---- smtpd_client.c: how much a client may do ---- */

/* He has connected, or XCLIENT says who he is. False: too many connections, answered with 421. */
bool smtpd_client_begin(struct smtpd_session *s) MUST_CHECK;
/* False: too often; answered, and logged. */
bool smtpd_client_may(struct smtpd_session *s, enum access_client_event event) MUST_CHECK;
/* The same for a command with "FROM:<address>" or "TO:<address>" (`word`: up to the colon): without one it is not counted. */
bool smtpd_client_may_name(struct smtpd_session *s, enum access_client_event event,
    struct span args, const char *word) MUST_CHECK;

/* Fills server_address and server_port, once. */
void smtpd_server_address(struct smtpd_session *s);

/* One handler per verb: check, parse, decide, act, reply. `args` is the line after the verb. */
void smtpd_helo(struct smtpd_session *s, struct span args);
void smtpd_ehlo(struct smtpd_session *s, struct span args);
void smtpd_mail(struct smtpd_session *s, struct span args);
void smtpd_rcpt(struct smtpd_session *s, struct span args);
void smtpd_data(struct smtpd_session *s, struct span args);
void smtpd_bdat(struct smtpd_session *s, struct span args);
void smtpd_rset(struct smtpd_session *s, struct span args);
void smtpd_noop(struct smtpd_session *s, struct span args);
void smtpd_vrfy(struct smtpd_session *s, struct span args);
void smtpd_etrn(struct smtpd_session *s, struct span args);
void smtpd_quit(struct smtpd_session *s, struct span args);
void smtpd_xclient(struct smtpd_session *s, struct span args);
void smtpd_xforward(struct smtpd_session *s, struct span args);
void smtpd_starttls(struct smtpd_session *s, struct span args);
void smtpd_auth(struct smtpd_session *s, struct span args);
void smtpd_help(struct smtpd_session *s, struct span args);

/* smtpd_command.c: one command line. */
void smtpd_command_run(struct smtpd_session *s, struct span line);

/* What `where` is when a message was taken and nothing came since. */
extern const char smtpd_after_message[];

struct smtpd_verb {
	const char *name; /* upper case */
	enum smtpd_command command;
	unsigned flags; /* SMTPD_LAST_IN_GROUP ... */
	void (*handler)(struct smtpd_session *s, struct span args);
};
#define SMTPD_LAST_IN_GROUP 1u /* nothing may be pipelined behind it (RFC 2920) */
#define SMTPD_JUNK          2u /* does no work: counts against smtpd_junk_command_limit */

/* The verb of a line, letters of either case; NULL if unknown. */
const struct smtpd_verb *smtpd_verb_find(struct span word);
const char *smtpd_command_name(enum smtpd_command c);

/* One client, from greeting to goodbye. Owns `stream`. */
void smtpd_session_run(struct stream *stream, const struct net_addr *peer, void *server);

/* May a process that leaves end the session now: between two transactions, and not before its client had the time to begin one? */
bool smtpd_session_may_end(const struct smtpd_session *s);

#endif
