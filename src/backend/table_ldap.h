/*
 * table_ldap.h - what the parts of the type ldap share: the settings of a table (table_ldap.c), its connection (table_ldap_bind.c),
 * the search and what is made of its entries (table_ldap_search.c). Everything blocks, up to `timeout` a step.
 */
#ifndef BACKEND_TABLE_LDAP_H
#define BACKEND_TABLE_LDAP_H

#include <ldap.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "table/table_query.h"

enum table_ldap_bind {
	TABLE_LDAP_BIND_NONE,
	TABLE_LDAP_BIND_SIMPLE,
	TABLE_LDAP_BIND_SASL,
};

/* How the server is reached. */
struct table_ldap_server {
	const char *uris; /* separated by blanks */
	int64_t version;
	int64_t timeout; /* s */
	int64_t dereference;
	int64_t debuglevel;
	bool chase_referrals;
	bool start_tls;
	bool tls; /* start_tls, or some URI is ldaps: */
	bool tls_require_cert;
	const char *tls_ca_cert_file, *tls_ca_cert_dir, *tls_cert, *tls_key, *tls_random_file,
	    *tls_cipher_suite;
	enum table_ldap_bind bind;
	const char *bind_dn, *bind_pw;
	const char *sasl_mechs, *sasl_realm, *sasl_authz_id;
	int64_t sasl_minssf;
};

struct table_ldap {
	struct arena arena; /* texts */
	struct table_ldap_server server;
	LDAP *ld; /* the session with the server; NULL: none now */
	struct table_query *query;
	const char *search_base;
	const char *query_filter;
	bool dynamic_base; /* a key decides about the base: that there is none is "not found" */
	int scope;
	/* What is read of entries, NULL behind the last one: first terminal, then leaf, then ordinary, last special attributes. */
	char **attributes;
	size_t leaf_from, ordinary_from, special_from;
	int64_t recursion_limit, size_limit;
};

/* Makes l->ld: connects and binds, unless that was done. */
bool table_ldap_connect(struct table_ldap *l, struct err *err);

/* Drops the session: the next one is made anew. */
void table_ldap_disconnect(struct table_ldap *l);

/* Waits for the answer to `id`; the result is the caller's to free. An LDAP_ code. */
int table_ldap_wait(LDAP *ld, int id, int64_t timeout, LDAPMessage **ret);

/* A lookup. */
enum table_result table_ldap_search(
    struct table_ldap *l, struct span key, struct buf *value, struct err *err);

/*
 * Append `text` so that it means itself in a filter (RFC 4515 section 3) or in the value of a distinguished name (RFC 4514
 * section 2.4). Of the shape table_query_quote.
 */
void table_ldap_quote_filter(void *arg, struct span text, struct buf *out);
void table_ldap_quote_dn(void *arg, struct span text, struct buf *out);

#endif
