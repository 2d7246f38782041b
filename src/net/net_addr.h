/*
 * net_addr.h - socket addresses as values: IPv4, IPv6, UNIX.
 */
#ifndef NET_NET_ADDR_H
#define NET_NET_ADDR_H

#include <sys/socket.h>

#include "base/base.h"

struct net_addr {
	struct sockaddr_storage sa;
	socklen_t len;
};

#define NET_ADDR_TEXT 128

/* From a numeric address ("127.0.0.1", "::1", with or without [], "IPv6:" prefix) and a port. False if it is none. */
bool net_addr_parse(const char *text, uint16_t port, struct net_addr *ret) MUST_CHECK;
/* A UNIX socket path; false if too long. */
bool net_addr_unix(const char *path, struct net_addr *ret) MUST_CHECK;
/* The numeric address without port ("127.0.0.1", "::1", IPv4-mapped ones as IPv4; "unix" or the path for UNIX). */
void net_addr_text(const struct net_addr *a, char *out, size_t size);
/* An IPv4-mapped IPv6 address becomes the IPv4 address that it is; others stay. */
void net_addr_unmap(struct net_addr *a);
uint16_t net_addr_port(const struct net_addr *a);
int net_addr_family(const struct net_addr *a);
bool net_addr_equal_host(const struct net_addr *a, const struct net_addr *b);

#endif
