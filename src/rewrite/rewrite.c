/*
 * rewrite.c - standard form, address class, route: see rewrite.h. The order of the classes and of the nexthop sources is
 * Postfix's trivial-rewrite(8).
 */
#include "rewrite/rewrite.h"

#include <ctype.h>

#include <arpa/inet.h>

#include "base/mem.h"
#include "conf/conf_host.h"
#include "rewrite/domain_list.h"

struct rewrite {
	struct conf *conf;                 /* counted */
	struct domain_list *local;         /* mydestination */
	struct domain_list *virtual_alias; /* virtual_alias_domains */
	struct domain_list *virtual_mailbox;
	struct domain_list *relay;
	struct conf_addresses own;   /* what [address] literals count as local */
	struct conf_addresses proxy; /* addresses that stand for this host */
};

static bool
rewrite_list(const struct conf *conf, enum conf_param p, const char *name, struct domain_list **ret,
    struct err *err)
{
	enum domain_list_parents parents =
	    conf_has(conf, CONF_parent_domain_matches_subdomains, name) ? DOMAIN_LIST_SUBDOMAINS
									: DOMAIN_LIST_EXACT;

	return domain_list_parse(conf_str(conf, p), name, parents, ret, err);
}

bool
rewrite_new(struct conf *conf, struct rewrite **ret, struct err *err)
{
	struct rewrite *r = mem_new(struct rewrite);

	r->conf = conf_ref(conf);
	if (!rewrite_list(conf, CONF_mydestination, "mydestination", &r->local, err) ||
	    !rewrite_list(conf, CONF_virtual_alias_domains, "virtual_alias_domains",
		&r->virtual_alias, err) ||
	    !rewrite_list(conf, CONF_virtual_mailbox_domains, "virtual_mailbox_domains",
		&r->virtual_mailbox, err) ||
	    !rewrite_list(conf, CONF_relay_domains, "relay_domains", &r->relay, err) ||
	    !conf_host_own(conf, &r->own, err) || !conf_host_proxy(conf, &r->proxy, err)) {
		rewrite_free(&r);
		return false;
	}
	*ret = r;
	return true;
}

void
rewrite_free(struct rewrite **r)
{
	if (*r == NULL)
		return;
	domain_list_free(&(*r)->local);
	domain_list_free(&(*r)->virtual_alias);
	domain_list_free(&(*r)->virtual_mailbox);
	domain_list_free(&(*r)->relay);
	conf_addresses_done(&(*r)->own);
	conf_addresses_done(&(*r)->proxy);
	conf_unref(&(*r)->conf);
	mem_free(*r);
	*r = NULL;
}

struct span
rewrite_domain_of(struct span addr)
{
	size_t at = span_find_last(addr, '@');

	return at < addr.len ? span_from(addr, at + 1) : span_of(addr.ptr + addr.len, 0);
}

const char *
rewrite_address(const struct rewrite *r, struct arena *arena, struct span addr)
{
	struct span domain;

	if (addr.len == 0)
		return "";
	while (addr.len > 1 && addr.ptr[addr.len - 1] == '.' &&
	       span_find_last(addr, '@') < addr.len - 2)
		addr.len--;
	if (span_find_last(addr, '@') == addr.len) {
		if (!conf_bool(r->conf, CONF_append_at_myorigin))
			return arena_dup(arena, addr);
		return arena_printf(
		    arena, "%.*s@%s", SPAN_ARG(addr), conf_str(r->conf, CONF_myorigin));
	}
	domain = rewrite_domain_of(addr);
	if (domain.len != 0 && domain.ptr[0] != '[' && span_find(domain, '.') == domain.len &&
	    conf_bool(r->conf, CONF_append_dot_mydomain))
		return arena_printf(
		    arena, "%.*s.%s", SPAN_ARG(addr), conf_str(r->conf, CONF_mydomain));
	return arena_dup(arena, addr);
}

