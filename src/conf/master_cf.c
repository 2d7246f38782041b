/*
 * master_cf.c - reading master.cf: see master_cf.h.
 */
#include "conf/master_cf.h"

#include <ctype.h>
#include <limits.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/main_cf.h"

#define BLANKS " \t\r\n\v\f"

static const char *const field_names[MASTER_CF_FIELD_COUNT] = {
    "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"};

/* One line while it is read. */
struct reader {
	const char *file;
	int line;
	const char *text; /* the whole logical line */
	struct err *err;
};

static bool
fail(const struct reader *r, const char *what, const char *word)
{
	return err_set(
	    r->err, ERR_CONFIG, "4.3.5", "file %s: line %d: %s%s", r->file, r->line, what, word);
}

static bool
bad_field(const struct reader *r, enum master_cf_field f, const char *value)
{
	return err_set(r->err, ERR_CONFIG, "4.3.5",
	    "file %s: line %d: invalid %s field \"%s\" in \"%s\"", r->file, r->line, field_names[f],
	    value, r->text);
}

/* The next word; white space inside { } belongs to it. */
static bool
take_word(struct span *rest, struct span *ret)
{
	size_t n = 0;
	int level = 0;

	*rest = span_trim(*rest);
	if (rest->len == 0)
		return false;
	while (n < rest->len && (level > 0 || strchr(BLANKS, rest->ptr[n]) == NULL)) {
		level += rest->ptr[n] == '{';
		level -= rest->ptr[n] == '}' && level > 0;
		n++;
	}
	*ret = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return true;
}

static bool
is_balanced(struct span s)
{
	int level = 0;

	for (size_t i = 0; i < s.len; i++) {
		level += s.ptr[i] == '{';
		level -= s.ptr[i] == '}';
	}
	return level == 0;
}

static bool
is_braced(struct span s)
{
	int level = 0;

	/* "{a}{b}" starts and ends with braces, but they are no pair. */
	for (size_t i = 0; i < s.len; i++) {
		level += s.ptr[i] == '{';
		level -= s.ptr[i] == '}';
		if (level == 0)
			return i > 0 && i == s.len - 1;
	}
	return false;
}

char *
master_cf_argument(const char *arg)
{
	struct span s = span_str(arg);

	if (s.len > 0 && s.ptr[0] == '{' && is_braced(s))
		s = span_trim(span_of(s.ptr + 1, s.len - 2));
	return span_dup(s);
}

static void
add_arg(struct master_service *s, char *arg)
{
	s->args = mem_resize(s->args, s->arg_count + 1, sizeof(*s->args));
	s->args[s->arg_count++] = arg;
}

/* The value of -o: name=value or { name = value }. */
static bool
take_override(const struct reader *r, struct master_service *s, struct span word)
{
	char *raw CLEANUP(mem_free_str) = span_dup(word);

	if (word.len == 0)
		return fail(r, "missing value after -o", "");
	if (word.ptr[0] == '{' && !is_braced(word))
		return fail(
		    r, is_balanced(word) ? "syntax error after '}' in " : "missing '}' in ", raw);
	char *plain CLEANUP(mem_free_str) = master_cf_argument(raw);
	struct span text = span_str(plain);
	size_t eq = span_find(text, '=');
	struct span name = span_trim(span_head(text, eq));
	if (eq == text.len)
		return fail(r, "missing '=' after attribute name: -o ", raw);
	if (name.len == 0)
		return fail(r, "missing attribute name: -o ", raw);
	s->overrides = mem_resize(s->overrides, s->override_count + 1, sizeof(*s->overrides));
	struct conf_override *o = &s->overrides[s->override_count++];
	o->name = span_dup(name);
	o->value = span_dup(span_trim(span_from(text, eq + 1)));
	add_arg(s, mem_strdup("-o"));
	add_arg(s, mem_printf("%s=%s", o->name, o->value));
	return true;
}

