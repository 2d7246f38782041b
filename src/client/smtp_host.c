/*
 * smtp_host.c - from a target to the addresses to try (RFC 5321 section 5.1): MX by preference, A and AAAA where there is no
 * MX. A host that is this machine, and all not better than it, are left out, or mail would loop.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/smtp_int.h"

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

/* One search for hosts. */
struct smtp_search {
	const struct smtp_setup *setup;
	const struct smtp_target *target;
	struct smtp_hosts *hosts; /* found so far */
	struct smtp_why *why;
	bool self; /* this host is among them */
};

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
smtp_host_family(const struct smtp_setup *s)
{
	if (s->ipv4 && s->ipv6)
		return AF_UNSPEC;
	return s->ipv6 ? AF_INET6 : AF_INET;
}

/* ---- addresses of one name ------------------------------------------------------------------------------------ */

static bool
smtp_host_literal(struct smtp_search *x, const char *name, uint16_t preference)
{
	struct smtp_hosts *hosts = x->hosts;
	struct net_addr addr;

	if (!net_addr_parse(name, x->target->port, &addr) || hosts->count == SMTP_HOST_MAX)
		return false;
	hosts->list = mem_resize(hosts->list, hosts->count + 1, sizeof(*hosts->list));
	hosts->list[hosts->count] = (struct smtp_host){.addr = addr, .preference = preference};
	(void)snprintf(hosts->list[hosts->count].name, DNS_NAME_MAX, "%s", name);
	hosts->count++;
	return true;
}

/* The type that is named when there is no address of any. */
static const char *
smtp_host_type(const struct smtp_search *x)
{
	return x->setup->ipv6 ? "AAAA" : "A";
}

static bool
smtp_host_dns_failed(
    struct smtp_search *x, enum dns_status status, const char *name, const struct err *err)
{
	const char *type = smtp_host_type(x);

	if (status == DNS_RETRY || status == DNS_CANCELLED)
		return smtp_why_set(x->why, "4.4.3",
		    "Host or domain name not found. Name service error for name=%s type=%s: Host not found, try again",
		    name, type);
	if (x->why->dsn[0] == '4')
		return false;
	if (status == DNS_INVALID)
		return smtp_why_set(x->why, "5.4.4", "%s", err->text);
	return smtp_why_set(x->why, "5.4.4",
	    "Host or domain name not found. Name service error for name=%s type=%s: %s", name, type,
	    dns_status_text(status));
}

static bool
smtp_host_native_failed(struct smtp_search *x, enum dns_status status, const char *name)
{
	bool soft = status == DNS_RETRY || status == DNS_CANCELLED;

	return smtp_why_set(x->why, smtp_host_dsn(x->why, soft ? "4.4.4" : "5.4.4", "4.4.4"),
	    "unable to look up host %s: %s", name,
	    soft ? "Temporary failure in name resolution" : "Name or service not known");
}

static bool
smtp_host_filter_failed(
    struct smtp_search *x, const char *name, const char *type, enum smtp_filter_dns verdict)
{
	bool dropped = verdict == SMTP_FILTER_DNS_DROP;

	return smtp_why_set(x->why, dropped ? "4.7.0" : "4.4.3",
	    "Error looking up name=%s type=%s: %s", name, type,
	    dropped ? "DNS reply filter drops all results" : "Invalid DNS reply filter syntax");
}

static enum smtp_filter_dns
smtp_host_filter_ip(struct smtp_search *x, const char *name, const struct dns_ip *ip)
{
	char text[INET6_ADDRSTRLEN];

	(void)inet_ntop(ip->family, ip->addr, text, sizeof(text));
	return smtp_filter_dns(
	    x->setup->filter, name, ip->ttl, ip->family == AF_INET6 ? "AAAA" : "A", text);
}

