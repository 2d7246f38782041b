/*
 * net_proxy.h - the header that a proxy or load balancer puts in front of a connection to say who is on the other side:
 * HAProxy's PROXY protocol, versions 1 (a line) and 2 (binary). As Postfix reads it: TCP over IPv4 and IPv6, and LOCAL
 * in version 2; UNKNOWN, UDP and UNIX are refused; IPv4-mapped addresses become IPv4; 536 bytes at most.
 */
#ifndef NET_NET_PROXY_H
#define NET_NET_PROXY_H

#include "base/base.h"
#include "net/net_addr.h"

struct err;
struct stream;

/*
 * Reads the header, and not a byte more: what follows (a TLS hello, say) stays buffered. *ret_client and *ret_server
 * (with ports) are set; for LOCAL, a connection of the proxy's own such as a health check, they stay as they are. False
 * with ERR_TEMP and a reason for the log when a client has an IPv6 address and `only_ipv4` is set, or there is no proper header before the stream's deadline. Waits.
 */
bool net_proxy_read(struct stream *s, bool only_ipv4, struct net_addr *ret_client,
    struct net_addr *ret_server, struct err *err) MUST_CHECK;

#endif
