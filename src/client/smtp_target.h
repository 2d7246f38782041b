/*
 * smtp_target.h - a nexthop as transport_maps and relayhost write it, taken apart. Pure.
 *
 *	host, host:port, [host], [host]:port, [1.2.3.4], [ipv6:2001:db8::1]    and lists of these
 *	unix:path, inet:host:port                                              LMTP
 */
#ifndef CLIENT_SMTP_TARGET_H
#define CLIENT_SMTP_TARGET_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "dns/dns.h"

/* Where mail goes: one site of a nexthop. */
struct smtp_target {
	char host[DNS_NAME_MAX]; /* without [ ] and "ipv6:" */
	uint16_t port;
	bool direct; /* in [ ]: no MX */
};

/* The next site of a list (blanks and commas between them); false: there is none. */
bool smtp_target_next(struct span *list, struct span *ret_site);

/*
 * Takes one site apart; `service` is the default port, by number or name (smtp_tcp_port). False: ERR_TEMP, since the mail is
 * not to blame. May read /etc/services.
 */
bool smtp_target_parse(
    struct span site, const char *service, struct smtp_target *ret, struct err *err) MUST_CHECK;

/* Is it "unix:path"? Then *ret_path is the path. */
bool smtp_target_is_unix(struct span nexthop, struct span *ret_path);

#endif
