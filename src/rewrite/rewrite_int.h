/*
 * rewrite_int.h - what the parts of struct rewrite share.
 */
#ifndef REWRITE_REWRITE_INT_H
#define REWRITE_REWRITE_INT_H

#include "conf/conf_host.h"
#include "rewrite/domain_list.h"
#include "rewrite/rewrite.h"
#include "table/table_address.h"

/* The classes that main.cf lists domains for. */
#define REWRITE_LISTS REWRITE_DEFAULT

struct rewrite {
	struct conf *conf;                          /* counted */
	struct domain_list *domains[REWRITE_LISTS]; /* by class */
	struct conf_addresses own;                  /* what [address] literals count as local */
	struct conf_addresses proxy;                /* addresses that stand for this host */
	struct table_list *transport;
	struct table_list *relocated;
	struct table_list *sender_relayhost;
	struct table_list *sender_transport;
};

/* The name of the parameter that lists the domains of a class. */
const char *rewrite_list_name(enum rewrite_class c);

/* How virtual, canonical, relocated and sender-dependent tables are asked. */
struct table_address_rules rewrite_rules(const struct rewrite *r);

/* ERR_NONE and false, or `ret` is true: the domain is local. */
enum table_result rewrite_is_local(
    const struct rewrite *r, struct span domain, struct err *err) MUST_CHECK;

/* An address without '@' in which '!' or '%' stand for one, in their standard form; else NULL. */
const char *rewrite_hacks(const struct rewrite *r, struct arena *arena, struct span addr);

#endif
