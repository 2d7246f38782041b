/*
 * dns_wire.c - DNS messages (RFC 1035 section 4): see dns_int.h. Nothing here trusts a length, a count or a pointer of
 * the message.
 */
#include <ctype.h>
#include <string.h>

#include "dns/dns_int.h"

#define HEADER_SIZE  12
#define FLAG_AD      0x20 /* in the fourth byte */
#define CLASS_IN     1
#define POINTERS_MAX 64 /* jumps in one name */
#define ALIASES_MAX  16
#define UDP_SIZE                                                                                   \
	1232 /* answer size we take without TCP: no fragments on any path (DNS flag day 2020) */
#define OPT_SIZE         11 /* of the record we send */
#define COUNT_ADDITIONAL 10 /* offset in the header */
#define TYPE_OPT         41
#define LABEL_MAX        63
#define RCODE_NAME_ERROR 3
#define QUERY_NAME_MAX   253

static unsigned
byte_at(struct span m, size_t at)
{
	return (unsigned char)m.ptr[at];
}

static bool
read_u16(struct span m, size_t *at, unsigned *ret)
{
	if (m.len < 2 || *at > m.len - 2)
		return false;
	*ret = byte_at(m, *at) << 8 | byte_at(m, *at + 1);
	*at += 2;
	return true;
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* Adds one label to the text; false when the name gets too long. */
static bool
name_add_label(char out[DNS_NAME_MAX], size_t *len, const char *label, size_t label_len)
{
	size_t dot = *len > 0;

	if (*len + dot + label_len >= DNS_NAME_MAX)
		return false;
	if (dot)
		out[(*len)++] = '.';
	for (size_t i = 0; i < label_len; i++) {
		unsigned char c = (unsigned char)label[i];
		bool plain = c > ' ' && c < 0x7f && c != '.' && c != '\\';

		out[(*len)++] = plain ? (char)tolower(c) : '?';
	}
	return true;
}

bool
dns_wire_name(struct span m, size_t *at, char out[DNS_NAME_MAX])
{
	size_t pos = *at;
	size_t end = 0; /* behind the name in the message, once known */
	size_t len = 0;
	int jumps = 0;

	for (;;) {
		unsigned size;

		if (pos >= m.len)
			return false;
		size = byte_at(m, pos);
		if (size == 0)
			break;
		if ((size & 0xc0) == 0xc0) {
			if (pos + 1 >= m.len || ++jumps > POINTERS_MAX)
				return false;
			if (end == 0)
				end = pos + 2;
			pos = (size & 0x3f) << 8 | byte_at(m, pos + 1);
			continue;
		}
		if (size > LABEL_MAX || m.len - pos - 1 < size ||
		    !name_add_label(out, &len, m.ptr + pos + 1, size))
			return false;
		pos += 1 + size;
	}
	out[len] = '\0';
	*at = end != 0 ? end : pos + 1;
	return true;
}

bool
dns_wire_is_query_name(const char *name)
{
	size_t len = strlen(name);
	size_t label = 0;

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len > QUERY_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c == '.' && label == 0)
			return false;
		if (c <= ' ' || c >= 0x7f || c == '\\')
			return false;
		label = c == '.' ? 0 : label + 1;
		if (label > LABEL_MAX)
			return false;
	}
	return label > 0;
}

static bool
is_host_label(const char *label, size_t len)
{
	if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)label[i]) && label[i] != '-' && label[i] != '_')
			return false;
	return true;
}

