/*
 * table_ldap.c - ldap:/file and ldap:name (ldap_table(5)): the settings of a table. Blocks: see table_proxy.h.
 */
#include "backend/table_ldap.h"

#include <string.h>

#include "backend/backend_types.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_value.h"

#define LDAP_DEFAULT_TIMEOUT 10
#define LDAP_RECURSION_LIMIT 1000

/* While the settings are read. */
struct table_ldap_reader {
	struct table *table;
	struct table_ldap *ldap;
	struct table_settings *settings;
	struct err *err;
};

static const char *
table_ldap_text(struct table_ldap_reader *r, const char *setting, const char *fallback)
{
	return arena_strdup(&r->ldap->arena, table_query_str(r->settings, setting, fallback));
}

static bool
table_ldap_number(struct table_ldap_reader *r, const char *setting, int64_t fallback, int64_t lo,
    int64_t hi, int64_t *ret)
{
	return table_query_number(r->settings, setting, fallback, lo, hi, ret, r->err);
}

static bool
table_ldap_bool(struct table_ldap_reader *r, const char *setting, bool *ret)
{
	return table_query_bool(r->settings, setting, false, ret, r->err);
}

/* ---- server ------------------------------------------------------------------------------------------------------ */

/* "host", "host:port" or a URI. */
static bool
table_ldap_add_host(struct table_ldap_reader *r, const char *host, int64_t port, struct buf *uris)
{
	LDAPURLDesc *url;
	int code;

	if (uris->len != 0)
		buf_add_char(uris, ' ');
	if (!ldap_is_ldap_url(host) && strchr(host, ':') != NULL)
		return buf_printf(uris, "ldap://%s", host), true;
	if (!ldap_is_ldap_url(host))
		return buf_printf(uris, "ldap://%s:%lld", host, (long long)port), true;
	code = ldap_url_parse(host, &url);
	if (code != LDAP_URL_SUCCESS)
		return table_query_bad(r->settings, "server_host", r->err,
		    "error parsing URL %s: error %d", host, code);
	r->ldap->server.tls |= strcasecmp(url->lud_scheme, "ldaps") == 0;
	ldap_free_urldesc(url);
	buf_add_str(uris, host);
	return true;
}

static bool
table_ldap_read_hosts(struct table_ldap_reader *r)
{
	struct span rest = span_str(table_query_str(r->settings, "server_host", "localhost"));
	struct buf uris CLEANUP(buf_done) = {0};
	struct span host;
	int64_t port;

	if (!table_ldap_number(r, "server_port", LDAP_PORT, 0, 65535, &port))
		return false;
	while (conf_value_item(&rest, &host)) {
		char *name CLEANUP(mem_free_str) = span_dup(host);

		if (!table_ldap_add_host(r, name, port, &uris))
			return false;
	}
	if (uris.len == 0)
		return table_query_bad(r->settings, "server_host", r->err, "no server");
	r->ldap->server.uris = arena_dup(&r->ldap->arena, buf_span(&uris));
	return true;
}

static bool
table_ldap_read_bind(struct table_ldap_reader *r)
{
	static const struct {
		const char *word;
		enum table_ldap_bind bind;
	} words[] = {
	    {"yes", TABLE_LDAP_BIND_SIMPLE},
	    {"simple", TABLE_LDAP_BIND_SIMPLE},
	    {"no", TABLE_LDAP_BIND_NONE},
	    {"none", TABLE_LDAP_BIND_NONE},
	    {"sasl", TABLE_LDAP_BIND_SASL},
	};
	const char *text = table_query_str(r->settings, "bind", "yes");
	struct table_ldap_server *s = &r->ldap->server;

	s->bind_dn = table_ldap_text(r, "bind_dn", "");
	s->bind_pw = table_ldap_text(r, "bind_pw", "");
	s->sasl_mechs = table_ldap_text(r, "sasl_mechs", "");
	s->sasl_realm = table_ldap_text(r, "sasl_realm", "");
	s->sasl_authz_id = table_ldap_text(r, "sasl_authz_id", "");
	if (!table_ldap_number(r, "sasl_minssf", 0, 0, 4096, &s->sasl_minssf))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(text, words[i].word) == 0)
			return s->bind = words[i].bind, true;
	return table_query_bad(r->settings, "bind", r->err, "unsupported value \"%s\"", text);
}

