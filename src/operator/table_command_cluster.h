/*
 * table_command_cluster.h - what postmap does to cluster:name. All of it waits; errors name the table.
 */
#ifndef OPERATOR_TABLE_COMMAND_CLUSTER_H
#define OPERATOR_TABLE_COMMAND_CLUSTER_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "operator/table_command.h"
#include "table/table_build.h"

/* The table has these entries from now on, and no others. */
bool table_command_cluster_build(const struct table_command *c, const char *name,
    const struct table_build *entries, struct err *err) MUST_CHECK;

/* -i: puts them in; with -r over what is there, else that stays, with a warning unless -w. */
bool table_command_cluster_add(const struct table_command *c, const char *name,
    const struct table_build *entries, struct err *err) MUST_CHECK;

/* -d: takes out the keys, one in a line; *ret_found is set when one was there. */
bool table_command_cluster_remove(const struct table_command *c, const char *name, struct span keys,
    bool *ret_found, struct err *err) MUST_CHECK;

/* -s: calls `each` for every entry until it says false. */
bool table_command_cluster_list(const struct table_command *c, const char *name,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err) MUST_CHECK;

#endif
