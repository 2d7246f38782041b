/*
 * mail_addr_list.h - the addresses in a header value (RFC 5322 section 3.4: display names, comments, groups, quoted
 * strings), one at a time, with the place where each stands, so that a rewriter can replace it and leave the rest as it
 * is. Used by `sendmail -t` and by header rewriting.
 */
#ifndef MAIL_MAIL_ADDR_LIST_H
#define MAIL_MAIL_ADDR_LIST_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

struct mail_addr_list {
	struct span rest;      /* private */
	const char *semicolon; /* private: the next ';' that may end a group */
	bool no_semicolon;     /* private: there is none in the rest */
	bool no_route;         /* private: no source route in the rest */
	bool broken;           /* a string, comment or bracket was not closed */
};

struct mail_addr_item {
	struct span addr; /* as it stands, quoted, without brackets; points into the value */
	bool bracketed;   /* it stood in < >, perhaps behind a display name */
	bool trailer;     /* ... and something that is no comment stood behind the ">" */
};

/* Starts over a header value, folded or not. */
void mail_addr_list_start(struct mail_addr_list *list, struct span value);

/* The next address; false at the end. Groups are entered, empty places ("a,,b") skipped; <> gives an empty address. */
bool mail_addr_list_next(struct mail_addr_list *list, struct mail_addr_item *ret);

/* Appends the internal form of the item's address: route stripped, quotes and comments removed. False: no valid syntax. */
bool mail_addr_list_internal(const struct mail_addr_item *item, struct buf *out) MUST_CHECK;

/* `addr` without the white space and comments at its ends: what a rewriter may replace. */
struct span mail_addr_list_bare(struct span addr);

#endif
