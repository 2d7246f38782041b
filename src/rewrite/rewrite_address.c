/*
 * rewrite_address.c - the standard form of an address, as trivial-rewrite(8) makes it.
 */
#include "base/buf.h"
#include "rewrite/rewrite_int.h"

const char *
rewrite_hacks(const struct rewrite *r, struct arena *arena, struct span addr)
{
	size_t bang = span_find(addr, '!');
	size_t percent = span_find_last(addr, '%');

	/* site!user, also a!b!user: the first site is the nearest one. */
	if (bang < addr.len && conf_bool(r->conf, CONF_swap_bangpath))
		return arena_printf(arena, "%.*s@%.*s", SPAN_ARG(span_from(addr, bang + 1)),
		    SPAN_ARG(span_head(addr, bang)));
	if (percent < addr.len && conf_bool(r->conf, CONF_allow_percent_hack))
		return arena_printf(arena, "%.*s@%.*s", SPAN_ARG(span_head(addr, percent)),
		    SPAN_ARG(span_from(addr, percent + 1)));
	return NULL;
}

/* "user@host" with the domain that is missing, "user@host." without the dot. */
static const char *
rewrite_complete_domain(
    const struct rewrite *r, struct arena *arena, struct span addr, const char *mydomain)
{
	struct span domain = rewrite_domain_of(addr);

	/* Not one of two dots, nor the dot of "user@.". */
	if (domain.len > 1 && domain.ptr[domain.len - 1] == '.' &&
	    domain.ptr[domain.len - 2] != '.')
		return arena_dup(arena, span_head(addr, addr.len - 1));
	if (domain.len != 0 && domain.ptr[0] != '[' && span_find(domain, '.') == domain.len &&
	    conf_bool(r->conf, CONF_append_dot_mydomain))
		return arena_printf(arena, "%.*s.%s", SPAN_ARG(addr), mydomain);
	return arena_dup(arena, addr);
}

/* With what an address without domain, and one without the end of a domain, are completed; NULL: they are not. */
static const char *
rewrite_complete(const struct rewrite *r, struct arena *arena, struct span addr,
    const char *myorigin, const char *mydomain)
{
	const char *hacked;

	if (addr.len == 0)
		return "";
	if (span_find_last(addr, '@') < addr.len)
		return rewrite_complete_domain(r, arena, addr, mydomain);
	hacked = rewrite_hacks(r, arena, addr);
	if (hacked != NULL)
		return rewrite_complete_domain(r, arena, span_str(hacked), mydomain);
	if (myorigin == NULL)
		return arena_dup(arena, addr);
	return arena_printf(arena, "%.*s@%s", SPAN_ARG(addr), myorigin);
}

const char *
rewrite_address(const struct rewrite *r, struct arena *arena, struct span addr)
{
	bool complete = conf_bool(r->conf, CONF_append_at_myorigin);

	return rewrite_complete(r, arena, addr, complete ? conf_str(r->conf, CONF_myorigin) : NULL,
	    conf_str(r->conf, CONF_mydomain));
}

const char *
rewrite_address_in(
    const struct rewrite *r, struct arena *arena, struct span addr, const char *domain)
{
	return rewrite_complete(r, arena, addr, domain, domain);
}
