/*
 * table.c - opening, sharing, watching and asking lookup tables: see table.h. What a type does is in its own file.
 */
#include "table/table.h"

#include <ctype.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "table/table_type.h"

/* Bytes of a key that a log line shows. */
#define TABLE_KEY_LOGGED 1000

/* How often a file is looked at, and how young a change makes a second reading worth while. */
#define TABLE_CHECK_EVERY CLOCK_SECOND

/* The same for files that are read whole, each time they have changed. */
#define TABLE_READ_EVERY (4 * CLOCK_SECOND)

static const struct table_type *const table_types[] = {
    &table_btree_type,
#ifdef HAVE_CDB
    &table_cdb_type,
#endif
    &table_cidr_type,
    &table_cluster_name,
    &table_environ_type,
    &table_fail_type,
    &table_hash_type,
    &table_inline_type,
#ifdef HAVE_LDAP
    &table_ldap_name,
#endif
    &table_lmdb_type,
    &table_memcache_name,
#ifdef HAVE_MYSQL
    &table_mysql_name,
#endif
    &table_pcre_type,
    &table_pgsql_name,
    &table_pipe_type,
    &table_proxy_type,
    &table_random_type,
    &table_regexp_type,
    &table_socketmap_name,
#ifdef HAVE_SQLITE
    &table_sqlite_name,
#endif
    &table_static_type,
    &table_tcp_name,
    &table_text_type,
    &table_union_type,
    &table_unix_type,
};

/* All open tables of the process, by configuration, flags and specification. */
static struct hmap table_registry;

const char *
table_type_name(size_t index)
{
	return index < ARRAY_LEN(table_types) ? table_types[index]->name : NULL;
}

const struct table_type *
table_type_find(struct span name)
{
	const struct table_type *linked = table_backend_find(name);

	if (linked != NULL)
		return linked;
	for (size_t i = 0; i < ARRAY_LEN(table_types); i++)
		if (span_equal_str(name, table_types[i]->name))
			return table_types[i];
	return NULL;
}

bool
table_is_spec(struct span text)
{
	return text.len != 0 && text.ptr[0] != '[' && text.ptr[0] != '/' &&
	       span_find(text, ':') < text.len;
}

static void
table_set_trouble(struct table *t, const char *text)
{
	mem_free(t->trouble);
	t->trouble = mem_strdup(text);
}

/* Remembers what the file looked like before it is read, so that a change in between is seen. */
static void
table_note_file(struct table *t)
{
	struct timespec now;

	t->checked = clock_mono_us();
	if (t->path == NULL)
		return;
	if (stat(t->path, &t->seen) != 0)
		memset(&t->seen, 0, sizeof(t->seen));
	/* A file that is being written may be read half; its time of change may not tell again. */
	now.tv_sec = clock_real_us() / CLOCK_SECOND;
	t->fresh = t->seen.st_mtim.tv_sec >= now.tv_sec - 1;
}

/* A line about a table of cleanup: told when cleanup looks into it, and so by one process only. */
static void
table_keep_note(void *arg, enum log_level level, const char *text)
{
	struct table *t = arg;

	buf_add_char(&t->notes, (char)level);
	buf_add(&t->notes, text, strlen(text) + 1);
}

static void
table_tell_notes(struct table *t)
{
	struct buf notes CLEANUP(buf_done) = t->notes;

	t->notes = (struct buf){0};
	log_act_as("cleanup");
	for (size_t at = 0; at < notes.len; at += strlen(notes.ptr + at) + 1)
		log_line((enum log_level)notes.ptr[at], "%s", notes.ptr + at + 1);
	log_act_as(NULL);
}

/* Opens or opens again. A file that cannot be read any more makes the table unusable: what it said may be wrong now. */
static void
table_load(struct table *t)
{
	struct err err = {0};
	void *before = t->state;

	if ((t->flags & TABLE_OF_CLEANUP) != 0)
		log_hold(table_keep_note, t);
	table_note_file(t);
	t->state = NULL;
	t->owner = 0;
	if (t->type->open(t, &err)) {
		table_set_trouble(t, NULL);
	} else {
		table_set_trouble(t, err.text);
		t->state = NULL;
	}
	log_hold(NULL, NULL);
	t->told = t->told && t->trouble != NULL;
	if (before != NULL)
		t->type->close(before);
}

