/*
 * table_file.c - reading the text of tables: whole files, rules one by one, lines cut into key and value; and the folding of
 * keys.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/conf_value.h"
#include "conf/main_cf.h"
#include "table/table_type.h"

#define TABLE_READ_STEP 65536

bool
table_read_file(
    const char *path, const char *open_words, struct buf *out, uid_t *ret_owner, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return err_set(
		    err, ERR_TEMP, "4.3.5", "%s %s: %s", open_words, path, strerror(errno));
	if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
		(void)close(fd);
		return err_set(err, ERR_TEMP, "4.3.5", "read %s: %s", path, strerror(EISDIR));
	}
	if (ret_owner != NULL)
		*ret_owner = st.st_uid;
	do {
		n = read(fd, buf_room(out, TABLE_READ_STEP), TABLE_READ_STEP);
		if (n > 0)
			buf_added(out, (size_t)n);
	} while (n > 0 && out->len <= TABLE_FILE_MAX);
	(void)close(fd);
	if (n < 0)
		return err_set(err, ERR_TEMP, "4.3.5", "read %s: %s", path, strerror(errno));
	if (n > 0)
		return err_set(err, ERR_TEMP, "4.3.5", "%s: file too large for a table", path);
	return true;
}

bool
table_split_line(struct span line, struct span *ret_key, struct span *ret_value)
{
	bool quoted = false;
	size_t n = 0;

	while (n < line.len && (quoted || !isspace((unsigned char)line.ptr[n]))) {
		if (line.ptr[n] == '\\' && n + 1 < line.len)
			n++;
		else if (line.ptr[n] == '"')
			quoted = !quoted;
		n++;
	}
	*ret_key = span_head(line, n);
	*ret_value = span_trim(span_from(line, n));
	return !quoted;
}

const char *
table_braces(struct span text, struct span *ret)
{
	int level = 0;

	if (text.len == 0 || text.ptr[0] != '{')
		return "no '{' at start of text";
	for (size_t i = 0; i < text.len; i++) {
		level += text.ptr[i] == '{';
		level -= text.ptr[i] == '}';
		if (level == 0 && i + 1 < text.len)
			return "syntax error after '}'";
	}
	if (level != 0)
		return "missing '}'";
	*ret = span_trim(span_of(text.ptr + 1, text.len - 2));
	return NULL;
}

#define TABLE_SOURCE_SHOWN 30

bool
table_source_line(const char *file, struct span *rest, int *read, struct buf *line, int *number)
{
	while (main_cf_line(rest, read, line, number)) {
		struct span shown = span_head(buf_span(line), TABLE_SOURCE_SHOWN);

		if (!isspace((unsigned char)line->ptr[0]))
			return true;
		log_warn("%s: logical line must not start with whitespace: \"%.*s%s\"", file,
		    SPAN_ARG(shown), line->len > shown.len ? "..." : "");
	}
	return false;
}

/* ---- folding ------------------------------------------------------------------------------------------------------ */

/* The characters of `key` in lower case, in the C.UTF-8 locale whatever the process runs in. */
static void
table_fold_utf8(struct buf *out, struct span key)
{
	static locale_t utf8;
	locale_t before;
	mbstate_t in = {0}, state = {0};

	if (utf8 == (locale_t)0)
		utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (utf8 == (locale_t)0) {
		buf_add_span(out, key);
		return;
	}
	before = uselocale(utf8);
	for (size_t at = 0; at < key.len;) {
		wchar_t c;
		size_t n = mbrtowc(&c, key.ptr + at, key.len - at, &in);

		MUST(n != (size_t)-1 && n != (size_t)-2);
		/* The one letter of everyday writing that folds to two. */
		if (c == 0xdf || c == 0x1e9e)
			buf_add_str(out, "ss");
		else
			buf_added(
			    out, wcrtomb(buf_room(out, 16), (wchar_t)towlower((wint_t)c), &state));
		at += MAX(n, 1);
	}
	(void)uselocale(before);
}

void
table_fold(struct buf *out, struct span key, bool utf8)
{
	if (utf8 && !utf8_is_ascii(key)) {
		table_fold_utf8(out, key);
		return;
	}
	for (size_t i = 0; i < key.len; i++)
		buf_add_char(out, key.ptr[i] >= 'A' && key.ptr[i] <= 'Z'
				      ? (char)(key.ptr[i] + ('a' - 'A'))
				      : key.ptr[i]);
}

/* ---- rules -------------------------------------------------------------------------------------------------------- */

/* A part of a table given in its name: has it the braces it needs? */
static bool
table_rules_check(const struct table *t, struct span part, struct span *ret, struct err *err)
{
	const char *problem = table_braces(part, ret);

	return problem == NULL || err_set(err, ERR_CONFIG, "4.3.5", "%s map: %s in \"%.*s\"",
				      t->type->name, problem, SPAN_ARG(part));
}

bool
table_rules_open(struct table_rules *r, struct table *t, struct err *err)
{
	struct span name = t->argument, inside = {0};

	*r = (struct table_rules){.file = name.ptr};
	r->in_braces = name.ptr[0] == '{';
	if (!r->in_braces && !table_read_file(name.ptr, "open", &r->text, &t->owner, err))
		return false;
	if (r->in_braces) {
		if (!table_rules_check(t, name, &inside, err))
			return false;
		buf_add_span(&r->text, inside);
		for (struct span rest = inside, item, rule; conf_value_item(&rest, &item);)
			if (!table_rules_check(t, item, &rule, err))
				return false;
	}
	r->rest = buf_span(&r->text);
	return true;
}

bool
table_rules_next(struct table_rules *r, struct span *ret)
{
	struct span item;

	if (!r->in_braces) {
		if (!table_source_line(r->file, &r->rest, &r->read, &r->line, &r->number))
			return false;
		*ret = buf_span(&r->line);
		while (ret->len > 0 && isspace((unsigned char)ret->ptr[ret->len - 1]))
			ret->len--;
		return true;
	}
	if (!conf_value_item(&r->rest, &item))
		return false;
	r->number = ++r->read;
	return table_braces(item, ret) == NULL;
}

void
table_rules_done(struct table_rules *r)
{
	buf_done(&r->text);
	buf_done(&r->line);
}

void
table_rules_warn(const struct table_rules *r, const struct table *t, const char *fmt, ...)
{
	struct buf text CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&text, fmt, args);
	va_end(args);
	log_warn("%s map %s, line %d: %s", t->type->name, r->file, r->number, buf_str(&text));
}
