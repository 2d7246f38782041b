/*
 * dns.c - the look-ups of dns.h: ask, read the answer, say what it means.
 */
#include "dns/dns.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "dns/dns_int.h"

enum { RCODE_OK = 0, RCODE_NAME_ERROR = 3 };

const char *
dns_type_name(int type)
{
	switch (type) {
	case DNS_TYPE_A:
		return "A";
	case DNS_TYPE_AAAA:
		return "AAAA";
	case DNS_TYPE_MX:
		return "MX";
	case DNS_TYPE_PTR:
		return "PTR";
	case DNS_TYPE_TXT:
		return "TXT";
	case DNS_TYPE_TLSA:
		return "TLSA";
	default:
		return "unknown";
	}
}

const char *
dns_status_text(enum dns_status status)
{
	switch (status) {
	case DNS_FOUND:
		return "Success";
	case DNS_NOT_FOUND:
		return "Host not found";
	case DNS_NO_DATA:
		return "Host found but no data record of requested type";
	case DNS_RETRY:
		return "Host not found, try again";
	case DNS_INVALID:
		return "Malformed or unexpected name server reply";
	case DNS_CANCELLED:
		return "Cancelled";
	}
	UNREACHED();
}

/* Fills `err` as Postfix words it, and returns `status`. */
static enum dns_status
failed(enum dns_status status, const char *name, const char *type, struct err *err)
{
	switch (status) {
	case DNS_FOUND:
		break;
	case DNS_CANCELLED:
		(void)err_set(err, ERR_GONE, "4.4.3", "name service look-up was cancelled");
		break;
	case DNS_RETRY:
		(void)err_set(err, ERR_TEMP, "4.4.3",
		    "Host or domain name not found. Name service error for name=%s type=%s: %s",
		    name, type, dns_status_text(status));
		break;
	case DNS_NOT_FOUND:
	case DNS_NO_DATA:
		(void)err_set(err, ERR_PERM, "5.4.4",
		    "Host or domain name not found. Name service error for name=%s type=%s: %s",
		    name, type, dns_status_text(status));
		break;
	case DNS_INVALID:
		(void)err_set(err, ERR_PERM, "5.4.4", "Name service error for name=%s type=%s: %s",
		    name, type, dns_status_text(status));
		break;
	}
	return status;
}

/* ---- names beyond ASCII ------------------------------------------------------------------------------------------ */

/*
 * DNS knows internationalised names by their ASCII form (RFC 5890). One that has none is returned as it is, and is then no
 * name to ask for.
 */
