/*
 * agent_worker_tables.c - see agent_worker_tables.h.
 */
#include "agent/agent_worker_tables.h"

#include "base/mem.h"
#include "table/table.h"
#include "table/table_address.h"

struct agent_worker_tables {
	int users; /* a lookup may still wait when a reload puts others in place */
	bool closed;
	struct conf *conf;
	const enum conf_param *params;
	struct table_list **lists; /* in the order of params */
};

struct agent_worker_tables *
agent_worker_tables_new(struct conf *conf, const enum conf_param *params, bool trusted)
{
	struct agent_worker_tables *t = mem_new(struct agent_worker_tables);
	unsigned flags = trusted ? TABLE_NO_PROXY | TABLE_NO_SUBSTITUTION : TABLE_NO_SUBSTITUTION;
	size_t count = 0;

	t->conf = conf_ref(conf);
	t->params = params;
	while (params[count] != CONF_COUNT)
		count++;
	t->lists = mem_zalloc((count + 1) * sizeof(struct table_list *));
	for (size_t i = 0; i < count; i++)
		t->lists[i] = table_list_of(conf, params[i], flags);
	return t;
}

static void
agent_worker_tables_release(struct agent_worker_tables *t)
{
	if (t->users > 0 || !t->closed)
		return;
	for (size_t i = 0; t->params[i] != CONF_COUNT; i++)
		table_list_close(&t->lists[i]);
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

static enum table_result
agent_worker_tables_ask(struct agent_worker_tables *t, struct table_list *list,
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

enum agent_work_lookup
agent_worker_tables_find(struct agent_worker_tables *t, enum conf_param param,
    enum agent_work_key how, struct span key, struct buf *value)
{
	enum table_result r = TABLE_NOT_FOUND;
	struct err err;

	for (size_t i = 0; t->params[i] != CONF_COUNT; i++) {
		if (t->params[i] != param)
			continue;
		t->users++;
		r = agent_worker_tables_ask(t, t->lists[i], how, key, value, &err);
		t->users--;
		break;
	}
	if (r == TABLE_ERROR) {
		buf_clear(value);
		buf_add_str(value, err.text);
	}
	agent_worker_tables_release(t);
	if (r == TABLE_NOT_FOUND)
		return AGENT_WORK_ABSENT;
	return r == TABLE_FOUND ? AGENT_WORK_FOUND : AGENT_WORK_TRY_AGAIN;
}
