/*
 * access_address.c - can mail be sent to this address at all? What Postfix's address resolver calls an error is refused before any rule
 * is asked: a domain that is no name and no literal, a local part that a command could take for an option.
 */
#include "access/access_int.h"

#include "base/utf8.h"
#include "mail/mail_addr.h"

/* A host name, a literal, or with resolve_numeric_domain a bare address; nothing with resolve_null_domain. */
static bool
access_is_domain(const struct access *a, struct span domain)
{
	if (domain.len == 0)
		return conf_bool(a->conf, CONF_resolve_null_domain);
	if (mail_addr_is_domain(domain))
		return true;
	return conf_bool(a->conf, CONF_resolve_numeric_domain) &&
	       (mail_addr_is_ipv4(domain) || mail_addr_is_ipv6(domain));
}

static bool
access_is_plain_proper(const struct access *a, struct span address, bool utf8)
{
	size_t at = span_find_last(address, '@');

	if (address.len != 0 && address.ptr[0] == '-' && !conf_bool(a->conf, CONF_allow_min_user))
		return false;
	if (at == address.len)
		return true;
	return (utf8 || utf8_is_ascii(span_from(address, at))) &&
	       access_is_domain(a, span_from(address, at + 1));
}

bool
access_address_is_proper(const struct access *a, const char *address, bool utf8)
{
	struct span s = span_str(address);
	struct arena arena = {0};
	struct rewrite_route route;
	bool proper = access_is_plain_proper(a, s, utf8);

	/* Whatever routing is inside the local part counts too. */
	if (!proper || strpbrk(address, "%!") == NULL)
		return proper;
	rewrite_resolve(a->rewrite, &arena, s, &route);
	proper = access_is_plain_proper(a, span_str(route.recipient), utf8);
	arena_done(&arena);
	return proper;
}
