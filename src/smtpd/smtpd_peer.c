/*
 * smtpd_peer.c - the client's address and verified name: see smtpd_peer.h.
 */
#include "smtpd/smtpd_peer.h"

#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "dns/dns.h"
#include "smtpd/smtpd_int.h"

/* A stuck name server must not keep the greeting back for long. */
#define SMTPD_PEER_TIMEOUT (10 * CLOCK_SECOND)

static bool
smtpd_peer_is_ip(const struct net_addr *peer, const struct dns_ip *ip)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&peer->sa;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&peer->sa;

	if (net_addr_family(peer) != ip->family)
		return false;
	if (ip->family == AF_INET)
		return memcmp(&v4->sin_addr, ip->addr, 4) == 0;
	return memcmp(&v6->sin6_addr, ip->addr, 16) == 0;
}

/* Does `name` resolve to the client's address? */
static bool
smtpd_peer_verify(const struct smtpd_session *s, const char *name, int64_t deadline)
{
	struct dns_ip *ips = NULL;
	size_t count = 0;
	bool match = false;
	struct err err;

	if (dns_native(name, net_addr_family(&s->peer), deadline, &ips, &count, &err) != DNS_FOUND)
		return false;
	for (size_t i = 0; i < count; i++)
		match = match || smtpd_peer_is_ip(&s->peer, &ips[i]);
	mem_free(ips);
	return match;
}

/* Names go into logs and headers: letters, digits, '-', '_' and '.', in lower case; anything else is no name. */
static bool
smtpd_peer_copy_name(char *out, size_t size, const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i <= len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c != '\0' && !isalnum(c) && c != '-' && c != '_' && c != '.')
			return false;
		out[i] = (char)tolower(c);
	}
	return true;
}

void
smtpd_peer_find(struct smtpd_session *s)
{
	int64_t deadline = clock_deadline(SMTPD_PEER_TIMEOUT);
	char name[DNS_NAME_MAX];
	char **names = NULL;
	size_t count = 0;
	struct err err;

	net_addr_text(&s->peer, s->client_address, sizeof(s->client_address));
	(void)snprintf(s->client_name, sizeof(s->client_name), "unknown");
	(void)snprintf(s->client_reverse_name, sizeof(s->client_reverse_name), "unknown");
	if (!conf_bool(s->setup->conf, CONF_smtpd_peername_lookup))
		return;
	if (dns_native_name((const struct sockaddr *)(const void *)&s->peer.sa, deadline, &names,
		&count, &err) != DNS_FOUND ||
	    count == 0)
		return;
	if (smtpd_peer_copy_name(name, sizeof(name), names[0])) {
		(void)snprintf(s->client_reverse_name, sizeof(s->client_reverse_name), "%s", name);
		if (smtpd_peer_verify(s, name, deadline))
			(void)snprintf(s->client_name, sizeof(s->client_name), "%s", name);
	}
	mem_free(names);
}
