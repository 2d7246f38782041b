/*
 * table_backend.c - the types that ask somebody else, by name: what a program knows of them that does not link the type itself
 * (room backend).
 */
#include "table/table_type.h"

static const struct table_type *table_backends[16];

void
table_backend_add(const struct table_type *type)
{
	size_t i = 0;

	while (table_backends[i] != NULL && table_backends[i] != type)
		i++;
	MUST(i < ARRAY_LEN(table_backends) - 1);
	table_backends[i] = type;
}

const struct table_type *
table_backend_find(struct span name)
{
	for (size_t i = 0; table_backends[i] != NULL; i++)
		if (span_equal_str(name, table_backends[i]->name))
			return table_backends[i];
	return NULL;
}

static bool
table_backend_open(struct table *t, struct err *err)
{
	return err_set(err, ERR_CONFIG, "4.3.5",
	    "this program asks %s: tables through proxymap only", t->type->name);
}

/* Never called: what cannot be opened is not asked, and has no state. */
static enum table_result
table_backend_lookup(struct table *t UNUSED, struct span key UNUSED, struct buf *value UNUSED,
    struct err *err UNUSED)
{
	UNREACHED();
}

static void
table_backend_close(void *state UNUSED)
{
	UNREACHED();
}

#define TABLE_BACKEND(type_name)                                                                   \
	{                                                                                          \
		.name = (type_name), .open = table_backend_open, .lookup = table_backend_lookup,   \
		.close = table_backend_close, .suffix = "", .settings = true, .blocks = true       \
	}

const struct table_type table_cluster_name = TABLE_BACKEND("cluster");
const struct table_type table_ldap_name = TABLE_BACKEND("ldap");
const struct table_type table_memcache_name = TABLE_BACKEND("memcache");
const struct table_type table_mysql_name = TABLE_BACKEND("mysql");
const struct table_type table_pgsql_name = TABLE_BACKEND("pgsql");
const struct table_type table_socketmap_name = TABLE_BACKEND("socketmap");
const struct table_type table_sqlite_name = TABLE_BACKEND("sqlite");
const struct table_type table_tcp_name = TABLE_BACKEND("tcp");
