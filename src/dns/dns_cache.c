/*
 * dns_cache.c - questions under way and answers that still hold, by name and type: whoever asks the same meanwhile waits for
 * the same answer, and until its time to live is over nobody asks again. Failures of name servers are not kept.
 *
 * Bounded by DNS_CACHE_ANSWERS and DNS_CACHE_BYTES: what was not asked for longest goes first.
 */
#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/mem.h"
#include "dns/dns_int.h"

#define DNS_CACHE_ANSWERS 5000
#define DNS_CACHE_BYTES   ((size_t)4 << 20)
/* However long an answer says that it holds, and a "no". */
#define DNS_CACHE_LONGEST (600 * CLOCK_SECOND)
#define DNS_CACHE_LONG_NO (60 * CLOCK_SECOND)

static struct {
	struct hmap by_key; /* of struct dns_query */
	struct list
	    answers; /* kept ones, most recently asked for last; next NULL: nothing was kept yet */
	size_t count;
	size_t bytes;
} cache;

static struct span
dns_cache_key(char key[DNS_CACHE_KEY_MAX], const char *name, int type, bool search)
{
	size_t len = 0;

	key[len++] = (char)(search ? 's' : 'q');
	key[len++] = (char)(type & 0xff);
	while (*name != '\0' && len < DNS_CACHE_KEY_MAX)
		key[len++] = (char)tolower((unsigned char)*name++);
	if (len > 2 && key[len - 1] == '.')
		len--;
	return span_of(key, len);
}

static void
dns_cache_drop(struct dns_query *q)
{
	if (q->key.len == 0)
		return;
	(void)hmap_remove(&cache.by_key, buf_span(&q->key));
	buf_clear(&q->key);
	if (!list_is_linked(&q->kept))
		return;
	list_remove(&q->kept);
	cache.count--;
	cache.bytes -= q->answer.len;
	if (q->refs == 0)
		dns_query_free(q);
}

struct dns_query *
dns_cache_find(const char *name, int type, bool search)
{
	char key[DNS_CACHE_KEY_MAX];
	struct dns_query *q = hmap_get(&cache.by_key, dns_cache_key(key, name, type, search));

	if (q == NULL || !q->done)
		return q;
	if (clock_mono_us() >= q->expires) {
		dns_cache_drop(q);
		return NULL;
	}
	list_remove(&q->kept);
	list_add(&cache.answers, &q->kept);
	return q;
}

void
dns_cache_add(struct dns_query *q, const char *name, int type, bool search)
{
	char key[DNS_CACHE_KEY_MAX];

	buf_add_span(&q->key, dns_cache_key(key, name, type, search));
	(void)hmap_put(&cache.by_key, buf_span(&q->key), q);
}

static void
dns_cache_shrink(void)
{
	while (!list_is_empty(&cache.answers) &&
	       (cache.count > DNS_CACHE_ANSWERS || cache.bytes > DNS_CACHE_BYTES))
		dns_cache_drop(CONTAINER_OF(cache.answers.next, struct dns_query, kept));
}

void
dns_cache_settle(struct dns_query *q)
{
	bool found;
	uint32_t ttl;

	if (q->key.len == 0)
		return;
	if (q->answer.len == 0 || !dns_wire_ttl(buf_span(&q->answer), &ttl, &found) || ttl == 0) {
		dns_cache_drop(q);
		return;
	}
	q->expires = clock_deadline(
	    MIN((int64_t)ttl * CLOCK_SECOND, found ? DNS_CACHE_LONGEST : DNS_CACHE_LONG_NO));
	if (cache.answers.next == NULL)
		list_init(&cache.answers);
	list_add(&cache.answers, &q->kept);
	cache.count++;
	cache.bytes += q->answer.len;
	dns_cache_shrink();
}

void
dns_cache_forget(const char *name)
{
	static const int types[] = {DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_TLSA};

	for (size_t i = 0; i < 2 * ARRAY_LEN(types); i++) {
		char key[DNS_CACHE_KEY_MAX];
		struct dns_query *q =
		    hmap_get(&cache.by_key, dns_cache_key(key, name, types[i / 2], i % 2 == 0));

		if (q != NULL && q->done)
			dns_cache_drop(q);
	}
}

void
dns_cache_clear(void)
{
	while (cache.answers.next != NULL && !list_is_empty(&cache.answers))
		dns_cache_drop(CONTAINER_OF(cache.answers.next, struct dns_query, kept));
}

void
dns_cache_done(void)
{
	dns_cache_clear();
	hmap_done(&cache.by_key);
}