/* Options stand before the arguments of the service itself. */
static bool
take_args(const struct reader *r, struct master_service *s, struct span rest)
{
	struct span word;
	bool options = true;

	while (take_word(&rest, &word)) {
		options =
		    options && word.len > 1 && word.ptr[0] == '-' && !span_equal_str(word, "--");
		if (!options) {
			add_arg(s, span_dup(word));
			continue;
		}
		if (word.ptr[1] != 'o') {
			for (size_t i = 1; i < word.len; i++)
				s->verbose += word.ptr[i] == 'v';
			add_arg(s, span_dup(word));
		} else {
			struct span value = span_from(word, 2);

			if (value.len == 0 && !take_word(&rest, &value))
				value = (struct span){0};
			if (!take_override(r, s, value))
				return false;
		}
		s->option_count = s->arg_count;
	}
	return true;
}

static bool
flag(const struct reader *r, const struct master_service *s, enum master_cf_field f, bool def,
    bool *ret)
{
	const char *text = s->fields[f];

	if (strlen(text) != 1 || strchr("yn-", text[0]) == NULL)
		return bad_field(r, f, text);
	*ret = text[0] == '-' ? def : text[0] == 'y';
	return true;
}

static bool
number(const struct reader *r, const struct master_service *s, enum master_cf_field f,
    struct span text, int def, int *ret)
{
	uint64_t n;

	if (span_equal_str(text, "-")) {
		*ret = def;
		return true;
	}
	if (!span_number(text, INT_MAX, &n))
		return bad_field(r, f, s->fields[f]);
	*ret = (int)n;
	return true;
}

static bool
service_type(const struct reader *r, const struct master_service *s, enum master_cf_type *ret)
{
	static const struct {
		const char *name;
		enum master_cf_type type;
	} types[] = {{"inet", MASTER_CF_INET}, {"unix", MASTER_CF_UNIX},
	    {"unix-dgram", MASTER_CF_UNIX_DGRAM}, {"fifo", MASTER_CF_FIFO},
	    {"pass", MASTER_CF_PASS}};
	const char *text = s->fields[MASTER_CF_FIELD_TYPE];

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i].name, text) == 0) {
			*ret = types[i].type;
			return true;
		}
	return bad_field(r, MASTER_CF_FIELD_TYPE, text);
}

static bool
read_fields(const struct reader *r, struct master_service *s)
{
	struct span wakeup = span_str(s->fields[MASTER_CF_FIELD_WAKEUP]);

	s->wakeup_if_used = wakeup.len > 1 && wakeup.ptr[wakeup.len - 1] == '?';
	if (s->wakeup_if_used)
		wakeup = span_head(wakeup, wakeup.len - 1);
	return service_type(r, s, &s->type) &&
	       flag(r, s, MASTER_CF_FIELD_PRIVATE, true, &s->is_private) &&
	       flag(r, s, MASTER_CF_FIELD_UNPRIV, true, &s->unpriv) &&
	       flag(r, s, MASTER_CF_FIELD_CHROOT, false, &s->chroot) &&
	       number(r, s, MASTER_CF_FIELD_WAKEUP, wakeup, 0, &s->wakeup) &&
	       number(r, s, MASTER_CF_FIELD_MAXPROC, span_str(s->fields[MASTER_CF_FIELD_MAXPROC]),
		   MASTER_CF_DEFAULT, &s->maxproc);
}

static bool
read_service(const struct reader *r, struct master_service *s)
{
	struct span rest = span_str(r->text), word;

	for (int f = 0; f < MASTER_CF_FIELD_COUNT; f++) {
		if (!take_word(&rest, &word))
			return fail(r, "bad field count", "");
		s->fields[f] = span_dup(word);
	}
	return read_fields(r, s) && take_args(r, s, rest);
}

static void
service_done(struct master_service *s)
{
	for (int f = 0; f < MASTER_CF_FIELD_COUNT; f++)
		mem_free(s->fields[f]);
	for (size_t i = 0; i < s->arg_count; i++)
		mem_free(s->args[i]);
	for (size_t i = 0; i < s->override_count; i++) {
		mem_free((void *)(uintptr_t)s->overrides[i].name);
		mem_free((void *)(uintptr_t)s->overrides[i].value);
	}
	mem_free(s->args);
	mem_free(s->overrides);
}

