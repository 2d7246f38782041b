/*
 * table_address.c - lookup orders for addresses and domains: see table_address.h.
 */
#include "table/table_address.h"

#include "mail/mail_addr.h"
#include "table/table_type.h"

/* One lookup of an address under way. */
struct table_search {
	struct table_list *list;
	const struct table_address_rules *rules;
	struct span address;
	struct mail_addr parts;
	struct span bare;      /* the local part without its extension */
	struct span extension; /* delimiter included; empty: none */
	struct buf *value;
	struct buf *ret_extension; /* or NULL */
	struct err *err;
};

static enum table_result
table_search_key(struct table_search *s, struct span key, enum table_key kind)
{
	return table_list_lookup(s->list, key, kind, s->value, s->err);
}

/* local@domain ("local" alone without `at`), in quoted form first where that differs. */
static enum table_result
table_search_local(
    struct table_search *s, struct span local, bool at, struct span domain, enum table_key kind)
{
	struct buf key CLEANUP(buf_done) = {0};
	enum table_result result;

	if (local.len != 0 && mail_addr_needs_quotes(local)) {
		struct buf plain CLEANUP(buf_done) = {0};

		/* Quoting looks for the last '@': it must be there, whatever the local part holds. */
		buf_add_span(&plain, local);
		buf_add_char(&plain, '@');
		mail_addr_quote(&key, buf_span(&plain));
		if (!at)
			buf_truncate(&key, key.len - 1);
		buf_add_span(&key, domain);
		result = table_search_key(s, buf_span(&key), kind);
		if (result != TABLE_NOT_FOUND)
			return result;
		buf_clear(&key);
	}
	buf_add_span(&key, local);
	if (at)
		buf_add_char(&key, '@');
	buf_add_span(&key, domain);
	return table_search_key(s, buf_span(&key), kind);
}

/* With the extension, as far as `full` asks for that, then without. */
static enum table_result
table_search_both(struct table_search *s, bool at, struct span domain)
{
	enum table_result result =
	    table_search_local(s, s->parts.local, at, domain, TABLE_KEY_PARTIAL);

	if (result != TABLE_NOT_FOUND || s->extension.len == 0)
		return result;
	result = table_search_local(s, s->bare, at, domain, TABLE_KEY_PARTIAL);
	if (result == TABLE_FOUND && s->ret_extension != NULL)
		buf_add_span(s->ret_extension, s->extension);
	return result;
}

static enum table_result
table_search_full(struct table_search *s)
{
	return table_search_local(
	    s, s->parts.local, s->parts.has_domain, s->parts.domain, TABLE_KEY_FULL);
}

static enum table_result
table_search_noext(struct table_search *s)
{
	enum table_result result;

	if (s->extension.len == 0)
		return TABLE_NOT_FOUND;
	result =
	    table_search_local(s, s->bare, s->parts.has_domain, s->parts.domain, TABLE_KEY_PARTIAL);
	if (result == TABLE_FOUND && s->ret_extension != NULL)
		buf_add_span(s->ret_extension, s->extension);
	return result;
}

static enum table_result
table_search_if_local(struct table_search *s)
{
	enum table_result local;

	if (!s->parts.has_domain || s->rules->is_local == NULL)
		return TABLE_NOT_FOUND;
	local = s->rules->is_local(s->rules->arg, s->parts.domain, s->err);
	if (local != TABLE_FOUND)
		return local;
	return table_search_both(s, false, span_of("", 0));
}

static enum table_result
table_search_at_domain(struct table_search *s)
{
	struct buf key CLEANUP(buf_done) = {0};

	if (!s->parts.has_domain)
		return TABLE_NOT_FOUND;
	buf_add_char(&key, '@');
	buf_add_span(&key, s->parts.domain);
	return table_search_key(s, buf_span(&key), TABLE_KEY_PARTIAL);
}

/* What is above the domain, with or without the dot in front, unless `result` is an answer already. */
static enum table_result
table_search_parents(struct table_list *list, struct span domain, enum table_result result,
    unsigned parents, struct buf *value, struct err *err)
{
	while (result == TABLE_NOT_FOUND && parents != 0) {
		size_t dot = span_find(span_from(domain, 1), '.');

		if (dot == span_from(domain, 1).len)
			break;
		domain = span_from(domain, dot + 1);
		result = table_list_lookup(list,
		    (parents & TABLE_ADDRESS_PARENTS) != 0 ? span_from(domain, 1) : domain,
		    TABLE_KEY_PARTIAL, value, err);
	}
	return result;
}

