/*
 * postconf_edit.c - changing main.cf and master.cf: see postconf_int.h.
 *
 * A file is read as lines, and each logical line (an entry) knows its physical lines. An edit decides for each entry
 * whether it stays, goes, becomes a comment or is replaced; comments and empty lines stay where they are. The new file
 * is written beside the old one and takes its place, so that a reader sees one or the other.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/postconf_int.h"

#define NO_ENTRY SIZE_MAX

struct line {
	struct span text;
	size_t entry; /* NO_ENTRY: comment, empty, or out of place */
};

struct entry {
	struct buf logical; /* owned */
	bool shown;         /* its first line has been written */
	enum {
		FATE_STAY,
		FATE_GO,
		FATE_COMMENT,
		FATE_REPLACE,
	} fate;
	char *replacement; /* owned; with newline */
};

struct file {
	char *name; /* owned */
	struct buf text;
	struct line *lines; /* owned */
	size_t line_count;
	struct entry *entries; /* owned */
	size_t entry_count;
	struct buf added; /* to be appended */
};

/* ---- files ---- */

static void
file_read(struct postconf *pc, const char *name, struct file *f)
{
	struct span rest, line;
	struct err err;
	bool open_entry = false;

	*f = (struct file){.name = mem_printf("%s/%s", pc->dir, name)};
	if (!main_cf_read(f->name, &f->text, &err))
		log_fatal(1, "%s", err.text);
	for (rest = buf_span(&f->text); rest.len > 0;) {
		size_t n = span_find(rest, '\n');
		line = span_head(rest, n);
		rest = span_from(rest, n + 1);
		struct span content = span_trim(line);
		bool comment = content.len == 0 || content.ptr[0] == '#';
		bool starts = !comment && !isspace((unsigned char)line.ptr[0]);
		size_t entry = NO_ENTRY;

		if (starts) {
			f->entries =
			    mem_resize(f->entries, f->entry_count + 1, sizeof(*f->entries));
			f->entries[f->entry_count++] = (struct entry){0};
			open_entry = true;
		}
		if (!comment && open_entry) {
			entry = f->entry_count - 1;
			buf_add_span(&f->entries[entry].logical, line);
		}
		f->lines = mem_resize(f->lines, f->line_count + 1, sizeof(*f->lines));
		f->lines[f->line_count++] = (struct line){.text = line, .entry = entry};
	}
}

static void
render_line(struct file *f, const struct line *line, struct buf *out)
{
	struct entry *e = line->entry != NO_ENTRY ? &f->entries[line->entry] : NULL;
	bool first = e != NULL && !e->shown;

	if (e != NULL) {
		e->shown = true;
		if (e->fate == FATE_GO || (e->fate == FATE_REPLACE && !first))
			return;
		if (e->fate == FATE_REPLACE) {
			buf_add_str(out, e->replacement);
			return;
		}
		if (e->fate == FATE_COMMENT)
			buf_add_char(out, '#');
	}
	buf_add_span(out, line->text);
	buf_add_char(out, '\n');
}

static bool
write_all(int fd, const struct buf *b)
{
	for (size_t done = 0; done < b->len;) {
		ssize_t n = write(fd, b->ptr + done, b->len - done);

		if (n < 0)
			return false;
		done += (size_t)n;
	}
	return fsync(fd) == 0;
}

/* Puts `text` in the place of the file, with its owner and mode. */
static void
file_replace(const char *name, const struct buf *text)
{
	char *temporary CLEANUP(mem_free_str) = mem_printf("%s.tmp", name);
	struct stat st;

	if (stat(name, &st) != 0)
		log_fatal(1, "open %s: %s", name, strerror(errno));
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		log_fatal(1, "open %s: %s", temporary, strerror(errno));
	/* Only root can give a file away; others own it already. */
	if (fchown(fd, st.st_uid, st.st_gid) != 0 && geteuid() == 0)
		log_fatal(1, "change owner of %s: %s", temporary, strerror(errno));
	if (fchmod(fd, st.st_mode & 07777) != 0 || !write_all(fd, text) || close(fd) != 0 ||
	    rename(temporary, name) != 0) {
		int error = errno;

		(void)unlink(temporary);
		log_fatal(1, "write %s: %s", name, strerror(error));
	}
}