bool
master_cf_parse_all(struct span text, const char *file, struct master_cf *ret, struct err *err)
{
	struct master_cf m = {0};
	struct buf logical CLEANUP(buf_done) = {0};
	struct buf warnings CLEANUP(buf_done) = {0};
	struct reader r = {.file = file, .err = err};
	int last_line = 0;

	while (main_cf_line(&text, &last_line, &logical, &r.line)) {
		r.text = buf_str(&logical);
		if (isspace((unsigned char)r.text[0])) {
			buf_printf(&warnings,
			    "%s: logical line must not start with whitespace: \"%s\"\n", file,
			    r.text);
			continue;
		}
		m.services = mem_resize(m.services, m.count + 1, sizeof(*m.services));
		struct master_service *s = &m.services[m.count++];
		*s = (struct master_service){.line = r.line, .last_line = last_line};
		if (!read_service(&r, s)) {
			master_cf_done(&m);
			return false;
		}
	}
	if (warnings.len > 0)
		m.warnings = buf_take(&warnings);
	*ret = m;
	return true;
}

static bool
same_service(const struct master_service *s, const char *name, const char *type)
{
	return strcmp(s->fields[MASTER_CF_FIELD_NAME], name) == 0 &&
	       strcmp(s->fields[MASTER_CF_FIELD_TYPE], type) == 0;
}

/* Takes out every service that a later one has the name and type of. */
static void
drop_overridden(struct master_cf *m, const char *file)
{
	struct buf warnings CLEANUP(buf_done) = {0};
	size_t kept = 0;

	buf_add_str(&warnings, m->warnings != NULL ? m->warnings : "");
	for (size_t i = 0; i < m->count; i++) {
		struct master_service *s = &m->services[i];
		size_t k = i + 1;

		while (
		    k < m->count && !same_service(&m->services[k], s->fields[MASTER_CF_FIELD_NAME],
					s->fields[MASTER_CF_FIELD_TYPE]))
			k++;
		if (k == m->count) {
			m->services[kept++] = *s;
			continue;
		}
		buf_printf(&warnings,
		    "file %s: line %d: overriding earlier entry of line %d: %s/%s\n", file,
		    m->services[k].line, s->line, s->fields[MASTER_CF_FIELD_NAME],
		    s->fields[MASTER_CF_FIELD_TYPE]);
		service_done(s);
	}
	m->count = kept;
	mem_free(m->warnings);
	m->warnings = warnings.len > 0 ? buf_take(&warnings) : NULL;
}

bool
master_cf_parse(struct span text, const char *file, struct master_cf *ret, struct err *err)
{
	if (!master_cf_parse_all(text, file, ret, err))
		return false;
	drop_overridden(ret, file);
	return true;
}

bool
master_cf_load(const char *dir, struct master_cf *ret, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};
	char *file CLEANUP(mem_free_str) = mem_printf("%s/master.cf", dir);

	return main_cf_read(file, &text, err) && master_cf_parse(buf_span(&text), file, ret, err);
}

void
master_cf_done(struct master_cf *m)
{
	for (size_t i = 0; i < m->count; i++)
		service_done(&m->services[i]);
	mem_free(m->services);
	mem_free(m->warnings);
	*m = (struct master_cf){0};
}

const struct master_service *
master_cf_find(const struct master_cf *m, const char *name, const char *type)
{
	for (size_t i = m->count; i > 0; i--)
		if (same_service(&m->services[i - 1], name, type))
			return &m->services[i - 1];
	return NULL;
}

const char *
master_cf_command(const struct master_service *s)
{
	const char *command = s->fields[MASTER_CF_FIELD_COMMAND];
	const char *slash = strrchr(command, '/');

	return slash != NULL ? slash + 1 : command;
}
