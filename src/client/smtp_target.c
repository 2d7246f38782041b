/*
 * smtp_target.c - see smtp_target.h.
 */
#include "client/smtp_target.h"

#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

static bool
smtp_target_port(struct span text, uint16_t *ret)
{
	uint64_t port;
	char name[32];
	const struct servent *service;

	if (span_number(text, 65535, &port)) {
		*ret = (uint16_t)port;
		return port != 0;
	}
	if (text.len == 0 || text.len >= sizeof(name))
		return false;
	memcpy(name, text.ptr, text.len);
	name[text.len] = '\0';
	service = getservbyname(name, "tcp");
	if (service == NULL)
		return false;
	*ret = ntohs((uint16_t)service->s_port);
	return true;
}

bool
smtp_target_next(struct span *list, struct span *ret_site)
{
	return span_word(list, ", \t\r\n", ret_site);
}

/* Cuts a site into host and port; false: brackets that do not match. */
static bool
smtp_target_split(struct span site, struct span *ret_host, struct span *ret_port, bool *ret_direct)
{
	size_t colon = span_find(site, ':');

	*ret_host = site;
	*ret_port = (struct span){0};
	*ret_direct = site.len != 0 && site.ptr[0] == '[';
	if (*ret_direct) {
		size_t close = span_find(site, ']');

		if (close == site.len)
			return false;
		*ret_host = span_head(span_from(site, 1), close - 1);
		*ret_port = span_from(site, close + 1);
		if (ret_port->len != 0 && ret_port->ptr[0] != ':')
			return false;
		*ret_port = span_from(*ret_port, 1);
	} else if (colon < site.len && colon == span_find_last(site, ':')) {
		*ret_host = span_head(site, colon);
		*ret_port = span_from(site, colon + 1);
	}
	return true;
}

bool
smtp_target_parse(struct span site, const char *service, struct smtp_target *ret, struct err *err)
{
	struct span host;
	struct span port;

	*ret = (struct smtp_target){0};
	if (!smtp_target_split(site, &host, &port, &ret->direct))
		return err_set(err, ERR_TEMP, "4.3.5", "bad next-hop \"%.*s\"", SPAN_ARG(site));
	if (port.len == 0)
		port = span_str(service);
	if (span_starts_nocase(host, "ipv6:"))
		host = span_from(host, 5);
	if (host.len == 0 || host.len >= sizeof(ret->host) || !smtp_target_port(port, &ret->port))
		return err_set(err, ERR_TEMP, "4.3.5", "bad next-hop \"%.*s\"", SPAN_ARG(site));
	memcpy(ret->host, host.ptr, host.len);
	return true;
}

bool
smtp_target_is_unix(struct span nexthop, struct span *ret_path)
{
	if (!span_starts(nexthop, "unix:"))
		return false;
	*ret_path = span_from(nexthop, 5);
	return true;
}
