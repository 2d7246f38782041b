/*
 * smtp_order.c - see smtp_order.h.
 */
#include "client/smtp_order.h"

#include "base/random.h"

static bool
smtp_order_is_before(const struct smtp_host *a, const struct smtp_host *b, int first_family)
{
	int fa = net_addr_family(&a->addr);
	int fb = net_addr_family(&b->addr);

	if (a->preference != b->preference)
		return a->preference < b->preference;
	return first_family != AF_UNSPEC && fa != fb && fa == first_family;
}

/* Insertion: stable, and the lists are short (DNS_RECORD_MAX answers a name, mostly a handful). */
static void
smtp_order_sort(struct smtp_hosts *hosts, int first_family)
{
	for (size_t i = 1; i < hosts->count; i++) {
		struct smtp_host moved = hosts->list[i];
		size_t at = i;

		for (; at > 0 && smtp_order_is_before(&moved, &hosts->list[at - 1], first_family);
		     at--)
			hosts->list[at] = hosts->list[at - 1];
		hosts->list[at] = moved;
	}
}

static void
smtp_order_shuffle(struct smtp_hosts *hosts)
{
	for (size_t i = hosts->count; i > 1; i--) {
		size_t j = random_below((uint32_t)i);
		struct smtp_host swap = hosts->list[i - 1];

		hosts->list[i - 1] = hosts->list[j];
		hosts->list[j] = swap;
	}
}

/* Drops hosts of `family` behind the first `keep` ones. */
static void
smtp_order_thin(struct smtp_hosts *hosts, int family, size_t keep)
{
	size_t to = 0;

	for (size_t i = 0; i < hosts->count; i++) {
		if (net_addr_family(&hosts->list[i].addr) == family) {
			if (keep == 0)
				continue;
			keep--;
		}
		hosts->list[to++] = hosts->list[i];
	}
	hosts->count = to;
}

/*
 * Where one protocol has so many addresses that the limit would leave none of the other, and that one alone works, mail
 * would never get through: each may have half.
 */
static void
smtp_order_balance(struct smtp_hosts *hosts, size_t limit)
{
	size_t six = 0;
	size_t four;
	size_t half = limit / 2;

	for (size_t i = 0; i < hosts->count; i++)
		six += net_addr_family(&hosts->list[i].addr) == AF_INET6;
	four = hosts->count - six;
	if (six == 0 || four == 0 || hosts->count <= limit)
		return;
	if (six <= half) {
		smtp_order_thin(hosts, AF_INET, limit - six);
	} else if (four <= half) {
		smtp_order_thin(hosts, AF_INET6, limit - four);
	} else {
		/* The odd one goes to the protocol that comes first. */
		bool six_first = net_addr_family(&hosts->list[0].addr) == AF_INET6;

		smtp_order_thin(hosts, AF_INET6, six_first ? limit - half : half);
		smtp_order_thin(hosts, AF_INET, six_first ? half : limit - half);
	}
}

void
smtp_order(struct smtp_hosts *hosts, const struct smtp_order_rules *rules)
{
	if (rules->shuffle)
		smtp_order_shuffle(hosts);
	smtp_order_sort(hosts, rules->first_family);
	if (rules->address_limit == 0)
		return;
	if (rules->balance)
		smtp_order_balance(hosts, rules->address_limit);
	if (hosts->count > rules->address_limit)
		hosts->count = rules->address_limit;
}

void
smtp_order_by_preference(struct smtp_hosts *hosts)
{
	smtp_order_sort(hosts, AF_UNSPEC);
}

void
smtp_order_cut(struct smtp_hosts *hosts, uint16_t preference)
{
	size_t keep = 0;

	while (keep < hosts->count && hosts->list[keep].preference < preference)
		keep++;
	hosts->count = keep;
}
