/*
 * table_check.c - see table_check.h.
 */
#include "table/table_check.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf_param.h"
#include "conf/conf_value.h"
#include "table/table_proxy.h"
#include "table/table_type.h"

/* "hash:/x", also behind proxy:. A name such as unix:/socket is no table. */
static bool
table_check_wanted(struct span item)
{
	const struct table_type *type;

	if (!table_is_spec(item))
		return false;
	type = table_type_find(span_head(item, span_find(item, ':')));
	if (type == &table_proxy_type)
		return table_check_wanted(span_from(item, span_find(item, ':') + 1));
	return type != NULL && (type->suffix != NULL || type->network);
}

/* Does the value consist of tables and nothing else? Other lists may hold names, addresses and files as well. */
static bool
table_check_only_tables(const char *name)
{
	static const char *const ends[] = {"_maps", "_checks", "alias_database"};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (span_ends(span_str(name), ends[i]))
			return strncmp(name, "proxy_", 6) != 0;
	return false;
}

/* A value that is no table at all: NULL, or what is wrong with it. */
static const char *
table_check_form(struct span item)
{
	size_t colon = span_find(item, ':');

	if (colon == item.len)
		return "expecting \"type:name\" form";
	return table_type_find(span_head(item, colon)) == NULL ? "unsupported dictionary type"
							       : NULL;
}

/* Is it set, or used without: the aliases of local users? */
static bool
table_check_is_used(struct conf *conf, enum conf_param p)
{
	struct span name = span_str(conf_param_info(p)->name);

	if (p == CONF_alias_maps)
		return conf_str(conf, CONF_mydestination)[0] != '\0';
	/* These are made by who writes them. */
	if (span_ends(name, "_cache_database") || span_ends(name, "_cache_map") ||
	    p == CONF_address_verify_map)
		return false;
	return conf_param_info(p)->type == CONF_TYPE_STR && conf_is_set(conf, p);
}

static void
table_check_one(struct table *t, const char *parameter,
    void (*found)(void *arg, const char *parameter, const char *table, const char *why), void *arg)
{
	char *source CLEANUP(mem_free_str) = span_dup(t->argument);
	const char *trouble = table_trouble(t);
	bool indexed = t->type != NULL && t->type->suffix != NULL &&
		       strcmp(t->type->suffix, TABLE_INDEX_SUFFIX) == 0;
	char *why CLEANUP(mem_free_str) = NULL;

	/* Who comes from Postfix has files of other kinds. */
	if (trouble != NULL && indexed && access(source, F_OK) == 0 && access(t->path, F_OK) != 0)
		why = mem_printf("%s: %s %s makes it", trouble,
		    strncmp(parameter, "alias_", 6) == 0 ? "postalias" : "postmap", table_name(t));
	else if (trouble != NULL)
		why = mem_strdup(trouble);
	else if (indexed && table_index_is_old(t, 0))
		why = mem_strdup("it is older than its source");
	if (why != NULL)
		found(arg, parameter, table_name(t), why);
}

void
table_check(struct conf *conf,
    void (*found)(void *arg, const char *parameter, const char *table, const char *why), void *arg)
{
	for (size_t p = 0; p < CONF_COUNT; p++) {
		const struct conf_param_info *info = conf_param_info((enum conf_param)p);
		struct span rest, item;

		if (!table_check_is_used(conf, (enum conf_param)p))
			continue;
		rest = span_str(conf_str(conf, (enum conf_param)p));
		while (conf_value_item(&rest, &item)) {
			const char *wrong;
			struct table *t;

			while (span_starts(item, "!"))
				item = span_from(item, 1);
			wrong = table_check_only_tables(info->name) ? table_check_form(item) : NULL;
			if (wrong != NULL) {
				char *spec CLEANUP(mem_free_str) = span_dup(item);

				found(arg, info->name, spec, wrong);
				continue;
			}
			if (!table_check_wanted(item))
				continue;
			t = table_open(conf, item, 0);
			table_check_one(t, info->name, found, arg);
			table_close(&t);
		}
	}
}

/* The value of local_recipient_maps counts also when it is the default, as long as there are local domains. */
static bool
table_check_counts(struct conf *conf, enum conf_param p)
{
	if (p == CONF_proxy_read_maps || p == CONF_proxy_write_maps)
		return false;
	if (p == CONF_local_recipient_maps)
		return conf_str(conf, CONF_mydestination)[0] != '\0';
	return conf_param_info(p)->type == CONF_TYPE_STR && conf_is_set(conf, p);
}

static bool
table_check_is_proxied(struct span item)
{
	/* unix: is also a way to write sockets. */
	if (span_starts(item, "unix:"))
		return span_ends(item, ".byname");
	return table_is_spec(item) && table_proxy_blocks(item);
}

void
table_check_proxied(struct conf *conf,
    void (*found)(void *arg, const char *parameter, const char *table), void *arg)
{
	for (size_t p = 0; p < CONF_COUNT; p++) {
		struct span rest, item;

		if (!table_check_counts(conf, (enum conf_param)p))
			continue;
		rest = span_str(conf_str(conf, (enum conf_param)p));
		while (conf_value_item(&rest, &item)) {
			char *spec CLEANUP(mem_free_str) = span_dup(item);

			if (table_check_is_proxied(item))
				found(arg, conf_param_info((enum conf_param)p)->name, spec);
		}
	}
}