/* What DNS said about one host, by smtp_dns_reply_filter. */
static bool
smtp_host_take_ips(struct smtp_search *x, const char *name, uint16_t preference,
    const struct dns_ip *ips, size_t count)
{
	enum smtp_filter_dns verdict = SMTP_FILTER_DNS_KEEP;
	size_t taken = 0;

	for (size_t i = 0; i < count; i++) {
		verdict = smtp_host_filter_ip(x, name, &ips[i]);
		if (verdict == SMTP_FILTER_DNS_BAD)
			break;
		if (verdict == SMTP_FILTER_DNS_DROP)
			continue;
		smtp_hosts_add(x->hosts, name, &ips[i], x->target->port, preference);
		taken++;
	}
	return taken != 0 || smtp_host_filter_failed(x, name, smtp_host_type(x), verdict);
}

static enum dns_status
smtp_host_by_dns(struct smtp_search *x, const char *name, uint16_t preference)
{
	const struct smtp_setup *s = x->setup;
	int64_t deadline = clock_deadline(SMTP_HOST_TIMEOUT);
	struct dns_ip *ips = NULL;
	size_t count = 0;
	enum dns_status status;
	struct err err;

	if (s->dns_search)
		status = dns_ip_search(name, smtp_host_family(s), deadline, &ips, &count, &err);
	else
		status = dns_ip(name, smtp_host_family(s), deadline, &ips, &count, NULL, &err);
	if (status == DNS_FOUND)
		(void)smtp_host_take_ips(x, name, preference, ips, count);
	else
		(void)smtp_host_dns_failed(x, status, name, &err);
	mem_free(ips);
	return status;
}

static void
smtp_host_by_system(struct smtp_search *x, const char *name, uint16_t preference)
{
	struct dns_ip *ips = NULL;
	size_t count = 0;
	struct err err;
	enum dns_status status = dns_native(name, smtp_host_family(x->setup),
	    clock_deadline(SMTP_HOST_TIMEOUT), &ips, &count, &err);

	if (status != DNS_FOUND)
		(void)smtp_host_native_failed(x, status, name);
	for (size_t i = 0; i < count; i++)
		smtp_hosts_add(x->hosts, name, &ips[i], x->target->port, preference);
	mem_free(ips);
}

/* All addresses of one host name, by smtp_host_lookup. */
static void
smtp_host_addresses(struct smtp_search *x, const char *name, uint16_t preference)
{
	enum dns_status status = DNS_NOT_FOUND;

	if (smtp_host_literal(x, name, preference))
		return;
	if (x->setup->lookup_dns)
		status = smtp_host_by_dns(x, name, preference);
	if (x->setup->lookup_native && (status == DNS_NOT_FOUND || status == DNS_NO_DATA))
		smtp_host_by_system(x, name, preference);
}

/* ---- this host ------------------------------------------------------------------------------------------------ */

/* The first host that is this machine; NULL: none. Only where mail from outside arrives: at port 25. */
static const struct smtp_host *
smtp_host_self(const struct smtp_search *x)
{
	const struct smtp_setup *s = x->setup;

	for (size_t i = 0; i < x->hosts->count; i++) {
		const struct smtp_host *h = &x->hosts->list[i];
		const struct sockaddr *sa = (const struct sockaddr *)&h->addr.sa;

		if (net_addr_port(&h->addr) == SMTP_HOST_PORT &&
		    (conf_addresses_has(&s->own, sa) || conf_addresses_has(&s->proxy, sa)))
			return h;
	}
	return NULL;
}

static void
smtp_host_direct(struct smtp_search *x)
{
	smtp_host_addresses(x, x->target->host, 0);
	if (smtp_host_self(x) == NULL)
		return;
	smtp_hosts_done(x->hosts);
	(void)smtp_why_set(x->why, "5.4.6", "mail for %s loops back to myself", x->target->host);
}

/* ---- MX ------------------------------------------------------------------------------------------------------- */

static int
smtp_host_compare_mx(const void *a, const void *b)
{
	const struct dns_mx *x = a;
	const struct dns_mx *y = b;

	return (x->preference > y->preference) - (x->preference < y->preference);
}

