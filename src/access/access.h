/*
 * access.h - may this client do this? The restriction lists of main.cf, compiled once per configuration, and evaluated at
 * each stage of a session in Postfix's order (postfix-features 3.1). The answer is a verdict with the complete reply; what to
 * log is part of it. Knows nothing of sockets and sessions: the caller fills in what is known by now.
 */
#ifndef ACCESS_ACCESS_H
#define ACCESS_ACCESS_H

#include <sys/socket.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "rewrite/rewrite.h"

struct access;

enum access_stage {
	ACCESS_CONNECT,
	ACCESS_HELO,
	ACCESS_MAIL,
	ACCESS_RCPT,
	ACCESS_DATA,
	ACCESS_END_OF_DATA,
	ACCESS_ETRN,
};

/* What came of looking up the client's name. */
enum access_name {
	ACCESS_NAME_OK,
	ACCESS_NAME_NONE,   /* there is none, for good */
	ACCESS_NAME_TEMP,   /* the name servers did not answer */
	ACCESS_NAME_FORGED, /* there is one, but it does not lead back to the address */
};

/* What is known of the session so far; all borrowed for the call. Addresses in internal form. */
struct access_request {
	const char *client_name; /* verified name, or "unknown" */
	enum access_name client_name_status;
	const char *client_reverse_name; /* from the address alone, or "unknown" */
	enum access_name client_reverse_name_status;
	const char *client_address; /* numeric text, or "unknown" */
	const char *client_port;
	const struct sockaddr *connection; /* the other end, whoever XCLIENT says it speaks for */
	const char *helo;                  /* NULL before HELO */
	const char *sender;                /* standard form; NULL before MAIL; "" = null sender */
	const char *sender_received;       /* before rewriting */
	const char *sender_as_given;       /* for texts: as the client wrote it */
	const char *recipient;             /* standard form; NULL except at RCPT */
	const char *recipient_received;    /* before rewriting */
	const char *recipient_as_given;
	const char *etrn_domain;      /* NULL except at ETRN */
	size_t rcpt_count;            /* accepted so far */
	bool sasl_enabled;            /* clients can authenticate here; else nothing of it counts */
	const char *sasl_username;    /* NULL: nobody is authenticated */
	struct access_memory *memory; /* the session's; NULL: none */
	bool
	    improper_pipelining; /* the client sent more than it may before a reply, now or earlier */
};

/* What the lists do or say beside permitting and rejecting; the caller logs and applies it. */
enum access_note_kind {
	ACCESS_NOTE_REJECT_WARNING, /* what warn_if_reject held back */
	ACCESS_NOTE_PERMIT,         /* smtpd_log_access_permit_actions */
	ACCESS_NOTE_INFO,
	ACCESS_NOTE_WARN,
	ACCESS_NOTE_FILTER,
	ACCESS_NOTE_HOLD,
	ACCESS_NOTE_DISCARD,
	ACCESS_NOTE_REDIRECT,
	ACCESS_NOTE_BCC,
	ACCESS_NOTE_PREPEND, /* not logged */
};

struct access_note {
	enum access_note_kind kind;
	char *text;  /* owned; for the log */
	char *value; /* owned; transport:destination, address, header; "" where there is none */
};

struct access_verdict {
	bool permit;
	int code;                  /* reply code when not permitted */
	char dsn[12];              /* enhanced code, its class fitting the code */
	struct buf text;           /* text after the code; access_verdict_done() */
	struct access_note *notes; /* owned; in order */
	size_t note_count;
};

/* What replies may mention of a session: $client, $helo_name, $sender_domain, ... A macro_source's lookup; `arg` is this. */
struct access_macros {
	const struct access_request *request;
	const struct conf *conf;
	struct buf scratch; /* buf_done() */
};
const char *access_macro(void *arg, struct span name);

/* "hold", "reject_warning", ...: the word of the log. */
const char *access_note_word(enum access_note_kind kind);

/* A decision that waits for what the other restrictions say: defer_if_permit, defer_if_reject. */
struct access_pending {
	bool active;
	int code;
	char dsn[12];
	struct buf text;
};

/*
 * What a session remembers between stages when smtpd_delay_reject is off: the deferrals that client, HELO and sender lists
 * asked for count at RCPT. Zero-filled is valid.
 */
struct access_memory {
	struct access_pending if_permit[ACCESS_MAIL + 1];
};
void access_memory_done(struct access_memory *memory);

/* Compiles the lists; ERR_CONFIG names the parameter. Both references are kept: `rewrite` is borrowed and must outlive it. */
bool access_new(struct conf *conf, const struct rewrite *rewrite, struct access **ret,
    struct err *err) MUST_CHECK;
void access_free(struct access **a);

/*
 * Calls `found` for each word of the lists that means nothing, and for each restriction without its argument: clients will get 451
 * there. For `rowpost check`; `parameter` is that of main.cf.
 */
void access_mistakes(const struct access *a,
    void (*found)(void *arg, const char *parameter, const char *text), void *arg);

/* Decides. May wait (tables, DNS, policy servers). `verdict` may be zero-filled or used before. */
void access_check(const struct access *a, enum access_stage stage,
    const struct access_request *request, struct access_verdict *verdict);
void access_verdict_done(struct access_verdict *verdict);

/*
 * Can mail be sent to `address` (standard form, not empty) at all? False: "Bad recipient address syntax", before any rule is
 * asked. `utf8`: SMTPUTF8 was asked for; without it a domain is ASCII. May wait.
 */
bool access_address_is_proper(const struct access *a, const char *address, bool utf8);

/* smtpd_expansion_filter with its escapes resolved: the characters that values in replies may have. Borrowed. */
const char *access_expansion_filter(const struct access *a);

/* Is the client in mynetworks? */
bool access_is_mynetworks(const struct access *a, const struct sockaddr *client);

/*
 * Is it one that local_header_rewrite_clients names: its mail is completed (missing headers) as if written here?
 * `client` is who it speaks for (XCLIENT), `connection` the other end: permit_inet_interfaces is about this one.
 */
bool access_is_rewrite_client(
    const struct access *a, const struct sockaddr *client, const struct sockaddr *connection);

#endif
