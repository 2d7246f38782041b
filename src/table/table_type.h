/*
 * table_type.h - what the types of tables share: the operations of a type, one open table, text files read line by line.
 */
#ifndef TABLE_TABLE_TYPE_H
#define TABLE_TABLE_TYPE_H

#include <sys/stat.h>

#include "table/table.h"

/* Keys and results longer than this are no mail matter; files are limited before they are read. */
#define TABLE_FILE_MAX  ((size_t)512 << 20)
#define TABLE_VALUE_MAX ((size_t)1 << 20)

struct table_build;
struct table_build_options;

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
	/* Sets t->pattern and t->mixed of a table that may never be opened in this process; may be NULL. */
	void (*prepare)(struct table *t);
	/* Calls `each` for every entry until it says false; NULL: this type cannot. */
	bool (*each)(struct table *t,
	    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
	    struct err *err);
	/* Makes the file of it out of what was gathered; NULL: it has none that postmap writes. */
	bool (*write)(
	    struct table_build *b, const struct table_build_options *options, struct err *err);
	/* Why a table that this one is made of cannot be used, or NULL; NULL: it is made of none. */
	const char *(*inner_trouble)(struct table *t);
	/* Releases a state; never NULL. */
	void (*close)(void *state);
	/* The suffix of the file that changes are looked for in, "" for the name itself; NULL: no file. */
	const char *suffix;
	bool pattern; /* sees whole keys only */
	/* Its name is that of a file of settings, or a prefix in main.cf: see table_query.h. */
	bool settings;
	/* May block when it is opened or asked: done in this process only where that may be, see table_proxy.h. */
	bool blocks;
	/* Has this process no way to ask it? Then it goes through proxymap. NULL: every process has. */
	bool (*absent)(const struct table *t);
	/* ... also with TABLE_NO_PROXY: it is the administrators', and agents reach it by no other way. */
	bool absent_trusted;
	bool network; /* no file, but its name can be wrong: `rowpost check` looks at it too */
	bool foreign; /* by the code of a foreign library */
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
	bool mixed;    /* patterns and fixed strings in one: whole keys, as Postfix asks it */
	char *trouble; /* owned: why it cannot be used; or NULL */
	bool told;     /* the trouble was logged as an error */
	struct buf
	    notes;     /* warnings kept for the first lookup (TABLE_OF_CLEANUP): level, text, NUL */
	char *path;    /* owned: file to watch, or NULL */
	bool unopened; /* left until it is asked in this process, if ever */
	struct stat seen; /* the file as it was read */
	uid_t owner; /* of the file that is open, not of what stands in its place now; 0: no file */
	bool fresh;  /* it had been changed just before it was read: read again */
	int64_t checked; /* monotonic time of the last look */
};

/* The types of tables, sorted by name. */
extern const struct table_type table_text_type, table_inline_type, table_static_type,
    table_fail_type, table_environ_type, table_cdb_type, table_unix_type, table_hash_type,
    table_btree_type, table_lmdb_type, table_cidr_type, table_pcre_type, table_regexp_type,
    table_union_type, table_pipe_type, table_random_type, table_proxy_type;

/*
 * Types that ask somebody else: what every program knows of them is their name. A program that links the type itself (room backend)
 * adds it, at most once, before it opens tables; `type` must last.
 */
extern const struct table_type table_cluster_name, table_ldap_name, table_memcache_name,
    table_mysql_name, table_pgsql_name, table_socketmap_name, table_sqlite_name, table_tcp_name;
void table_backend_add(const struct table_type *type);
/* The type of that name that was added, or NULL. */
const struct table_type *table_backend_find(struct span name);

/* The type of that name, or NULL. */
const struct table_type *table_type_find(struct span name);

/*
 * The lookup itself: the key is folded as the table is, nothing is logged, `err` has the bare reason and need not be set. The
 * table must be without trouble.
 */
enum table_result table_ask(struct table *t, struct span key, struct buf *value, struct err *err);

/* table_lookup() for lists, to which an empty result is a yes. */
enum table_result table_lookup_any(struct table *t, struct span key, enum table_key kind,
    struct buf *value, struct err *err) MUST_CHECK;

/*
 * Asks one of the tables that another one is made of: nothing is logged, and an empty result is one
 * like others; the outer table tells of errors.
 */
enum table_result table_lookup_inner(
    struct table *t, struct span key, struct buf *value, struct err *err) MUST_CHECK;

/* ---- tables in other processes ------------------------------------------------------------------------------------ */

/* Is `t` asked through proxymap in this process? */
bool table_proxy_is_wanted(const struct table *t);

/* table_ask() in proxymap: `key` as it is, `approved` when the name has "proxy:" in front. Waits. */
enum table_result table_proxy_lookup(
    struct table *t, struct span key, struct buf *value, struct err *err);

/*
 * table_ask() of a table that blocks, in this process: a foreign library gets the large stack of the process itself, not that of a
 * task.
 */
enum table_result table_direct_lookup(
    struct table *t, struct span key, struct buf *value, struct err *err);

/* Opens `t`, if that was left for later. */
void table_open_now(struct table *t);

/* All of standard input. */
bool table_read_input(struct buf *out, struct err *err) MUST_CHECK;

