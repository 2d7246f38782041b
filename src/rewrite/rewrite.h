/*
 * rewrite.h - what an address means here: its standard form, its address class, and where its mail goes next. One
 * struct rewrite is compiled from a configuration. Front ends ask for the class, the scheduler for the route, at each attempt.
 * What asks tables (classes, routes) may wait; a table that cannot be asked makes the answer "not known now", never a no.
 */
#ifndef REWRITE_REWRITE_H
#define REWRITE_REWRITE_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"

/* Postfix's ADDRESS_CLASS_README, in the order in which they are tried. */
enum rewrite_class {
	REWRITE_LOCAL,
	REWRITE_VIRTUAL_ALIAS,
	REWRITE_VIRTUAL_MAILBOX,
	REWRITE_RELAY,
	REWRITE_DEFAULT,
};

struct rewrite;

/* Compiles the lists and opens the tables; ERR_CONFIG names the parameter. Keeps its own reference to `conf`. */
bool rewrite_new(struct conf *conf, struct rewrite **ret, struct err *err) MUST_CHECK;
void rewrite_free(struct rewrite **r);

/*
 * Standard form of an envelope address, internal form: "user" becomes user@$myorigin, "site!user" and "user%site"
 * user@site, a trailing dot of the domain goes, "user@host" becomes user@host.$mydomain with append_dot_mydomain. The null
 * address stays empty. Result in `arena`. Never waits.
 */
const char *rewrite_address(const struct rewrite *r, struct arena *arena, struct span addr);

/*
 * The same for an address from elsewhere: what it lacks is taken from `domain` (remote_header_rewrite_domain), never from
 * our own names.
 */
const char *rewrite_address_in(
    const struct rewrite *r, struct arena *arena, struct span addr, const char *domain);

/* The part after the last '@'; empty when there is none. */
struct span rewrite_domain_of(struct span addr);

/*
 * The class of a domain; [address] literals that are this host's own are local. False with ERR_TEMP when a table could
 * not be asked. May wait.
 */
bool rewrite_class_find(const struct rewrite *r, struct span domain, enum rewrite_class *ret,
    struct err *err) MUST_CHECK;

/* The same where nothing depends on it: REWRITE_DEFAULT when it cannot be told. */
enum rewrite_class rewrite_class_of(const struct rewrite *r, struct span domain);
const char *rewrite_class_name(enum rewrite_class c);

struct rewrite_route {
	const char
	    *transport;      /* "smtp", "local", "error", ...: in the arena or the configuration */
	const char *nexthop; /* never NULL; the recipient's domain in lower case */
	const char
	    *recipient; /* the address that is delivered to: user%remote@here is user@remote */
	enum rewrite_class address_class;
	bool trouble; /* a table could not be asked: transport "retry" */
};

/*
 * Where mail for `addr` (standard form) goes: transport and nexthop by class, sender, relayhost, the transport parameter's
 * own nexthop, transport_maps and relocated_maps (postfix-features 3.6). Undeliverable addresses go to transport "error" with
 * DSN code and text as nexthop, those that cannot be told now to "retry". `sender` NULL: what depends on it is left out. May
 * wait.
 */
void rewrite_route(const struct rewrite *r, struct arena *arena, const char *sender,
    struct span addr, struct rewrite_route *ret);

/* The same without a sender. */
void rewrite_resolve(
    const struct rewrite *r, struct arena *arena, struct span addr, struct rewrite_route *ret);

#endif