static const char *
ascii_name(const char *name, char buf[DNS_NAME_MAX])
{
	uint8_t *ascii = NULL;
	bool plain = true;

	for (const char *p = name; *p != '\0'; p++)
		plain = plain && (unsigned char)*p < 0x80;
	if (plain || idn2_lookup_u8((const uint8_t *)name, &ascii,
			 IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return name;
	(void)snprintf(buf, DNS_NAME_MAX, "%s", (const char *)ascii);
	idn2_free(ascii);
	return buf;
}

void
dns_forget(const char *name)
{
	char buf[DNS_NAME_MAX];

	dns_cache_forget(ascii_name(name, buf));
}

/* ---- one question ------------------------------------------------------------------------------------------------ */

/*
 * Waits for the answer to `q` and reads its head. `bytes` holds the answer; release it in any case.
 */
static enum dns_status
answer_await(struct dns_query **q, int64_t deadline, struct buf *bytes, struct dns_answer *ret)
{
	enum dns_status status = dns_query_wait(q, deadline, bytes);

	if (status != DNS_FOUND)
		return status;
	if (!dns_wire_begin(buf_span(bytes), ret))
		return DNS_INVALID;
	if (ret->rcode == RCODE_NAME_ERROR)
		return DNS_NOT_FOUND;
	return ret->rcode == RCODE_OK ? DNS_FOUND : DNS_RETRY;
}

/* Takes one record into the result; false: malformed. */
typedef bool take_fn(const struct dns_answer *a, const struct dns_record *r, void *out);

/* Hands each record of `type` to `take`. At least one good record is success, however many bad ones there are. */
static enum dns_status
answer_collect(const struct dns_answer *a, int type, take_fn *take, void *out, size_t *ret_count)
{
	size_t at = a->at;
	size_t seen = 0;
	size_t good = 0;
	bool bad_record = false;
	bool bad_rest = false;
	struct dns_record r;

	while (good < DNS_RECORD_MAX && dns_wire_next(a, type, &at, &seen, &r, &bad_rest)) {
		if (take(a, &r, out))
			good++;
		else
			bad_record = true;
	}
	*ret_count = good;
	if (good > 0)
		return DNS_FOUND;
	return bad_record || bad_rest ? DNS_INVALID : DNS_NO_DATA;
}

/* Asks for `type` of `name` and collects what comes. */
static enum dns_status
look_up(const char *name, int type, int64_t deadline, take_fn *take, void *out, size_t *ret_count,
    bool *ret_secure, struct err *err)
{
	struct buf bytes CLEANUP(buf_done) = {0};
	struct dns_answer a;
	struct dns_query *q;
	enum dns_status status;
	char buf[DNS_NAME_MAX];
	const char *ascii = ascii_name(name, buf);

	if (!dns_wire_is_query_name(ascii))
		return failed(DNS_INVALID, name, dns_type_name(type), err);
	q = dns_query_start(ascii, type, false);
	status = answer_await(&q, deadline, &bytes, &a);
	if (status == DNS_FOUND)
		status = answer_collect(&a, type, take, out, ret_count);
	if (status == DNS_FOUND && ret_secure != NULL)
		*ret_secure = a.authenticated && dns_query_is_dnssec();
	return failed(status, name, dns_type_name(type), err);
}

/* ---- MX ------------------------------------------------------------------------------------------------------------ */

struct mx_list {
	struct dns_mx *items;
	size_t count;
};

static bool
take_mx(const struct dns_answer *a, const struct dns_record *r, void *out)
{
	struct mx_list *list = out;
	size_t at = r->at + 2;
	struct dns_mx mx = {.ttl = r->ttl};

	if (r->len < 3 || !dns_wire_name(a->bytes, &at, mx.host))
		return false;
	if (mx.host[0] != '\0' && !dns_wire_is_host_name(mx.host))
		return false;
	mx.preference = (uint16_t)((unsigned char)a->bytes.ptr[r->at] << 8 |
				   (unsigned char)a->bytes.ptr[r->at + 1]);
	list->items = mem_resize(list->items, list->count + 1, sizeof(mx));
	list->items[list->count++] = mx;
	return true;
}

enum dns_status
dns_mx(const char *domain, int64_t deadline, struct dns_mx **ret, size_t *ret_count,
    bool *ret_secure, struct err *err)
{
	struct mx_list list = {0};
	enum dns_status status =
	    look_up(domain, DNS_TYPE_MX, deadline, take_mx, &list, ret_count, ret_secure, err);

	if (status == DNS_FOUND)
		*ret = list.items;
	return status;
}

/* ---- addresses -------------------------------------------------------------------------------------------------------- */

struct ip_list {
	struct dns_ip *items;
	size_t count;
};

static bool
take_ip(const struct dns_answer *a, const struct dns_record *r, void *out)
{
	struct ip_list *list = out;
	struct dns_ip ip = {.ttl = r->ttl};
	size_t size = r->type == DNS_TYPE_A ? 4 : 16;

	if (r->len != size || list->count == DNS_RECORD_MAX)
		return false;
	ip.family = r->type == DNS_TYPE_A ? AF_INET : AF_INET6;
	(void)memcpy(ip.addr, a->bytes.ptr + r->at, size);
	list->items = mem_resize(list->items, list->count + 1, sizeof(ip));
	list->items[list->count++] = ip;
	return true;
}

/* Waits for one of the two questions and adds its addresses. */
static enum dns_status
collect_ips(struct dns_query **q, int type, int64_t deadline, struct ip_list *list, bool *ret_ad)
{
	struct buf bytes CLEANUP(buf_done) = {0};
	struct dns_answer a;
	size_t count;
	enum dns_status status = answer_await(q, deadline, &bytes, &a);

	if (status != DNS_FOUND)
		return status;
	*ret_ad = a.authenticated && dns_query_is_dnssec();
	return answer_collect(&a, type, take_ip, list, &count);
}

/* What two questions about one name say together: an address beats all, and what may come right later beats "no". */
static enum dns_status
merge_status(enum dns_status a, enum dns_status b)
{
	static const enum dns_status order[] = {
	    DNS_FOUND, DNS_CANCELLED, DNS_RETRY, DNS_INVALID, DNS_NO_DATA, DNS_NOT_FOUND};

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		if (a == order[i] || b == order[i])
			return order[i];
	UNREACHED();
}

static enum dns_status
look_up_ips(const char *host, int family, bool search, int64_t deadline, struct ip_list *list,
    bool *ret_secure)
{
	struct dns_query *q4 = NULL;
	struct dns_query *q6 = NULL;
	enum dns_status s4;
	enum dns_status s6;
	bool ad4 = true;
	bool ad6 = true;

	/* Both are under way before the first is waited for. */
	if (family != AF_INET6)
		q4 = dns_query_start(host, DNS_TYPE_A, search);
	if (family != AF_INET)
		q6 = dns_query_start(host, DNS_TYPE_AAAA, search);
	s4 =
	    family == AF_INET6 ? DNS_NOT_FOUND : collect_ips(&q4, DNS_TYPE_A, deadline, list, &ad4);
	s6 = family == AF_INET ? DNS_NOT_FOUND
			       : collect_ips(&q6, DNS_TYPE_AAAA, deadline, list, &ad6);
	*ret_secure = ad4 && ad6;
	return merge_status(s4, s6);
}

static enum dns_status
ip_of(const char *host, int family, bool search, int64_t deadline, struct dns_ip **ret,
    size_t *ret_count, bool *ret_secure, struct err *err)
{
	const char *type = family == AF_INET6 ? "AAAA" : "A";
	struct ip_list list = {0};
	enum dns_status status;
	bool secure;
	char buf[DNS_NAME_MAX];
	const char *ascii = ascii_name(host, buf);

	if (!dns_wire_is_query_name(ascii))
		return failed(DNS_INVALID, host, type, err);
	status = look_up_ips(ascii, family, search, deadline, &list, &secure);
	if (status != DNS_FOUND)
		return failed(status, host, type, err);
	*ret = list.items;
	*ret_count = list.count;
	if (ret_secure != NULL)
		*ret_secure = secure;
	return DNS_FOUND;
}

enum dns_status
dns_ip(const char *host, int family, int64_t deadline, struct dns_ip **ret, size_t *ret_count,
    bool *ret_secure, struct err *err)
{
	return ip_of(host, family, false, deadline, ret, ret_count, ret_secure, err);
}

enum dns_status
dns_ip_search(const char *host, int family, int64_t deadline, struct dns_ip **ret,
    size_t *ret_count, struct err *err)
{
	return ip_of(host, family, true, deadline, ret, ret_count, NULL, err);
}

static bool
parse_literal(const char *host, int family, struct dns_ip *ret)
{
	struct dns_ip ip = {.family = AF_INET};

	if (inet_pton(AF_INET, host, ip.addr) != 1) {
		ip.family = AF_INET6;
		if (inet_pton(AF_INET6, host, ip.addr) != 1)
			return false;
	}
	*ret = ip;
	return family == AF_UNSPEC || family == ip.family;
}

enum dns_status
dns_native(const char *host, int family, int64_t deadline, struct dns_ip **ret, size_t *ret_count,
    struct err *err)
{
	struct dns_ip literal;

	if (parse_literal(host, family, &literal)) {
		*ret = mem_new(struct dns_ip);
		**ret = literal;
		*ret_count = 1;
		return DNS_FOUND;
	}
	if (dns_hosts_find(host, family, ret, ret_count) == DNS_FOUND)
		return DNS_FOUND;
	return ip_of(host, family, true, deadline, ret, ret_count, NULL, err);
}

/* ---- names and texts ------------------------------------------------------------------------------------------------------ */

/* Strings one after the other, each with its NUL. */
struct text_list {
	struct buf bytes;
	size_t count;
};

static bool
take_ptr(const struct dns_answer *a, const struct dns_record *r, void *out)
{
	struct text_list *list = out;
	char name[DNS_NAME_MAX];
	size_t at = r->at;

	if (!dns_wire_name(a->bytes, &at, name) || !dns_wire_is_host_name(name))
		return false;
	buf_add(&list->bytes, name, strlen(name) + 1);
	list->count++;
	return true;
}

/* A TXT record is one or more strings that belong together (RFC 7208 section 3.3). */
static bool
take_txt(const struct dns_answer *a, const struct dns_record *r, void *out)
{
	struct text_list *list = out;
	const char *p = a->bytes.ptr + r->at;
	const char *end = p + r->len;
	size_t before = list->bytes.len;

	while (p < end) {
		size_t len = (unsigned char)*p++;

		if ((size_t)(end - p) < len) {
			buf_truncate(&list->bytes, before);
			return false;
		}
		for (; len > 0; len--, p++)
			buf_add_char(&list->bytes, *p != '\0' ? *p : '?');
	}
	buf_add(&list->bytes, "", 1);
	list->count++;
	return true;
}

/* The strings as an array, all in one block. */
static char **
text_list_pack(const struct text_list *list)
{
	size_t head = list->count * sizeof(char *);
	char **array = mem_alloc(head + list->bytes.len);
	char *text = (char *)array + head;

	(void)memcpy(text, list->bytes.ptr, list->bytes.len);
	for (size_t i = 0; i < list->count; i++) {
		array[i] = text;
		text += strlen(text) + 1;
	}
	return array;
}

static enum dns_status
look_up_texts(const char *name, int type, int64_t deadline, take_fn *take, char ***ret,
    size_t *ret_count, struct err *err)
{
	struct text_list list = {0};
	enum dns_status status = look_up(name, type, deadline, take, &list, ret_count, NULL, err);

	if (status == DNS_FOUND)
		*ret = text_list_pack(&list);
	buf_done(&list.bytes);
	return status;
}

static void
reverse_ipv4(const unsigned char *ip, char *out, size_t size)
{
	(void)snprintf(out, size, "%d.%d.%d.%d.in-addr.arpa", ip[3], ip[2], ip[1], ip[0]);
}

static void
reverse_ipv6(const unsigned char *ip, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 15; i >= 0; i--) {
		*out++ = digits[ip[i] & 15];
		*out++ = '.';
		*out++ = digits[ip[i] >> 4];
		*out++ = '.';
	}
	(void)memcpy(out, "ip6.arpa", sizeof("ip6.arpa"));
}

enum dns_status
dns_ptr(
    const struct sockaddr *addr, int64_t deadline, char ***ret, size_t *ret_count, struct err *err)
{
	char name[DNS_NAME_MAX];

	if (addr->sa_family == AF_INET) {
		const struct sockaddr_in *sin = (const void *)addr;

		reverse_ipv4((const unsigned char *)&sin->sin_addr, name, sizeof(name));
	} else if (addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const void *)addr;
		const unsigned char *ip = sin6->sin6_addr.s6_addr;

		if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr))
			reverse_ipv4(ip + 12, name, sizeof(name));
		else
			reverse_ipv6(ip, name);
	} else {
		return failed(DNS_NOT_FOUND, "unix", "PTR", err);
	}
	return look_up_texts(name, DNS_TYPE_PTR, deadline, take_ptr, ret, ret_count, err);
}

