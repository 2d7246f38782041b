/*
 * dns_int.h - what the files of this room share: reading answers as they come over the wire, queries under way, and the
 * hosts file.
 */
#ifndef DNS_DNS_INT_H
#define DNS_DNS_INT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"
#include "dns/dns.h"
#include "task/task.h"

/* Record types (RFC 1035, 3596, 6698). */
enum {
	DNS_TYPE_A = 1,
	DNS_TYPE_NS = 2,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_SOA = 6,
	DNS_TYPE_PTR = 12,
	DNS_TYPE_MX = 15,
	DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_TLSA = 52,
};

/* "MX", "AAAA", ... */
const char *dns_type_name(int type);

/* ---- dns_wire.c: pure functions over an answer; the bytes are a stranger's -------------------------------------- */

struct dns_answer {
	struct span bytes; /* the whole message; borrowed */
	size_t at;         /* where the answer section begins */
	size_t count;      /* records it claims to have */
	int rcode;
	bool authenticated;       /* AD */
	char owner[DNS_NAME_MAX]; /* the name asked for, then the end of its chain of aliases */
};

struct dns_record {
	char owner[DNS_NAME_MAX];
	int type;
	uint32_t ttl;
	size_t at;  /* offset of the data in the message: names in it may point elsewhere */
	size_t len; /* bytes of data */
};

/*
 * Reads a name at `*at` into `out`, lower-case, without the final dot, and moves `*at` behind it. A byte that cannot stand
 * in a name as text becomes '?'. False: malformed.
 */
bool dns_wire_name(struct span message, size_t *at, char out[DNS_NAME_MAX]) MUST_CHECK;

/* Reads header and question, and follows the aliases of the name asked for. False: malformed. */
bool dns_wire_begin(struct span message, struct dns_answer *ret) MUST_CHECK;

/*
 * The next record of `type` that belongs to the name asked for. `*at` and `*seen` begin as answer->at and 0. False: no more
 * (*ret_malformed says whether because the rest cannot be read).
 */
bool dns_wire_next(const struct dns_answer *a, int type, size_t *at, size_t *seen,
    struct dns_record *ret, bool *ret_malformed) MUST_CHECK;

/*
 * How long an answer holds, in seconds: the shortest time of its records; for a "no" that of the SOA record (RFC 2308
 * section 5). *ret_found: there are records. False: not to be kept (a failure, no SOA, malformed).
 */
bool dns_wire_ttl(struct span message, uint32_t *ret_ttl, bool *ret_found) MUST_CHECK;

/* Writes a query for `name` (checked by dns_wire_is_query_name) as a message; asks for validation when `dnssec`. */
void dns_wire_query(struct buf *out, uint16_t id, const char *name, int type, bool dnssec);

/* Takes EDNS out of a query of dns_wire_query(), for servers that do not know it. */
void dns_wire_drop_edns(struct buf *query);

/* Labels of 1 to 63 printable characters, 253 in all, perhaps a final dot. */
bool dns_wire_is_query_name(const char *name);

/* Letters, digits, '-', '_' and dots, no label empty or with a hyphen at its end: what may be used as a host. */
bool dns_wire_is_host_name(const char *name);

/* ---- dns_query.c: the resolver ------------------------------------------------------------------------------------ */

/* A question under way, or an answer that is kept. */
struct dns_query {
	struct task_cond cond;
	bool done;
	bool extended; /* asked with EDNS */
	size_t
	    refs; /* who waits for it; a question nobody waits for is freed when c-ares is through with it */
	int status; /* ARES_... */
	struct buf question;
	struct buf answer;
	struct buf key;   /* in the cache; empty: not there */
	struct list kept; /* in the cache's list of answers */
	int64_t expires;  /* mono us */
};

void dns_query_free(struct dns_query *q);

/* Sends the question; `search`: try the search list of resolv.conf. NULL: not possible now. Never waits. */
struct dns_query *dns_query_start(const char *name, int type, bool search);

/*
 * Waits for the answer, which is then in `*ret_answer` (to be released with buf_done), and frees the query. DNS_FOUND says
 * only that there is an answer, whatever its content. Accepts NULL.
 */
enum dns_status dns_query_wait(struct dns_query **q, int64_t deadline, struct buf *ret_answer);

/* True if validated answers are asked for. */
bool dns_query_is_dnssec(void);

/* ---- dns_cache.c ------------------------------------------------------------------------------------------------------ */

#define DNS_CACHE_KEY_MAX (DNS_NAME_MAX + 2)

/* The same question under way, or its answer if that still holds; else NULL. */
struct dns_query *dns_cache_find(const char *name, int type, bool search);
/* A question was sent; those who ask the same find it. */
void dns_cache_add(struct dns_query *q, const char *name, int type, bool search);
/* It was answered: the answer is kept as long as it may be. May free `q` when nobody waits for it. */
void dns_cache_settle(struct dns_query *q);
/* Forgets the answers about `name` that decide where mail goes. */
void dns_cache_forget(const char *name);
/* Forgets all answers; _done() also releases the table. */
void dns_cache_clear(void);
void dns_cache_done(void);

/* ---- dns_hosts.c ------------------------------------------------------------------------------------------------------ */

/* The addresses of `host` in the hosts file, read again after each change. DNS_FOUND or DNS_NOT_FOUND. */
enum dns_status dns_hosts_find(
    const char *host, int family, struct dns_ip **ret, size_t *ret_count);

/* For tests: another file. */
/* The name of an address, or NULL; valid until the next call here. */
const char *dns_hosts_name(const struct dns_ip *ip);
void dns_hosts_set_path(const char *path);
void dns_hosts_done(void);

#endif
