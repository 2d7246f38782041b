/*
 * domain_list.h - lists of domains as in mydestination and relay_domains: names separated by comma or white space, '!' in front
 * of what is not meant, /file for the patterns in a file, type:table for what a table knows. The first pattern that matches
 * decides. Letters of either case are equal.
 */
#ifndef REWRITE_DOMAIN_LIST_H
#define REWRITE_DOMAIN_LIST_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "table/table.h"

struct domain_list;

/* How a parent domain in the list matches the domains below it (parent_domain_matches_subdomains). */
enum domain_list_parents {
	DOMAIN_LIST_EXACT,      /* "example.com" matches itself, ".example.com" what is below it */
	DOMAIN_LIST_SUBDOMAINS, /* "example.com" matches itself and what is below it */
};

/*
 * Parses the value of the parameter `what` (for messages) and opens its tables. Fails with ERR_CONFIG; a table that cannot be
 * used is no such failure, but see domain_list_has().
 */
bool domain_list_parse(struct conf *conf, const char *text, const char *what,
    enum domain_list_parents parents, struct domain_list **ret, struct err *err) MUST_CHECK;

/* The same for the value of the parameter `p`, which parent_domain_matches_subdomains may name. */
bool domain_list_of(
    struct conf *conf, enum conf_param p, struct domain_list **ret, struct err *err) MUST_CHECK;

void domain_list_free(struct domain_list **list);

/*
 * TABLE_FOUND if the first pattern that matches `domain` says yes; TABLE_ERROR (`err` is ERR_TEMP) if a table before it
 * could not be asked. May wait. NULL is an empty list.
 */
enum table_result domain_list_has(
    const struct domain_list *list, struct span domain, struct err *err) MUST_CHECK;

/* True if the list has no pattern at all. */
bool domain_list_is_empty(const struct domain_list *list);

#endif
