/*
 * dns.h - the only door to c-ares and libidn2. Each call suspends the running task until the answer or the deadline. Answers are
 * capped (DNS_RECORD_MAX records); names come back lower-case without the final dot. Names to ask for may be UTF-8.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include <sys/socket.h>

#include "base/base.h"
#include "base/err.h"

#define DNS_RECORD_MAX 100
#define DNS_NAME_MAX   256

enum dns_status {
	DNS_FOUND,
	DNS_NOT_FOUND, /* NXDOMAIN: the name does not exist */
	DNS_NO_DATA,   /* the name exists, without such a record */
	DNS_RETRY,     /* SERVFAIL, time-out, no server: temporary */
	DNS_INVALID,   /* malformed name or malformed answer */
	DNS_CANCELLED,
};

struct dns_mx {
	uint16_t preference;
	char host[DNS_NAME_MAX]; /* "" = null MX (RFC 7505) */
	uint32_t ttl;
};

struct dns_ip {
	int family; /* AF_INET, AF_INET6 */
	unsigned char addr[16];
	uint32_t ttl;
};

struct dns_tlsa {
	uint8_t usage;
	uint8_t selector;
	uint8_t matching;
	unsigned char data[256];
	size_t len;
};

struct dns_settings {
	const char *servers; /* "127.0.0.1:5353,..."; NULL: /etc/resolv.conf */
	int64_t timeout;     /* us for one try; 0 = 5 s */
	int tries;           /* 0 = 3 */
	bool dnssec;         /* ask for and report validated answers (AD) */
};

/* Once a process, after task_init(). */
bool dns_init(const struct dns_settings *settings, struct err *err);
/* Between the two. */
bool dns_is_ready(void);
/* Ends all look-ups under way (DNS_CANCELLED). May let other tasks run, when called from a task. */
void dns_done(void);

/* Each fills a fresh array (mem_free) of *ret_count records on DNS_FOUND. *ret_secure (may be NULL): validated (AD). */
enum dns_status dns_mx(const char *domain, int64_t deadline, struct dns_mx **ret, size_t *ret_count,
    bool *ret_secure, struct err *err);
/* `family`: AF_INET, AF_INET6 or AF_UNSPEC (both; found if either is). */
enum dns_status dns_ip(const char *host, int family, int64_t deadline, struct dns_ip **ret,
    size_t *ret_count, bool *ret_secure, struct err *err);
/* The same with the search list of resolv.conf for names that are not complete (RES_DEFNAMES, RES_DNSRCH). */
enum dns_status dns_ip_search(const char *host, int family, int64_t deadline, struct dns_ip **ret,
    size_t *ret_count, struct err *err);
/*
 * Answers are kept as long as they say, ten minutes at most, a "no" one minute. This forgets those about `name`, because
 * what they say has not worked.
 */
void dns_forget(const char *name);
/* Names of an address, in order. Strings and array in one block (mem_free). */
enum dns_status dns_ptr(
    const struct sockaddr *addr, int64_t deadline, char ***ret, size_t *ret_count, struct err *err);
/* Names of the name servers of a zone; strings and array in one block (mem_free). */
enum dns_status dns_ns(
    const char *name, int64_t deadline, char ***ret, size_t *ret_count, struct err *err);
enum dns_status dns_txt(
    const char *name, int64_t deadline, char ***ret, size_t *ret_count, struct err *err);
enum dns_status dns_tlsa(const char *name, int64_t deadline, struct dns_tlsa **ret,
    size_t *ret_count, bool *ret_secure, struct err *err);

/*
 * /etc/hosts and literals, then DNS, as libc's "files dns" does: for database hosts and smtp_host_lookup = native. Never
 * blocks.
 */
enum dns_status dns_native(const char *host, int family, int64_t deadline, struct dns_ip **ret,
    size_t *ret_count, struct err *err);

/*
 * The names of an address: /etc/hosts, then dns_ptr(). Strings and array in one block (mem_free). Never blocks.
 */
enum dns_status dns_native_name(
    const struct sockaddr *addr, int64_t deadline, char ***ret, size_t *ret_count, struct err *err);

/* "Host not found", "Host found but no data record of requested type", ... as Postfix words it. */
const char *dns_status_text(enum dns_status status);

#endif