static enum table_result
table_search_of_domain(struct table_search *s)
{
	unsigned forms = s->rules->forms;
	enum table_result result = TABLE_NOT_FOUND;

	if (!s->parts.has_domain || s->parts.domain.len == 0)
		return TABLE_NOT_FOUND;
	if ((forms & TABLE_ADDRESS_DOMAIN) != 0)
		result = table_list_lookup(
		    s->list, s->parts.domain, TABLE_KEY_PARTIAL, s->value, s->err);
	return table_search_parents(s->list, s->parts.domain, result,
	    forms & (TABLE_ADDRESS_PARENTS | TABLE_ADDRESS_DOTPARENTS), s->value, s->err);
}

static enum table_result
table_search_local_at(struct table_search *s)
{
	return table_search_both(s, true, span_of("", 0));
}

static const struct {
	unsigned forms;
	enum table_result (*search)(struct table_search *s);
} table_address_steps[] = {
    {TABLE_ADDRESS_FULL, table_search_full},
    {TABLE_ADDRESS_NOEXT, table_search_noext},
    {TABLE_ADDRESS_LOCAL, table_search_if_local},
    {TABLE_ADDRESS_AT_DOMAIN, table_search_at_domain},
    {TABLE_ADDRESS_DOMAIN | TABLE_ADDRESS_PARENTS | TABLE_ADDRESS_DOTPARENTS,
	table_search_of_domain},
    {TABLE_ADDRESS_LOCAL_AT, table_search_local_at},
};

enum table_result
table_address_lookup(struct table_list *l, const struct table_address_rules *rules,
    struct span address, struct buf *value, struct buf *ret_extension, struct err *err)
{
	struct table_search s = {.list = l,
	    .rules = rules,
	    .address = address,
	    .parts = mail_addr_split(address),
	    .value = value,
	    .ret_extension = ret_extension,
	    .err = err};
	size_t cut =
	    mail_addr_extension(s.parts.local, rules->delimiters, rules->owner_request_split);

	s.bare = span_head(s.parts.local, cut);
	s.extension = span_from(s.parts.local, cut);
	buf_clear(value);
	err_clear(err);
	if (ret_extension != NULL)
		buf_clear(ret_extension);
	for (size_t i = 0; i < ARRAY_LEN(table_address_steps); i++) {
		enum table_result result;

		if ((rules->forms & table_address_steps[i].forms) == 0)
			continue;
		result = table_address_steps[i].search(&s);
		if (result != TABLE_NOT_FOUND)
			return result;
	}
	return TABLE_NOT_FOUND;
}

enum table_result
table_domain_lookup(struct table_list *l, struct span domain, bool parents_match, struct buf *value,
    struct err *err)
{
	bool numeric = mail_addr_is_ipv4(domain) || mail_addr_is_ipv6(domain) ||
		       (domain.len != 0 && domain.ptr[0] == '[');

	buf_clear(value);
	err_clear(err);
	if (domain.len == 0)
		return TABLE_NOT_FOUND;
	/* Here the name is the whole key: tables of patterns are asked for it. */
	return table_search_parents(l, domain,
	    table_list_lookup(l, domain, TABLE_KEY_FULL, value, err),
	    numeric         ? 0
	    : parents_match ? TABLE_ADDRESS_PARENTS
			    : TABLE_ADDRESS_DOTPARENTS,
	    value, err);
}

enum table_result
table_knows_domain(struct table *t, struct span domain, bool parents_match, struct err *err)
{
	struct buf value CLEANUP(buf_done) = {0};
	enum table_key kind = TABLE_KEY_FULL;
	struct span key = domain;

	err_clear(err);
	while (key.len != 0) {
		enum table_result r = table_lookup_any(t, key, kind, &value, err);
		size_t dot = span_find(span_from(key, 1), '.');

		if (r != TABLE_NOT_FOUND)
			return r;
		if (dot == span_from(key, 1).len)
			break;
		key = span_from(key, dot + (parents_match ? 2 : 1));
		kind = TABLE_KEY_PARTIAL;
	}
	return TABLE_NOT_FOUND;
}