static void
file_write(struct file *f)
{
	struct buf out CLEANUP(buf_done) = {0};

	for (size_t i = 0; i < f->line_count; i++)
		render_line(f, &f->lines[i], &out);
	buf_add_span(&out, buf_span(&f->added));
	file_replace(f->name, &out);
}

static void
file_done(struct file *f)
{
	for (size_t i = 0; i < f->entry_count; i++) {
		buf_done(&f->entries[i].logical);
		mem_free(f->entries[i].replacement);
	}
	mem_free(f->name);
	mem_free(f->lines);
	mem_free(f->entries);
	buf_done(&f->text);
	buf_done(&f->added);
}

static void
replace(struct entry *e, char *text)
{
	mem_free(e->replacement);
	e->replacement = text;
	e->fate = FATE_REPLACE;
}

/* ---- requests ---- */

static void
check_request(struct postconf *pc, const char *arg)
{
	struct span text = span_trim(span_str(arg));

	if (span_find(span_str(arg), '\n') < strlen(arg))
		log_fatal(1, "-e, -X, or -# accepts no multi-line input");
	if (text.len > 0 && text.ptr[0] == '#')
		log_fatal(1, "-e, -X, or -# accepts no comment input");
	if (pc->action != POSTCONF_SET && pc->view == POSTCONF_MAIN &&
	    span_find(text, '=') < text.len)
		log_fatal(1, pc->action == POSTCONF_EXCLUDE ? "specify one of -e -X"
							    : "specify one of -e -#");
}

/* "name = value" of a command line. */
static void
split_request(const char *arg, struct span *ret_name, struct span *ret_value)
{
	struct span text = span_trim(span_str(arg));
	size_t eq = span_find(text, '=');

	*ret_name = span_trim(span_head(text, eq));
	*ret_value = span_trim(span_from(text, eq + 1));
	for (size_t i = 0; i < ret_name->len; i++)
		if (isspace((unsigned char)ret_name->ptr[i]))
			eq = text.len;
	if (eq == text.len)
		log_fatal(1, "missing '=' after attribute name: \"%s\"", arg);
	if (ret_name->len == 0)
		log_fatal(1, "missing attribute name: \"%s\"", arg);
}

/* ---- main.cf ---- */

static struct span
entry_name(const struct entry *e)
{
	struct span text = span_trim(buf_span(&e->logical)), word = {0};

	(void)span_word(&text, "= \t\r\v\f", &word);
	return word;
}

static void
edit_parameter(struct postconf *pc, struct file *f, struct span name, struct span value)
{
	size_t found = 0;

	for (size_t i = 0; i < f->entry_count; i++) {
		struct entry *e = &f->entries[i];

		if (!span_equal(entry_name(e), name))
			continue;
		if (++found == 2)
			log_warn("%s: multiple entries for \"%.*s\"", f->name, SPAN_ARG(name));
		if (pc->action == POSTCONF_SET)
			replace(e, mem_printf("%.*s = %.*s\n", SPAN_ARG(name), SPAN_ARG(value)));
		else
			e->fate = pc->action == POSTCONF_EXCLUDE ? FATE_GO : FATE_COMMENT;
	}
	if (found == 0 && pc->action == POSTCONF_SET)
		buf_printf(&f->added, "%.*s = %.*s\n", SPAN_ARG(name), SPAN_ARG(value));
}

/* A later request for the same name wins. */
static bool
is_repeated(struct postconf *pc, size_t i, struct span name)
{
	struct span other, value;

	for (size_t k = i + 1; k < pc->arg_count; k++) {
		split_request(pc->args[k], &other, &value);
		if (span_equal(other, name))
			return true;
	}
	return false;
}

