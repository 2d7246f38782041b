/*
 * conf_host.h - what the configuration takes from the host: names, interfaces and their networks. Its results are the
 * defaults of myhostname, mydomain and mynetworks, and the meaning of inet_interfaces.
 */
#ifndef CONF_CONF_HOST_H
#define CONF_CONF_HOST_H

#include <sys/socket.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

struct conf_address {
	struct sockaddr_storage addr; /* port 0 */
	unsigned prefix;              /* length of its network's prefix in bits */
};

struct conf_addresses {
	struct conf_address *list; /* owned */
	size_t count;
};

/* gethostname(), in lower case, "localhost" for a host without one. */
void conf_host_name(struct buf *ret);

/* Addresses of all interfaces that are up: first the IPv4 ones, then the IPv6 ones, each in the system's order. */
bool conf_host_interfaces(
    bool ipv4, bool ipv6, struct conf_addresses *ret, struct err *err) MUST_CHECK;

/*
 * The host's own addresses as inet_interfaces has them: "all", "loopback-only", or names and addresses, each of which
 * must belong to an interface. This is what counts as "this host" when a domain is [address] and for
 * permit_inet_interfaces; whoever listens binds to them. Names are looked up with the system's resolver: may block.
 */
bool conf_host_own(const struct conf *c, struct conf_addresses *ret, struct err *err) MUST_CHECK;

/* Addresses of proxy_interfaces, which stand for this host behind a NAT or a load balancer. May block. */
bool conf_host_proxy(const struct conf *c, struct conf_addresses *ret, struct err *err) MUST_CHECK;

/*
 * conf_host_own() from the texts of inet_interfaces and inet_protocols, for the default of mynetworks while a
 * configuration is being loaded.
 */
bool conf_host_own_from(const char *interfaces, const char *protocols, struct conf_addresses *ret,
    struct err *err) MUST_CHECK;

/*
 * Appends the networks of `own` as mynetworks writes them: "127.0.0.0/8 [::1]/128". `style` is mynetworks_style:
 * host the addresses alone, subnet the interfaces' networks, class the networks by class (A, B, C).
 */
void conf_host_networks(const struct conf_addresses *own, const char *style, struct buf *ret);

void conf_addresses_done(struct conf_addresses *a);

/* True when `address` is in the list; ports do not count. */
bool conf_addresses_has(const struct conf_addresses *a, const struct sockaddr *address);

#endif
