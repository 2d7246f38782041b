/*
 * table_cluster.c - cluster:name, tables that the cluster keeps in its queue database. Their content is text, keys are folded as in
 * every other table of fixed strings.
 */
#include "backend/backend_types.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cluster/cluster_table.h"

#define PATIENCE (30 * CLOCK_SECOND)

static bool
cluster_open(struct table *t, struct err *err)
{
	if (!cluster_table_is_name(t->argument))
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
    .absent_trusted = true,
    .open = cluster_open,
    .lookup = cluster_lookup,
    .close = mem_free,
    .network = true,
};
