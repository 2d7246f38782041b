/*
 * table_query.h - what tables of databases (pgsql, mysql, ldap) share: their settings, from a file of name = value or from
 * main.cf (NAME_hosts), and templates with %s %u %d %S %U %D %1..%9 for queries and results. Nothing here waits, except
 * table_query_wants() when the table's `domain` names another table.
 */
#ifndef TABLE_TABLE_QUERY_H
#define TABLE_TABLE_QUERY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "table/table.h"

/* ---- settings --------------------------------------------------------------------------------------------------- */

struct table_settings;

/*
 * Reads the settings of the table `name`: a file when it begins with '/' or '.', else the parameters NAME_... of main.cf. A
 * file's text is kept: a process that was allowed to read it when it started and is not any more goes on with what it read
 * (see table_query_remember()). Fails with ERR_CONFIG naming file and line.
 */
bool table_query_settings(
    struct conf *conf, const char *name, struct table_settings **ret, struct err *err) MUST_CHECK;
void table_query_settings_free(struct table_settings **s);

/*
 * Keeps the text of the settings file `name`, while it may be read: before rights are dropped. A file that cannot be read is no
 * matter yet; a name that is no file is none.
 */
void table_query_remember(const char *name);

/* The value, or `fallback` (may be NULL) when the setting is not there. Valid as long as `s`. */
const char *table_query_str(
    const struct table_settings *s, const char *setting, const char *fallback);

/* The same as a number between `lo` and `hi`; yes or no. False when it is none, naming file and line. */
bool table_query_number(const struct table_settings *s, const char *setting, int64_t fallback,
    int64_t lo, int64_t hi, int64_t *ret, struct err *err) MUST_CHECK;
bool table_query_bool(const struct table_settings *s, const char *setting, bool fallback, bool *ret,
    struct err *err) MUST_CHECK;

/* Fills `err` with "FILE, line N: SETTING: text" and returns false: for a value that is wrong. */
bool table_query_bad(const struct table_settings *s, const char *setting, struct err *err,
    const char *fmt, ...) PRINTF_LIKE(4, 5);

/*
 * The SQL text: `query`, else made of select_field, table, where_field and additional_conditions. False when one of these
 * is missing.
 */
bool table_query_sql(const struct table_settings *s, struct buf *ret, struct err *err) MUST_CHECK;

/* ---- queries and results ---------------------------------------------------------------------------------------- */

/* The templates of one table: what they need of a key, its `domain`, `result_format` and `expansion_limit`. */
struct table_query;

/* Appends `text` to `out` so that it means itself there, whatever bytes it has. `arg` as given to table_query_expand(). */
typedef void table_query_quote(void *arg, struct span text, struct buf *out);

/*
 * Makes the value of table_query from `s`; `spec` ("mysql:/x") is for messages. Fails with ERR_CONFIG on a wrong template,
 * number or domain list.
 */
bool table_query_open(struct conf *conf, const char *spec, const struct table_settings *s,
    struct table_query **ret, struct err *err) MUST_CHECK;
void table_query_free(struct table_query **q);

/*
 * Makes `text` (copied, any number of them) known as a template of the query: keys without the parts it asks for are in no
 * result. To be called for each before any key is looked up. `setting` is where it was written.
 */
bool table_query_learn(struct table_query *q, const struct table_settings *s, const char *setting,
    const char *text, struct err *err) MUST_CHECK;

/*
 * Is `key` to be asked for at all? TABLE_NOT_FOUND: the `domain` list leaves it out, or it is empty; TABLE_ERROR: a table of
 * that list cannot be asked.
 */
enum table_result table_query_wants(
    const struct table_query *q, struct span key, struct err *err) MUST_CHECK;

/*
 * Appends the template `text`, one that was learned, for `key`. False, and nothing appended, when the key lacks a part: then it
 * is not found.
 */
bool table_query_expand(const struct table_query *q, const char *text, struct span key,
    table_query_quote *quote, void *arg, struct buf *out) MUST_CHECK;

/* What a lookup has gathered: values in result_format, with commas. */
struct table_query_result {
	struct buf *out; /* borrowed */
	size_t count;
};

/*
 * Adds the value `found` for `key`; an empty one, or one that lacks a part, is left out. False with ERR_TEMP when
 * expansion_limit is exceeded, or the result is larger than any table's may be.
 */
bool table_query_add(const struct table_query *q, struct span key, struct span found,
    struct table_query_result *r, struct err *err) MUST_CHECK;

/* expansion_limit; 0: none. */
size_t table_query_limit(const struct table_query *q);

#endif
