/*
 * table_multi.c - tables made of others: unionmap:{type:name, ...} joins all results with commas, pipemap: looks each result
 * up in the next table, randmap:{a, b} picks one of its own.
 */
#include "base/mem.h"
#include "base/random.h"
#include "conf/conf_value.h"
#include "table/table_type.h"

struct table_multi {
	struct table **tables; /* owned; unionmap, pipemap */
	char **values;         /* owned; randmap */
	size_t count;
};

static void
table_multi_close(void *state)
{
	struct table_multi *m = state;

	for (size_t i = 0; i < m->count; i++) {
		if (m->tables != NULL)
			table_close(&m->tables[i]);
		else
			mem_free(m->values[i]);
	}
	mem_free(m->tables);
	mem_free(m->values);
	mem_free(m);
}

static bool
table_multi_syntax(const struct table *t, const char *item, struct err *err)
{
	return err_set(err, ERR_CONFIG, "4.3.5", "bad syntax: \"%s\"; need \"%s:{%s...}\"", t->spec,
	    t->type->name, item);
}

/* Fixed strings if all are, patterns if all are, else something that only whole keys are asked of. */
static void
table_multi_kind(struct table *t, const struct table_multi *m)
{
	bool fixed = true, pattern = true;

	for (size_t i = 0; i < m->count; i++) {
		fixed = fixed && !m->tables[i]->pattern && !m->tables[i]->mixed;
		pattern = pattern && m->tables[i]->pattern;
	}
	t->pattern = pattern;
	t->mixed = !fixed && !pattern;
}

static bool
table_multi_open(struct table *t, struct err *err)
{
	struct table_multi *m;
	struct span rest, item;

	if (table_braces(t->argument, &rest) != NULL)
		return table_multi_syntax(t, "type:name", err);
	m = mem_new(struct table_multi);
	while (conf_value_item(&rest, &item)) {
		struct table *one;

		if (span_find(item, ':') == item.len) {
			table_multi_close(m);
			return table_multi_syntax(t, "type:name", err);
		}
		one = table_open(t->conf, item, t->flags);
		m->tables = mem_resize(m->tables, m->count + 1, sizeof(struct table *));
		m->tables[m->count++] = one;
	}
	if (m->count == 0) {
		table_multi_close(m);
		return table_multi_syntax(t, "type:name", err);
	}
	table_multi_kind(t, m);
	t->state = m;
	return true;
}

static const char *
table_multi_trouble(struct table *t)
{
	const struct table_multi *m = t->state;

	for (size_t i = 0; i < m->count; i++)
		if (table_trouble(m->tables[i]) != NULL)
			return table_trouble(m->tables[i]);
	return NULL;
}

static enum table_result
table_union_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_multi *m = t->state;
	struct buf one CLEANUP(buf_done) = {0};
	enum table_result result = TABLE_NOT_FOUND;

	for (size_t i = 0; i < m->count; i++) {
		switch (table_lookup_inner(m->tables[i], key, &one, err)) {
		case TABLE_ERROR:
			return TABLE_ERROR;
		case TABLE_NOT_FOUND:
			continue;
		case TABLE_FOUND:
			break;
		}
		if (value->len != 0)
			buf_add_char(value, ',');
		buf_add_span(value, buf_span(&one));
		result = TABLE_FOUND;
	}
	return result;
}

static enum table_result
table_pipe_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_multi *m = t->state;
	struct buf query CLEANUP(buf_done) = {0};
	enum table_result result = TABLE_NOT_FOUND;

	buf_add_span(&query, key);
	for (size_t i = 0; i < m->count; i++) {
		result = table_lookup_inner(m->tables[i], buf_span(&query), value, err);
		if (result != TABLE_FOUND)
			return result;
		buf_clear(&query);
		buf_add_span(&query, buf_span(value));
	}
	return result;
}

static bool
table_random_open(struct table *t, struct err *err)
{
	struct table_multi *m;
	struct span rest, item;

	if (table_braces(t->argument, &rest) != NULL)
		return table_multi_syntax(t, "value", err);
	m = mem_new(struct table_multi);
	while (conf_value_item(&rest, &item)) {
		m->values = mem_resize(m->values, m->count + 1, sizeof(char *));
		m->values[m->count++] = span_dup(item);
	}
	if (m->count == 0) {
		table_multi_close(m);
		return table_multi_syntax(t, "value", err);
	}
	t->state = m;
	return true;
}

static enum table_result
table_random_lookup(
    struct table *t, struct span key UNUSED, struct buf *value, struct err *err UNUSED)
{
	const struct table_multi *m = t->state;

	buf_add_str(value, m->values[random_below((uint32_t)m->count)]);
	return TABLE_FOUND;
}

const struct table_type table_union_type = {
    .name = "unionmap",
    .open = table_multi_open,
    .lookup = table_union_lookup,
    .inner_trouble = table_multi_trouble,
    .close = table_multi_close,
};

const struct table_type table_pipe_type = {
    .name = "pipemap",
    .open = table_multi_open,
    .lookup = table_pipe_lookup,
    .inner_trouble = table_multi_trouble,
    .close = table_multi_close,
};

const struct table_type table_random_type = {
    .name = "randmap",
    .open = table_random_open,
    .lookup = table_random_lookup,
    .close = table_multi_close,
};
