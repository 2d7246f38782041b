/*
 * table_text.c - tables that are held in memory: texthash:/file, read whole, and inline:{ key = value, ... }.
 */
#include <ctype.h>
#include <string.h>

#include "base/arena.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/conf_value.h"
#include "conf/main_cf.h"
#include "table/table_type.h"

struct table_text {
	struct hmap values; /* key to value, both folded as the table is */
	struct arena arena; /* the values */
};

static void
table_text_close(void *state)
{
	struct table_text *text = state;

	hmap_done(&text->values);
	arena_done(&text->arena);
	mem_free(text);
}

static enum table_result
table_text_lookup(struct table *t, struct span key, struct buf *value, struct err *err UNUSED)
{
	const struct table_text *text = t->state;
	const char *found = hmap_get(&text->values, key);

	if (found == NULL)
		return TABLE_NOT_FOUND;
	buf_add_str(value, found);
	return TABLE_FOUND;
}

static bool
table_text_each(struct table *t,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	const struct table_text *text = t->state;
	struct hmap_cursor at = {0};
	struct span key;
	void *value;

	while (hmap_next(&text->values, &at, &key, &value))
		if (!each(arg, key, span_str(value), err))
			return false;
	return true;
}

/* The value as it is stored: with TABLE_FILE_VALUES what the files hold. False: has been logged. */
static bool
table_text_value(const struct table *t, struct span given, struct buf *out, const char *where)
{
	struct err err;

	if ((t->flags & TABLE_FILE_VALUES) == 0) {
		buf_add_span(out, given);
		return true;
	}
	if (table_add_files(out, given, &err))
		return true;
	log_warn("%s: %s: skipping this entry", where, err.text);
	return false;
}

/* Adds an entry; false if the key is there already: the first one stays, unless `replace`. */
static bool
table_text_add(const struct table *t, struct table_text *text, struct span key, struct span value,
    bool replace)
{
	struct buf folded CLEANUP(buf_done) = {0};

	if (table_folds(t)) {
		table_fold(&folded, key, table_is_utf8(t) && utf8_is_valid(key));
		key = buf_span(&folded);
	}
	if (!replace && hmap_get(&text->values, key) != NULL)
		return false;
	(void)hmap_put(&text->values, key, arena_dup(&text->arena, value));
	return true;
}

/* ---- texthash ----------------------------------------------------------------------------------------------------- */

/* Lines that are no entry are passed over with a warning. False: a key that comes twice makes the table useless, as in Postfix. */
static bool
table_text_line(const struct table *t, struct table_text *text, struct span line, const char *file,
    int number, struct err *err)
{
	struct buf clean CLEANUP(buf_done) = {0};
	struct buf content CLEANUP(buf_done) = {0};
	struct span key, value;

	if (table_is_utf8(t) && !utf8_is_valid(line)) {
		utf8_add_clean(&clean, line, 1000);
		log_warn("%s, line %d: non-UTF-8 input \"%s\" -- ignoring this line", file, number,
		    buf_str(&clean));
	} else if (!table_split_line(line, &key, &value)) {
		log_warn("%s, line %d: unbalanced '\"' in '%.*s' -- ignoring this line", file,
		    number, SPAN_ARG(line));
	} else if (key.len == 0 || value.len == 0) {
		log_warn("%s, line %d: expected format: key whitespace value -- ignoring this line",
		    file, number);
	} else {
		if (key.ptr[key.len - 1] == ':')
			log_warn(
			    "%s, line %d: record is in \"key: value\" format; is this an alias "
			    "file?",
			    file, number);
		if (!table_text_value(t, value, &content, file) ||
		    table_text_add(
			t, text, key, buf_span(&content), (t->flags & TABLE_DUP_REPLACE) != 0) ||
		    (t->flags & TABLE_DUP_IGNORE) != 0)
			return true;
		if ((t->flags & TABLE_DUP_WARN) == 0)
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "%s, line %d: duplicate entry: \"%.*s\"", file, number, SPAN_ARG(key));
		log_warn("%s, line %d: duplicate entry: \"%.*s\"", file, number, SPAN_ARG(key));
	}
	return true;
}

static bool
table_text_open(struct table *t, struct err *err)
{
	struct buf content CLEANUP(buf_done) = {0};
	struct buf line CLEANUP(buf_done) = {0};
	const char *file = t->argument.ptr;
	struct table_text *text;
	struct span rest;
	int read = 0, number;
	bool ok = true;

	if (!table_read_file(file, "open database", &content, &t->owner, err))
		return false;
	text = mem_new(struct table_text);
	rest = buf_span(&content);
	while (ok && table_source_line(file, &rest, &read, &line, &number))
		ok = table_text_line(t, text, span_trim(buf_span(&line)), file, number, err);
	if (ok)
		t->state = text;
	else
		table_text_close(text);
	return ok;
}

/* ---- inline ------------------------------------------------------------------------------------------------------- */

static bool
table_inline_fail(const struct table *t, const char *problem, struct err *err)
{
	return err_set(err, ERR_CONFIG, "4.3.5", "%s: \"%s\"; need \"inline:{name=value...}\"",
	    problem, t->spec);
}

/* "name=value" or "{ name = value }"; a later value of a name replaces an earlier one. */
static bool
table_inline_item(struct table *t, struct table_text *text, struct span item, struct err *err)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct span name, rest, inside;
	size_t end = 0;

	const char *problem = item.ptr[0] == '{' ? table_braces(item, &inside) : NULL;

	if (problem != NULL)
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "%s in \"%.*s\": \"%s\"; need \"inline:{name=value...}\"", problem,
		    SPAN_ARG(item), t->spec);
	if (item.ptr[0] == '{')
		item = inside;
	while (end < item.len && item.ptr[end] != '=' && !isspace((unsigned char)item.ptr[end]))
		end++;
	name = span_head(item, end);
	rest = span_trim(span_from(item, end));
	if (!span_starts(rest, "="))
		return table_inline_fail(t, "missing '=' after attribute name", err);
	if (table_text_value(t, span_trim(span_from(rest, 1)), &value, t->spec))
		(void)table_text_add(t, text, name, buf_span(&value), true);
	return true;
}

static bool
table_inline_open(struct table *t, struct err *err)
{
	struct table_text *text;
	struct span rest, item;

	if (table_braces(t->argument, &rest) != NULL || t->argument.len == strlen("{}"))
		return table_inline_fail(t, "bad syntax", err);
	text = mem_new(struct table_text);
	while (conf_value_item(&rest, &item)) {
		if (table_inline_item(t, text, item, err))
			continue;
		table_text_close(text);
		return false;
	}
	if (text->values.count == 0) {
		table_text_close(text);
		return table_inline_fail(t, "empty table", err);
	}
	t->state = text;
	return true;
}

const struct table_type table_text_type = {
    .name = "texthash",
    .open = table_text_open,
    .lookup = table_text_lookup,
    .each = table_text_each,
    .close = table_text_close,
    .suffix = "",
};

const struct table_type table_inline_type = {
    .name = "inline",
    .open = table_inline_open,
    .lookup = table_text_lookup,
    .each = table_text_each,
    .close = table_text_close,
};
