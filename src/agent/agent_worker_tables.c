/*
 * agent_worker_tables.c - see agent_worker_tables.h. A lookup may still wait when a reload puts other tables in place: whoever
 * is the last to use them closes them.
 */
#include "agent/agent_worker_tables.h"

#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_param.h"
#include "rewrite/rewrite.h"
#include "table/table.h"
#include "table/table_address.h"
#include "table/table_proxy.h"

struct agent_worker_tables {
	int users;
	bool closed;
	struct conf *conf;
	const enum conf_param *params;
	struct table_list **lists; /* in the order of params */
	enum conf_param owned_param;
	struct table **owned; /* its tables, one by one */
	size_t owned_count;
	struct rewrite *rewrite; /* only where owned tables are: local */
};

/* Cuts the next "type:name" off; braces protect what is inside. */
static bool
agent_worker_next_spec(struct span *rest, struct span *ret)
{
	size_t depth = 0, n = 0;

	while (rest->len > 0 && strchr(", \t\r\n", rest->ptr[0]) != NULL)
		*rest = span_from(*rest, 1);
	while (n < rest->len && (depth > 0 || strchr(", \t\r\n", rest->ptr[n]) == NULL)) {
		if (rest->ptr[n] == '{')
			depth++;
		else if (rest->ptr[n] == '}' && depth > 0)
			depth--;
		n++;
	}
	*ret = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return n > 0;
}

