/*
 * table_build.h - writing hash:, btree: and lmdb: tables: entries are gathered in memory, then the file is written beside
 * the old one and takes its place in one step. Readers see the old table or the new one. For postmap and postalias.
 */
#ifndef TABLE_TABLE_BUILD_H
#define TABLE_TABLE_BUILD_H

#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "table/table.h"

struct table_build;

struct table_build *table_build_new(void);
void table_build_free(struct table_build **b);

/* Adds an entry. When the key is there already: replaces the value with `replace`, else leaves it and returns false. */
bool table_build_add(struct table_build *b, struct span key, struct span value, bool replace);

/* Takes an entry out; false if there is none. */
bool table_build_remove(struct table_build *b, struct span key);

/*
 * Locks the table NAME (path with its suffix) against other writers until table_build_free(), and takes over its
 * entries. A table that does not exist yet is empty with `create`, else an error.
 */
bool table_build_load(
    struct table_build *b, const char *path, bool create, struct err *err) MUST_CHECK;

/* Calls `each` for every entry, in no order, until it says false. A NUL follows each key and each value. */
bool table_build_each(const struct table_build *b,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err) MUST_CHECK;

struct table_build_options {
	const char *path; /* of the file: with its suffix */
	mode_t mode;
	bool nul; /* keys and values end with a NUL */
};

/* Writes the file, makes it durable and puts it in its place. */
bool table_build_write(
    struct table_build *b, const struct table_build_options *options, struct err *err) MUST_CHECK;

#endif