/* The address in a socket address; an IPv4 one in IPv6 form counts as IPv4. False for other families. */
static bool
ip_of_sockaddr(const struct sockaddr *addr, struct dns_ip *ret)
{
	const struct sockaddr_in *sin = (const void *)addr;
	const struct sockaddr_in6 *sin6 = (const void *)addr;

	*ret = (struct dns_ip){.family = addr->sa_family};
	if (addr->sa_family == AF_INET) {
		memcpy(ret->addr, &sin->sin_addr, 4);
	} else if (addr->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
		ret->family = AF_INET;
		memcpy(ret->addr, sin6->sin6_addr.s6_addr + 12, 4);
	} else if (addr->sa_family == AF_INET6) {
		memcpy(ret->addr, &sin6->sin6_addr, 16);
	} else {
		return false;
	}
	return true;
}

enum dns_status
dns_native_name(
    const struct sockaddr *addr, int64_t deadline, char ***ret, size_t *ret_count, struct err *err)
{
	struct text_list list = {0};
	const char *name;
	struct dns_ip ip;

	name = ip_of_sockaddr(addr, &ip) ? dns_hosts_name(&ip) : NULL;
	if (name == NULL)
		return dns_ptr(addr, deadline, ret, ret_count, err);
	buf_add(&list.bytes, name, strlen(name) + 1);
	*ret = text_list_pack(&(struct text_list){list.bytes, 1});
	*ret_count = 1;
	buf_done(&list.bytes);
	return DNS_FOUND;
}

