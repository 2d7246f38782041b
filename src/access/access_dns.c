/*
 * access_dns.c - restrictions that ask DNS about names: reject_unknown_*, check_*_a_access, check_*_mx_access, check_*_ns_access and
 * permit_mx_backup. What DNS cannot tell now is a deferral or no opinion, never a permanent refusal.
 */
#include "access/access_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "mail/mail_addr.h"

/* A name server that does not answer must not hold a session for long. */
#define ACCESS_DNS_TIMEOUT (100 * CLOCK_SECOND)

static int64_t
access_dns_deadline(void)
{
	return clock_deadline(ACCESS_DNS_TIMEOUT);
}

static bool
access_dns_has(enum dns_status status)
{
	return status == DNS_FOUND;
}

static bool
access_dns_is_temporary(enum dns_status status)
{
	return status == DNS_RETRY || status == DNS_CANCELLED;
}

/* ---- reject_unknown_* ---- */

enum access_result
access_unknown_client(struct access_context *ctx, const struct access_item *item)
{
	const struct access_request *r = ctx->request;
	bool reverse = item->restriction->thing == ACCESS_THING_REVERSE_CLIENT;
	enum access_name status = reverse ? r->client_reverse_name_status : r->client_name_status;
	int code = conf_int(ctx->access->conf, CONF_unknown_client_reject_code);

	if (status == ACCESS_NAME_OK)
		return ACCESS_DUNNO;
	if (status == ACCESS_NAME_TEMP)
		code = 450;
	return access_reject(ctx, code, reverse ? "4.7.1" : "4.7.25",
	    "Client host rejected: cannot find your %shostname, [%s]", reverse ? "reverse " : "",
	    r->client_address);
}

/* Has the name an address? */
static enum dns_status
access_dns_address(const char *name)
{
	struct dns_ip *ips = NULL;
	size_t count;
	struct err err;
	enum dns_status status =
	    dns_ip(name, AF_UNSPEC, access_dns_deadline(), &ips, &count, NULL, &err);

	if (access_dns_has(status))
		mem_free(ips);
	return status;
}

/* Has it an MX? *ret_null: one that says that it takes no mail (RFC 7505). */
static enum dns_status
access_dns_mx(const char *name, bool *ret_null)
{
	struct dns_mx *mx = NULL;
	size_t count;
	struct err err;
	enum dns_status status = dns_mx(name, access_dns_deadline(), &mx, &count, NULL, &err);

	*ret_null = false;
	if (access_dns_has(status)) {
		*ret_null = count == 1 && mx[0].host[0] == '\0';
		mem_free(mx);
	}
	return status;
}

/* Code 450 for a name that could not be looked up: at once, or only where it would be permitted. */
static enum access_result
access_dns_tempfail(struct access_context *ctx, enum access_thing thing, enum conf_param action,
    const char *dsn, const char *text)
{
	if (conf_is(ctx->access->conf, action, "defer_if_permit"))
		return access_defer_if_permit(ctx, thing, 450, dsn, text);
	return access_reject_thing(ctx, thing, 450, dsn, "%s", text);
}

static enum access_result
access_dns_literal(struct access_context *ctx, const char *helo)
{
	if (mail_addr_is_literal(span_str(helo), NULL))
		return ACCESS_DUNNO;
	return access_reject_thing(ctx, ACCESS_THING_HELO,
	    conf_int(ctx->access->conf, CONF_invalid_hostname_reject_code), "5.5.2",
	    "invalid ip address");
}

enum access_result
access_unknown_helo(struct access_context *ctx, const struct access_item *item UNUSED)
{
	const char *helo = ctx->request->helo;
	enum dns_status address;
	enum dns_status mx;
	bool null_mx;

	if (helo == NULL)
		return ACCESS_DUNNO;
	if (helo[0] == '[')
		return access_dns_literal(ctx, helo);
	address = access_dns_address(helo);
	if (access_dns_has(address))
		return ACCESS_DUNNO;
	mx = access_dns_mx(helo, &null_mx);
	if (access_dns_has(mx) && !null_mx)
		return ACCESS_DUNNO;
	if (access_dns_is_temporary(address) || access_dns_is_temporary(mx))
		return access_dns_tempfail(ctx, ACCESS_THING_HELO,
		    CONF_unknown_helo_hostname_tempfail_action, "4.7.1", "Host not found");
	return access_reject_thing(ctx, ACCESS_THING_HELO,
	    conf_int(ctx->access->conf, CONF_unknown_hostname_reject_code), "4.7.1",
	    "Host not found");
}

