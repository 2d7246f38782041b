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
rewrite_complete_domain(const struct rewrite *r, struct arena *arena, struct span addr)
{
	struct span domain = rewrite_domain_of(addr);

	/* Not one of two dots, nor the dot of "user@.". */
	if (domain.len > 1 && domain.ptr[domain.len - 1] == '.' &&
	    domain.ptr[domain.len - 2] != '.')
		return arena_dup(arena, span_head(addr, addr.len - 1));
	if (domain.len != 0 && domain.ptr[0] != '[' && span_find(domain, '.') == domain.len &&
	    conf_bool(r->conf, CONF_append_dot_mydomain))
		return arena_printf(
		    arena, "%.*s.%s", SPAN_ARG(addr), conf_str(r->conf, CONF_mydomain));
	return arena_dup(arena, addr);
}

const char *
rewrite_address(const struct rewrite *r, struct arena *arena, struct span addr)
{
	const char *hacked;

	if (addr.len == 0)
		return "";
	if (span_find_last(addr, '@') < addr.len)
		return rewrite_complete_domain(r, arena, addr);
	hacked = rewrite_hacks(r, arena, addr);
	if (hacked != NULL)
		return rewrite_complete_domain(r, arena, span_str(hacked));
	if (!conf_bool(r->conf, CONF_append_at_myorigin))
		return arena_dup(arena, addr);
	return arena_printf(arena, "%.*s@%s", SPAN_ARG(addr), conf_str(r->conf, CONF_myorigin));
}
