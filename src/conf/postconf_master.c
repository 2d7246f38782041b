/*
 * postconf_master.c - master.cf as postconf shows it: see postconf_int.h.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/postconf_int.h"

static const char *const field_names[MASTER_CF_FIELD_COUNT] = {
    "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"};

/* "*" stands for a whole part, never for a piece of one. */
static bool
is_mixed_wildcard(struct span part)
{
	return part.len > 1 && span_find(part, '*') < part.len;
}

void
postconf_pattern_parse(struct span text, struct postconf_pattern *ret)
{
	size_t first = span_find(text, '/');
	struct span rest = span_from(text, first + 1);
	size_t second = span_find(rest, '/');

	ret->has_type = first < text.len;
	ret->has_rest = ret->has_type && second < rest.len;
	ret->name = span_dup(span_head(text, first));
	ret->type = ret->has_type ? span_dup(span_head(rest, second)) : mem_strdup("*");
	ret->rest = ret->has_rest ? span_dup(span_from(rest, second + 1)) : mem_strdup("*");
	ret->is_mixed = is_mixed_wildcard(span_str(ret->name)) ||
			is_mixed_wildcard(span_str(ret->type)) ||
			is_mixed_wildcard(span_str(ret->rest));
}

void
postconf_pattern_done(struct postconf_pattern *p)
{
	mem_free(p->name);
	mem_free(p->type);
	mem_free(p->rest);
	*p = (struct postconf_pattern){0};
}

static bool
part_is(const char *pattern, const char *text)
{
	return strcmp(pattern, "*") == 0 || strcmp(pattern, text) == 0;
}

bool
postconf_pattern_is(const struct postconf_pattern *p, const struct master_service *s)
{
	return part_is(p->name, s->fields[MASTER_CF_FIELD_NAME]) &&
	       part_is(p->type, s->fields[MASTER_CF_FIELD_TYPE]);
}

const char *
postconf_master_problem(const struct err *err)
{
	const char *invalid = strstr(err->text, ": invalid ");

	return invalid != NULL ? invalid + 2 : err->text;
}

enum master_cf_field
postconf_field(const char *name)
{
	for (size_t f = 0; f < MASTER_CF_FIELD_COUNT; f++)
		if (strcmp(field_names[f], name) == 0)
			return (enum master_cf_field)f;
	log_fatal(1, "invalid service attribute name: \"%s\"", name);
}

static bool
has_blank(const char *text)
{
	return strpbrk(text, " \t\r\n") != NULL;
}

#define INDENT 4

/* "-o setting", on a line of its own when folded. */
static void
add_override(struct postconf *pc, const struct master_service *s, const char *setting, bool fold,
    struct buf *ret)
{
	struct buf value CLEANUP(buf_done) = {0};

	if (pc != NULL && pc->expand)
		postconf_expand(pc, s, setting, &value);
	else
		buf_add_str(&value, setting);
	if (fold)
		buf_add_str(ret, "\n   ");
	buf_printf(ret, has_blank(buf_str(&value)) ? " -o {%s}" : " -o %s", buf_str(&value));
}

/* The command with its arguments; `column` is where it begins. */
static void
add_command(
    struct postconf *pc, const struct master_service *s, bool fold, size_t column, struct buf *ret)
{
	buf_add_str(ret, s->fields[MASTER_CF_FIELD_COMMAND]);
	bool after_override = false;

	column += strlen(s->fields[MASTER_CF_FIELD_COMMAND]);
	for (size_t i = 0; i < s->arg_count; i++) {
		if (i + 1 < s->option_count && strcmp(s->args[i], "-o") == 0) {
			add_override(pc, s, s->args[++i], fold, ret);
			after_override = true;
			continue;
		}
		/* What follows a setting begins a line, too. */
		if (fold && after_override) {
			buf_add_str(ret, "\n   ");
			column = INDENT - 1;
		}
		after_override = false;
		postconf_words(ret, s->args[i], fold ? POSTCONF_LINE - 1 : 0, &column);
	}
}

void
postconf_service_line(
    struct postconf *pc, const struct master_service *s, bool fold, struct buf *ret)
{
	static const size_t stops[MASTER_CF_FIELD_COUNT] = {0, 11, 17, 25, 33, 41, 49, 57};
	size_t column = 0;

	for (size_t f = 0; f < MASTER_CF_FIELD_COUNT; f++) {
		do {
			if (f == 0)
				break;
			buf_add_char(ret, ' ');
			column++;
		} while (column < stops[f]);
		if (f == MASTER_CF_FIELD_COMMAND)
			break;
		buf_add_str(ret, s->fields[f]);
		column += strlen(s->fields[f]);
	}
	add_command(pc, s, fold, column, ret);
	buf_add_char(ret, '\n');
}

static void
show_field(struct postconf *pc, const struct master_service *s, enum master_cf_field f)
{
	char *name CLEANUP(mem_free_str) = mem_printf("%s/%s/%s", s->fields[MASTER_CF_FIELD_NAME],
	    s->fields[MASTER_CF_FIELD_TYPE], field_names[f]);
	struct buf value CLEANUP(buf_done) = {0};

	if (f == MASTER_CF_FIELD_COMMAND)
		add_command(pc, s, false, 0, &value);
	else
		buf_add_str(&value, s->fields[f]);
	postconf_setting(pc, name, buf_str(&value));
}