static enum access_result
access_unknown_mail_domain(struct access_context *ctx, enum access_thing thing, const char *domain)
{
	bool sender = thing == ACCESS_THING_SENDER;
	const char *dsn = sender ? "4.1.8" : "4.1.2";
	enum dns_status address = DNS_NOT_FOUND;
	bool null_mx;
	enum dns_status mx = access_dns_mx(domain, &null_mx);

	if (null_mx)
		return access_reject_thing(ctx, thing, sender ? 550 : 556,
		    sender ? "4.7.27" : "4.1.10", "Domain %s does not accept mail (nullMX)",
		    domain);
	if (access_dns_has(mx))
		return ACCESS_DUNNO;
	if (mx == DNS_INVALID)
		return access_reject_thing(ctx, thing,
		    conf_int(ctx->access->conf, CONF_unknown_address_reject_code), dsn,
		    "Malformed DNS server reply");
	address = access_dns_address(domain);
	if (access_dns_has(address))
		return ACCESS_DUNNO;
	if (access_dns_is_temporary(mx) || access_dns_is_temporary(address))
		return access_dns_tempfail(
		    ctx, thing, CONF_unknown_address_tempfail_action, dsn, "Domain not found");
	return access_reject_thing(ctx, thing,
	    conf_int(ctx->access->conf, CONF_unknown_address_reject_code), dsn, "Domain not found");
}

/* Only domains that mail is sent on to: for the others no DNS is needed. */
enum access_result
access_unknown_domain(struct access_context *ctx, const struct access_item *item)
{
	const char *address = access_thing_value(ctx, item->restriction->thing);
	struct span domain;
	enum rewrite_class class;

	if (address == NULL || address[0] == '\0')
		return ACCESS_DUNNO;
	domain = rewrite_domain_of(span_str(address));
	class = rewrite_class_of(ctx->access->rewrite, domain);
	if (class == REWRITE_LOCAL || class == REWRITE_VIRTUAL_ALIAS ||
	    class == REWRITE_VIRTUAL_MAILBOX || (domain.len != 0 && domain.ptr[0] == '['))
		return ACCESS_DUNNO;
	return access_unknown_mail_domain(ctx, item->restriction->thing, domain.ptr);
}

/* ---- check_*_{a,mx,ns}_access ---- */

/* Hosts to be asked of a table. */
struct access_hosts {
	char **names; /* owned, texts too */
	size_t count;
};

static void
access_hosts_add(struct access_hosts *hosts, const char *name)
{
	hosts->names = mem_resize(hosts->names, hosts->count + 1, sizeof(*hosts->names));
	hosts->names[hosts->count++] = mem_strdup(name);
}

static void
access_hosts_done(struct access_hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++)
		mem_free(hosts->names[i]);
	mem_free(hosts->names);
}

static const char *
access_ip_text(const struct dns_ip *ip, char out[INET6_ADDRSTRLEN])
{
	return inet_ntop(ip->family, ip->addr, out, INET6_ADDRSTRLEN);
}

/* The addresses of a host; `what` for the warning, NULL: none. */
static enum access_result
access_check_host_addresses(struct access_context *ctx, const struct access_item *item,
    const char *what, const char *host, bool *ret_found)
{
	struct buf of CLEANUP(buf_done) = {0};
	enum access_result result = ACCESS_DUNNO;
	char text[INET6_ADDRSTRLEN];
	struct dns_ip *ips = NULL;
	size_t count = 0;
	struct err err;
	enum dns_status status =
	    dns_native(host, AF_UNSPEC, access_dns_deadline(), &ips, &count, &err);

	if (!access_dns_has(status) && what == NULL)
		return ACCESS_DUNNO;
	if (!access_dns_has(status)) {
		access_thing_name(ctx, item->restriction->thing, &of);
		log_warn("Unable to look up %s host %s for %s %s: %s", what, host,
		    access_thing_class(item->restriction->thing), buf_str(&of),
		    access_dns_is_temporary(status) ? "Temporary failure in name resolution"
						    : "Name or service not known");
		return ACCESS_DUNNO;
	}
	for (size_t i = 0; i < count && result == ACCESS_DUNNO && !*ret_found; i++)
		result = access_check_network(ctx, item, access_ip_text(&ips[i], text), ret_found);
	mem_free(ips);
	return result;
}

