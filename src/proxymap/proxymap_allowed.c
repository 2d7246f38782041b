/*
 * proxymap_allowed.c - which tables this process answers for. A process that was taken over could ask for any: what the
 * administrator did not name is refused, as in Postfix. A table that blocks, or that the asking process cannot reach, is asked
 * through this process although nobody wrote "proxy:"; such a one is known by its place in main.cf or master.cf.
 */
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_value.h"
#include "conf/main_cf.h"
#include "conf/master_cf.h"
#include "proxymap/proxymap_int.h"
#include "table/table_query.h"

struct proxymap_allowed {
	struct hmap approved; /* specifications without "proxy:" */
	struct hmap named;    /* tables that block, or that not every process can ask */
};

static char proxymap_yes; /* what the maps hold */

bool
proxymap_allowed_has(const struct proxymap_allowed *a, struct span spec, bool approved)
{
	return hmap_get(approved ? &a->approved : &a->named, spec) != NULL;
}

static void
proxymap_allowed_approve(struct proxymap_allowed *a, const char *list)
{
	struct span rest = span_str(list), item;

	while (conf_value_item(&rest, &item)) {
		bool proxied = false;

		for (; span_starts(item, "proxy:"); item = span_from(item, strlen("proxy:")))
			proxied = true;
		if (proxied && span_find(item, ':') < item.len)
			(void)hmap_put(&a->approved, item, &proxymap_yes);
	}
}

/* Finds tables in a value, also in braces: unionmap:{...}, { a restriction }. */
static void
proxymap_allowed_search(struct proxymap_allowed *a, struct span text)
{
	struct span item;

	while (conf_value_item(&text, &item)) {
		size_t brace = span_find(item, '{');

		for (; span_starts(item, "!"); item = span_from(item, 1))
			continue;
		if (table_proxy_is_implied(item) && !span_starts(item, "proxy:")) {
			char *name CLEANUP(mem_free_str) =
			    span_dup(span_from(item, span_find(item, ':') + 1));

			table_query_remember(name);
			(void)hmap_put(&a->named, item, &proxymap_yes);
		} else if (brace < item.len && span_ends(item, "}")) {
			item = span_from(item, brace + 1);
			proxymap_allowed_search(a, span_head(item, item.len - 1));
		}
	}
}

static void
proxymap_allowed_value(struct proxymap_allowed *a, const struct conf *conf, const char *value)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	if (conf_expand(conf, span_str(value), NULL, &text, &err))
		proxymap_allowed_search(a, buf_span(&text));
}

static void
proxymap_allowed_main_cf(struct proxymap_allowed *a, const struct conf *conf)
{
	char *path CLEANUP(mem_free_str) = mem_printf("%s/main.cf", conf_dir(conf));
	struct main_cf file = {0};
	struct err err;

	if (!main_cf_load(path, &file, &err)) {
		log_warn("%s", err.text);
		return;
	}
	for (size_t i = 0; i < file.count; i++)
		proxymap_allowed_value(a, conf, file.entries[i].value);
	main_cf_done(&file);
}

static void
proxymap_allowed_master_cf(struct proxymap_allowed *a, const struct conf *conf)
{
	struct master_cf services = {0};
	struct err err;

	if (!master_cf_load(conf_dir(conf), &services, &err)) {
		log_warn("%s", err.text);
		return;
	}
	for (size_t i = 0; i < services.count; i++)
		for (size_t j = 0; j < services.services[i].override_count; j++)
			proxymap_allowed_value(a, conf, services.services[i].overrides[j].value);
	master_cf_done(&services);
}

struct proxymap_allowed *
proxymap_allowed_new(struct conf *conf, bool writing)
{
	struct proxymap_allowed *a = mem_new(struct proxymap_allowed);
	struct hmap_cursor at = {0};
	struct span spec;
	void *value;

	proxymap_allowed_approve(
	    a, conf_str(conf, writing ? CONF_proxy_write_maps : CONF_proxy_read_maps));
	if (!writing) {
		proxymap_allowed_main_cf(a, conf);
		proxymap_allowed_master_cf(a, conf);
	}
	while (hmap_next(&a->approved, &at, &spec, &value))
		if (table_proxy_is_implied(spec)) {
			char *name CLEANUP(mem_free_str) =
			    span_dup(span_from(spec, span_find(spec, ':') + 1));

			table_query_remember(name);
		}
	return a;
}

void
proxymap_allowed_free(struct proxymap_allowed **a)
{
	if (*a == NULL)
		return;
	hmap_done(&(*a)->approved);
	hmap_done(&(*a)->named);
	mem_free(*a);
	*a = NULL;
}