static void
edit_main(struct postconf *pc)
{
	struct file f CLEANUP(file_done) = {0};
	struct span name, value = {0};

	file_read(pc, "main.cf", &f);
	for (size_t i = 0; i < pc->arg_count; i++) {
		check_request(pc, pc->args[i]);
		name = span_trim(span_str(pc->args[i]));
		if (pc->action == POSTCONF_SET) {
			split_request(pc->args[i], &name, &value);
			if (is_repeated(pc, i, name)) {
				log_warn("ignoring earlier request: '%.*s = %.*s'", SPAN_ARG(name),
				    SPAN_ARG(value));
				continue;
			}
		}
		edit_parameter(pc, &f, name, value);
	}
	file_write(&f);
}

/* ---- master.cf ---- */

static void
parse_service(struct span text, const char *where, struct master_cf *ret)
{
	struct err err;

	if (!master_cf_parse_all(text, where, ret, &err))
		log_fatal(1, "%s", postconf_master_problem(&err));
}

/* What a request makes of a service; `request` and `shown` are for messages, in Postfix's way. */
static void
parse_request(struct span text, const char *request, struct span shown, struct master_cf *ret)
{
	struct err err;
	const char *problem;
	const char *in;

	if (master_cf_parse_all(text, "request", ret, &err) && ret->count == 1)
		return;
	problem = postconf_master_problem(&err);
	in = strstr(problem, " in \"");
	if (in == NULL || span_starts(span_str(problem), "file "))
		log_fatal(1, "bad field count: \"%s\"", request);
	log_fatal(1, "%.*s in \"%.*s\"", (int)(in - problem), problem, SPAN_ARG(shown));
}

static char *
service_text(const struct master_service *s)
{
	struct buf out CLEANUP(buf_done) = {0};

	postconf_service_line(NULL, s, true, &out);
	return buf_take(&out);
}

/* -Me name/type=line, -MX and -M# name/type */
static void
edit_line(struct postconf *pc, struct file *f, const struct postconf_pattern *pattern,
    struct span value, const char *request)
{
	struct master_cf wanted CLEANUP(master_cf_done) = {0};
	bool found = false;

	if (pc->action == POSTCONF_SET)
		parse_request(value, request, value, &wanted);
	for (size_t i = 0; i < f->entry_count; i++) {
		struct entry *e = &f->entries[i];
		struct master_cf m CLEANUP(master_cf_done) = {0};

		parse_service(buf_span(&e->logical), f->name, &m);
		if (m.count == 0 || !postconf_pattern_is(pattern, &m.services[0]))
			continue;
		if (pc->action != POSTCONF_SET)
			e->fate = pc->action == POSTCONF_EXCLUDE ? FATE_GO : FATE_COMMENT;
		else if (found)
			e->fate = FATE_GO; /* of several entries one is left */
		else
			replace(e, service_text(&wanted.services[0]));
		found = true;
	}
	if (!found && pc->action == POSTCONF_SET) {
		char *text CLEANUP(mem_free_str) = service_text(&wanted.services[0]);

		buf_add_str(&f->added, text);
	}
}

/* Takes the option at `i` with its value out of the arguments. */
static void
drop_option(struct master_service *s, size_t i)
{
	mem_free(s->args[i]);
	mem_free(s->args[i + 1]);
	memmove(&s->args[i], &s->args[i + 2], (s->arg_count - i - 2) * sizeof(*s->args));
	s->arg_count -= 2;
	s->option_count -= 2;
}

/* The -o settings of `name`: the value is replaced, or added, or (`value` NULL) all are taken away. */
static void
set_option(struct master_service *s, struct span name, const struct span *value)
{
	bool done = value == NULL;

	for (size_t i = 0; i + 1 < s->option_count;) {
		struct span setting = span_str(s->args[i + 1]);

		if (strcmp(s->args[i], "-o") != 0 ||
		    !span_equal(span_head(setting, span_find(setting, '=')), name)) {
			i++;
			continue;
		}
		if (done) {
			drop_option(s, i);
			continue;
		}
		mem_free(s->args[i + 1]);
		s->args[i + 1] = mem_printf("%.*s=%.*s", SPAN_ARG(name), SPAN_ARG(*value));
		done = true;
		i += 2;
	}
	if (done)
		return;
	s->args = mem_resize(s->args, s->arg_count + 2, sizeof(*s->args));
	memmove(&s->args[s->option_count + 2], &s->args[s->option_count],
	    (s->arg_count - s->option_count) * sizeof(*s->args));
	s->args[s->option_count++] = mem_strdup("-o");
	s->args[s->option_count++] = mem_printf("%.*s=%.*s", SPAN_ARG(name), SPAN_ARG(*value));
	s->arg_count += 2;
}