/* [192.0.2.1] or [IPv6:2001:db8::1] that is an address of this host. */
static bool
rewrite_is_own_literal(const struct rewrite *r, struct span domain)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	const struct sockaddr *sa;
	char text[64];

	if (domain.len < 3 || domain.len > sizeof(text) || domain.ptr[0] != '[' ||
	    domain.ptr[domain.len - 1] != ']')
		return false;
	domain = span_of(domain.ptr + 1, domain.len - 2);
	if (span_starts_nocase(domain, "IPv6:"))
		domain = span_from(domain, 5);
	memcpy(text, domain.ptr, domain.len);
	text[domain.len] = '\0';
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		sa = (const struct sockaddr *)(const void *)&v4;
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		sa = (const struct sockaddr *)(const void *)&v6;
	else
		return false;
	return conf_addresses_has(&r->own, sa) || conf_addresses_has(&r->proxy, sa);
}

enum rewrite_class
rewrite_class_of(const struct rewrite *r, struct span domain)
{
	if (domain.len == 0 || domain_list_has(r->local, domain) ||
	    rewrite_is_own_literal(r, domain))
		return REWRITE_LOCAL;
	if (domain_list_has(r->virtual_alias, domain))
		return REWRITE_VIRTUAL_ALIAS;
	if (domain_list_has(r->virtual_mailbox, domain))
		return REWRITE_VIRTUAL_MAILBOX;
	if (domain_list_has(r->relay, domain))
		return REWRITE_RELAY;
	return REWRITE_DEFAULT;
}

const char *
rewrite_class_name(enum rewrite_class c)
{
	static const char *const names[] = {
	    [REWRITE_LOCAL] = "local",
	    [REWRITE_VIRTUAL_ALIAS] = "virtual alias",
	    [REWRITE_VIRTUAL_MAILBOX] = "virtual mailbox",
	    [REWRITE_RELAY] = "relay",
	    [REWRITE_DEFAULT] = "default",
	};

	return names[c];
}

static const char *
rewrite_lower(struct arena *arena, struct span s)
{
	char *copy = arena_dup(arena, s);

	for (char *p = copy; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return copy;
}

/* Splits a value "transport:nexthop"; without a nexthop of its own it is `fallback`. */
static void
rewrite_transport(
    struct arena *arena, const char *value, struct span fallback, struct rewrite_route *ret)
{
	struct span text = span_str(value);
	size_t colon = span_find(text, ':');
	struct span nexthop = span_from(text, colon + 1);

	ret->transport = arena_dup(arena, span_head(text, colon));
	ret->nexthop = rewrite_lower(arena, nexthop.len != 0 ? nexthop : fallback);
}

void
rewrite_resolve(
    const struct rewrite *r, struct arena *arena, struct span addr, struct rewrite_route *ret)
{
	struct span domain = rewrite_domain_of(addr);
	const char *relayhost = conf_str(r->conf, CONF_relayhost);
	struct span onward = relayhost[0] != '\0' ? span_str(relayhost) : domain;

	ret->address_class = rewrite_class_of(r, domain);
	switch (ret->address_class) {
	case REWRITE_LOCAL:
		rewrite_transport(arena, conf_str(r->conf, CONF_local_transport),
		    domain.len != 0 ? domain : span_str(conf_str(r->conf, CONF_myhostname)), ret);
		return;
	case REWRITE_VIRTUAL_ALIAS:
		ret->transport = "error";
		ret->nexthop = "5.1.1 User unknown in virtual alias table";
		return;
	case REWRITE_VIRTUAL_MAILBOX:
		rewrite_transport(arena, conf_str(r->conf, CONF_virtual_transport), domain, ret);
		return;
	case REWRITE_RELAY:
		rewrite_transport(arena, conf_str(r->conf, CONF_relay_transport), onward, ret);
		return;
	case REWRITE_DEFAULT:
		rewrite_transport(arena, conf_str(r->conf, CONF_default_transport), onward, ret);
		return;
	}
	UNREACHED();
}
