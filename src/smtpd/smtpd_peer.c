/*
 * smtpd_peer.c - the client's address and verified name: see smtpd_peer.h.
 */
#include "smtpd/smtpd_peer.h"

#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "dns/dns.h"
#include "mail/mail_addr.h"
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

static const char *
smtpd_peer_reason(enum dns_status status)
{
	switch (status) {
	case DNS_NO_DATA:
		return "No address associated with hostname";
	case DNS_RETRY:
	case DNS_CANCELLED:
		return "Temporary failure in name resolution";
	case DNS_FOUND:
	case DNS_NOT_FOUND:
	case DNS_INVALID:
		break;
	}
	return "Name or service not known";
}

/* Does the client's reverse name resolve to its address? Otherwise people would draw false conclusions from it. */
static enum access_name
smtpd_peer_verify(const struct smtpd_session *s, const char *name, int64_t deadline)
{
	struct dns_ip *ips = NULL;
	size_t count = 0;
	bool match = false;
	struct err err;
	enum dns_status found =
	    dns_native(name, net_addr_family(&s->peer), deadline, &ips, &count, &err);

	if (found != DNS_FOUND) {
		log_warn("hostname %s does not resolve to address %s: %s", name, s->client_address,
		    smtpd_peer_reason(found));
		return found == DNS_RETRY ? ACCESS_NAME_TEMP : ACCESS_NAME_FORGED;
	}
	for (size_t i = 0; i < count; i++)
		match = match || smtpd_peer_is_ip(&s->peer, &ips[i]);
	mem_free(ips);
	if (match)
		return ACCESS_NAME_OK;
	log_warn("hostname %s does not resolve to address %s", name, s->client_address);
	return ACCESS_NAME_FORGED;
}

/* Names go into logs and headers: only proper ones, in lower case. */
static bool
smtpd_peer_copy_name(char *out, size_t size, const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i <= len; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	if (mail_addr_check_host(span_str(out)) == MAIL_ADDR_HOST_NUMERIC)
		log_warn("numeric hostname: %s", out);
	return mail_addr_is_host(span_str(out)) && utf8_is_ascii(span_str(out));
}

/* From the address to a name, and back again. */
static void
smtpd_peer_names(struct smtpd_session *s)
{
	int64_t deadline = clock_deadline(SMTPD_PEER_TIMEOUT);
	char name[DNS_NAME_MAX];
	char **names = NULL;
	size_t count = 0;
	struct err err;
	enum dns_status found = dns_native_name(
	    (const struct sockaddr *)(const void *)&s->peer.sa, deadline, &names, &count, &err);

	if (found != DNS_FOUND || count == 0) {
		if (found == DNS_RETRY)
			s->name_status = s->reverse_name_status = ACCESS_NAME_TEMP;
		return;
	}
	if (smtpd_peer_copy_name(name, sizeof(name), names[0])) {
		(void)snprintf(s->client_reverse_name, sizeof(s->client_reverse_name), "%s", name);
		s->reverse_name_status = ACCESS_NAME_OK;
		s->name_status = smtpd_peer_verify(s, name, deadline);
		if (s->name_status == ACCESS_NAME_OK)
			(void)snprintf(s->client_name, sizeof(s->client_name), "%s", name);
	}
	mem_free(names);
}

void
smtpd_peer_find(struct smtpd_session *s)
{
	net_addr_unmap(&s->peer);
	net_addr_text(&s->peer, s->client_address, sizeof(s->client_address));
	(void)snprintf(s->client_port, sizeof(s->client_port), "%u", net_addr_port(&s->peer));
	(void)snprintf(s->client_name, sizeof(s->client_name), "unknown");
	(void)snprintf(s->client_reverse_name, sizeof(s->client_reverse_name), "unknown");
	s->name_status = s->reverse_name_status = ACCESS_NAME_NONE;
	if (conf_bool(s->setup->conf, CONF_smtpd_peername_lookup))
		smtpd_peer_names(s);
}