enum dns_status
dns_ns(const char *name, int64_t deadline, char ***ret, size_t *ret_count, struct err *err)
{
	return look_up_texts(name, DNS_TYPE_NS, deadline, take_ptr, ret, ret_count, err);
}

enum dns_status
dns_txt(const char *name, int64_t deadline, char ***ret, size_t *ret_count, struct err *err)
{
	return look_up_texts(name, DNS_TYPE_TXT, deadline, take_txt, ret, ret_count, err);
}

/* ---- TLSA -------------------------------------------------------------------------------------------------------------------- */

struct tlsa_list {
	struct dns_tlsa *items;
	size_t count;
};

static bool
take_tlsa(const struct dns_answer *a, const struct dns_record *r, void *out)
{
	struct tlsa_list *list = out;
	const unsigned char *p = (const unsigned char *)a->bytes.ptr + r->at;
	struct dns_tlsa t = {0};

	if (r->len < 4 || r->len - 3 > sizeof(t.data))
		return false;
	t.usage = p[0];
	t.selector = p[1];
	t.matching = p[2];
	t.len = r->len - 3;
	(void)memcpy(t.data, p + 3, t.len);
	list->items = mem_resize(list->items, list->count + 1, sizeof(t));
	list->items[list->count++] = t;
	return true;
}

enum dns_status
dns_tlsa(const char *name, int64_t deadline, struct dns_tlsa **ret, size_t *ret_count,
    bool *ret_secure, struct err *err)
{
	struct tlsa_list list = {0};
	enum dns_status status =
	    look_up(name, DNS_TYPE_TLSA, deadline, take_tlsa, &list, ret_count, ret_secure, err);

	if (status == DNS_FOUND)
		*ret = list.items;
	return status;
}