static int
by_name(const void *a, const void *b)
{
	const struct conf_override *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void
show_param(struct postconf *pc, const struct master_service *s, const struct conf_override *o)
{
	char *name CLEANUP(mem_free_str) = mem_printf(
	    "%s/%s/%s", s->fields[MASTER_CF_FIELD_NAME], s->fields[MASTER_CF_FIELD_TYPE], o->name);
	struct buf value CLEANUP(buf_done) = {0};

	if (pc->expand)
		postconf_expand(pc, s, o->value, &value);
	else
		buf_add_str(&value, o->value);
	postconf_setting(pc, name, buf_str(&value));
}

/* The -o settings that `wanted` asks for, sorted by name, the last of each name. False: there is none. */
static bool
show_params(struct postconf *pc, const struct master_service *s, const char *wanted)
{
	const struct conf_override **list = mem_resize(NULL, s->override_count, sizeof(*list));
	size_t count = 0;

	for (size_t i = 0; i < s->override_count; i++) {
		size_t later = i + 1;

		while (later < s->override_count &&
		       strcmp(s->overrides[later].name, s->overrides[i].name) != 0)
			later++;
		if (later == s->override_count && part_is(wanted, s->overrides[i].name))
			list[count++] = &s->overrides[i];
	}
	if (count > 0)
		qsort(list, count, sizeof(*list), by_name);
	for (size_t i = 0; i < count; i++)
		show_param(pc, s, list[i]);
	mem_free(list);
	return count > 0;
}

static bool
show_fields(struct postconf *pc, const struct master_service *s, const char *wanted)
{
	if (strcmp(wanted, "*") != 0) {
		show_field(pc, s, postconf_field(wanted));
		return true;
	}
	for (size_t f = 0; f < MASTER_CF_FIELD_COUNT; f++)
		show_field(pc, s, (enum master_cf_field)f);
	return true;
}

static bool
show_service(struct postconf *pc, const struct master_service *s, const char *wanted)
{
	switch (pc->view) {
	case POSTCONF_FIELDS:
		return show_fields(pc, s, wanted);
	case POSTCONF_PARAMS:
		return show_params(pc, s, wanted);
	case POSTCONF_MASTER:
		postconf_service_line(pc, s, pc->fold, &pc->out);
		return true;
	case POSTCONF_MAIN:
		break;
	}
	UNREACHED();
}

static const struct {
	size_t parts;
	const char *form;
} request_forms[] = {
    [POSTCONF_MASTER] = {2, "-M option requires service_name[/type]"},
    [POSTCONF_FIELDS] = {3, "-F option requires service_name[/type[/field]]"},
    [POSTCONF_PARAMS] = {3, "-P option requires service_name[/type[/parameter]]"},
};

/* A request has one to so many parts, none of them empty. */
static void
check_pattern(const struct postconf *pc, struct span text)
{
	size_t parts = 0;

	for (bool more = true; more; parts++) {
		size_t slash = span_find(text, '/');

		if (slash == 0)
			log_fatal(1, "%s", request_forms[pc->view].form);
		more = slash < text.len;
		text = span_from(text, slash + 1);
		if (more && text.len == 0)
			log_fatal(1, "%s", request_forms[pc->view].form);
	}
	if (parts > request_forms[pc->view].parts)
		log_fatal(1, "%s", request_forms[pc->view].form);
}

/* Each request that asks for the service shows it. */
static void
show_requested(struct postconf *pc, const struct master_service *s,
    const struct postconf_pattern *wanted, bool *found)
{
	for (size_t i = 0; i < pc->arg_count; i++) {
		if (!postconf_pattern_is(&wanted[i], s))
			continue;
		if (show_service(pc, s, wanted[i].rest))
			found[i] = true;
	}
}

void
postconf_show_master(struct postconf *pc)
{
	struct postconf_pattern *wanted = mem_resize(NULL, pc->arg_count + 1, sizeof(*wanted));
	bool *found = mem_resize(NULL, pc->arg_count + 1, sizeof(*found));

	for (size_t i = 0; i < pc->arg_count; i++) {
		check_pattern(pc, span_str(pc->args[i]));
		postconf_pattern_parse(span_str(pc->args[i]), &wanted[i]);
		if (wanted[i].is_mixed)
			log_fatal(1, "%s", request_forms[pc->view].form);
		found[i] = false;
	}
	for (size_t i = 0; i < pc->master_cf.count; i++) {
		if (pc->arg_count == 0)
			(void)show_service(pc, &pc->master_cf.services[i], "*");
		show_requested(pc, &pc->master_cf.services[i], wanted, found);
	}
	for (size_t i = 0; i < pc->arg_count; i++) {
		if (!found[i])
			log_warn("unmatched request: \"%s\"", pc->args[i]);
		postconf_pattern_done(&wanted[i]);
	}
	mem_free(wanted);
	mem_free(found);
}
