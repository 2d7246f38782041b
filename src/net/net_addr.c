/*
 * net_addr.c - socket addresses as values: see net_addr.h.
 */
#include "net/net_addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

static struct sockaddr_in *
as_in(struct net_addr *a)
{
	return (struct sockaddr_in *)&a->sa;
}

static struct sockaddr_in6 *
as_in6(struct net_addr *a)
{
	return (struct sockaddr_in6 *)&a->sa;
}

/* The part after '%': the name or number of an interface. */
static bool
parse_scope(const char *text, uint32_t *ret_scope)
{
	*ret_scope = if_nametoindex(text);
	for (const char *p = text; *ret_scope == 0 && *p >= '0' && *p <= '9' && p - text < 9; p++)
		if (p[1] == '\0')
			(void)sscanf(text, "%u", ret_scope);
	return *ret_scope != 0;
}

static bool
parse_in6(char *text, uint16_t port, struct net_addr *ret)
{
	struct net_addr a = {.len = sizeof(struct sockaddr_in6)};
	char *scope = strchr(text, '%');

	if (scope != NULL) {
		*scope++ = '\0';
		if (!parse_scope(scope, &as_in6(&a)->sin6_scope_id))
			return false;
	}
	if (inet_pton(AF_INET6, text, &as_in6(&a)->sin6_addr) != 1)
		return false;
	as_in6(&a)->sin6_family = AF_INET6;
	as_in6(&a)->sin6_port = htons(port);
	*ret = a;
	return true;
}

/* Copies `text` without what may stand around an address: [] and "IPv6:". */
static bool
strip(const char *text, char *out, size_t size)
{
	size_t len = strlen(text);

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= 5 && strncasecmp(text, "IPv6:", 5) == 0) {
		text += 5;
		len -= 5;
	}
	if (len == 0 || len >= size)
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

bool
net_addr_parse(const char *text, uint16_t port, struct net_addr *ret)
{
	char plain[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	struct net_addr a = {.len = sizeof(struct sockaddr_in)};

	if (!strip(text, plain, sizeof(plain)))
		return false;
	if (inet_pton(AF_INET, plain, &as_in(&a)->sin_addr) != 1)
		return parse_in6(plain, port, ret);
	as_in(&a)->sin_family = AF_INET;
	as_in(&a)->sin_port = htons(port);
	*ret = a;
	return true;
}

bool
net_addr_unix(const char *path, struct net_addr *ret)
{
	struct net_addr a = {0};
	struct sockaddr_un *un = (struct sockaddr_un *)&a.sa;
	size_t len = strlen(path);

	if (len >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	*ret = a;
	return true;
}

int
net_addr_family(const struct net_addr *a)
{
	return a->sa.ss_family;
}

void
net_addr_unmap(struct net_addr *a)
{
	const struct sockaddr_in6 *in6 = as_in6(a);
	struct net_addr v4 = {.len = sizeof(struct sockaddr_in)};

	if (a->sa.ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return;
	as_in(&v4)->sin_family = AF_INET;
	as_in(&v4)->sin_port = in6->sin6_port;
	memcpy(&as_in(&v4)->sin_addr, in6->sin6_addr.s6_addr + 12, 4);
	*a = v4;
}

/* A copy for looking at: what came over an IPv6 socket from an IPv4 host counts as IPv4. */
static struct net_addr
unmapped(const struct net_addr *a)
{
	struct net_addr copy = *a;

	net_addr_unmap(&copy);
	return copy;
}

static void
text_in6(struct sockaddr_in6 *in6, char *out, size_t size)
{
	char plain[INET6_ADDRSTRLEN] = "", name[IF_NAMESIZE];

	(void)inet_ntop(AF_INET6, &in6->sin6_addr, plain, sizeof(plain));
	if (in6->sin6_scope_id == 0)
		(void)snprintf(out, size, "%s", plain);
	else if (if_indextoname(in6->sin6_scope_id, name) != NULL)
		(void)snprintf(out, size, "%s%%%s", plain, name);
	else
		(void)snprintf(out, size, "%s%%%u", plain, in6->sin6_scope_id);
}

void
net_addr_text(const struct net_addr *a, char *out, size_t size)
{
	struct net_addr u = unmapped(a);
	const struct sockaddr_un *un = (const struct sockaddr_un *)&u.sa;

	switch (u.sa.ss_family) {
	case AF_INET:
		if (inet_ntop(AF_INET, &as_in(&u)->sin_addr, out, (socklen_t)size) == NULL)
			(void)snprintf(out, size, "unknown");
		break;
	case AF_INET6:
		text_in6(as_in6(&u), out, size);
		break;
	case AF_UNIX:
		if (u.len > offsetof(struct sockaddr_un, sun_path) && un->sun_path[0] != '\0')
			(void)snprintf(out, size, "%s", un->sun_path);
		else
			(void)snprintf(out, size, "unix");
		break;
	default:
		(void)snprintf(out, size, "unknown");
	}
}

uint16_t
net_addr_port(const struct net_addr *a)
{
	struct net_addr copy = *a;

	switch (a->sa.ss_family) {
	case AF_INET:
		return ntohs(as_in(&copy)->sin_port);
	case AF_INET6:
		return ntohs(as_in6(&copy)->sin6_port);
	default:
		return 0;
	}
}

bool
net_addr_equal_host(const struct net_addr *a, const struct net_addr *b)
{
	struct net_addr x = unmapped(a), y = unmapped(b);

	if (x.sa.ss_family != y.sa.ss_family)
		return false;
	switch (x.sa.ss_family) {
	case AF_INET:
		return as_in(&x)->sin_addr.s_addr == as_in(&y)->sin_addr.s_addr;
	case AF_INET6:
		return memcmp(&as_in6(&x)->sin6_addr, &as_in6(&y)->sin6_addr,
			   sizeof(struct in6_addr)) == 0 &&
		       as_in6(&x)->sin6_scope_id == as_in6(&y)->sin6_scope_id;
	case AF_UNIX:
		return strcmp(((const struct sockaddr_un *)&x.sa)->sun_path,
			   ((const struct sockaddr_un *)&y.sa)->sun_path) == 0;
	default:
		return false;
	}
}