static void
agent_worker_open_owned(struct agent_worker_tables *t, unsigned flags)
{
	struct span rest = span_str(conf_str(t->conf, t->owned_param));
	struct span spec;
	struct err err;

	while (agent_worker_next_spec(&rest, &spec)) {
		t->owned = mem_resize(t->owned, t->owned_count + 1, sizeof(t->owned[0]));
		t->owned[t->owned_count++] = table_open(t->conf, spec, flags);
	}
	if (!rewrite_new(t->conf, &t->rewrite, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
}

/* Results that choose a path or a command take nothing from the key; a filter of texts may. */
static unsigned
agent_worker_table_flags(enum conf_param maps, unsigned flags)
{
	return span_ends(span_str(conf_param_info(maps)->name), "_delivery_status_filter")
		   ? flags & ~(unsigned)TABLE_NO_SUBSTITUTION
		   : flags;
}

struct agent_worker_tables *
agent_worker_tables_new(struct conf *conf, const struct agent_worker_kind *kind)
{
	struct agent_worker_tables *t = mem_new(struct agent_worker_tables);
	unsigned flags =
	    kind->trusted_tables ? TABLE_NO_PROXY | TABLE_NO_SUBSTITUTION : TABLE_NO_SUBSTITUTION;
	size_t count = 0;

	t->conf = conf_ref(conf);
	t->params = kind->tables;
	t->owned_param = kind->owned_tables;
	while (t->params[count] != CONF_COUNT)
		count++;
	t->lists = mem_zalloc((count + 1) * sizeof(struct table_list *));
	for (size_t i = 0; i < count; i++)
		t->lists[i] = table_list_of(
		    conf, t->params[i], agent_worker_table_flags(t->params[i], flags));
	if (t->owned_param != CONF_COUNT)
		agent_worker_open_owned(t, TABLE_NO_PROXY | TABLE_NO_SUBSTITUTION);
	return t;
}

static void
agent_worker_tables_release(struct agent_worker_tables *t)
{
	if (t->users > 0 || !t->closed)
		return;
	for (size_t i = 0; t->params[i] != CONF_COUNT; i++)
		table_list_close(&t->lists[i]);
	for (size_t i = 0; i < t->owned_count; i++)
		table_close(&t->owned[i]);
	rewrite_free(&t->rewrite);
	mem_free(t->owned);
	mem_free(t->lists);
	conf_unref(&t->conf);
	mem_free(t);
}

void
agent_worker_tables_free(struct agent_worker_tables **t)
{
	if (t == NULL || *t == NULL)
		return;
	(*t)->closed = true;
	agent_worker_tables_release(*t);
	*t = NULL;
}

/* ---- lookups ---- */

bool
agent_worker_tables_block(const struct conf *conf, const struct agent_worker_kind *kind,
    enum conf_param param, enum agent_work_key how)
{
	bool owned = how == AGENT_WORK_ALIAS;
	bool blocks = false;
	struct span rest;
	struct span spec;

	if (how == AGENT_WORK_ROUTE || (!owned && !kind->trusted_tables))
		return false;
	rest = span_str(conf_str(conf, owned ? kind->owned_tables : param));
	while (agent_worker_next_spec(&rest, &spec)) {
		while (span_starts(spec, "proxy:"))
			spec = span_from(spec, strlen("proxy:"));
		if (table_proxy_blocks(spec))
			blocks = true;
		else if (table_proxy_is_implied(spec))
			return false;
	}
	return blocks;
}

static enum table_result
agent_worker_ask_list(struct agent_worker_tables *t, struct table_list *list,
    enum agent_work_key how, struct span key, struct buf *value, struct err *err)
{
	const struct table_address_rules rules = {
	    .forms = TABLE_ADDRESS_MAILBOX,
	    .delimiters = conf_str(t->conf, CONF_recipient_delimiter),
	};

	if (how == AGENT_WORK_MAILBOX)
		return table_address_lookup(list, &rules, key, value, NULL, err);
	return table_list_lookup(
	    list, key, how == AGENT_WORK_PART ? TABLE_KEY_PARTIAL : TABLE_KEY_FULL, value, err);
}

static enum table_result
agent_worker_ask_owned(
    struct agent_worker_tables *t, struct span key, struct buf *value, struct err *err)
{
	for (size_t i = 0; i < t->owned_count; i++) {
		struct buf found CLEANUP(buf_done) = {0};
		enum table_result r = table_lookup(t->owned[i], key, TABLE_KEY_FULL, &found, err);

		if (r == TABLE_NOT_FOUND)
			continue;
		if (r == TABLE_FOUND)
			buf_printf(
			    value, "%u %s", (unsigned)table_owner(t->owned[i]), buf_str(&found));
		return r;
	}
	return TABLE_NOT_FOUND;
}

static enum table_result
agent_worker_ask_route(
    struct agent_worker_tables *t, struct span key, struct buf *value, struct err *err)
{
	struct arena arena CLEANUP(arena_done) = {0};
	struct rewrite_route route;
	const char *addr = rewrite_address(t->rewrite, &arena, key);

	rewrite_resolve(t->rewrite, &arena, span_str(addr), &route);
	if (route.trouble) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "%s", route.nexthop);
		return TABLE_ERROR;
	}
	buf_printf(value, "%s\n%s\n%s", route.recipient, route.transport, route.nexthop);
	return TABLE_FOUND;
}

static enum table_result
agent_worker_ask(struct agent_worker_tables *t, enum conf_param param, enum agent_work_key how,
    struct span key, struct buf *value, struct err *err)
{
	if (t->owned_param != CONF_COUNT && how == AGENT_WORK_ROUTE)
		return agent_worker_ask_route(t, key, value, err);
	if (how == AGENT_WORK_ALIAS)
		return agent_worker_ask_owned(t, key, value, err);
	for (size_t i = 0; t->params[i] != CONF_COUNT; i++)
		if (t->params[i] == param)
			return agent_worker_ask_list(t, t->lists[i], how, key, value, err);
	return TABLE_NOT_FOUND;
}

enum agent_work_lookup
agent_worker_tables_find(struct agent_worker_tables *t, enum conf_param param,
    enum agent_work_key how, struct span key, struct buf *value)
{
	enum table_result r;
	struct err err;

	t->users++;
	r = agent_worker_ask(t, param, how, key, value, &err);
	t->users--;
	if (r == TABLE_ERROR) {
		buf_clear(value);
		buf_add_str(value, err.text);
	}
	agent_worker_tables_release(t);
	if (r == TABLE_NOT_FOUND)
		return AGENT_WORK_ABSENT;
	return r == TABLE_FOUND ? AGENT_WORK_FOUND : AGENT_WORK_TRY_AGAIN;
}
