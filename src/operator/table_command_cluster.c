/*
 * table_command_cluster.c - see table_command_cluster.h. Their content is text, keys are folded as in every other table of fixed
 * strings.
 */
#include "operator/table_command_cluster.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cluster/cluster_table.h"
#include "cluster/cluster_table_edit.h"
#include "table/table_type.h"

static bool
cluster_connect(const struct table_command *c, const char *name, struct cluster_table_editor *ret,
    struct err *err)
{
	if (!cluster_table_is_name(span_str(name)))
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
table_command_cluster_build(const struct table_command *c, const char *name,
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
table_command_cluster_add(const struct table_command *c, const char *name,
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
table_command_cluster_remove(const struct table_command *c, const char *name, struct span keys,
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
table_command_cluster_list(const struct table_command *c, const char *name,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct cluster_table_editor editor;

	return cluster_connect(c, name, &editor, err) &&
	       cluster_table_each(editor.conn, name, each, arg, err);
}
