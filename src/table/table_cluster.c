/*
 * table_cluster.c - cluster:name, tables that the cluster keeps in its queue database: the type, and what postmap does to
 * one. Their content is text, keys are folded as in every other table of fixed strings.
 */
#include "table/table_cluster.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cluster/cluster_table.h"
#include "table/table_int.h"

#define PATIENCE        (30 * CLOCK_SECOND)
#define NAME_MAX_LENGTH 200

/* As schema/0005-tables.sql has it. */
static bool
is_name(struct span name)
{
	static const char good[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

	for (size_t i = 0; i < name.len; i++)
		if (strchr(good, name.ptr[i]) == NULL)
			return false;
	return name.len != 0 && name.len <= NAME_MAX_LENGTH;
}

/* ---- the type ------------------------------------------------------------------------------------------------------- */

static bool
cluster_open(struct table *t, struct err *err)
{
	if (!is_name(t->argument))
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "bad name of a table: \"%.*s\": letters, digits, \"_\", \".\" and \"-\" only",
		    SPAN_ARG(t->argument));
	t->state = span_dup(t->argument);
	return true;
}

static enum table_result
cluster_decode(struct buf *value, struct err *err)
{
	struct buf content CLEANUP(buf_done) = {0};

	if (!table_base64_decode(&content, buf_span(value))) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "malformed BASE64 value");
		return TABLE_ERROR;
	}
	buf_clear(value);
	buf_add_span(value, buf_span(&content));
	return TABLE_FOUND;
}

static enum table_result
cluster_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	switch (cluster_table_lookup(t->state, key, clock_deadline(PATIENCE), value, err)) {
	case CLUSTER_TABLE_FOUND:
		return t->flags & TABLE_FILE_VALUES ? cluster_decode(value, err) : TABLE_FOUND;
	case CLUSTER_TABLE_NOT_FOUND:
		return TABLE_NOT_FOUND;
	case CLUSTER_TABLE_FAILED:
		break;
	}
	return TABLE_ERROR;
}

static bool
cluster_is_absent(const struct table *t UNUSED)
{
	return !cluster_table_is_started();
}

const struct table_type table_cluster_type = {
    .name = "cluster",
    .absent = cluster_is_absent,
    .open = cluster_open,
    .lookup = cluster_lookup,
    .close = mem_free,
    .network = true,
};

/* ---- postmap -------------------------------------------------------------------------------------------------------- */

static bool
cluster_connect(const struct table_command *c, const char *name, struct cluster_table_editor *ret,
    struct err *err)
{
	if (!is_name(span_str(name)))
		return err_set(err, ERR_CONFIG, "", "cluster:%s: bad name of a table", name);
	if (c->editor == NULL)
		return err_set(
		    err, ERR_CONFIG, "", "cluster:%s: no way to the queue database", name);
	return c->editor(c->editor_arg, ret, err) || err_prefix(err, "cluster:%s", name);
}

static bool
cluster_load_one(void *arg, struct span key, struct span value, struct err *err)
{
	return cluster_table_load_add(arg, key, value, err);
}

bool
table_cluster_build(const struct table_command *c, const char *name,
    const struct table_build *entries, struct err *err)
{
	struct cluster_table_editor editor;
	struct cluster_table_load load;
	bool ok;

	if (!cluster_connect(c, name, &editor, err) ||
	    !cluster_table_load_begin(&load, &editor, err))
		return false;
	ok = table_build_each(entries, cluster_load_one, &load, err) &&
	     cluster_table_load_finish(&load, name, err);
	cluster_table_load_done(&load);
	return ok || err_prefix(err, "cluster:%s", name);
}

/* Keys and values side by side, borrowed from a table_build. */
struct cluster_columns {
	struct span *keys;
	struct span *values;
	size_t count;
};

static bool
cluster_gather(void *arg, struct span key, struct span value, struct err *err UNUSED)
{
	struct cluster_columns *l = arg;

	l->keys = mem_resize(l->keys, l->count + 1, sizeof(struct span));
	l->values = mem_resize(l->values, l->count + 1, sizeof(struct span));
	l->keys[l->count] = key;
	l->values[l->count++] = value;
	return true;
}

static void
cluster_duplicate(void *arg, struct span key)
{
	log_warn("cluster:%s: duplicate entry: \"%.*s\"", (const char *)arg, SPAN_ARG(key));
}

bool
table_cluster_add(const struct table_command *c, const char *name,
    const struct table_build *entries, struct err *err)
{
	char *shown CLEANUP(mem_free_str) = mem_strdup(name);
	struct cluster_table_editor editor;
	struct cluster_columns l = {0};
	bool ok;

	if (!cluster_connect(c, name, &editor, err))
		return false;
	ok = table_build_each(entries, cluster_gather, &l, err);
	ok = ok &&
	     (l.count == 0 || cluster_table_put(&editor, name, l.keys, l.values, l.count,
				  c->replace, c->silent ? NULL : cluster_duplicate, shown, err));
	mem_free(l.keys);
	mem_free(l.values);
	return ok || err_prefix(err, "cluster:%s", name);
}

bool
table_cluster_remove(const struct table_command *c, const char *name, struct span keys,
    bool *ret_found, struct err *err)
{
	struct cluster_table_editor editor;
	struct buf folded CLEANUP(buf_done) = {0};
	struct cluster_columns l = {0};
	struct span rest;
	int64_t removed = 0;
	bool ok;

	if (!cluster_connect(c, name, &editor, err))
		return false;
	if (c->exact_case)
		buf_add_span(&folded, keys);
	else
		table_fold(&folded, keys, !c->bytes && utf8_is_valid(keys));
	rest = buf_span(&folded);
	while (rest.len != 0) {
		size_t n = span_find(rest, '\n');

		(void)cluster_gather(&l, span_head(rest, n), (struct span){0}, err);
		rest = span_from(rest, n + 1);
	}
	ok = cluster_table_remove(&editor, name, l.keys, l.count, &removed, err);
	mem_free(l.keys);
	mem_free(l.values);
	*ret_found = *ret_found || removed > 0;
	return ok || err_prefix(err, "cluster:%s", name);
}

bool
table_cluster_list(const struct table_command *c, const char *name,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct cluster_table_editor editor;

	return cluster_connect(c, name, &editor, err) &&
	       cluster_table_each(editor.conn, name, each, arg, err);
}
