/*
 * rewrite_resolve.c - where mail goes: the domain that decides, its class, the transport and next hop of the class, and the
 * tables that override them. The order is that of Postfix's trivial-rewrite(8) (postfix-features 3.6).
 */
#include <ctype.h>

#include "base/log.h"
#include "mail/mail_addr.h"
#include "rewrite/rewrite_int.h"

/* Sites in one address (a!b!c!user, user%a%b); more is no address. */
#define REWRITE_HOPS_MAX 100

/* One resolution under way. */
struct rewrite_search {
	const struct rewrite *rewrite;
	struct arena *arena;
	const char *sender; /* NULL: not known */
	struct span domain; /* of the recipient, as it is routed */
	struct buf value;
	struct err err;
	struct rewrite_route *route;
};

static const char *
rewrite_lower(struct arena *arena, struct span s)
{
	char *copy = arena_dup(arena, s);

	for (char *p = copy; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return copy;
}

static void
rewrite_set_route(struct rewrite_search *s, const char *transport, const char *nexthop)
{
	s->route->transport = transport;
	s->route->nexthop = nexthop;
}

/* A table could not be asked: nothing is decided, the mail waits. */
static bool
rewrite_fail(struct rewrite_search *s)
{
	s->route->trouble = true;
	rewrite_set_route(s, "retry", "4.3.0 address resolver failure");
	return false;
}

static bool
rewrite_bad_address(struct rewrite_search *s)
{
	rewrite_set_route(s, "error", "5.1.3 bad address syntax");
	return false;
}

/* ---- the domain that decides -------------------------------------------------------------------------------------- */

/* user@domain of the recipient, with `local` for what is in mydestination. */
static void
rewrite_set_recipient(struct rewrite_search *s, struct span local, struct span domain)
{
	const char *recipient =
	    arena_printf(s->arena, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(domain));

	s->route->recipient = recipient;
	s->domain = rewrite_domain_of(span_str(recipient));
}

/* What is left of a local address: does it name another site? Then that is where to go on. */
static bool
rewrite_next_site(struct rewrite_search *s, struct span *addr)
{
	const struct rewrite *r = s->rewrite;
	const char *next;

	if (span_find(*addr, '@') < addr->len) {
		/* user@remote@here was "user@remote"@here once. */
		return conf_bool(r->conf, CONF_resolve_dequoted_address);
	}
	next = rewrite_hacks(r, s->arena, *addr);
	if (next == NULL)
		return false;
	*addr = span_str(rewrite_address(r, s->arena, span_str(next)));
	return true;
}

/* Strips local domains, as long as what is before them names another site. */
static bool
rewrite_find_domain(struct rewrite_search *s, struct span addr)
{
	const struct rewrite *r = s->rewrite;
	struct span home = span_str(conf_str(r->conf, CONF_myhostname));

	s->route->address_class = REWRITE_LOCAL;
	for (unsigned i = 0; i < REWRITE_HOPS_MAX; i++) {
		struct mail_addr parts = mail_addr_split(addr);
		enum table_result local = TABLE_FOUND;

		if (parts.domain.len > 1 && parts.domain.ptr[parts.domain.len - 1] == '.')
			parts.domain.len--;
		if (parts.has_domain && parts.domain.len == 0 &&
		    !conf_bool(r->conf, CONF_resolve_null_domain))
			return rewrite_bad_address(s);
		if (parts.domain.len != 0)
			local = rewrite_is_local(r, parts.domain, &s->err);
		if (local == TABLE_ERROR)
			return rewrite_fail(s);
		if (local == TABLE_NOT_FOUND) {
			s->route->address_class = REWRITE_DEFAULT;
			rewrite_set_recipient(s, parts.local, parts.domain);
			return true;
		}
		if (parts.domain.len != 0)
			home = parts.domain;
		addr = parts.local;
		if (rewrite_next_site(s, &addr))
			continue;
		if (addr.len == 0)
			addr = span_str(conf_str(r->conf, CONF_empty_address_recipient));
		rewrite_set_recipient(s, addr, home);
		return true;
	}
	return rewrite_bad_address(s);
}

/* A host name or [address]; user@1.2.3.4 where that is allowed. */
static bool
rewrite_check_domain(struct rewrite_search *s)
{
	if (mail_addr_is_domain(s->domain))
		return true;
	if (!mail_addr_is_ipv4(s->domain) ||
	    !conf_bool(s->rewrite->conf, CONF_resolve_numeric_domain))
		return rewrite_bad_address(s);
	rewrite_set_recipient(s, mail_addr_split(span_str(s->route->recipient)).local,
	    span_str(arena_printf(s->arena, "[%.*s]", SPAN_ARG(s->domain))));
	return true;
}

/* ---- class -------------------------------------------------------------------------------------------------------- */

/* A domain in the lists of two classes: the first one counts, and whoever wrote that is told, where the lists can say so. */
static void
rewrite_warn_twice(struct rewrite_search *s, enum rewrite_class found)
{
	for (enum rewrite_class c = found + 1; c < REWRITE_LISTS; c++) {
		enum table_result r;

		/* relay_domains holds $mydestination in old configurations. */
		if (found == REWRITE_LOCAL && c == REWRITE_RELAY)
			continue;
		r = domain_list_has(s->rewrite->domains[c], s->domain, &s->err);
		if (r == TABLE_FOUND)
			log_info_as("trivial-rewrite",
			    "warning: do not list domain %.*s in BOTH %s and %s",
			    SPAN_ARG(s->domain), rewrite_list_name(found), rewrite_list_name(c));
	}
}

static bool
rewrite_find_class(struct rewrite_search *s)
{
	enum rewrite_class c = s->route->address_class;

	if (c != REWRITE_LOCAL)
		for (c = REWRITE_VIRTUAL_ALIAS; c < REWRITE_LISTS; c++) {
			enum table_result r =
			    domain_list_has(s->rewrite->domains[c], s->domain, &s->err);

			if (r == TABLE_ERROR)
				return rewrite_fail(s);
			if (r == TABLE_FOUND)
				break;
		}
	s->route->address_class = c;
	rewrite_warn_twice(s, c);
	return true;
}

/* ---- transport and next hop --------------------------------------------------------------------------------------- */

/* Whom `transport` serves when nothing names a next hop: what only makes up outcomes has a text instead. */
static const char *
rewrite_nexthop_or(struct span transport, const char *fallback)
{
	bool made_up = span_equal_str(transport, "error") || span_equal_str(transport, "retry");

	return made_up ? "Address is undeliverable" : fallback;
}

/* "transport:nexthop"; without a nexthop of its own it is `fallback`. */
static void
rewrite_transport(struct rewrite_search *s, const char *value, const char *fallback)
{
	struct span text = span_str(value);
	size_t colon = span_find(text, ':');
	struct span nexthop = span_from(text, colon + 1);

	rewrite_set_route(s, arena_dup(s->arena, span_head(text, colon)),
	    nexthop.len != 0 ? arena_dup(s->arena, nexthop)
			     : rewrite_nexthop_or(span_head(text, colon), fallback));
}

/* What a sender-dependent table says: the value, "" for nothing, NULL for trouble. */
static const char *
rewrite_of_sender(struct rewrite_search *s, struct table_list *tables, enum conf_param null_key)
{
	struct table_address_rules rules = rewrite_rules(s->rewrite);
	enum table_result r;

	if (s->sender == NULL || table_list_is_empty(tables))
		return "";
	if (s->sender[0] == '\0')
		r = table_list_lookup(tables, span_str(conf_str(s->rewrite->conf, null_key)),
		    TABLE_KEY_FULL, &s->value, &s->err);
	else
		r = table_address_lookup(
		    tables, &rules, span_str(s->sender), &s->value, NULL, &s->err);
	if (r == TABLE_ERROR)
		return NULL;
	if (r == TABLE_NOT_FOUND || span_equal_nocase_str(buf_span(&s->value), "DUNNO"))
		return "";
	return arena_dup(s->arena, buf_span(&s->value));
}

/* Mail that leaves: the transport's own next hop, that of the sender, relayhost, the domain. */
static bool
rewrite_onward(struct rewrite_search *s, const char *transport)
{
	const struct rewrite *r = s->rewrite;
	const char *relayhost =
	    rewrite_of_sender(s, r->sender_relayhost, CONF_empty_address_relayhost_maps_lookup_key);

	if (relayhost == NULL)
		return rewrite_fail(s);
	if (relayhost[0] == '\0')
		relayhost = conf_str(r->conf, CONF_relayhost);
	rewrite_transport(s, transport,
	    rewrite_lower(s->arena, relayhost[0] != '\0' ? span_str(relayhost) : s->domain));
	return true;
}

static bool
rewrite_default(struct rewrite_search *s)
{
	const struct rewrite *r = s->rewrite;
	const char *transport = rewrite_of_sender(
	    s, r->sender_transport, CONF_empty_address_default_transport_maps_lookup_key);

	if (transport == NULL)
		return rewrite_fail(s);
	return rewrite_onward(
	    s, transport[0] != '\0' ? transport : conf_str(r->conf, CONF_default_transport));
}

static bool
rewrite_route_class(struct rewrite_search *s)
{
	const struct conf *conf = s->rewrite->conf;

	switch (s->route->address_class) {
	case REWRITE_LOCAL:
		rewrite_transport(
		    s, conf_str(conf, CONF_local_transport), rewrite_lower(s->arena, s->domain));
		return true;
	case REWRITE_VIRTUAL_ALIAS:
		rewrite_set_route(s, "error",
		    conf_bool(conf, CONF_show_user_unknown_table_name)
			? "5.1.1 User unknown in virtual alias table"
			: "5.1.1 User unknown");
		return true;
	case REWRITE_VIRTUAL_MAILBOX:
		rewrite_transport(
		    s, conf_str(conf, CONF_virtual_transport), rewrite_lower(s->arena, s->domain));
		return true;
	case REWRITE_RELAY:
		return rewrite_onward(s, conf_str(conf, CONF_relay_transport));
	case REWRITE_DEFAULT:
		return rewrite_default(s);
	}
	UNREACHED();
}

/* ---- transport_maps, relocated_maps ------------------------------------------------------------------------------- */

static enum table_result
rewrite_ask_transport(struct rewrite_search *s)
{
	const struct rewrite *r = s->rewrite;
	struct table_address_rules rules = rewrite_rules(r);
	bool parents = conf_has(r->conf, CONF_parent_domain_matches_subdomains, "transport_maps");
	enum table_result found;

	rules.forms = TABLE_ADDRESS_FULL | TABLE_ADDRESS_NOEXT | TABLE_ADDRESS_DOMAIN |
		      (parents ? TABLE_ADDRESS_PARENTS : TABLE_ADDRESS_DOTPARENTS);
	found = table_address_lookup(
	    r->transport, &rules, span_str(s->route->recipient), &s->value, NULL, &s->err);
	if (found != TABLE_NOT_FOUND)
		return found;
	return table_list_lookup(r->transport, SPAN_LIT("*"), TABLE_KEY_FULL, &s->value, &s->err);
}

/* "transport:nexthop", "transport:", ":nexthop", ":" (transport(5), RESULT FORMAT). */
static bool
rewrite_override(struct rewrite_search *s)
{
	struct span value, transport, nexthop;
	enum table_result r;

	/* Addresses that are nothing but other addresses are not routed. */
	if (s->route->address_class == REWRITE_VIRTUAL_ALIAS ||
	    table_list_is_empty(s->rewrite->transport))
		return true;
	r = rewrite_ask_transport(s);
	if (r == TABLE_ERROR)
		return rewrite_fail(s);
	if (r == TABLE_NOT_FOUND)
		return true;
	value = buf_span(&s->value);
	transport = span_head(value, span_find(value, ':'));
	nexthop = span_from(value, transport.len + 1);
	if (transport.len != 0)
		rewrite_set_route(s, arena_dup(s->arena, transport),
		    nexthop.len != 0
			? arena_dup(s->arena, nexthop)
			: rewrite_nexthop_or(transport, rewrite_lower(s->arena, s->domain)));
	else if (nexthop.len != 0)
		s->route->nexthop = arena_dup(s->arena, nexthop);
	return true;
}

static bool
rewrite_relocate(struct rewrite_search *s)
{
	struct table_address_rules rules = rewrite_rules(s->rewrite);
	bool prefix = conf_bool(s->rewrite->conf, CONF_relocated_prefix_enable);

	if (table_list_is_empty(s->rewrite->relocated))
		return true;
	switch (table_address_lookup(s->rewrite->relocated, &rules, span_str(s->route->recipient),
	    &s->value, NULL, &s->err)) {
	case TABLE_NOT_FOUND:
		return true;
	case TABLE_ERROR:
		return rewrite_fail(s);
	case TABLE_FOUND:
		break;
	}
	rewrite_set_route(s, "error",
	    arena_printf(
		s->arena, prefix ? "5.1.6 User has moved to %s" : "%s", buf_str(&s->value)));
	return false;
}

/* Nobody reads the bounces of bounces: they end here, with or without a local delivery agent. */
static void
rewrite_double_bounce(struct rewrite_search *s)
{
	struct mail_addr parts = mail_addr_split(span_str(s->route->recipient));
	const char *name = conf_str(s->rewrite->conf, CONF_double_bounce_sender);

	if (s->route->address_class == REWRITE_LOCAL && span_equal_nocase_str(parts.local, name))
		rewrite_set_route(s, "discard", "undeliverable postmaster notification discarded");
}

void
rewrite_route(const struct rewrite *r, struct arena *arena, const char *sender, struct span addr,
    struct rewrite_route *ret)
{
	struct rewrite_search s = {.rewrite = r, .arena = arena, .sender = sender, .route = ret};

	*ret = (struct rewrite_route){.recipient = arena_dup(arena, addr)};
	if (rewrite_find_domain(&s, addr) && rewrite_check_domain(&s) && rewrite_find_class(&s) &&
	    rewrite_route_class(&s) && rewrite_override(&s) && rewrite_relocate(&s)) {
		if (ret->recipient[0] == '-' && !conf_bool(r->conf, CONF_allow_min_user))
			(void)rewrite_bad_address(&s);
		else
			rewrite_double_bounce(&s);
	}
	buf_done(&s.value);
}

void
rewrite_resolve(
    const struct rewrite *r, struct arena *arena, struct span addr, struct rewrite_route *ret)
{
	rewrite_route(r, arena, NULL, addr, ret);
}
