/*
 * table_query_settings.c - the settings of a table of a database, out of its file or main.cf: see table_query.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/main_cf.h"
#include "table/table_query.h"

struct table_settings {
	char *name;          /* owned: the file, or the prefix in main.cf */
	bool is_file;        /* ... which of both */
	struct main_cf file; /* what the file says */
	struct conf *conf;   /* counted */
	struct arena *arena; /* owned: expanded values of main.cf */
};

/* The texts of files that were read while they could be: by name, owned. */
static struct hmap table_query_texts;

static bool
table_query_is_file(const char *name)
{
	return name[0] == '/' || name[0] == '.';
}

void
table_query_remember(const char *name)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	if (table_query_is_file(name) && main_cf_read(name, &text, &err))
		mem_free(hmap_put(&table_query_texts, span_str(name), buf_take(&text)));
}

static bool
table_query_read(const char *name, struct buf *text, struct err *err)
{
	const char *kept = hmap_get(&table_query_texts, span_str(name));

	if (access(name, R_OK) == 0 || errno != EACCES || kept == NULL)
		return main_cf_read(name, text, err);
	buf_add_str(text, kept);
	return true;
}

static bool
table_query_parse(struct table_settings *s, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct span rest, line;

	if (!table_query_read(s->name, &text, err) ||
	    !main_cf_parse(buf_span(&text), s->name, &s->file, err))
		return false;
	rest = span_str(s->file.warnings);
	while (span_word(&rest, "\n", &line))
		log_warn("%.*s", SPAN_ARG(line));
	return true;
}

bool
table_query_settings(
    struct conf *conf, const char *name, struct table_settings **ret, struct err *err)
{
	struct table_settings *s = mem_new(struct table_settings);

	s->name = mem_strdup(name);
	s->is_file = table_query_is_file(name);
	s->conf = conf_ref(conf);
	s->arena = mem_new(struct arena);
	if (s->is_file && !table_query_parse(s, err)) {
		table_query_settings_free(&s);
		return false;
	}
	*ret = s;
	return true;
}

void
table_query_settings_free(struct table_settings **settings)
{
	struct table_settings *s = *settings;

	*settings = NULL;
	if (s == NULL)
		return;
	main_cf_done(&s->file);
	conf_unref(&s->conf);
	arena_done(s->arena);
	mem_free(s->arena);
	mem_free(s->name);
	mem_free(s);
}

/* NAME_setting of main.cf, expanded; NULL when it is not there. */
static const char *
table_query_main_cf(const struct table_settings *s, const char *setting)
{
	char *name CLEANUP(mem_free_str) = mem_printf("%s_%s", s->name, setting);
	struct buf value CLEANUP(buf_done) = {0};
	struct err err = {0};

	if (conf_lookup(s->conf, span_str(name), &value, &err))
		return arena_dup(s->arena, buf_span(&value));
	if (err.kind != ERR_NONE)
		log_warn("%s: %s", name, err.text);
	return NULL;
}

const char *
table_query_str(const struct table_settings *s, const char *setting, const char *fallback)
{
	const struct main_cf_entry *entry;
	const char *value;

	if (s->is_file) {
		entry = main_cf_find(&s->file, span_str(setting));
		return entry != NULL ? entry->value : fallback;
	}
	value = table_query_main_cf(s, setting);
	return value != NULL ? value : fallback;
}

bool
table_query_bad(
    const struct table_settings *s, const char *setting, struct err *err, const char *fmt, ...)
{
	const struct main_cf_entry *entry = main_cf_find(&s->file, span_str(setting));
	char text[sizeof(err->text)];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!s->is_file)
		return err_set(err, ERR_CONFIG, "4.3.5", "%s_%s: %s", s->name, setting, text);
	if (entry == NULL)
		return err_set(err, ERR_CONFIG, "4.3.5", "%s: %s: %s", s->name, setting, text);
	return err_set(
	    err, ERR_CONFIG, "4.3.5", "%s, line %d: %s: %s", s->name, entry->line, setting, text);
}

bool
table_query_number(const struct table_settings *s, const char *setting, int64_t fallback,
    int64_t lo, int64_t hi, int64_t *ret, struct err *err)
{
	const char *text = table_query_str(s, setting, NULL);
	bool negative = text != NULL && text[0] == '-';
	uint64_t magnitude;
	int64_t value;

	if (text == NULL)
		return *ret = fallback, true;
	if (!span_number(span_str(text + negative), INT32_MAX, &magnitude))
		return table_query_bad(s, setting, err, "bad numerical value \"%s\"", text);
	value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
	if (value < lo || value > hi)
		return table_query_bad(s, setting, err, "value %s is not between %lld and %lld",
		    text, (long long)lo, (long long)hi);
	*ret = value;
	return true;
}

bool
table_query_bool(
    const struct table_settings *s, const char *setting, bool fallback, bool *ret, struct err *err)
{
	const char *text = table_query_str(s, setting, fallback ? "yes" : "no");

	if (!span_equal_nocase_str(span_str(text), "yes") &&
	    !span_equal_nocase_str(span_str(text), "no"))
		return table_query_bad(
		    s, setting, err, "bad boolean value \"%s\": use yes or no", text);
	*ret = span_equal_nocase_str(span_str(text), "yes");
	return true;
}

bool
table_query_sql(const struct table_settings *s, struct buf *ret, struct err *err)
{
	static const char *const needed[] = {"select_field", "table", "where_field"};
	const char *values[ARRAY_LEN(needed)];
	const char *query = table_query_str(s, "query", "");

	if (query[0] != '\0')
		return buf_add_str(ret, query), true;
	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		values[i] = table_query_str(s, needed[i], "");
		if (values[i][0] == '\0')
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "%s: neither 'query' nor '%s' parameter defined", s->name, needed[i]);
	}
	buf_printf(ret, "SELECT %s FROM %s WHERE %s = '%%s' %s", values[0], values[1], values[2],
	    table_query_str(s, "additional_conditions", ""));
	return true;
}
