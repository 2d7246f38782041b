/*
 * smtp_host.c - from a target to the addresses to try (RFC 5321 section 5.1): MX by preference, A and AAAA where there is no
 * MX. A host that is this machine, and all not better than it, are left out, or mail would loop.
 */
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/smtp_int.h"
#include "base/log.h"
#include "base/mem.h"

#define SMTP_HOST_TIMEOUT (60 * CLOCK_SECOND)
/* Addresses of one destination; what a name server may make us remember. */
#define SMTP_HOST_MAX     200
#define SMTP_HOST_PORT    25

bool
smtp_why_set(struct smtp_why *why, const char *dsn, const char *fmt, ...)
{
	va_list args;

	(void)snprintf(why->dsn, sizeof(why->dsn), "%s", dsn);
	buf_clear(&why->text);
	va_start(args, fmt);
	buf_vprintf(&why->text, fmt, args);
	va_end(args);
	why->site = false;
	return false;
}

/* A soft reason is not replaced by a hard one: as long as one host may come back, the mail waits. */
static const char *
smtp_host_dsn(const struct smtp_why *why, const char *hard, const char *soft)
{
	return why->dsn[0] == '4' ? soft : hard;
}

static void
smtp_hosts_add(struct smtp_hosts *hosts, const char *name, const struct dns_ip *ip, uint16_t port,
    uint16_t preference)
{
	struct smtp_host *h;
	struct sockaddr_in *v4;
	struct sockaddr_in6 *v6;

	if (hosts->count == SMTP_HOST_MAX)
		return;
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

void
smtp_hosts_done(struct smtp_hosts *hosts)
{
	mem_free(hosts->list);
	*hosts = (struct smtp_hosts){0};
}

static int
smtp_host_family(const struct smtp_state *s)
{
	if (s->ipv4 && s->ipv6)
		return AF_UNSPEC;
	return s->ipv6 ? AF_INET6 : AF_INET;
}

/* ---- addresses of one name ------------------------------------------------------------------------------------ */

static bool
smtp_host_literal(struct smtp_hosts *hosts, const char *name, uint16_t port, uint16_t preference)
{
	struct net_addr addr;

	if (!net_addr_parse(name, port, &addr) || hosts->count == SMTP_HOST_MAX)
		return false;
	hosts->list = mem_resize(hosts->list, hosts->count + 1, sizeof(*hosts->list));
	hosts->list[hosts->count] = (struct smtp_host){.addr = addr, .preference = preference};
	(void)snprintf(hosts->list[hosts->count].name, DNS_NAME_MAX, "%s", name);
	hosts->count++;
	return true;
}

static bool
smtp_host_dns_failed(const struct smtp_state *s, enum dns_status status, const char *name,
    const struct err *err, struct smtp_why *why)
{
	const char *type = s->ipv6 ? "AAAA" : "A";

	if (status == DNS_RETRY || status == DNS_CANCELLED)
		return smtp_why_set(why, "4.4.3",
		    "Host or domain name not found. Name service error for name=%s type=%s: Host not found, try again",
		    name, type);
	if (why->dsn[0] == '4')
		return false;
	if (status == DNS_INVALID)
		return smtp_why_set(why, "5.4.4", "%s", err->text);
	return smtp_why_set(why, "5.4.4",
	    "Host or domain name not found. Name service error for name=%s type=%s: %s", name, type,
	    dns_status_text(status));
}

static bool
smtp_host_native_failed(enum dns_status status, const char *name, struct smtp_why *why)
{
	bool soft = status == DNS_RETRY || status == DNS_CANCELLED;

	return smtp_why_set(why, smtp_host_dsn(why, soft ? "4.4.4" : "5.4.4", "4.4.4"),
	    "unable to look up host %s: %s", name,
	    soft ? "Temporary failure in name resolution" : "Name or service not known");
}

/* All addresses of one host name, by smtp_host_lookup. False: none, and why. */
static bool
smtp_host_addresses(const struct smtp_state *s, const char *name, uint16_t port,
    uint16_t preference, struct smtp_hosts *hosts, struct smtp_why *why)
{
	int64_t deadline = clock_deadline(SMTP_HOST_TIMEOUT);
	enum dns_status status = DNS_NOT_FOUND;
	struct dns_ip *ips = NULL;
	size_t count = 0;
	struct err err;

	if (smtp_host_literal(hosts, name, port, preference))
		return true;
	if (s->lookup_dns) {
		status =
		    s->dns_search
			? dns_ip_search(name, smtp_host_family(s), deadline, &ips, &count, &err)
			: dns_ip(name, smtp_host_family(s), deadline, &ips, &count, NULL, &err);
		if (status != DNS_FOUND)
			(void)smtp_host_dns_failed(s, status, name, &err, why);
	}
	if (s->lookup_native && (status == DNS_NOT_FOUND || status == DNS_NO_DATA)) {
		status = dns_native(name, smtp_host_family(s), deadline, &ips, &count, &err);
		if (status != DNS_FOUND)
			(void)smtp_host_native_failed(status, name, why);
	}
	if (status != DNS_FOUND)
		return false;
	for (size_t i = 0; i < count; i++)
		smtp_hosts_add(hosts, name, &ips[i], port, preference);
	mem_free(ips);
	return true;
}

/* ---- this host ------------------------------------------------------------------------------------------------ */

/* The first host that is this machine; NULL: none. Only where mail from outside arrives: at port 25. */
static const struct smtp_host *
smtp_host_self(const struct smtp_state *s, const struct smtp_hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++) {
		const struct smtp_host *h = &hosts->list[i];
		const struct sockaddr *sa = (const struct sockaddr *)&h->addr.sa;

		if (net_addr_port(&h->addr) == SMTP_HOST_PORT &&
		    (conf_addresses_has(&s->own, sa) || conf_addresses_has(&s->proxy, sa)))
			return h;
	}
	return NULL;
}

