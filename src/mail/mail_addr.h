/*
 * mail_addr.h - mail addresses. Two forms: internal ("unquoted": a b@example.com, as queue, tables and policies see
 * it) and external ("quoted": "a b"@example.com, as SMTP commands, headers and logs write it). Rewriting, address
 * classes and routing are in room rewrite. Callers: everybody who reads or writes an address.
 */
#ifndef MAIL_MAIL_ADDR_H
#define MAIL_MAIL_ADDR_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* An address in internal form, cut at its last '@'. */
struct mail_addr {
	struct span local;  /* all of it when there is no '@' */
	struct span domain; /* without '@' */
	bool has_domain;    /* there is an '@', although `domain` may be empty */
};

/* Cuts; spans point into `internal`. */
struct mail_addr mail_addr_split(struct span internal);

/* Appends "local@domain", or only the local part. */
void mail_addr_join(struct buf *out, const struct mail_addr *addr);

/* True when the local part cannot stand as it is in a command or header (RFC 5321 section 4.1.2, Dot-string). */
bool mail_addr_needs_quotes(struct span local);

/* Appends the external form of `internal`; bytes above 127 stay (RFC 6531). No angle brackets. */
void mail_addr_quote(struct buf *out, struct span internal);

/*
 * Appends the internal form of `external`, one address without brackets and display name: quotes, comments and white
 * space outside quotes go. False (and nothing appended) when a string or comment is not closed, when two words stand
 * side by side ("a b@c"), and on NUL.
 */
bool mail_addr_unquote(struct buf *out, struct span external) MUST_CHECK;

/*
 * What a client may write after "MAIL FROM:" and "RCPT TO:" (RFC 5321 section 4.1.2, and the laxer forms Postfix
 * takes): <path>, path without brackets, "Name <path>", (comments), <<path>>; a source route goes. Appends the internal
 * form; ret_given = what stood there, without the outer brackets. With `strict` nothing but <path> is taken. `<>` gives
 * the empty address. False = bad address syntax.
 */
bool mail_addr_parse_path(
    struct span text, bool strict, struct buf *out, struct span *ret_given) MUST_CHECK;

/* Without "<" and ">" around it, if both are there; then without "@a,@b:" in front (RFC 5321 appendix C). */
struct span mail_addr_strip_brackets(struct span s);
struct span mail_addr_strip_route(struct span s);

/* Folds ASCII upper case to lower case in place; mail_addr_fold_domain() only behind the last '@'. */
void mail_addr_fold(char *s, size_t len);
void mail_addr_fold_domain(char *internal, size_t len);

/* For qsort(): by domain, then by the whole address, letters of either case being equal. Of internal forms. */
int mail_addr_compare(const char *a, const char *b);

/*
 * Where the address extension begins: index of the first byte of `local` that is in `delimiters` (recipient_delimiter;
 * NULL or "": no extensions); local.len when there is none. Postfix's exceptions: never at the very beginning, not in
 * mailer-daemon, postmaster, double-bounce, and not in owner-x and x-request with delimiter '-'
 * (unless `owner_request_split`, Postfix's owner_request_special = no).
 */
size_t mail_addr_extension(struct span local, const char *delimiters, bool owner_request_split);

/* Why a host name is refused. */
enum mail_addr_host {
	MAIL_ADDR_HOST_OK,
	MAIL_ADDR_HOST_EMPTY,
	MAIL_ADDR_HOST_LABEL_LONG, /* above 63 bytes */
	MAIL_ADDR_HOST_CHARACTER,
	MAIL_ADDR_HOST_DELIMITER, /* a dot too many */
	MAIL_ADDR_HOST_HYPHEN,    /* at the beginning or end of a label */
	MAIL_ADDR_HOST_NUMERIC,   /* nothing but digits and dots */
	MAIL_ADDR_HOST_LONG,      /* above 255 bytes */
};

/*
 * Postfix's valid_hostname: letters, digits, '-', '_' and non-ASCII bytes (UTF-8 labels) in labels of 1 to 63 bytes;
 * no dot at either end; not only digits and dots.
 */
enum mail_addr_host mail_addr_check_host(struct span host);
bool mail_addr_is_host(struct span host);

/* Text for a MAIL_ADDR_HOST_ value, as Postfix's warnings have it: "numeric hostname", "misplaced delimiter", ... */
const char *mail_addr_host_text(enum mail_addr_host why);

/* Numeric addresses, without brackets. */
bool mail_addr_is_ipv4(struct span s);
bool mail_addr_is_ipv6(struct span s);

/*
 * "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 section 4.1.3). The address inside without the tag goes to
 * `ret_address`, which may be NULL.
 */
bool mail_addr_is_literal(struct span domain, struct span *ret_address);

/* What Postfix takes as domain of a resolved address: a valid host name or a literal. */
bool mail_addr_is_domain(struct span domain);

#endif
