/*
 * cluster_table_edit.h - lookup tables of the cluster: changing and listing, as an operator. Each change of one call is seen
 * as a whole or not at all. `c` is a connection with the operators' role to the first queue database. Everything waits.
 */
#ifndef CLUSTER_CLUSTER_TABLE_EDIT_H
#define CLUSTER_CLUSTER_TABLE_EDIT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "db/db.h"

/* Whose connection, and who is at the terminal, for the record of changes. Borrowed. */
struct cluster_table_editor {
	struct db_conn *conn;
	const char *who;
};

/* ---- a whole table ----------------------------------------------------------------------------------------------- */

/*
 * Loading: begin, any number of adds (in pieces of some thousand, each key once), finish. Until finish nobody sees
 * anything; then the table has exactly these entries. What was loaded and not finished is removed a day later.
 */
struct cluster_table_load {
	struct cluster_table_editor editor;
	int64_t content;
	int64_t entries;
	struct buf keys; /* gathered for the next statement */
	struct buf values;
	size_t gathered;
};
bool cluster_table_load_begin(struct cluster_table_load *l,
    const struct cluster_table_editor *editor, struct err *err) MUST_CHECK;
bool cluster_table_load_add(
    struct cluster_table_load *l, struct span key, struct span value, struct err *err) MUST_CHECK;
bool cluster_table_load_finish(
    struct cluster_table_load *l, const char *name, struct err *err) MUST_CHECK;
void cluster_table_load_done(struct cluster_table_load *l);

/* ---- entries ------------------------------------------------------------------------------------------------------- */

/*
 * Puts `count` entries in, in one transaction; makes the table when it is not there. An entry that is there already is
 * replaced with `overwrite`, else left, and `duplicate` (may be NULL) is called with its key.
 */
bool cluster_table_put(const struct cluster_table_editor *e, const char *name,
    const struct span *keys, const struct span *values, size_t count, bool overwrite,
    void (*duplicate)(void *arg, struct span key), void *arg, struct err *err) MUST_CHECK;

/* Takes entries out; *ret_count: how many there were. */
bool cluster_table_remove(const struct cluster_table_editor *e, const char *name,
    const struct span *keys, size_t count, int64_t *ret_count, struct err *err) MUST_CHECK;

/* Calls `each` for every entry, by key, until it says false. ERR_CONFIG when there is no such table. */
bool cluster_table_each(struct db_conn *c, const char *name,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err) MUST_CHECK;

#endif
