/*
 * conf_host.c - names, interfaces and networks of this host: see conf_host.h.
 */
#include "conf/conf_host.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"

#define HOST_SEPARATORS ", \t\r\n"

/* The bytes of an address, without family and port. */
static struct span
address_bytes(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return span_of(
		    (const char *)&((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	if (a->sa_family == AF_INET6)
		return span_of(
		    (const char *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
	return (struct span){0};
}

void
conf_host_name(struct buf *ret)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0')
		(void)snprintf(name, sizeof(name), "localhost");
	for (const char *c = name; *c != '\0'; c++)
		buf_add_char(ret, (char)tolower((unsigned char)*c));
}

static unsigned
prefix_length(const struct sockaddr *mask, sa_family_t family)
{
	unsigned bits = 0;

	if (mask == NULL)
		return family == AF_INET ? 32 : 128;
	/* Some kernels leave the family of the mask out. */
	struct sockaddr_storage copy = {0};
	memcpy(&copy, mask,
	    family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	copy.ss_family = family;
	struct span bytes = address_bytes((const struct sockaddr *)&copy);
	for (size_t i = 0; i < bytes.len; i++)
		bits += (unsigned)__builtin_popcount((unsigned char)bytes.ptr[i]);
	return bits;
}

static void
add_address(struct conf_addresses *list, const struct sockaddr *a, unsigned prefix)
{
	struct conf_address one = {.prefix = prefix};

	if (conf_addresses_has(list, a))
		return;
	memcpy(&one.addr, a,
	    a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	if (a->sa_family == AF_INET)
		((struct sockaddr_in *)(void *)&one.addr)->sin_port = 0;
	else
		((struct sockaddr_in6 *)(void *)&one.addr)->sin6_port = 0;
	list->list = mem_resize(list->list, list->count + 1, sizeof(*list->list));
	list->list[list->count++] = one;
}

bool
conf_host_interfaces(bool ipv4, bool ipv6, struct conf_addresses *ret, struct err *err)
{
	const sa_family_t families[] = {AF_INET, AF_INET6};
	struct conf_addresses found = {0};
	struct ifaddrs *all;

	if (getifaddrs(&all) != 0)
		return err_set(
		    err, ERR_TEMP, "4.3.0", "list of network interfaces: %s", strerror(errno));
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		if (families[f] == AF_INET ? !ipv4 : !ipv6)
			continue;
		for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
			if (i->ifa_addr != NULL && i->ifa_addr->sa_family == families[f] &&
			    (i->ifa_flags & IFF_UP) != 0)
				add_address(&found, i->ifa_addr,
				    prefix_length(i->ifa_netmask, families[f]));
	}
	freeifaddrs(all);
	*ret = found;
	return true;
}

static bool
is_loopback(const struct sockaddr *a)
{
	struct span bytes = address_bytes(a);

	if (a->sa_family == AF_INET)
		return bytes.ptr[0] == 127;
	return a->sa_family == AF_INET6 && memcmp(bytes.ptr, &in6addr_loopback, 16) == 0;
}

/* Appends the addresses of a host name or address, with brackets or without. */
static bool
resolve(struct span item, const char *parameter, bool ipv4, bool ipv6, struct conf_addresses *ret,
    struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	    .ai_family = ipv4 && ipv6 ? AF_UNSPEC : (ipv4 ? AF_INET : AF_INET6)};
	struct addrinfo *list;
	size_t before = ret->count;

	if (item.len > 2 && item.ptr[0] == '[' && item.ptr[item.len - 1] == ']')
		item = span_of(item.ptr + 1, item.len - 2);
	char *name CLEANUP(mem_free_str) = span_dup(item);
	if (getaddrinfo(name, NULL, &hints, &list) != 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "config variable %s: host not found: %s",
		    parameter, name);
	for (const struct addrinfo *a = list; a != NULL; a = a->ai_next)
		if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
			add_address(ret, a->ai_addr, a->ai_family == AF_INET ? 32 : 128);
	freeaddrinfo(list);
	if (ret->count == before && before == 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "config variable %s: host not found: %s",
		    parameter, name);
	return true;
}

static bool
resolve_list(const char *text, const char *parameter, bool ipv4, bool ipv6,
    struct conf_addresses *ret, struct err *err)
{
	struct span rest = span_str(text), item;

	while (span_word(&rest, HOST_SEPARATORS, &item))
		if (!resolve(item, parameter, ipv4, ipv6, ret, err))
			return false;
	return true;
}

/* Keeps of `wanted` the addresses that interfaces have, with their networks; all must be there. */
static bool
match_interfaces(const struct conf_addresses *wanted, const struct conf_addresses *have,
    struct conf_addresses *ret, struct err *err)
{
	char text[INET6_ADDRSTRLEN] = "";

	for (size_t i = 0; i < wanted->count; i++) {
		const struct sockaddr *a = (const struct sockaddr *)&wanted->list[i].addr;
		size_t k = 0;

		while (k < have->count &&
		       !conf_addresses_has(&(struct conf_addresses){&have->list[k], 1}, a))
			k++;
		if (k < have->count) {
			add_address(ret, a, have->list[k].prefix);
			continue;
		}
		(void)inet_ntop(a->sa_family, address_bytes(a).ptr, text, sizeof(text));
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "parameter inet_interfaces: no local interface found for %s", text);
	}
	return true;
}

static bool
own_select(const char *interfaces, bool ipv4, bool ipv6, const struct conf_addresses *have,
    struct conf_addresses *ret, struct err *err)
{
	struct span text = span_trim(span_str(interfaces));
	bool all = span_equal_nocase_str(text, "all");

	if (all || span_equal_nocase_str(text, "loopback-only")) {
		for (size_t i = 0; i < have->count; i++) {
			const struct sockaddr *a = (const struct sockaddr *)&have->list[i].addr;

			if (all || is_loopback(a))
				add_address(ret, a, have->list[i].prefix);
		}
		return true;
	}
	struct conf_addresses wanted CLEANUP(conf_addresses_done) = {0};
	return resolve_list(interfaces, "inet_interfaces", ipv4, ipv6, &wanted, err) &&
	       match_interfaces(&wanted, have, ret, err);
}

static void
protocol_families(const char *protocols, bool *ret_ipv4, bool *ret_ipv6)
{
	struct span rest = span_str(protocols), word;

	*ret_ipv4 = *ret_ipv6 = false;
	while (span_word(&rest, HOST_SEPARATORS, &word)) {
		bool all = span_equal_nocase_str(word, "all");

		*ret_ipv4 = *ret_ipv4 || all || span_equal_nocase_str(word, "ipv4");
		*ret_ipv6 = *ret_ipv6 || all || span_equal_nocase_str(word, "ipv6");
	}
}

bool
conf_host_own_from(
    const char *interfaces, const char *protocols, struct conf_addresses *ret, struct err *err)
{
	struct conf_addresses have CLEANUP(conf_addresses_done) = {0};
	struct conf_addresses own = {0};
	bool ipv4, ipv6;

	protocol_families(protocols, &ipv4, &ipv6);
	if (!conf_host_interfaces(ipv4, ipv6, &have, err) ||
	    !own_select(interfaces, ipv4, ipv6, &have, &own, err)) {
		conf_addresses_done(&own);
		return false;
	}
	*ret = own;
	return true;
}

bool
conf_host_own(const struct conf *c, struct conf_addresses *ret, struct err *err)
{
	return conf_host_own_from(
	    conf_str(c, CONF_inet_interfaces), conf_str(c, CONF_inet_protocols), ret, err);
}

bool
conf_host_proxy(const struct conf *c, struct conf_addresses *ret, struct err *err)
{
	struct conf_addresses found = {0};
	bool ipv4, ipv6;

	protocol_families(conf_str(c, CONF_inet_protocols), &ipv4, &ipv6);
	if (!resolve_list(
		conf_str(c, CONF_proxy_interfaces), "proxy_interfaces", ipv4, ipv6, &found, err)) {
		conf_addresses_done(&found);
		return false;
	}
	*ret = found;
	return true;
}

/* Prefix of the network that `style` makes of an address. */
static unsigned
style_prefix(const struct conf_address *a, struct span bytes, const char *style)
{
	unsigned char first = bytes.len > 0 ? (unsigned char)bytes.ptr[0] : 0;

	if (strcasecmp(style, "host") == 0)
		return a->addr.ss_family == AF_INET ? 32 : 128;
	if (strcasecmp(style, "class") != 0 || a->addr.ss_family != AF_INET)
		return a->prefix;
	if (first < 128)
		return 8;
	if (first < 192)
		return 16;
	return first < 224 ? 24 : 32;
}

void
conf_host_networks(const struct conf_addresses *own, const char *style, struct buf *ret)
{
	struct buf list CLEANUP(buf_done) = {0};

	buf_add_char(&list, ' ');
	for (size_t i = 0; i < own->count; i++) {
		const struct conf_address *a = &own->list[i];
		struct span bytes = address_bytes((const struct sockaddr *)&a->addr);
		unsigned prefix = style_prefix(a, bytes, style);
		unsigned char net[16] = {0};
		char text[INET6_ADDRSTRLEN] = "", item[INET6_ADDRSTRLEN + 8];

		for (unsigned bit = 0; bit < prefix; bit++)
			net[bit / 8] |=
			    (unsigned char)((unsigned char)bytes.ptr[bit / 8] & (0x80u >> bit % 8));
		(void)inet_ntop(a->addr.ss_family, net, text, sizeof(text));
		(void)snprintf(item, sizeof(item),
		    a->addr.ss_family == AF_INET ? " %s/%u " : " [%s]/%u ", text, prefix);
		/* Several addresses may lie in one network. */
		if (strstr(buf_str(&list), item) == NULL)
			buf_add_str(&list, item + 1);
	}
	buf_add_span(ret, span_trim(buf_span(&list)));
}

void
conf_addresses_done(struct conf_addresses *a)
{
	mem_free(a->list);
	*a = (struct conf_addresses){0};
}

bool
conf_addresses_has(const struct conf_addresses *a, const struct sockaddr *address)
{
	struct span bytes = address_bytes(address);

	for (size_t i = 0; i < a->count; i++) {
		const struct sockaddr *one = (const struct sockaddr *)&a->list[i].addr;

		if (bytes.len > 0 && one->sa_family == address->sa_family &&
		    span_equal(address_bytes(one), bytes))
			return true;
	}
	return false;
}
