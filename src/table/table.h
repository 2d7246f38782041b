/*
 * table.h - lookup tables behind one interface: "type:name" as main.cf writes it, opened once, asked by key. Opening
 * never fails: a table that cannot be used (missing file, unknown type) is logged and answers every lookup with
 * TABLE_ERROR, so that mail is deferred, never rejected, until it is mended. Files are looked at again at most once
 * a second; a change is read without a restart. Equal specifications share one table per process.
 */
#ifndef TABLE_TABLE_H
#define TABLE_TABLE_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"

struct table;
struct table_list;

enum table_result {
	TABLE_NOT_FOUND,
	TABLE_FOUND,
	TABLE_ERROR, /* cannot be told now: 451, defer. Has been logged; `err` is ERR_TEMP */
};

/* How a table is to be read; a parameter's own rules. Or-ed. */
enum table_flags {
	/* Keys are compared as they are. Without it: lower case for fixed-string tables, any case for patterns. */
	TABLE_EXACT_CASE = 1 << 0,
	/* $1 in results is refused: where what the peer wrote must not decide (aliases, transport). */
	TABLE_NO_SUBSTITUTION = 1 << 1,
	/*
	 * Nobody between, and no server that anybody may be (tables of files, commands and rights): the table is opened in
	 * this process, without proxy:, tcp:, socketmap:, memcache:. Only tables of the cluster are asked of proxymap.
	 */
	TABLE_NO_PROXY = 1 << 2,
	/* Results are names of files, given as "file, file": the value is what these hold (postmap -F). */
	TABLE_FILE_VALUES = 1 << 3,
	/* Keys are bytes, not text in UTF-8: header and body checks. */
	TABLE_BYTES = 1 << 4,
	/* What is wrong with it is logged under the name of cleanup, whose table it is in Postfix. */
	TABLE_OF_CLEANUP = 1 << 5,
	/*
	 * texthash: a key that comes twice. The first one stays, with a warning or without, or the last one does; without
	 * any of these the table is useless, as for Postfix's daemons.
	 */
	TABLE_DUP_WARN = 1 << 6,
	TABLE_DUP_IGNORE = 1 << 7,
	TABLE_DUP_REPLACE = 1 << 8,
};

/* What the key is: a part of an address is never asked of a pattern table, which sees the whole key only. */
enum table_key {
	TABLE_KEY_FULL,
	TABLE_KEY_PARTIAL, /* fixed-string tables only: others answer TABLE_NOT_FOUND */
};

/*
 * Opens `spec`: "hash:/etc/aliases", "static:x", "inline:{a=b}"; without a type it is default_database_type. Reads files,
 * does not wait. Keeps a reference to `conf`.
 */
struct table *table_open(struct conf *conf, struct span spec, unsigned flags);
void table_close(struct table **t);

/*
 * Looks `key` up. TABLE_FOUND: `value` is replaced by the result (never empty); else it is emptied. May wait (in a task)
 * for tables that are asked over the network; `err` is set on TABLE_ERROR only.
 */
enum table_result table_lookup(struct table *t, struct span key, enum table_key kind,
    struct buf *value, struct err *err) MUST_CHECK;

/* "hash:/etc/aliases", for messages. */
const char *table_name(const struct table *t);

/*
 * Whose the table is, for who does what it says with its owner's rights: the owner of the very file that was read, after a lookup; of
 * the file of settings, where there is one; 0 for tables that are no files: they are the administrator's.
 */
uid_t table_owner(const struct table *t);

/* Patterns (pcre, regexp, cidr): the whole key decides. False for fixed strings, also in a unionmap of such. */
bool table_is_pattern(const struct table *t);

/* Why the table cannot be used at all; NULL when it can. For `rowpost check` and postmap. */
const char *table_trouble(struct table *t);

/* True if `text` looks like "type:name" and not like a domain, an address, [literal] or /file. */
bool table_is_spec(struct span text);

/* The known types, one after the other from 0 in alphabetical order; NULL behind the last one. */
const char *table_type_name(size_t index);

/* ---- the tables of one parameter ------------------------------------------------------------------------------ */

/*
 * The tables of a parameter's value "type:table, type:table". Like table_open() it never fails. `what` names the
 * parameter for messages, is copied. An empty text gives a list that finds nothing.
 */
struct table_list *table_list_open(
    struct conf *conf, const char *text, const char *what, unsigned flags);
/* The same for the value of the parameter `p`. */
struct table_list *table_list_of(struct conf *conf, enum conf_param p, unsigned flags);
void table_list_close(struct table_list **l);

/* Asks one table after the other; the first that finds it or fails decides. */
enum table_result table_list_lookup(struct table_list *l, struct span key, enum table_key kind,
    struct buf *value, struct err *err) MUST_CHECK;

/* True if there is no table in it. NULL counts as empty, here and for lookups. */
bool table_list_is_empty(const struct table_list *l);

#endif