/* Should keys of `t` be folded to lower case? */
bool table_folds(const struct table *t);

/* Are keys text in UTF-8? Then a key that is not valid UTF-8 is in no table. */
bool table_is_utf8(const struct table *t);

/* Appends `key` in lower case; with `utf8`, for valid UTF-8 only, letters beyond ASCII too. */
void table_fold(struct buf *out, struct span key, bool utf8);

/*
 * "{ inside }": what is between the braces, trimmed, in `ret`; NULL. Otherwise what is wrong, in Postfix's words: the first
 * character is no brace, or the last one does not close it.
 */
const char *table_braces(struct span text, struct span *ret) MUST_CHECK;

/*
 * main_cf_line() for the source of a table: a line that starts with white space and continues none is left out, with a
 * warning.
 */
bool table_source_line(
    const char *file, struct span *rest, int *read, struct buf *line, int *number) MUST_CHECK;

/* Reads the whole file; an err text "open NAME: reason", with `open_words` for "open". *ret_owner, unless NULL: whose it is. */
bool table_read_file(const char *path, const char *open_words, struct buf *out, uid_t *ret_owner,
    struct err *err) MUST_CHECK;

/*
 * The rules of a cidr, pcre or regexp table: the logical lines of the file, or for "{ {rule}, {rule} }" the rules in braces.
 */
struct table_rules {
	struct buf text;  /* what is read */
	struct span rest; /* what is left of it */
	struct buf line;  /* the present rule */
	const char *file; /* for messages: borrowed from the table */
	bool in_braces;   /* given in the table's name, not in a file */
	int read;         /* lines read so far */
	int number;       /* where the present rule starts */
};
/* Sets t->owner. */
bool table_rules_open(struct table_rules *r, struct table *t, struct err *err) MUST_CHECK;
/* The next rule, trimmed at its end, in `ret`; valid until the next call. */
bool table_rules_next(struct table_rules *r, struct span *ret) MUST_CHECK;
void table_rules_done(struct table_rules *r);

/* "warning: pcre map FILE, line N: text" */
void table_rules_warn(const struct table_rules *r, const struct table *t, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* ---- indexed files ----------------------------------------------------------------------------------------------- */

#define TABLE_INDEX_SUFFIX ".lmdb"

/* Was the source of a hash, btree or lmdb table changed after its file was made, and longer than `pause` (us) ago? */
bool table_index_is_old(const struct table *t, int64_t pause);

/* Calls `each` for every entry of a hash, btree or lmdb table, in the order of keys, until it says false. */
bool table_lmdb_each(struct table *t,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err) MUST_CHECK;

/* Appends the text / the bytes. False on text that is no base64. */
void table_base64_encode(struct buf *out, struct span bytes);
bool table_base64_decode(struct buf *out, struct span text) MUST_CHECK;

/* Appends a value as an indexed file has it: with TABLE_FILE_VALUES it is text in base64. */
bool table_take_stored(const struct table *t, struct span key, struct span stored,
    struct buf *value, struct err *err) MUST_CHECK;

/* Appends what the files named in `names` hold ("file, file"), with a newline between two. */
bool table_add_files(struct buf *out, struct span names, struct err *err) MUST_CHECK;

/* ---- patterns ---------------------------------------------------------------------------------------------------- */

struct table_rule;

/* What the two kinds of regular expressions do differently: see table_pattern.c. */
struct table_engine {
	/*
	 * Compiles `text` with the letters of `options`; sets rule->compiled and rule->groups. False with a text of what is
	 * wrong with it, after which the rule is left out.
	 */
	bool (*compile)(const struct table *t, struct span text, struct span options,
	    struct table_rule *rule, struct err *err);
	/* Matches; fills rule->spans with start and end of the whole match and of each group. */
	bool (*match)(const struct table *t, struct table_rule *rule, struct span key);
	void (*free)(void *compiled);
	const char *out_of_range; /* how Postfix says so of $0 */
	const char *
	    no_delimiter; /* what happens to a rule without closing delimiter, in Postfix's words */
};

/* Group that took part in no match. */
#define TABLE_NO_GROUP ((size_t)-1)

enum table_rule_kind {
	TABLE_RULE_RESULT,
	TABLE_RULE_IF,
	TABLE_RULE_ENDIF,
};

struct table_rule {
	enum table_rule_kind kind;
	bool negated;
	int line;
	void *compiled; /* owned; the engine's */
	size_t groups;  /* number of ( ) */
	size_t *spans;  /* owned; 2 * (groups + 1) */
	char *result;   /* owned */
	bool literal;   /* the result is taken as it is */
	size_t after;   /* TABLE_RULE_IF: where to go on when it does not hold */
};

bool table_pattern_open(
    struct table *t, const struct table_engine *engine, struct err *err) MUST_CHECK;
enum table_result table_pattern_lookup(
    struct table *t, struct span key, struct buf *value, struct err *err);
void table_pattern_close(void *state);

/*
 * Key and value of a line "key white space value": the key ends at the first white space outside double quotes and keeps
 * them. False, with the reason in `ret_problem`, when quotes are not closed.
 */
bool table_split_line(struct span line, struct span *ret_key, struct span *ret_value) MUST_CHECK;

#endif