bool
dns_wire_is_host_name(const char *name)
{
	for (;;) {
		size_t len = strcspn(name, ".");

		if (!is_host_label(name, len))
			return false;
		if (name[len] == '\0')
			return true;
		name += len + 1;
	}
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static bool
read_record(struct span m, size_t *at, struct dns_record *ret)
{
	unsigned type;
	unsigned class;
	unsigned ttl_high;
	unsigned ttl_low;
	unsigned len;

	if (!dns_wire_name(m, at, ret->owner) || !read_u16(m, at, &type) ||
	    !read_u16(m, at, &class) || !read_u16(m, at, &ttl_high) || !read_u16(m, at, &ttl_low) ||
	    !read_u16(m, at, &len) || m.len - *at < len)
		return false;
	ret->type = class == CLASS_IN ? (int)type : -1;
	/* A time to live with the highest bit set counts as none (RFC 2181 section 8). */
	ret->ttl = ttl_high & 0x8000 ? 0 : ttl_high << 16 | ttl_low;
	ret->at = *at;
	ret->len = len;
	*at += len;
	return true;
}

bool
dns_wire_next(const struct dns_answer *a, int type, size_t *at, size_t *seen,
    struct dns_record *ret, bool *ret_malformed)
{
	while (*seen < a->count) {
		struct dns_record r;

		if (!read_record(a->bytes, at, &r)) {
			*ret_malformed = true;
			return false;
		}
		(*seen)++;
		if (r.type == type && strcmp(r.owner, a->owner) == 0) {
			*ret = r;
			return true;
		}
	}
	*ret_malformed = false;
	return false;
}

/* Goes one alias further; false at the end of the chain. */
static bool
follow_alias(struct dns_answer *a)
{
	size_t at = a->at;
	size_t seen = 0;
	struct dns_record r;
	bool malformed;

	if (!dns_wire_next(a, DNS_TYPE_CNAME, &at, &seen, &r, &malformed))
		return false;
	at = r.at;
	return dns_wire_name(a->bytes, &at, a->owner);
}

bool
dns_wire_begin(struct span message, struct dns_answer *ret)
{
	struct dns_answer a = {.bytes = message, .at = HEADER_SIZE};
	size_t counts = 4;
	unsigned questions;
	unsigned answers;

	if (message.len < HEADER_SIZE)
		return false;
	a.rcode = byte_at(message, 3) & 0x0f;
	a.authenticated = (byte_at(message, 3) & FLAG_AD) != 0;
	if (!read_u16(message, &counts, &questions) || !read_u16(message, &counts, &answers) ||
	    questions != 1 || !dns_wire_name(message, &a.at, a.owner) || message.len - a.at < 4)
		return false;
	a.at += 4;
	a.count = answers;
	for (int i = 0; i < ALIASES_MAX && follow_alias(&a); i++)
		;
	*ret = a;
	return true;
}

/* The time of a "no" is the smaller one of the record's and of its last field, MINIMUM. */
static uint32_t
soa_ttl(struct span message, const struct dns_record *r)
{
	size_t at = r->at + r->len - 4;
	unsigned high;
	unsigned low;

	if (r->len < 22 || !read_u16(message, &at, &high) || !read_u16(message, &at, &low))
		return 0;
	return MIN(r->ttl, high & 0x8000 ? 0 : high << 16 | low);
}

bool
dns_wire_ttl(struct span message, uint32_t *ret_ttl, bool *ret_found)
{
	struct dns_answer a;
	struct dns_record r;
	size_t counts = 8;
	uint32_t least = UINT32_MAX;
	unsigned authority;
	size_t at;

	if (!dns_wire_begin(message, &a) || (a.rcode != 0 && a.rcode != RCODE_NAME_ERROR) ||
	    !read_u16(message, &counts, &authority))
		return false;
	at = a.at;
	*ret_found = false;
	for (size_t i = 0; i < a.count + authority; i++) {
		bool answer = i < a.count;

		if (!read_record(message, &at, &r))
			return false;
		if (answer && r.type > 0)
			least = MIN(least, r.ttl);
		/* An alias alone is no answer: what it leads to was not there. */
		*ret_found = *ret_found || (answer && r.type != DNS_TYPE_CNAME);
		if (!answer && !*ret_found && r.type == DNS_TYPE_SOA)
			least = MIN(least, soa_ttl(message, &r));
		else if (!answer)
			continue;
	}
	*ret_ttl = least;
	return least != UINT32_MAX;
}

/* ---- queries --------------------------------------------------------------------------------------------------- */

void
dns_wire_query(struct buf *out, uint16_t id, const char *name, int type, bool dnssec)
{
	buf_add_u16(out, id);
	buf_add_u8(out, 1); /* recursion desired */
	/* AD in a query means "tell me if you validated", without the signatures themselves (RFC 6840 section 5.7). */
	buf_add_u8(out, dnssec ? FLAG_AD : 0);
	buf_add_u16(out, 1);
	buf_add_u16(out, 0);
	buf_add_u16(out, 0);
	buf_add_u16(out, 1);
	while (*name != '\0') {
		size_t len = strcspn(name, ".");

		buf_add_u8(out, (uint8_t)len);
		buf_add(out, name, len);
		name += len + (name[len] == '.');
	}
	buf_add_u8(out, 0);
	buf_add_u16(out, (uint16_t)type);
	buf_add_u16(out, CLASS_IN);
	/* EDNS (RFC 6891): root, OPT, our size, no extended flags, no options. The resolver library expects it last. */
	buf_add_u8(out, 0);
	buf_add_u16(out, TYPE_OPT);
	buf_add_u16(out, UDP_SIZE);
	buf_add_u32(out, 0);
	buf_add_u16(out, 0);
}

void
dns_wire_drop_edns(struct buf *query)
{
	MUST(query->len > HEADER_SIZE + OPT_SIZE);
	buf_truncate(query, query->len - OPT_SIZE);
	query->ptr[COUNT_ADDITIONAL] = query->ptr[COUNT_ADDITIONAL + 1] = 0;
}