static bool
table_ldap_read_tls(struct table_ldap_reader *r)
{
	struct table_ldap_server *s = &r->ldap->server;

	s->tls_ca_cert_file = table_ldap_text(r, "tls_ca_cert_file", "");
	s->tls_ca_cert_dir = table_ldap_text(r, "tls_ca_cert_dir", "");
	s->tls_cert = table_ldap_text(r, "tls_cert", "");
	s->tls_key = table_ldap_text(r, "tls_key", "");
	s->tls_random_file = table_ldap_text(r, "tls_random_file", "");
	s->tls_cipher_suite = table_ldap_text(r, "tls_cipher_suite", "");
	if (!table_ldap_bool(r, "start_tls", &s->start_tls) ||
	    !table_ldap_bool(r, "tls_require_cert", &s->tls_require_cert))
		return false;
	s->tls |= s->start_tls;
	return true;
}

/* Like Postfix, a value out of range is replaced and told of. */
static int64_t
table_ldap_or(struct table_ldap_reader *r, const char *setting, int64_t value, int64_t lo,
    int64_t hi, int64_t otherwise)
{
	if (value >= lo && value <= hi)
		return value;
	log_warn("%s: unrecognized value %lld specified for %s; using %lld", r->table->spec,
	    (long long)value, setting, (long long)otherwise);
	return otherwise;
}

static bool
table_ldap_read_server(struct table_ldap_reader *r)
{
	struct table_ldap_server *s = &r->ldap->server;

	if (!table_ldap_number(r, "version", 3, INT32_MIN, INT32_MAX, &s->version) ||
	    !table_ldap_number(r, "dereference", 0, INT32_MIN, INT32_MAX, &s->dereference) ||
	    !table_ldap_number(r, "timeout", LDAP_DEFAULT_TIMEOUT, 1, INT32_MAX, &s->timeout) ||
	    !table_ldap_number(r, "debuglevel", 0, 0, INT32_MAX, &s->debuglevel) ||
	    !table_ldap_bool(r, "chase_referrals", &s->chase_referrals) ||
	    !table_ldap_read_hosts(r) || !table_ldap_read_bind(r) || !table_ldap_read_tls(r))
		return false;
	s->version = table_ldap_or(r, "version", s->version, 2, 3, 3);
	s->dereference = table_ldap_or(r, "dereference", s->dereference, 0, 3, 0);
	if (s->version != 3 && (s->tls || s->bind == TABLE_LDAP_BIND_SASL)) {
		log_warn("%s: TLS and SASL require protocol version 3", r->table->spec);
		s->version = 3;
	}
	return true;
}

/* ---- query ------------------------------------------------------------------------------------------------------- */

/* Adds the names of a list; returns how many there are then. */
static size_t
table_ldap_add_attributes(struct table_ldap_reader *r, const char *setting, const char *fallback)
{
	struct table_ldap *l = r->ldap;
	struct span rest = span_str(table_query_str(r->settings, setting, fallback));
	struct span name;
	size_t count = 0;

	while (l->attributes != NULL && l->attributes[count] != NULL)
		count++;
	while (conf_value_item(&rest, &name)) {
		l->attributes = mem_resize(l->attributes, count + 2, sizeof(*l->attributes));
		l->attributes[count++] = arena_dup(&l->arena, name);
		l->attributes[count] = NULL;
	}
	return count;
}