static bool
table_has_changed(const struct table *t)
{
	struct stat st;

	if (stat(t->path, &st) != 0)
		return t->trouble == NULL;
	return t->fresh || t->trouble != NULL || st.st_ino != t->seen.st_ino ||
	       st.st_dev != t->seen.st_dev || st.st_size != t->seen.st_size ||
	       st.st_mtim.tv_sec != t->seen.st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != t->seen.st_mtim.tv_nsec;
}

static void
table_refresh(struct table *t)
{
	int64_t now = clock_mono_us();

	table_open_now(t);
	if (t->path == NULL ||
	    now - t->checked < (t->type->suffix[0] != '\0' ? TABLE_CHECK_EVERY : TABLE_READ_EVERY))
		return;
	t->checked = now;
	if (table_has_changed(t))
		table_load(t);
}

void
table_open_now(struct table *t)
{
	if (!t->unopened)
		return;
	t->unopened = false;
	table_load(t);
}

/* "type:name"; without a type default_database_type. */
static char *
table_full_spec(const struct conf *conf, struct span spec)
{
	if (span_find(spec, ':') < spec.len)
		return span_dup(spec);
	return mem_printf("%s:%.*s", conf_str(conf, CONF_default_database_type), SPAN_ARG(spec));
}

static bool
table_has_file(const struct table *t)
{
	if (t->type->suffix == NULL || t->argument.ptr[0] == '{')
		return false;
	return !t->type->settings || t->argument.ptr[0] == '/' || t->argument.ptr[0] == '.';
}

static void
table_open_type(struct table *t)
{
	size_t colon = span_find(span_str(t->spec), ':');
	struct span type = span_head(span_str(t->spec), colon);
	struct err err = {0};

	t->argument = span_from(span_str(t->spec), colon + 1);
	t->type = table_type_find(type);
	if (type.len == 0 || t->argument.len == 0)
		(void)err_set(&err, ERR_CONFIG, "4.3.5",
		    "open dictionary: expecting \"type:name\" form instead of \"%s\"", t->spec);
	else if (t->type == NULL)
		(void)err_set(
		    &err, ERR_CONFIG, "4.3.5", "unsupported dictionary type: %.*s", SPAN_ARG(type));
	if (err.kind != ERR_NONE) {
		t->type = NULL;
		table_set_trouble(t, err.text);
		return;
	}
	t->pattern = t->type->pattern;
	if (table_has_file(t))
		t->path = mem_printf("%s%s", t->argument.ptr, t->type->suffix);
	if (t->type->prepare != NULL)
		t->type->prepare(t);
	if (t->type->blocks)
		t->unopened = true;
	else
		table_load(t);
}

struct table *
table_open(struct conf *conf, struct span spec, unsigned flags)
{
	char *full = table_full_spec(conf, spec);
	char *key = mem_printf("%p %u %s", (void *)conf, flags, full);
	struct table *t = hmap_get(&table_registry, span_str(key));

	if (t != NULL) {
		t->users++;
		mem_free(full);
		mem_free(key);
		return t;
	}
	t = mem_new(struct table);
	t->spec = full;
	t->registered = key;
	t->conf = conf_ref(conf);
	t->flags = flags;
	t->users = 1;
	(void)hmap_put(&table_registry, span_str(key), t);
	table_open_type(t);
	return t;
}

void
table_close(struct table **table)
{
	struct table *t = *table;

	*table = NULL;
	if (t == NULL || --t->users != 0)
		return;
	(void)hmap_remove(&table_registry, span_str(t->registered));
	if (table_registry.count == 0)
		hmap_done(&table_registry);
	if (t->state != NULL)
		t->type->close(t->state);
	conf_unref(&t->conf);
	mem_free(t->registered);
	buf_done(&t->notes);
	mem_free(t->trouble);
	mem_free(t->path);
	mem_free(t->spec);
	mem_free(t);
}

bool
table_folds(const struct table *t)
{
	return (t->flags & TABLE_EXACT_CASE) == 0;
}

bool
table_is_utf8(const struct table *t)
{
	return (t->flags & TABLE_BYTES) == 0 && conf_bool(t->conf, CONF_smtputf8_enable);
}

