/*
 * domain_list.h - lists of domains as in mydestination and relay_domains: names separated by comma or white space, '!' in front
 * of what is not meant, /file for the names in a file. The first pattern that matches decides. Letters of either case are equal.
 */
#ifndef REWRITE_DOMAIN_LIST_H
#define REWRITE_DOMAIN_LIST_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"

struct domain_list;

/* How a parent domain in the list matches the domains below it (parent_domain_matches_subdomains). */
enum domain_list_parents {
	DOMAIN_LIST_EXACT,      /* "example.com" matches itself, ".example.com" what is below it */
	DOMAIN_LIST_SUBDOMAINS, /* "example.com" matches itself and what is below it */
};

/* Parses the value of the parameter `what` (for messages). Fails with ERR_CONFIG. */
bool domain_list_parse(const char *text, const char *what, enum domain_list_parents parents,
    struct domain_list **ret, struct err *err) MUST_CHECK;

void domain_list_free(struct domain_list **list);

/* True if the first pattern that matches `domain` says yes. */
bool domain_list_has(const struct domain_list *list, struct span domain);

/* True if the list has no pattern at all. */
bool domain_list_is_empty(const struct domain_list *list);

#endif
