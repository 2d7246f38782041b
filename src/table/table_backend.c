/*
 * table_backend.c - ldap, mysql and sqlite by name: what every program knows of them. A table of such a type becomes one of the
 * type itself when it is opened, in a program that has it (table_backend_link.c).
 */
#include "table/table_int.h"

static const struct table_type *table_backends[4];

void
table_backend_add(const struct table_type *type)
{
	size_t i = 0;

	while (table_backends[i] != NULL && table_backends[i] != type)
		i++;
	MUST(i < ARRAY_LEN(table_backends) - 1);
	table_backends[i] = type;
}

static bool
table_backend_open(struct table *t, struct err *err)
{
	for (size_t i = 0; table_backends[i] != NULL; i++) {
		if (strcmp(table_backends[i]->name, t->type->name) != 0)
			continue;
		t->type = table_backends[i];
		return t->type->open(t, err);
	}
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

const struct table_type table_ldap_name = TABLE_BACKEND("ldap");
const struct table_type table_mysql_name = TABLE_BACKEND("mysql");
const struct table_type table_sqlite_name = TABLE_BACKEND("sqlite");