/* Every failure of a lookup is told here, in Postfix's two lines, and is temporary to the outside. */
static enum table_result
table_fail(struct table *t, struct span key, struct err *err)
{
	if ((t->flags & TABLE_OF_CLEANUP) != 0)
		log_act_as("cleanup");
	if (t->trouble != NULL && !t->told)
		log_error("%s", t->trouble);
	t->told = t->trouble != NULL;
	if (t->trouble != NULL)
		log_warn("%s is unavailable. %s", t->spec, t->trouble);
	else if (err->text[0] != '\0')
		log_warn("%s: %s", t->spec, err->text);
	log_warn(
	    "%s lookup error for \"%.*s\"", t->spec, SPAN_ARG(span_head(key, TABLE_KEY_LOGGED)));
	log_act_as(NULL);
	(void)err_set(err, ERR_TEMP, "4.3.0", "%s: %s", t->spec,
	    t->trouble != NULL ? t->trouble : "lookup error");
	return TABLE_ERROR;
}

enum table_result
table_ask(struct table *t, struct span key, struct buf *value, struct err *err)
{
	bool utf8 = table_is_utf8(t);
	struct buf folded CLEANUP(buf_done) = {0};

	if (utf8 && !utf8_is_valid(key)) {
		struct buf clean CLEANUP(buf_done) = {0};

		utf8_add_clean(&clean, key, 1000);
		log_warn("%s: non-UTF-8 key \"%s\": malformed UTF-8 or invalid codepoint", t->spec,
		    buf_str(&clean));
		return TABLE_NOT_FOUND;
	}
	if (!t->pattern && table_folds(t)) {
		table_fold(&folded, key, utf8);
		key = buf_span(&folded);
	}
	if (table_proxy_is_wanted(t))
		return table_proxy_lookup(t, key, value, err);
	if (t->type->foreign)
		return table_direct_lookup(t, key, value, err);
	return t->type->lookup(t, key, value, err);
}

enum table_result
table_lookup_inner(struct table *t, struct span key, struct buf *value, struct err *err)
{
	enum table_result result = TABLE_ERROR;

	buf_clear(value);
	if (t->type != NULL && !table_proxy_is_wanted(t))
		table_refresh(t);
	if (t->notes.len != 0)
		table_tell_notes(t);
	if (t->trouble == NULL)
		result = table_ask(t, key, value, err);
	if (result != TABLE_FOUND)
		buf_clear(value);
	return result;
}

enum table_result
table_lookup_any(
    struct table *t, struct span key, enum table_key kind, struct buf *value, struct err *err)
{
	enum table_result result;

	buf_clear(value);
	err_clear(err);
	if (kind == TABLE_KEY_PARTIAL && (t->pattern || t->mixed))
		return TABLE_NOT_FOUND;
	if (t->type != NULL && !table_proxy_is_wanted(t))
		table_refresh(t);
	if (t->notes.len != 0)
		table_tell_notes(t);
	if (t->trouble != NULL)
		return table_fail(t, key, err);
	result = table_ask(t, key, value, err);
	if (result != TABLE_FOUND)
		buf_clear(value);
	return result == TABLE_ERROR ? table_fail(t, key, err) : result;
}

enum table_result
table_lookup(
    struct table *t, struct span key, enum table_key kind, struct buf *value, struct err *err)
{
	enum table_result result = table_lookup_any(t, key, kind, value, err);

	if (result != TABLE_FOUND || value->len != 0)
		return result;
	log_warn("%s lookup of %.*s returns an empty string result", t->spec,
	    SPAN_ARG(span_head(key, 100)));
	log_warn("%s should return NO RESULT in case of NOT FOUND", t->spec);
	(void)err_set(err, ERR_TEMP, "4.3.0", "empty string result");
	return table_fail(t, key, err);
}

uid_t
table_owner(const struct table *t)
{
	return t->type != NULL && t->type->settings ? t->seen.st_uid : t->owner;
}

const char *
table_name(const struct table *t)
{
	return t->spec;
}

bool
table_is_pattern(const struct table *t)
{
	return t->pattern;
}

const char *
table_trouble(struct table *t)
{
	if (t->type == NULL || table_proxy_is_wanted(t))
		return t->trouble;
	table_open_now(t);
	if (t->trouble != NULL || t->type->inner_trouble == NULL)
		return t->trouble;
	return t->type->inner_trouble(t);
}
