/*
 * main_cf.c - reading main.cf: see main_cf.h.
 */
#include "conf/main_cf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_SIZE_MAX (16 << 20)

/* The next physical line, without its newline. */
static bool
take_line(struct span *rest, struct span *ret_line)
{
	if (rest->len == 0)
		return false;
	size_t n = span_find(*rest, '\n');
	*ret_line = span_head(*rest, n);
	*rest = span_from(*rest, n + 1);
	return true;
}

static bool
is_comment(struct span line)
{
	struct span s = span_trim(line);

	return s.len == 0 || s.ptr[0] == '#';
}

bool
main_cf_line(struct span *rest, int *line, struct buf *ret_text, int *ret_first)
{
	struct span physical, peek;

	buf_clear(ret_text);
	do {
		if (!take_line(rest, &physical))
			return false;
		(*line)++;
	} while (is_comment(physical));
	*ret_first = *line;
	buf_add_span(ret_text, physical);
	/* Comments and empty lines inside a logical line do not end it; behind it they are left for later. */
	struct span ahead = *rest;
	int ahead_line = *line;
	while (take_line(&ahead, &peek)) {
		ahead_line++;
		if (is_comment(peek))
			continue;
		if (!isspace((unsigned char)peek.ptr[0]))
			break;
		buf_add_span(ret_text, peek);
		*rest = ahead;
		*line = ahead_line;
	}
	return true;
}

static void
add_warning(struct buf *warnings, const char *file, int line, const char *what, const char *text)
{
	if (line > 0)
		buf_printf(warnings, "%s, line %d: %s%s\n", file, line, what, text);
	else
		buf_printf(warnings, "%s: %s%s\n", file, what, text);
}

static struct main_cf_entry *
find(const struct main_cf *m, struct span name)
{
	for (size_t i = 0; i < m->count; i++)
		if (span_equal_str(name, m->entries[i].name))
			return &m->entries[i];
	return NULL;
}

const struct main_cf_entry *
main_cf_find(const struct main_cf *m, struct span name)
{
	return find(m, name);
}

static void
put(struct main_cf *m, struct span name, struct span value, const struct main_cf_entry *where,
    const char *file, struct buf *warnings)
{
	struct main_cf_entry *e = find(m, name);

	if (e == NULL) {
		m->entries = mem_resize(m->entries, m->count + 1, sizeof(*m->entries));
		e = &m->entries[m->count++];
		*e = (struct main_cf_entry){.name = span_dup(name)};
	} else if (!span_equal_str(value, e->value)) {
		char *text CLEANUP(mem_free_str) = mem_printf("%s=%s", e->name, e->value);

		add_warning(warnings, file, where->last_line, "overriding earlier entry: ", text);
	}
	mem_free(e->value);
	e->value = span_dup(value);
	e->line = where->line;
	e->last_line = where->last_line;
}

static bool
split(struct span text, struct span *ret_name, struct span *ret_value, const char **ret_problem)
{
	size_t eq = 0;
	struct span s = span_trim(text);

	while (eq < s.len && s.ptr[eq] != '=' && !isspace((unsigned char)s.ptr[eq]))
		eq++;
	*ret_name = span_head(s, eq);
	struct span rest = span_trim(span_from(s, eq));
	*ret_problem = "missing '=' after attribute name";
	if (rest.len == 0 || rest.ptr[0] != '=')
		return false;
	*ret_problem = "missing attribute name";
	if (ret_name->len == 0)
		return false;
	*ret_value = span_trim(span_from(rest, 1));
	return true;
}

bool
main_cf_parse(struct span text, const char *file, struct main_cf *ret, struct err *err)
{
	struct main_cf m = {0};
	struct buf logical CLEANUP(buf_done) = {0};
	struct buf warnings CLEANUP(buf_done) = {0};
	struct main_cf_entry where = {0};
	struct span name, value;
	const char *problem;

	while (main_cf_line(&text, &where.last_line, &logical, &where.line)) {
		if (isspace((unsigned char)buf_str(&logical)[0])) {
			char *quoted CLEANUP(mem_free_str) =
			    mem_printf("\"%s\"", buf_str(&logical));

			add_warning(&warnings, file, 0,
			    "logical line must not start with whitespace: ", quoted);
			continue;
		}
		if (!split(buf_span(&logical), &name, &value, &problem)) {
			main_cf_done(&m);
			return err_set(err, ERR_CONFIG, "4.3.5", "%s, line %d: %s: \"%s\"", file,
			    where.last_line, problem, buf_str(&logical));
		}
		put(&m, name, value, &where, file, &warnings);
	}
	if (warnings.len > 0)
		m.warnings = buf_take(&warnings);
	*ret = m;
	return true;
}

bool
main_cf_assign(struct main_cf *m, struct span text, struct err *err)
{
	struct buf warnings CLEANUP(buf_done) = {0};
	struct span name, value;
	const char *problem;

	if (!split(text, &name, &value, &problem))
		return err_set(err, ERR_CONFIG, "4.3.5", "%s", problem);
	put(m, name, value, &(struct main_cf_entry){0}, "", &warnings);
	return true;
}

bool
main_cf_read(const char *file, struct buf *ret, struct err *err)
{
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return err_set(err, ERR_CONFIG, "4.3.5", "open %s: not a regular file", file);
	}
	while (fd >= 0 && ret->len <= FILE_SIZE_MAX) {
		n = read(fd, buf_room(ret, 8192), 8192);
		if (n <= 0)
			break;
		buf_added(ret, (size_t)n);
	}
	int error = errno;
	if (fd >= 0)
		(void)close(fd);
	if (n < 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "open %s: %s", file, strerror(error));
	if (n > 0)
		return err_set(
		    err, ERR_CONFIG, "4.3.5", "%s: more than %d bytes", file, FILE_SIZE_MAX);
	if (memchr(buf_str(ret), '\0', ret->len) != NULL)
		return err_set(err, ERR_CONFIG, "4.3.5", "%s: has a NUL byte", file);
	return true;
}

bool
main_cf_load(const char *file, struct main_cf *ret, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};

	return main_cf_read(file, &text, err) && main_cf_parse(buf_span(&text), file, ret, err);
}

void
main_cf_done(struct main_cf *m)
{
	for (size_t i = 0; i < m->count; i++) {
		mem_free(m->entries[i].name);
		mem_free(m->entries[i].value);
	}
	mem_free(m->entries);
	mem_free(m->warnings);
	*m = (struct main_cf){0};
}