static void
smtp_host_direct(const struct smtp_state *s, const struct smtp_target *t, struct smtp_hosts *ret,
    struct smtp_why *why)
{
	if (!smtp_host_addresses(s, t->host, t->port, 0, ret, why))
		return;
	if (smtp_host_self(s, ret) != NULL) {
		smtp_hosts_done(ret);
		(void)smtp_why_set(why, "5.4.6", "mail for %s loops back to myself", t->host);
	}
}

/* ---- MX ------------------------------------------------------------------------------------------------------- */

static int
smtp_host_compare_mx(const void *a, const void *b)
{
	const struct dns_mx *x = a;
	const struct dns_mx *y = b;

	return (x->preference > y->preference) - (x->preference < y->preference);
}

/* Hosts not better than ourselves are cut off. */
static void
smtp_host_cut_self(const struct smtp_state *s, const char *domain, uint16_t best,
    struct smtp_hosts *hosts, bool *ret_self, struct smtp_why *why)
{
	const struct smtp_host *self = smtp_host_self(s, hosts);
	uint16_t best_found = hosts->list[0].preference;

	if (self == NULL)
		return;
	*ret_self = true;
	smtp_order_cut(hosts, self->preference);
	if (hosts->count != 0)
		return;
	/* There are better hosts, only that their addresses are not to be had now. */
	if (best != best_found)
		(void)smtp_why_set(why, "4.4.4", "unable to find primary relay for %s", domain);
	else
		(void)smtp_why_set(why, "5.4.6", "mail for %s loops back to myself", domain);
}

static void
smtp_host_of_mx(const struct smtp_state *s, const struct smtp_target *t, struct dns_mx *mx,
    size_t count, struct smtp_hosts *ret, bool *ret_self, struct smtp_why *why)
{
	qsort(mx, count, sizeof(*mx), smtp_host_compare_mx);
	for (size_t i = 0; i < count; i++)
		(void)smtp_host_addresses(s, mx[i].host, t->port, mx[i].preference, ret, why);
	if (ret->count == 0) {
		if (s->defer_no_mx_address && why->dsn[0] == '5')
			why->dsn[0] = '4';
		log_warn("no MX host for %s has a valid address record", t->host);
		return;
	}
	smtp_order_by_preference(ret);
	smtp_host_cut_self(s, t->host, mx[0].preference, ret, ret_self, why);
}

static bool
smtp_host_is_null_mx(const struct dns_mx *mx, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (mx[i].host[0] == '\0')
			return true;
	return false;
}

static void
smtp_host_by_mx(struct smtp_state *s, const struct smtp_target *t, struct smtp_hosts *ret,
    bool *ret_self, struct smtp_why *why)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err;

	switch (dns_mx(t->host, clock_deadline(SMTP_HOST_TIMEOUT), &mx, &count, NULL, &err)) {
	case DNS_FOUND:
		/* RFC 7505: the domain takes no mail, now or later. */
		if (smtp_host_is_null_mx(mx, count))
			(void)smtp_why_set(
			    why, "5.1.0", "Domain %s does not accept mail (nullMX)", t->host);
		else
			smtp_host_of_mx(s, t, mx, count, ret, ret_self, why);
		break;
	case DNS_NOT_FOUND:
	case DNS_NO_DATA:
		smtp_host_direct(s, t, ret, why);
		break;
	case DNS_RETRY:
	case DNS_CANCELLED:
	case DNS_INVALID:
		(void)smtp_why_set(why, err.dsn, "%s", err.text);
		if (s->ignore_mx_error)
			smtp_host_direct(s, t, ret, why);
		break;
	}
	mem_free(mx);
}

void
smtp_host_find(struct smtp_state *s, const struct smtp_target *target, struct smtp_hosts *ret,
    bool *ret_self, struct smtp_why *why)
{
	struct net_addr literal;

	*ret = (struct smtp_hosts){0};
	*ret_self = false;
	why->dsn[0] = '\0';
	if (s->lmtp || target->direct || !s->dns_enabled ||
	    net_addr_parse(target->host, target->port, &literal))
		smtp_host_direct(s, target, ret, why);
	else
		smtp_host_by_mx(s, target, ret, ret_self, why);
	if (ret->count != 0)
		why->dsn[0] = '\0';
	why->site = why->dsn[0] == '4';
	smtp_order(ret, &s->order);
}