static enum access_result
access_check_hosts(struct access_context *ctx, const struct access_item *item, const char *what,
    const struct access_hosts *hosts)
{
	enum access_result result = ACCESS_DUNNO;
	bool found = false;

	for (size_t i = 0; i < hosts->count && result == ACCESS_DUNNO && !found; i++) {
		const char *host = hosts->names[i];

		if (mail_addr_is_ipv4(span_str(host)) || mail_addr_is_ipv6(span_str(host))) {
			result = access_check_network(ctx, item, host, &found);
			continue;
		}
		result = access_check_name(ctx, item, host, &found);
		if (result == ACCESS_DUNNO && !found)
			result = access_check_host_addresses(ctx, item, what, host, &found);
	}
	return result;
}

/* The part behind '@', or the name; NULL: nothing to look up. */
static const char *
access_dns_domain(const struct access_context *ctx, const struct access_item *item)
{
	const char *value = access_thing_value(ctx, item->restriction->thing);
	const char *at;

	if (value == NULL || value[0] == '\0' || strcasecmp(value, "unknown") == 0)
		return NULL;
	at = strrchr(value, '@');
	return at != NULL ? at + 1 : value;
}

/* user@[192.0.2.1]: the address itself is asked. True if it is one. */
static bool
access_check_literal(struct access_context *ctx, const struct access_item *item, const char *domain,
    enum access_result *ret)
{
	struct buf address CLEANUP(buf_done) = {0};
	struct span bare;
	bool found;

	if (domain[0] != '[')
		return false;
	*ret = ACCESS_DUNNO;
	if (mail_addr_is_literal(span_str(domain), &bare)) {
		buf_add_span(&address, bare);
		*ret = access_check_network(ctx, item, buf_str(&address), &found);
	}
	return true;
}

static void
access_dns_warn(const char *what, const char *domain, enum dns_status status)
{
	log_warn("Unable to look up %s host for %s: %s", what, domain, dns_status_text(status));
}

/* MX hosts; a domain without MX is its own (RFC 5321 section 5.1). False: there is nothing to check. */
static bool
access_mx_hosts(const char *domain, struct access_hosts *hosts)
{
	struct dns_mx *mx = NULL;
	size_t count;
	struct err err;
	enum dns_status status = dns_mx(domain, access_dns_deadline(), &mx, &count, NULL, &err);

	if (status == DNS_NO_DATA || status == DNS_NOT_FOUND) {
		access_hosts_add(hosts, domain);
		return true;
	}
	if (!access_dns_has(status)) {
		access_dns_warn("MX", domain, status);
		return false;
	}
	for (size_t i = 0; i < count; i++)
		if (mx[i].host[0] != '\0')
			access_hosts_add(hosts, mx[i].host);
	mem_free(mx);
	return true;
}

/* Name servers; a name without such records is asked for in the domain above. */
static bool
access_ns_hosts(const char *domain, struct access_hosts *hosts)
{
	const char *name = domain;
	char **names = NULL;
	size_t count;
	struct err err;
	enum dns_status status = dns_ns(name, access_dns_deadline(), &names, &count, &err);

	while ((status == DNS_NO_DATA || status == DNS_NOT_FOUND) &&
	       (name = strchr(name, '.')) != NULL && name[1] != '\0') {
		name++;
		status = dns_ns(name, access_dns_deadline(), &names, &count, &err);
	}
	if (!access_dns_has(status)) {
		access_dns_warn("NS", name != NULL && name[0] != '\0' ? name : domain, status);
		return false;
	}
	for (size_t i = 0; i < count; i++)
		access_hosts_add(hosts, names[i]);
	mem_free(names);
	return true;
}

static enum access_result
access_check_servers(struct access_context *ctx, const struct access_item *item, const char *what,
    bool (*find)(const char *domain, struct access_hosts *hosts))
{
	const char *domain = access_dns_domain(ctx, item);
	struct access_hosts hosts = {0};
	enum access_result result = ACCESS_DUNNO;

	if (domain == NULL)
		return ACCESS_DUNNO;
	if (!access_check_literal(ctx, item, domain, &result) && find(domain, &hosts))
		result = access_check_hosts(ctx, item, what, &hosts);
	access_hosts_done(&hosts);
	return access_forbid_ok(
	    ctx, item, access_thing_value(ctx, item->restriction->thing), result);
}

enum access_result
access_check_mx_table(struct access_context *ctx, const struct access_item *item)
{
	return access_check_servers(ctx, item, "MX", access_mx_hosts);
}

enum access_result
access_check_ns_table(struct access_context *ctx, const struct access_item *item)
{
	return access_check_servers(ctx, item, "NS", access_ns_hosts);
}