/* Hosts not better than ourselves are cut off. `best`: the best preference there is. */
static void
smtp_host_cut_self(struct smtp_search *x, uint16_t best)
{
	const struct smtp_host *self = smtp_host_self(x);
	uint16_t best_found = x->hosts->list[0].preference;

	if (self == NULL)
		return;
	x->self = true;
	smtp_order_cut(x->hosts, self->preference);
	if (x->hosts->count != 0)
		return;
	/* There are better hosts, only that their addresses are not to be had now. */
	if (best != best_found)
		(void)smtp_why_set(
		    x->why, "4.4.4", "unable to find primary relay for %s", x->target->host);
	else
		(void)smtp_why_set(
		    x->why, "5.4.6", "mail for %s loops back to myself", x->target->host);
}

static void
smtp_host_of_mx(struct smtp_search *x, const struct dns_mx *mx, size_t count)
{
	for (size_t i = 0; i < count; i++)
		smtp_host_addresses(x, mx[i].host, mx[i].preference);
	if (x->hosts->count == 0) {
		if (x->setup->defer_no_mx_address && x->why->dsn[0] == '5')
			x->why->dsn[0] = '4';
		log_warn("no MX host for %s has a valid address record", x->target->host);
		return;
	}
	smtp_order_by_preference(x->hosts);
	smtp_host_cut_self(x, mx[0].preference);
}

static bool
smtp_host_is_null_mx(const struct dns_mx *mx, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (mx[i].host[0] == '\0')
			return true;
	return false;
}

/* Takes records out by smtp_dns_reply_filter. False: none is left, or the filter has trouble. */
static bool
smtp_host_filter_mx(struct smtp_search *x, struct dns_mx *mx, size_t *count)
{
	enum smtp_filter_dns verdict = SMTP_FILTER_DNS_KEEP;
	size_t to = 0;

	for (size_t i = 0; i < *count; i++) {
		char value[DNS_NAME_MAX + 8];

		(void)snprintf(
		    value, sizeof(value), "%u %s.", (unsigned)mx[i].preference, mx[i].host);
		verdict =
		    smtp_filter_dns(x->setup->filter, x->target->host, mx[i].ttl, "MX", value);
		if (verdict == SMTP_FILTER_DNS_BAD)
			break;
		if (verdict == SMTP_FILTER_DNS_KEEP)
			mx[to++] = mx[i];
	}
	*count = to;
	if (verdict != SMTP_FILTER_DNS_BAD && to != 0)
		return true;
	return smtp_host_filter_failed(x, x->target->host, "MX", verdict);
}

static void
smtp_host_by_mx(struct smtp_search *x)
{
	const char *domain = x->target->host;
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err;

	switch (dns_mx(domain, clock_deadline(SMTP_HOST_TIMEOUT), &mx, &count, NULL, &err)) {
	case DNS_FOUND:
		qsort(mx, count, sizeof(*mx), smtp_host_compare_mx);
		/* RFC 7505: the domain takes no mail, now or later. */
		if (smtp_host_is_null_mx(mx, count))
			(void)smtp_why_set(
			    x->why, "5.1.0", "Domain %s does not accept mail (nullMX)", domain);
		else if (smtp_host_filter_mx(x, mx, &count))
			smtp_host_of_mx(x, mx, count);
		break;
	case DNS_NOT_FOUND:
	case DNS_NO_DATA:
		smtp_host_direct(x);
		break;
	case DNS_RETRY:
	case DNS_CANCELLED:
	case DNS_INVALID:
		(void)smtp_why_set(x->why, err.dsn, "%s", err.text);
		if (x->setup->ignore_mx_error)
			smtp_host_direct(x);
		break;
	}
	mem_free(mx);
}

void
smtp_host_find(const struct smtp_setup *s, const struct smtp_target *target, struct smtp_hosts *ret,
    bool *ret_self, struct smtp_why *why)
{
	struct smtp_search x = {.setup = s, .target = target, .hosts = ret, .why = why};
	struct net_addr literal;

	*ret = (struct smtp_hosts){0};
	why->dsn[0] = '\0';
	if (s->lmtp || target->direct || !s->dns_enabled ||
	    net_addr_parse(target->host, target->port, &literal))
		smtp_host_direct(&x);
	else
		smtp_host_by_mx(&x);
	if (ret->count != 0)
		why->dsn[0] = '\0';
	why->site = why->dsn[0] == '4';
	*ret_self = x.self;
	smtp_order(ret, &s->order);
}
