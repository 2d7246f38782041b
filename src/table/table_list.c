/*
 * table_list.c - the tables of one parameter: see table.h.
 */
#include "base/mem.h"
#include "conf/conf_param.h"
#include "conf/conf_value.h"
#include "table/table_type.h"

struct table_list {
	struct table **tables; /* owned */
	size_t count;
	char *what; /* owned: the parameter's name */
};

struct table_list *
table_list_open(struct conf *conf, const char *text, const char *what, unsigned flags)
{
	struct table_list *l = mem_new(struct table_list);
	struct span rest = span_str(text);
	struct span item;

	l->what = mem_strdup(what);
	while (conf_value_item(&rest, &item)) {
		l->tables = mem_resize(l->tables, l->count + 1, sizeof(*l->tables));
		l->tables[l->count++] = table_open(conf, item, flags);
	}
	return l;
}

struct table_list *
table_list_of(struct conf *conf, enum conf_param p, unsigned flags)
{
	return table_list_open(conf, conf_str(conf, p), conf_param_info(p)->name, flags);
}

void
table_list_close(struct table_list **l)
{
	if (*l == NULL)
		return;
	for (size_t i = 0; i < (*l)->count; i++)
		table_close(&(*l)->tables[i]);
	mem_free((*l)->tables);
	mem_free((*l)->what);
	mem_free(*l);
	*l = NULL;
}

enum table_result
table_list_lookup(
    struct table_list *l, struct span key, enum table_key kind, struct buf *value, struct err *err)
{
	err_clear(err);
	buf_clear(value);
	for (size_t i = 0; l != NULL && i < l->count; i++) {
		enum table_result result = table_lookup(l->tables[i], key, kind, value, err);

		if (result == TABLE_ERROR)
			return (void)err_prefix(err, "%s", l->what), TABLE_ERROR;
		if (result == TABLE_FOUND)
			return TABLE_FOUND;
	}
	return TABLE_NOT_FOUND;
}

bool
table_list_is_empty(const struct table_list *l)
{
	return l == NULL || l->count == 0;
}
