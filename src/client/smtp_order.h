/*
 * smtp_order.h - in which order the addresses of a destination are tried (RFC 5321 section 5.1), and how many. Pure but
 * for the dice.
 */
#ifndef CLIENT_SMTP_ORDER_H
#define CLIENT_SMTP_ORDER_H

#include "base/base.h"
#include "dns/dns.h"
#include "net/net_addr.h"

/* One address to try. */
struct smtp_host {
	char name[DNS_NAME_MAX];
	struct net_addr addr;
	uint16_t preference;
};

struct smtp_hosts {
	struct smtp_host *list; /* owned */
	size_t count;
};

struct smtp_order_rules {
	bool shuffle;         /* smtp_randomize_addresses */
	int first_family;     /* smtp_address_preference: AF_INET, AF_INET6; AF_UNSPEC: either */
	bool balance;         /* smtp_balance_inet_protocols */
	size_t address_limit; /* smtp_mx_address_limit; 0: none */
};

/* Better preference first; within one, by the rules; drops what is above the limit. */
void smtp_order(struct smtp_hosts *hosts, const struct smtp_order_rules *rules);

/* Keeps only the hosts with a better preference than `preference`. The hosts must be in order of preference. */
void smtp_order_cut(struct smtp_hosts *hosts, uint16_t preference);

/* Sorts by preference alone, equal ones as they came. */
void smtp_order_by_preference(struct smtp_hosts *hosts);

#endif