static bool
table_ldap_read_scope(struct table_ldap_reader *r)
{
	const char *text = table_query_str(r->settings, "scope", "sub");

	r->ldap->scope = LDAP_SCOPE_SUBTREE;
	if (strcasecmp(text, "one") == 0)
		r->ldap->scope = LDAP_SCOPE_ONELEVEL;
	else if (strcasecmp(text, "base") == 0)
		r->ldap->scope = LDAP_SCOPE_BASE;
	else if (strcasecmp(text, "sub") != 0)
		log_warn("%s: unrecognized value %s specified for scope; using sub", r->table->spec,
		    text);
	return true;
}

/* A single "%%" is no reason to take a base for one that the key decides. */
static bool
table_ldap_is_dynamic(const char *template)
{
	for (const char *at = strchr(template, '%'); at != NULL; at = strchr(at + 2, '%'))
		if (at[1] != '%')
			return true;
	return false;
}

static bool
table_ldap_read_query(struct table_ldap_reader *r)
{
	struct table_ldap *l = r->ldap;

	l->search_base = table_ldap_text(r, "search_base", "");
	l->query_filter = table_ldap_text(r, "query_filter", "(mailacceptinggeneralid=%s)");
	if (!table_query_open(r->table->conf, r->table->spec, r->settings, &l->query, r->err) ||
	    !table_query_learn(l->query, r->settings, "search_base", l->search_base, r->err) ||
	    !table_query_learn(l->query, r->settings, "query_filter", l->query_filter, r->err) ||
	    !table_ldap_number(
		r, "recursion_limit", LDAP_RECURSION_LIMIT, 1, INT32_MAX, &l->recursion_limit) ||
	    !table_ldap_number(r, "size_limit", (int64_t)table_query_limit(l->query), 0, INT32_MAX,
		&l->size_limit))
		return false;
	l->dynamic_base = table_ldap_is_dynamic(l->search_base);
	if (!table_ldap_is_dynamic(l->query_filter))
		log_warn("%s: fixed query_filter %s is probably useless", r->table->spec,
		    l->query_filter);
	l->leaf_from = table_ldap_add_attributes(r, "terminal_result_attribute", "");
	l->ordinary_from = table_ldap_add_attributes(r, "leaf_result_attribute", "");
	l->special_from = table_ldap_add_attributes(r, "result_attribute", "maildrop");
	if (table_ldap_add_attributes(r, "special_result_attribute", "") == 0)
		return table_query_bad(
		    r->settings, "result_attribute", r->err, "no attribute to read");
	return table_ldap_read_scope(r);
}

/* ---- the type ---------------------------------------------------------------------------------------------------- */

static void
table_ldap_close(void *state)
{
	struct table_ldap *l = state;

	table_ldap_disconnect(l);
	table_query_free(&l->query);
	mem_free(l->attributes);
	arena_done(&l->arena);
	mem_free(l);
}

static void
table_ldap_warn_ignored(struct table_ldap_reader *r)
{
	static const char *const ignored[] = {"cache", "cache_expiry", "cache_size"};

	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		if (table_query_str(r->settings, ignored[i], NULL) != NULL)
			log_warn("%s: ignoring %s", r->table->spec, ignored[i]);
}

static bool
table_ldap_open(struct table *t, struct err *err)
{
	struct table_ldap_reader r = {.table = t, .err = err};
	bool good;

	if (!table_query_settings(t->conf, t->argument.ptr, &r.settings, err))
		return false;
	r.ldap = mem_new(struct table_ldap);
	good = table_ldap_read_server(&r) && table_ldap_read_query(&r);
	if (good) {
		table_ldap_warn_ignored(&r);
		t->state = r.ldap;
	} else {
		table_ldap_close(r.ldap);
	}
	table_query_settings_free(&r.settings);
	return good;
}

static enum table_result
table_ldap_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_ldap *l = t->state;
	enum table_result r = table_query_wants(l->query, key, err);

	return r == TABLE_FOUND ? table_ldap_search(l, key, value, err) : r;
}

const struct table_type table_ldap_type = {
    .name = "ldap",
    .open = table_ldap_open,
    .lookup = table_ldap_lookup,
    .close = table_ldap_close,
    .suffix = "",
    .settings = true,
    .blocks = true,
    .foreign = true,
};
