/*
 * smtp_command.h - the grammar of commands (RFC 5321 section 4.1, RFC 3461, RFC 6531) as Postfix's smtpd takes it: lax
 * where clients are sloppy, strict on demand. A refusal fills struct err with reply code, enhanced code and Postfix's
 * text, ready for the client. Whether a command is allowed now, and whether the address is wanted, is smtpd's business.
 */
#ifndef SMTP_SMTP_COMMAND_H
#define SMTP_SMTP_COMMAND_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/* What the session allows. Zero: all extensions as Postfix has them by default except VERP. */
struct smtp_command_options {
	bool strict_envelopes;       /* strict_rfc821_envelopes */
	bool no_smtputf8;            /* smtputf8_enable = no, or not announced */
	bool strict_smtputf8;        /* refuse non-ASCII addresses without SMTPUTF8 */
	bool no_dsn;                 /* DSN not announced: NOTIFY, ORCPT, RET, ENVID are refused */
	bool verp;                   /* XVERP for this client */
	bool no_auth;                /* AUTH= is an unsupported option */
	const char *verp_delimiters; /* default_verp_delimiters */
	const char *verp_filter;     /* verp_delimiter_filter */
};

enum smtp_command_body {
	SMTP_BODY_NONE,
	SMTP_BODY_7BIT,
	SMTP_BODY_8BITMIME,
};

enum smtp_command_ret {
	SMTP_RET_NONE,
	SMTP_RET_FULL,
	SMTP_RET_HDRS,
};

/* DSN NOTIFY (RFC 3461 section 4.1); 0 = not given. The same bits as DELIVERY_NOTIFY_. */
#define SMTP_NOTIFY_NEVER   1u
#define SMTP_NOTIFY_SUCCESS 2u
#define SMTP_NOTIFY_FAILURE 4u
#define SMTP_NOTIFY_DELAY   8u

/* Strings are in the arena. */
struct smtp_mail {
	const char *addr;  /* internal form; "" = null sender */
	const char *given; /* as the client wrote it, without brackets */
	bool has_size;
	uint64_t size;
	enum smtp_command_body body;
	enum smtp_command_ret ret;
	bool smtputf8;
	const char *envid; /* xtext as given; NULL: none */
	const char *auth;  /* AUTH=, decoded; "" for <>; NULL: none */
	const char *verp;  /* two delimiters; NULL: none */
};

struct smtp_rcpt {
	const char *addr;  /* internal form, never empty */
	const char *given; /* as the client wrote it, without the outer brackets (VRFY: with) */
	unsigned notify;   /* SMTP_NOTIFY_ bits */
	const char *orcpt; /* "type;address", the address decoded; NULL: none */
	bool smtputf8;     /* VRFY only */
};

/* Cuts a line (without its line end) into the verb and what follows it, white space trimmed at the front. */
void smtp_command_split(struct span line, struct span *ret_verb, struct span *ret_args);

/* The first word of `args`, white space within <> and "" included; false: there is none, or one of those is not closed. */
bool smtp_command_first_word(struct span args, struct span *ret_word) MUST_CHECK;

/* Parses what follows MAIL / RCPT. False: the reply is in err. */
bool smtp_command_parse_mail(struct span args, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_mail *ret, struct err *err) MUST_CHECK;
bool smtp_command_parse_rcpt(struct span args, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_rcpt *ret, struct err *err) MUST_CHECK;

/* VRFY's argument, with the same address grammar; "Syntax: VRFY address" otherwise. */
bool smtp_command_parse_vrfy(struct span args, const struct smtp_command_options *options,
    struct arena *arena, struct smtp_rcpt *ret, struct err *err) MUST_CHECK;

struct smtp_bdat {
	uint64_t size;
	bool last;
};
/* BDAT size [LAST] (RFC 3030). */
bool smtp_command_parse_bdat(struct span args, struct smtp_bdat *ret, struct err *err) MUST_CHECK;

/* xtext (RFC 3461 section 4). Decoding fails on "+" without two upper-case hex digits; both append. */
bool smtp_command_xtext_decode(struct span in, struct buf *out) MUST_CHECK;
void smtp_command_xtext_encode(struct span in, struct buf *out);
/* utf-8-addr-unitext with all but plain ASCII as "\x{HEX}" (RFC 6533 section 3). */
void smtp_command_utf8_encode(struct span in, struct buf *out);

/* "SUCCESS,FAILURE" for NOTIFY bits ("" for 0), and back; 0 = bad. "FULL", "HDRS", "". */
const char *smtp_command_notify_text(unsigned notify);
unsigned smtp_command_notify_parse(struct span text);
const char *smtp_command_ret_text(enum smtp_command_ret ret);

/* The client side: append "MAIL FROM:<addr>" / "RCPT TO:<addr>" with the address quoted; parameters and CRLF follow. */
void smtp_command_write_mail(struct buf *out, struct span addr);
void smtp_command_write_rcpt(struct buf *out, struct span addr);

#endif