/* A new command comes with its arguments. */
static void
set_field(struct master_service *s, enum master_cf_field field, struct span value)
{
	mem_free(s->fields[field]);
	s->fields[field] = span_dup(value);
	while (field == MASTER_CF_FIELD_COMMAND && s->arg_count > 0)
		mem_free(s->args[--s->arg_count]);
	if (field == MASTER_CF_FIELD_COMMAND)
		s->option_count = 0;
}

static void
change_service(struct postconf *pc, struct master_service *s, const char *what, struct span value)
{
	if (pc->view == POSTCONF_FIELDS)
		set_field(s, postconf_field(what), value);
	else
		set_option(s, span_str(what), pc->action == POSTCONF_SET ? &value : NULL);
}

/* -Fe name/type/field=value, -Pe name/type/parameter=value, -PX name/type/parameter */
static void
edit_services(struct postconf *pc, struct file *f, const struct postconf_pattern *pattern,
    struct span value, const char *request)
{
	bool found = false;

	for (size_t i = 0; i < f->entry_count; i++) {
		struct entry *e = &f->entries[i];
		struct master_cf m CLEANUP(master_cf_done) = {0};
		struct master_cf check CLEANUP(master_cf_done) = {0};
		/* An entry that an earlier request has changed is changed further. */
		struct span text =
		    e->fate == FATE_REPLACE ? span_str(e->replacement) : buf_span(&e->logical);

		parse_service(text, f->name, &m);
		if (m.count == 0 || !postconf_pattern_is(pattern, &m.services[0]))
			continue;
		change_service(pc, &m.services[0], pattern->rest, value);
		char *changed = service_text(&m.services[0]);
		parse_request(span_str(changed), request, value, &check);
		replace(e, changed);
		found = true;
	}
	if (!found)
		log_warn("unmatched service_name/type: \"%s\"", request);
}

static void
edit_master_request(struct postconf *pc, struct file *f, const char *arg)
{
	struct postconf_pattern pattern CLEANUP(postconf_pattern_done) = {0};
	struct span name = span_trim(span_str(arg)), value = {0};

	check_request(pc, arg);
	if (pc->action == POSTCONF_SET)
		split_request(arg, &name, &value);
	postconf_pattern_parse(name, &pattern);
	if (pc->view == POSTCONF_MASTER) {
		if (!pattern.has_type || pattern.has_rest || pattern.is_mixed)
			log_fatal(1, "-Me, -MX or -M# requires service_name/type");
		edit_line(pc, f, &pattern, value, arg);
		return;
	}
	if (pc->view == POSTCONF_PARAMS &&
	    (!pattern.has_rest || pattern.is_mixed || strchr(pattern.rest, '/') != NULL))
		log_fatal(1, "-Pe or -PX requires service_name/type/parameter");
	if (!pattern.has_rest || pattern.is_mixed)
		log_fatal(1, "-Fe or -FX requires service_name/type/field_name");
	if (pc->view == POSTCONF_PARAMS)
		for (size_t i = 0; i < value.len; i++)
			if (isspace((unsigned char)value.ptr[i]))
				log_fatal(1, "-Pe does not accept whitespace in parameter value");
	edit_services(pc, f, &pattern, value, arg);
}

static void
edit_master(struct postconf *pc)
{
	struct file f CLEANUP(file_done) = {0};

	file_read(pc, "master.cf", &f);
	for (size_t i = 0; i < pc->arg_count; i++)
		edit_master_request(pc, &f, pc->args[i]);
	file_write(&f);
}

void
postconf_edit(struct postconf *pc)
{
	if (pc->view == POSTCONF_MAIN)
		edit_main(pc);
	else
		edit_master(pc);
}
