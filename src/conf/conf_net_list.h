/*
 * conf_net_list.h - lists of networks as in mynetworks: "127.0.0.0/8, [::1]/128 !10.0.0.1 10.0.0.0/8 /file type:table".
 * Items are tried in order, the first that matches decides: '!' in front makes it a no. /file stands for the items in
 * that file. Host names and domains may stand in the list too: they match the client's name. Relay control rests on this, so an item that cannot be understood is an error, never skipped.
 */
#ifndef CONF_CONF_NET_LIST_H
#define CONF_CONF_NET_LIST_H

#include <sys/socket.h>

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"

struct conf_net_list;

/* An item of the form type:table, and who is looked for in it. */
struct conf_net_question {
	const char *table;
	struct span name;    /* may be empty */
	const char *address; /* "192.0.2.1", "2001:db8::1"; "" if there is none */
};

/*
 * Asked for items of the form type:table, which this room cannot open. May wait. On trouble returns false with `err`
 * set.
 */
struct conf_net_tables {
	bool (*lookup)(
	    void *arg, const struct conf_net_question *question, bool *ret_found, struct err *err);
	void *arg;
};

/* Parses `text` (separated by comma or white space); `what` is the parameter's name, for messages. */
bool conf_net_list_parse(
    struct span text, const char *what, struct conf_net_list **ret, struct err *err) MUST_CHECK;

void conf_net_list_free(struct conf_net_list **list);

/* Calls `found` with each type:table item. */
void conf_net_list_tables(
    const struct conf_net_list *list, void (*found)(void *arg, const char *table), void *arg);

/*
 * Is the address in the list? An IPv4 address in IPv6 form (::ffff:1.2.3.4) counts as IPv4. A UNIX socket or an
 * unknown family is never in it. `tables` NULL: items of the form type:table never match. False only on trouble
 * with a table (ERR_TEMP): the answer is then unknown.
 */
bool conf_net_list_match(const struct conf_net_list *list, const struct sockaddr *address,
    const struct conf_net_tables *tables, bool *ret_found, struct err *err) MUST_CHECK;

/* The same for "192.0.2.1", "2001:db8::1", "[2001:db8::1]" or "IPv6:2001:db8::1"; other text is in no list. */
bool conf_net_list_match_text(const struct conf_net_list *list, struct span address,
    const struct conf_net_tables *tables, bool *ret_found, struct err *err) MUST_CHECK;

/*
 * The same for a client with a (verified) name too, which host names and domains in the list are compared with.
 * `subdomains`: "example.com" in the list means all below it (parent_domain_matches_subdomains); ".example.com" always
 * does. `name` may be empty.
 */
bool conf_net_list_match_client(const struct conf_net_list *list, struct span name, bool subdomains,
    struct span address, const struct conf_net_tables *tables, bool *ret_found,
    struct err *err) MUST_CHECK;

#endif
