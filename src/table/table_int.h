/*
 * table_int.h - what the types of tables share: the operations of a type, one open table, text files read line by line.
 */
#ifndef TABLE_TABLE_INT_H
#define TABLE_TABLE_INT_H

#include <sys/stat.h>

#include "table/table.h"

/* Keys and results longer than this are no mail matter; files are limited before they are read. */
#define TABLE_FILE_MAX  ((size_t)512 << 20)
#define TABLE_VALUE_MAX ((size_t)1 << 20)

struct table_type {
	const char *name;
	/*
	 * Opens t->argument and sets t->state (also t->pattern, t->mixed). False with `err` (text as Postfix words it) when
	 * the table cannot be used; t->state is then as before. Called again when the file has changed.
	 */
	bool (*open)(struct table *t, struct err *err);
	/* `key` is folded already; `value` is empty. An `err` text without the table's name. */
	enum table_result (*lookup)(
	    struct table *t, struct span key, struct buf *value, struct err *err);
	/* Releases a state; never NULL. */
	void (*close)(void *state);
	/* The suffix of the file that changes are looked for in, "" for the name itself; NULL: no file. */
	const char *suffix;
	bool pattern; /* sees whole keys only */
};

struct table {
	const struct table_type *type; /* NULL: nobody knows the type */
	char *spec;                    /* owned: "type:name" */
	struct span argument;          /* the name behind the type, in `spec` */
	char *registered;              /* owned: the key in the registry */
	struct conf *conf;             /* counted */
	unsigned flags;                /* TABLE_* */
	size_t users;                  /* times opened */
	void *state;                   /* the type's own */
	bool pattern;
	bool mixed;       /* patterns and fixed strings in one: whole keys, as Postfix asks it */
	char *trouble;    /* owned: why it cannot be used; or NULL */
	char *path;       /* owned: file to watch, or NULL */
	struct stat seen; /* the file as it was read */
	bool fresh;       /* it had been changed just before it was read: read again */
	int64_t checked;  /* monotonic time of the last look */
};

/* The types of tables, sorted by name. */
extern const struct table_type table_text_type, table_inline_type, table_static_type,
    table_fail_type, table_environ_type, table_unix_type, table_hash_type, table_btree_type,
    table_lmdb_type, table_cidr_type, table_pcre_type, table_regexp_type, table_union_type,
    table_pipe_type, table_random_type, table_proxy_type;

/* Should keys of `t` be folded to lower case? */
bool table_folds(const struct table *t);

/*
 * Appends `key` in lower case; with `utf8` letters beyond ASCII too. False when `utf8` is asked for and the key is not
 * valid UTF-8: such a key is in no table.
 */
bool table_fold(struct buf *out, struct span key, bool utf8) MUST_CHECK;

/* Reads the whole file; an err text "open NAME: reason", with `open_words` for "open". */
bool table_read_file(
    const char *path, const char *open_words, struct buf *out, struct err *err) MUST_CHECK;

/*
 * The rules of a cidr, pcre or regexp table: the logical lines of the file, or for "{ {rule}, {rule} }" the rules in braces.
 */
struct table_rules {
	struct buf text;  /* what is read */
	struct span rest; /* what is left of it */
	struct buf line;  /* the present rule */
	const char *file; /* for messages: borrowed from the table */
	bool in_braces;
	int read;   /* lines read so far */
	int number; /* where the present rule starts */
};
bool table_rules_open(struct table_rules *r, const struct table *t, struct err *err) MUST_CHECK;
/* The next rule, trimmed at its end, in `ret`; valid until the next call. */
bool table_rules_next(struct table_rules *r, struct span *ret) MUST_CHECK;
void table_rules_done(struct table_rules *r);

/* "warning: pcre map FILE, line N: text" */
void table_rules_warn(const struct table_rules *r, const struct table *t, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/*
 * Key and value of a line "key white space value": the key ends at the first white space outside double quotes and keeps
 * them. False, with the reason in `ret_problem`, when quotes are not closed.
 */
bool table_split_line(struct span line, struct span *ret_key, struct span *ret_value) MUST_CHECK;

#endif
