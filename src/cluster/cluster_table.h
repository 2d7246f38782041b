/*
 * cluster_table.h - lookup tables that the cluster keeps in its (first) queue database: asking. One source per process,
 * set up by the service; a process without one cannot ask.
 *
 * Answers, also that there is none, are kept in memory. A kept answer is given only while it is known that the table has
 * not changed since: its version was looked at less than a second ago. Else the database is asked, one statement for all
 * lookups that have come up meanwhile. So a change is seen within a second, and nothing is answered from memory when the
 * database is away.
 */
#ifndef CLUSTER_CLUSTER_TABLE_H
#define CLUSTER_CLUSTER_TABLE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "db/db.h"

/* Longest key, bytes; a longer one is in no table. */
#define CLUSTER_TABLE_KEY_MAX 2000

/* Longest name of a table. */
#define CLUSTER_TABLE_NAME_MAX 200

/* Connections that the pool of a source should have: one for lookups, one to look whether a table has changed. */
#define CLUSTER_TABLE_CONNECTIONS 2

struct cluster_table_settings {
	struct db_pool *pool; /* borrowed until cluster_table_stop(); best used by nobody else */
	size_t cache_size;    /* bytes of kept answers; 0: 16 MiB */
	int64_t fresh;        /* us that a look at the version holds; 0: 1 s */
};

/* Sets up this process's source. At most once before cluster_table_stop(). Does not connect. */
void cluster_table_start(const struct cluster_table_settings *settings);

/* Ends it; lookups under way fail. Harmless without a source. */
void cluster_table_stop(void);

bool cluster_table_is_started(void);

/* Can a table have this name? Letters, digits, "_", "." and "-". */
bool cluster_table_is_name(struct span name);

enum cluster_table_found {
	CLUSTER_TABLE_FOUND,
	CLUSTER_TABLE_NOT_FOUND,
	CLUSTER_TABLE_FAILED, /* the database is away, there is no such table, or no source: `err` */
};

/*
 * Looks `key` up as it is, in the table `name`; appends what is found to `value`. A key that is no text in UTF-8 is not
 * found. Waits, in a task.
 */
enum cluster_table_found cluster_table_lookup(const char *name, struct span key, int64_t deadline,
    struct buf *value, struct err *err) MUST_CHECK;

/* How many lookups were answered from memory, and how many statements were sent. For tests and reports. */
struct cluster_table_stats {
	uint64_t kept;
	uint64_t statements;
	size_t entries;
	size_t bytes;
};
void cluster_table_stats_get(struct cluster_table_stats *ret);

/* The statement of a lookup, for the test that looks at its plan. */
extern const struct db_statement cluster_table_sql_lookup;

#endif
