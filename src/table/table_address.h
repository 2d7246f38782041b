/*
 * table_address.h - the orders in which parts of an address or a domain are looked up (postfix-features 3.7): each
 * pattern is asked of all tables before the next pattern. Addresses in internal form; the quoted form is asked first where
 * it differs.
 */
#ifndef TABLE_TABLE_ADDRESS_H
#define TABLE_TABLE_ADDRESS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "table/table.h"

/* What a lookup tries; or-ed, tried in the order of this list. */
enum table_address_forms {
	TABLE_ADDRESS_FULL = 1 << 0,  /* user+ext@domain */
	TABLE_ADDRESS_NOEXT = 1 << 1, /* user@domain */
	TABLE_ADDRESS_LOCAL =
	    1 << 2, /* user+ext, user: when the domain is one of ours, as is_local says */
	TABLE_ADDRESS_DOMAIN = 1 << 3,     /* domain */
	TABLE_ADDRESS_PARENTS = 1 << 4,    /* "example.com" for user@x.example.com */
	TABLE_ADDRESS_DOTPARENTS = 1 << 5, /* ".example.com" for it */
	TABLE_ADDRESS_AT_DOMAIN = 1 << 6,  /* @domain */
	TABLE_ADDRESS_LOCAL_AT = 1 << 7,   /* user+ext@, user@ */
};

/* virtual, canonical, generic, relocated, bcc, sender_dependent_* */
#define TABLE_ADDRESS_REWRITE                                                                      \
	(TABLE_ADDRESS_FULL | TABLE_ADDRESS_NOEXT | TABLE_ADDRESS_LOCAL | TABLE_ADDRESS_AT_DOMAIN)
/* virtual_mailbox_maps and its ids */
#define TABLE_ADDRESS_MAILBOX (TABLE_ADDRESS_FULL | TABLE_ADDRESS_NOEXT | TABLE_ADDRESS_AT_DOMAIN)

struct table_address_rules {
	unsigned forms;
	const char *delimiters;   /* recipient_delimiter; NULL or "": no extensions */
	bool owner_request_split; /* owner_request_special = no */
	/* TABLE_ADDRESS_LOCAL: is `domain` $myorigin, in mydestination, or an address of this host? */
	enum table_result (*is_local)(void *arg, struct span domain, struct err *err);
	void *arg;
};

/*
 * Looks up `address`. With `ret_extension` (may be NULL; zero-filled or used before) the extension, delimiter included, that
 * the pattern found leaves out: "+ext", or empty.
 */
enum table_result table_address_lookup(struct table_list *l,
    const struct table_address_rules *rules, struct span address, struct buf *value,
    struct buf *ret_extension, struct err *err) MUST_CHECK;

/*
 * Looks up a domain, then its parents: as "example.com" with `parents_match` (parent_domain_matches_subdomains names the
 * parameter), else as ".example.com". A numeric address has no parents.
 */
enum table_result table_domain_lookup(struct table_list *l, struct span domain, bool parents_match,
    struct buf *value, struct err *err) MUST_CHECK;

/*
 * Is `domain`, or as above a parent of it, a key of the one table `t`? What it says there does not matter, it may be empty.
 * For lists of domains and hosts.
 */
enum table_result table_knows_domain(
    struct table *t, struct span domain, bool parents_match, struct err *err) MUST_CHECK;

#endif
