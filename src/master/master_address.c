/*
 * master_address.c - see master_address.h.
 */
#include "master/master_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/span.h"
#include "conf/conf_host.h"

/* "host:port", "[host]:port" or "port"; host is empty when there is none. */
static bool
split(const char *name, struct buf *host, struct buf *port)
{
	struct span all = span_str(name);
	size_t colon = span_find_last(all, ':');
	struct span h = {0}, p = all;

	if (colon < all.len) {
		h = span_head(all, colon);
		p = span_from(all, colon + 1);
	}
	if (h.len >= 2 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']')
		h = span_of(h.ptr + 1, h.len - 2);
	buf_add_span(host, h);
	buf_add_span(port, p);
	return p.len > 0;
}

static bool
port_number(const char *port, in_port_t *ret)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET};
	struct addrinfo *found = NULL;
	uint64_t number;

	if (span_number(span_str(port), 65535, &number)) {
		*ret = htons((in_port_t)number);
		return true;
	}
	if (getaddrinfo(NULL, port, &hints, &found) != 0)
		return false;
	*ret = ((struct sockaddr_in *)(void *)found->ai_addr)->sin_port;
	freeaddrinfo(found);
	return true;
}

static void
add_want(struct master_want **wants, size_t *count, const struct sockaddr_storage *addr,
    in_port_t port, bool wildcard)
{
	struct master_want w = {.family = addr->ss_family, .addr = *addr, .wildcard = wildcard};
	char text[INET6_ADDRSTRLEN];

	if (addr->ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&w.addr;

		in6->sin6_port = port;
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		w.key = mem_printf("inet:[%s]:%u", text, ntohs(port));
	} else {
		struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)&w.addr;

		in4->sin_port = port;
		(void)inet_ntop(AF_INET, &in4->sin_addr, text, sizeof(text));
		w.key = mem_printf("inet:%s:%u", text, ntohs(port));
	}
	*wants = mem_resize(*wants, *count + 1, sizeof(**wants));
	(*wants)[(*count)++] = w;
}

static bool
speaks(const struct conf *c, const char *protocol)
{
	return conf_has(c, CONF_inet_protocols, protocol) ||
	       conf_has(c, CONF_inet_protocols, "all");
}

/* inet_interfaces = all: one socket a family, on all addresses, present and to come. */
static void
add_wildcards(const struct conf *c, in_port_t port, struct master_want **wants, size_t *count)
{
	struct sockaddr_storage any = {.ss_family = AF_INET};

	if (speaks(c, "ipv4"))
		add_want(wants, count, &any, port, true);
	any.ss_family = AF_INET6;
	if (speaks(c, "ipv6"))
		add_want(wants, count, &any, port, true);
}

static bool
add_interfaces(const struct conf *c, in_port_t port, struct master_want **wants, size_t *count,
    struct err *err)
{
	struct conf_addresses own = {0};

	if (conf_is(c, CONF_inet_interfaces, "all")) {
		add_wildcards(c, port, wants, count);
		return true;
	}
	if (!conf_host_own(c, &own, err))
		return false;
	for (size_t i = 0; i < own.count; i++)
		add_want(wants, count, &own.list[i].addr, port, false);
	conf_addresses_done(&own);
	return true;
}

static bool
add_host(const struct conf *c, const char *host, in_port_t port, struct master_want **wants,
    size_t *count, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	size_t before = *count;
	int error = getaddrinfo(host, NULL, &hints, &found);

	if (error != 0)
		return err_set(err, ERR_CONFIG, "", "%s: %s", host, gai_strerror(error));
	for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
		struct sockaddr_storage addr = {0};

		if (!(a->ai_family == AF_INET && speaks(c, "ipv4")) &&
		    !(a->ai_family == AF_INET6 && speaks(c, "ipv6")))
			continue;
		memcpy(&addr, a->ai_addr, a->ai_addrlen);
		add_want(wants, count, &addr, port, false);
	}
	freeaddrinfo(found);
	if (*count == before)
		return err_set(err, ERR_CONFIG, "",
		    "%s: no address of the protocols in inet_protocols = %s", host,
		    conf_str(c, CONF_inet_protocols));
	return true;
}

bool
master_address_wants(const struct conf *c, const char *name, struct master_want **wants,
    size_t *count, struct err *err)
{
	struct buf host CLEANUP(buf_done) = {0};
	struct buf port CLEANUP(buf_done) = {0};
	in_port_t number;

	if (!split(name, &host, &port) || !port_number(buf_str(&port), &number))
		return err_set(err, ERR_CONFIG, "", "bad port or service name: %s", name);
	if (host.len == 0)
		return add_interfaces(c, number, wants, count, err);
	return add_host(c, buf_str(&host), number, wants, count, err);
}
