/*
 * smtp_host.c - from a nexthop to the addresses to try (RFC 5321 section 5.1): MX by preference, equal ones in random order, A and
 * AAAA where there is no MX; [host] and host:port as in Postfix's relayhost.
 */
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/smtp_int.h"
#include "base/mem.h"
#include "base/random.h"

#define SMTP_DNS_TIMEOUT (60 * CLOCK_SECOND)

/* A nexthop taken apart. */
struct smtp_target {
	char host[DNS_NAME_MAX];
	uint16_t port;
	bool direct; /* in [ ]: no MX */
};

static bool
smtp_port_parse(struct span text, uint16_t *ret)
{
	uint64_t port;
	char name[32];
	const struct servent *service;

	if (span_number(text, 65535, &port)) {
		*ret = (uint16_t)port;
		return port != 0;
	}
	if (text.len == 0 || text.len >= sizeof(name))
		return false;
	memcpy(name, text.ptr, text.len);
	name[text.len] = '\0';
	service = getservbyname(name, "tcp");
	if (service == NULL)
		return false;
	*ret = ntohs((uint16_t)service->s_port);
	return true;
}

/* "host", "host:port", "[host]", "[host]:port". */
static bool
smtp_target_parse(
    const struct smtp_state *s, const char *nexthop, struct smtp_target *ret, struct err *err)
{
	struct span text = span_str(nexthop);
	struct span host = text;
	struct span port = {0};

	*ret = (struct smtp_target){.port = s->port};
	if (text.len != 0 && text.ptr[0] == '[') {
		size_t close = span_find(text, ']');

		ret->direct = true;
		host = span_head(span_from(text, 1), close - 1);
		port = span_from(text, close + 1);
		if (close == text.len || (port.len != 0 && port.ptr[0] != ':'))
			return err_set(err, ERR_TEMP, "4.3.5", "bad next-hop \"%s\"", nexthop);
		port = span_from(port, 1);
	} else if (span_find(text, ':') == span_find_last(text, ':') &&
		   span_find(text, ':') < text.len) {
		host = span_head(text, span_find(text, ':'));
		port = span_from(text, host.len + 1);
	}
	if (span_starts_nocase(host, "ipv6:"))
		host = span_from(host, 5);
	if (host.len == 0 || host.len >= sizeof(ret->host) ||
	    (port.len != 0 && !smtp_port_parse(port, &ret->port)))
		return err_set(err, ERR_TEMP, "4.3.5", "bad next-hop \"%s\"", nexthop);
	memcpy(ret->host, host.ptr, host.len);
	return true;
}

static void
smtp_hosts_add(struct smtp_hosts *hosts, const char *name, const struct dns_ip *ip, uint16_t port,
    uint16_t preference)
{
	struct smtp_host *h;
	struct sockaddr_in *v4;
	struct sockaddr_in6 *v6;

	hosts->list = mem_resize(hosts->list, hosts->count + 1, sizeof(*hosts->list));
	h = &hosts->list[hosts->count++];
	*h = (struct smtp_host){.preference = preference};
	(void)snprintf(h->name, sizeof(h->name), "%s", name);
	v4 = (struct sockaddr_in *)(void *)&h->addr.sa;
	v6 = (struct sockaddr_in6 *)(void *)&h->addr.sa;
	if (ip->family == AF_INET) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip->addr, 4);
		h->addr.len = sizeof(*v4);
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, ip->addr, 16);
		h->addr.len = sizeof(*v6);
	}
}

static int
smtp_family(const struct smtp_state *s)
{
	if (s->ipv4 && s->ipv6)
		return AF_UNSPEC;
	return s->ipv6 ? AF_INET6 : AF_INET;
}

/* All addresses of one host name. */
static enum dns_status
smtp_host_addresses(const struct smtp_state *s, const char *name, uint16_t port,
    uint16_t preference, struct smtp_hosts *hosts, struct err *err)
{
	int64_t deadline = clock_deadline(SMTP_DNS_TIMEOUT);
	struct dns_ip *ips = NULL;
	size_t count = 0;
	enum dns_status status;
	bool native = !s->dns_enabled || conf_has(s->conf, CONF_smtp_host_lookup, "native");

	if (native)
		status = dns_native(name, smtp_family(s), deadline, &ips, &count, err);
	else
		status = dns_ip(name, smtp_family(s), deadline, &ips, &count, NULL, err);
	if (status == DNS_FOUND)
		for (size_t i = 0; i < count; i++)
			smtp_hosts_add(hosts, name, &ips[i], port, preference);
	mem_free(ips);
	return status;
}

static bool
smtp_host_failed(const struct smtp_state *s, enum dns_status status, const char *name,
    const char *type, struct err *err)
{
	bool soft = status == DNS_RETRY || status == DNS_CANCELLED;

	if (!s->dns_enabled)
		return err_set(err, soft ? ERR_TEMP : ERR_PERM, soft ? "4.4.3" : "5.4.4",
		    "unable to look up host %s: %s", name,
		    soft ? "Temporary failure in name resolution" : "Name or service not known");
	return err_set(err, soft ? ERR_TEMP : ERR_PERM, soft ? "4.4.3" : "5.4.4",
	    "Host or domain name not found. Name service error for name=%s type=%s: %s", name, type,
	    dns_status_text(status));
}

