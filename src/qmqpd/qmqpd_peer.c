/*
 * qmqpd_peer.c - who is the client: its name counts when it resolves back to its address.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "dns/dns.h"
#include "mail/mail_addr.h"
#include "qmqpd/qmqpd_int.h"

#define LOOKUP_TIMEOUT (10 * CLOCK_SECOND)

static bool
is_same(const struct net_addr *peer, const struct dns_ip *ip)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&peer->sa;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&peer->sa;

	if (net_addr_family(peer) != ip->family)
		return false;
	return ip->family == AF_INET ? memcmp(&v4->sin_addr, ip->addr, 4) == 0
				     : memcmp(&v6->sin6_addr, ip->addr, 16) == 0;
}

static bool
resolves_back(const struct net_addr *peer, const char *name, int64_t deadline)
{
	struct dns_ip *ips = NULL;
	size_t count = 0;
	bool match = false;
	struct err err;

	if (dns_native(name, net_addr_family(peer), deadline, &ips, &count, &err) != DNS_FOUND)
		return false;
	for (size_t i = 0; i < count; i++)
		match = match || is_same(peer, &ips[i]);
	mem_free(ips);
	return match;
}

void
qmqpd_peer_name(const struct net_addr *peer, char name[QMQPD_NAME_SIZE])
{
	int64_t deadline = clock_deadline(LOOKUP_TIMEOUT);
	char **names = NULL;
	size_t count = 0;
	struct err err;

	(void)snprintf(name, QMQPD_NAME_SIZE, "unknown");
	if (dns_native_name((const struct sockaddr *)(const void *)&peer->sa, deadline, &names,
		&count, &err) != DNS_FOUND)
		return;
	if (count != 0 && strlen(names[0]) < QMQPD_NAME_SIZE &&
	    mail_addr_is_host(span_str(names[0])) && utf8_is_ascii(span_str(names[0])) &&
	    resolves_back(peer, names[0], deadline)) {
		(void)snprintf(name, QMQPD_NAME_SIZE, "%s", names[0]);
		mail_addr_fold(name, strlen(name));
	}
	mem_free(names);
}
