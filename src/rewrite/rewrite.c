/*
 * rewrite.c - the lists and tables behind addresses, and address classes: see rewrite.h.
 */
#include "rewrite/rewrite.h"

#include <arpa/inet.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_param.h"
#include "rewrite/rewrite_int.h"

static const enum conf_param rewrite_list_params[REWRITE_LISTS] = {
    [REWRITE_LOCAL] = CONF_mydestination,
    [REWRITE_VIRTUAL_ALIAS] = CONF_virtual_alias_domains,
    [REWRITE_VIRTUAL_MAILBOX] = CONF_virtual_mailbox_domains,
    [REWRITE_RELAY] = CONF_relay_domains,
};

const char *
rewrite_list_name(enum rewrite_class c)
{
	return conf_param_info(rewrite_list_params[c])->name;
}

bool
rewrite_new(struct conf *conf, struct rewrite **ret, struct err *err)
{
	struct rewrite *r = mem_new(struct rewrite);
	bool ok = true;

	r->conf = conf_ref(conf);
	for (size_t c = 0; ok && c < REWRITE_LISTS; c++)
		ok = domain_list_of(conf, rewrite_list_params[c], &r->domains[c], err);
	ok = ok && conf_host_own(conf, &r->own, err) && conf_host_proxy(conf, &r->proxy, err);
	if (!ok) {
		rewrite_free(&r);
		return false;
	}
	/* $1 from what a peer wrote must not choose programs and hosts. */
	r->transport = table_list_of(conf, CONF_transport_maps, TABLE_NO_SUBSTITUTION);
	r->relocated = table_list_of(conf, CONF_relocated_maps, 0);
	r->sender_relayhost =
	    table_list_of(conf, CONF_sender_dependent_relayhost_maps, TABLE_NO_SUBSTITUTION);
	r->sender_transport = table_list_of(
	    conf, CONF_sender_dependent_default_transport_maps, TABLE_NO_SUBSTITUTION);
	*ret = r;
	return true;
}

void
rewrite_free(struct rewrite **rewrite)
{
	struct rewrite *r = *rewrite;

	if (r == NULL)
		return;
	for (size_t c = 0; c < REWRITE_LISTS; c++)
		domain_list_free(&r->domains[c]);
	table_list_close(&r->transport);
	table_list_close(&r->relocated);
	table_list_close(&r->sender_relayhost);
	table_list_close(&r->sender_transport);
	conf_addresses_done(&r->own);
	conf_addresses_done(&r->proxy);
	conf_unref(&r->conf);
	mem_free(r);
	*rewrite = NULL;
}

struct span
rewrite_domain_of(struct span addr)
{
	size_t at = span_find_last(addr, '@');

	return at < addr.len ? span_from(addr, at + 1) : span_of(addr.ptr + addr.len, 0);
}

/* [192.0.2.1] or [IPv6:2001:db8::1] that is an address of this host. */
static bool
rewrite_is_own_literal(const struct rewrite *r, struct span domain)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	const struct sockaddr *sa;
	char text[65];

	if (domain.len < 3 || domain.len >= sizeof(text))
		return false;
	if (domain.ptr[0] == '[' && domain.ptr[domain.len - 1] == ']')
		domain = span_of(domain.ptr + 1, domain.len - 2);
	else if (!conf_bool(r->conf, CONF_resolve_numeric_domain))
		return false;
	if (span_starts_nocase(domain, "IPv6:"))
		domain = span_from(domain, 5);
	memcpy(text, domain.ptr, domain.len);
	text[domain.len] = '\0';
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		sa = (const struct sockaddr *)(const void *)&v4;
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		sa = (const struct sockaddr *)(const void *)&v6;
	else
		return false;
	return conf_addresses_has(&r->own, sa) || conf_addresses_has(&r->proxy, sa);
}

enum table_result
rewrite_is_local(const struct rewrite *r, struct span domain, struct err *err)
{
	enum table_result listed;

	if (domain.len > 1 && domain.ptr[domain.len - 1] == '.')
		domain.len--;
	listed = domain_list_has(r->domains[REWRITE_LOCAL], domain, err);
	if (listed == TABLE_NOT_FOUND && rewrite_is_own_literal(r, domain))
		return TABLE_FOUND;
	return listed;
}

bool
rewrite_class_find(
    const struct rewrite *r, struct span domain, enum rewrite_class *ret, struct err *err)
{
	enum table_result found = TABLE_FOUND;
	enum rewrite_class c = REWRITE_LOCAL;

	if (domain.len != 0)
		found = rewrite_is_local(r, domain, err);
	while (found == TABLE_NOT_FOUND && ++c < REWRITE_LISTS)
		found = domain_list_has(r->domains[c], domain, err);
	*ret = c;
	return found != TABLE_ERROR;
}

enum rewrite_class
rewrite_class_of(const struct rewrite *r, struct span domain)
{
	enum rewrite_class c;
	struct err err;

	return rewrite_class_find(r, domain, &c, &err) ? c : REWRITE_DEFAULT;
}

const char *
rewrite_class_name(enum rewrite_class c)
{
	static const char *const names[] = {
	    [REWRITE_LOCAL] = "local",
	    [REWRITE_VIRTUAL_ALIAS] = "virtual alias",
	    [REWRITE_VIRTUAL_MAILBOX] = "virtual mailbox",
	    [REWRITE_RELAY] = "relay",
	    [REWRITE_DEFAULT] = "default",
	};

	return names[c];
}

/* Where a table may leave the domain of an address out. */
static enum table_result
rewrite_is_near(void *arg, struct span domain, struct err *err)
{
	const struct rewrite *r = arg;

	if (span_equal_nocase_str(domain, conf_str(r->conf, CONF_myorigin)))
		return TABLE_FOUND;
	return rewrite_is_local(r, domain, err);
}

struct table_address_rules
rewrite_rules(const struct rewrite *r)
{
	return (struct table_address_rules){
	    .forms = TABLE_ADDRESS_REWRITE,
	    .delimiters = conf_str(r->conf, CONF_recipient_delimiter),
	    .owner_request_split = !conf_bool(r->conf, CONF_owner_request_special),
	    .is_local = rewrite_is_near,
	    .arg = (void *)(uintptr_t)r,
	};
}