static int
smtp_mx_compare(const void *a, const void *b)
{
	const struct dns_mx *x = a;
	const struct dns_mx *y = b;

	return (x->preference > y->preference) - (x->preference < y->preference);
}

/* Equal preferences in random order: spread the load (RFC 5321 section 5.1). */
static void
smtp_mx_order(struct dns_mx *mx, size_t count, bool shuffle)
{
	for (size_t i = count; shuffle && i > 1; i--) {
		size_t j = random_below((uint32_t)i);
		struct dns_mx swap = mx[i - 1];

		mx[i - 1] = mx[j];
		mx[j] = swap;
	}
	qsort(mx, count, sizeof(*mx), smtp_mx_compare);
}

/* Hosts not better than ourselves are cut off, or mail would loop (RFC 5321 section 5.1). */
static bool
smtp_mx_cut_self(const struct smtp_state *s, const char *domain, struct dns_mx *mx, size_t *count,
    struct err *err)
{
	for (size_t i = 0; i < *count; i++) {
		if (strcasecmp(mx[i].host, s->hostname) != 0)
			continue;
		uint16_t own = mx[i].preference;
		size_t keep = 0;

		while (keep < *count && mx[keep].preference < own)
			keep++;
		*count = keep;
		if (keep == 0)
			return err_set(
			    err, ERR_PERM, "5.4.6", "mail for %s loops back to myself", domain);
		return true;
	}
	return true;
}

static bool
smtp_mx_addresses(const struct smtp_state *s, const struct smtp_target *t, struct dns_mx *mx,
    size_t count, struct smtp_hosts *ret, struct err *err)
{
	enum dns_status worst = DNS_NOT_FOUND;
	const char *name = t->host;

	if (!smtp_mx_cut_self(s, t->host, mx, &count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		enum dns_status status =
		    smtp_host_addresses(s, mx[i].host, t->port, mx[i].preference, ret, err);

		if (status == DNS_RETRY || (worst != DNS_RETRY && status != DNS_FOUND)) {
			worst = status;
			name = mx[i].host;
		}
	}
	if (ret->count != 0)
		return true;
	return smtp_host_failed(s, worst, name, s->ipv6 ? "AAAA" : "A", err);
}

static bool
smtp_host_direct(const struct smtp_state *s, const struct smtp_target *t, struct smtp_hosts *ret,
    struct err *err)
{
	enum dns_status status = smtp_host_addresses(s, t->host, t->port, 0, ret, err);

	return status == DNS_FOUND ||
	       smtp_host_failed(s, status, t->host, s->ipv6 ? "AAAA" : "A", err);
}

static bool
smtp_host_by_mx(const struct smtp_state *s, const struct smtp_target *t, struct smtp_hosts *ret,
    struct err *err)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	bool ok = false;

	switch (dns_mx(t->host, clock_deadline(SMTP_DNS_TIMEOUT), &mx, &count, NULL, err)) {
	case DNS_FOUND:
		if (count == 1 && mx[0].host[0] == '\0') {
			/* RFC 7505: the domain takes no mail, now or later. */
			(void)err_set(err, ERR_PERM, "5.1.0",
			    "Domain %s does not accept mail (nullMX)", t->host);
			break;
		}
		smtp_mx_order(mx, count, conf_bool(s->conf, CONF_smtp_randomize_addresses));
		ok = smtp_mx_addresses(s, t, mx, count, ret, err);
		break;
	case DNS_NOT_FOUND:
	case DNS_NO_DATA:
		ok = smtp_host_direct(s, t, ret, err);
		break;
	case DNS_RETRY:
	case DNS_CANCELLED:
		(void)smtp_host_failed(s, DNS_RETRY, t->host, "MX", err);
		break;
	case DNS_INVALID:
		(void)err_set(err, ERR_PERM, "5.4.4",
		    "Host or domain name not found. Name service error for name=%s type=MX: Malformed or unexpected name "
		    "server reply",
		    t->host);
		break;
	}
	mem_free(mx);
	return ok;
}

bool
smtp_host_find(struct smtp_state *s, const char *nexthop, struct smtp_hosts *ret, struct err *err)
{
	struct smtp_target target;
	struct net_addr literal;
	bool ok;

	*ret = (struct smtp_hosts){0};
	if (!smtp_target_parse(s, nexthop, &target, err))
		return false;
	if (net_addr_parse(target.host, target.port, &literal)) {
		ret->list = mem_zalloc(sizeof(*ret->list));
		ret->count = 1;
		ret->list[0].addr = literal;
		(void)snprintf(ret->list[0].name, sizeof(ret->list[0].name), "%s", target.host);
		return true;
	}
	if (target.direct || !s->dns_enabled)
		ok = smtp_host_direct(s, &target, ret, err);
	else
		ok = smtp_host_by_mx(s, &target, ret, err);
	if (ok && s->address_limit != 0 && ret->count > s->address_limit)
		ret->count = s->address_limit;
	return ok;
}

void
smtp_hosts_done(struct smtp_hosts *hosts)
{
	mem_free(hosts->list);
	*hosts = (struct smtp_hosts){0};
}