enum access_result
access_check_a_table(struct access_context *ctx, const struct access_item *item)
{
	const char *domain = access_dns_domain(ctx, item);
	enum access_result result = ACCESS_DUNNO;
	bool found = false;

	if (domain == NULL)
		return ACCESS_DUNNO;
	if (!access_check_literal(ctx, item, domain, &result))
		result = access_check_host_addresses(ctx, item, NULL, domain, &found);
	return access_forbid_ok(
	    ctx, item, access_thing_value(ctx, item->restriction->thing), result);
}

/* ---- permit_mx_backup ---- */

/* Does the host have an address of this one, or with `networks` one in permit_mx_backup_networks? */
static bool
access_host_is(struct access_context *ctx, const char *host, struct table_nets *networks)
{
	struct dns_ip *ips = NULL;
	size_t count = 0;
	bool is = false;
	struct err err;

	if (!access_dns_has(dns_native(host, AF_UNSPEC, access_dns_deadline(), &ips, &count, &err)))
		return false;
	for (size_t i = 0; i < count && !is; i++) {
		struct sockaddr_in v4 = {.sin_family = AF_INET};
		struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
		const struct sockaddr *sa = ips[i].family == AF_INET
						? (const struct sockaddr *)(const void *)&v4
						: (const struct sockaddr *)(const void *)&v6;

		memcpy(&v4.sin_addr, ips[i].addr, 4);
		memcpy(&v6.sin6_addr, ips[i].addr, 16);
		if (networks == NULL)
			is = conf_addresses_has(&ctx->access->own, sa) ||
			     conf_addresses_has(&ctx->access->proxy, sa);
		else
			is = table_nets_match(networks, sa, &err) == TABLE_FOUND;
	}
	mem_free(ips);
	return is;
}

/* Is this host among the MX hosts, but not the best, and is the best of them in permit_mx_backup_networks? */
static bool
access_mx_is_ours(struct access_context *ctx, const struct dns_mx *mx, size_t count)
{
	bool restricted = conf_str(ctx->access->conf, CONF_permit_mx_backup_networks)[0] != '\0';
	unsigned best = UINT16_MAX;
	bool ours = false;

	for (size_t i = 0; i < count; i++)
		best = MIN(best, mx[i].preference);
	for (size_t i = 0; i < count; i++) {
		bool own = access_host_is(ctx, mx[i].host, NULL);

		if (own && mx[i].preference == best)
			return false;
		ours = ours || own;
		if (restricted && mx[i].preference == best &&
		    !access_host_is(ctx, mx[i].host, ctx->access->mx_networks))
			return false;
	}
	return ours;
}

static enum access_result
access_permit_mx(struct access_context *ctx, const char *domain)
{
	struct dns_mx *mx = NULL;
	size_t count = 0;
	struct err err;
	bool ours;
	enum dns_status status = dns_mx(domain, access_dns_deadline(), &mx, &count, NULL, &err);

	if (access_dns_is_temporary(status)) {
		struct buf text CLEANUP(buf_done) = {0};

		buf_printf(&text, "Unable to look up mail exchanger information: %s",
		    dns_status_text(status));
		return access_defer_if_reject(ctx, ACCESS_THING_RCPT, 450, "4.4.4", buf_str(&text));
	}
	if (status == DNS_NOT_FOUND || status == DNS_NO_DATA)
		return access_host_is(ctx, domain, NULL) ? ACCESS_OK : ACCESS_DUNNO;
	if (!access_dns_has(status))
		return ACCESS_DUNNO;
	ours = access_mx_is_ours(ctx, mx, count);
	mem_free(mx);
	return ours ? ACCESS_OK : ACCESS_DUNNO;
}

enum access_result
access_permit_mx_backup(struct access_context *ctx, const struct access_item *item)
{
	const char *address = ctx->request->recipient;
	struct span domain;
	enum access_result result;

	if (address == NULL)
		return ACCESS_DUNNO;
	domain = rewrite_domain_of(span_str(address));
	switch (access_auth_destination(ctx)) {
	case TABLE_FOUND:
		return access_permitted(ctx, ACCESS_THING_RCPT, item->restriction->name, "");
	case TABLE_ERROR:
		return access_reject_lookup(ctx, ctx->request->recipient_as_given);
	case TABLE_NOT_FOUND:
		break;
	}
	if (access_is_untrusted_route(ctx, span_str(address)) || domain.len == 0 ||
	    domain.ptr[0] == '[')
		return ACCESS_DUNNO;
	result = access_permit_mx(ctx, domain.ptr);
	return result == ACCESS_OK
		   ? access_permitted(ctx, ACCESS_THING_RCPT, item->restriction->name, "")
		   : result;
}
