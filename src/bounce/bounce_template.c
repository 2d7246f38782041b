/*
 * bounce_template.c - see bounce_template.h. A template with a mistake is left out as a whole, so that no half of it is sent.
 */
#include "bounce/bounce_template.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mail/mail_addr_list.h"
#include "mail/mail_header.h"

#define KINDS    4
#define FILE_MAX (1u << 20)

struct bounce_templates {
	struct mail_report_template list[KINDS]; /* texts owned; `text` NULL: built in */
};

static const char *const names[KINDS] = {
    [MAIL_REPORT_FAILURE] = "failure_template",
    [MAIL_REPORT_DELAY] = "delay_template",
    [MAIL_REPORT_SUCCESS] = "success_template",
    [MAIL_REPORT_VERIFY] = "verify_template",
};

/* ---- $name ----------------------------------------------------------------------------------------------------- */

struct lookup {
	const struct conf *conf;
	char text[32];
};

/* maximal_queue_lifetime_days, delay_warning_time_hours and the like. */
static const char *
lookup_time(void *arg, struct span name)
{
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = {{"_seconds", 1}, {"_minutes", 60}, {"_hours", 3600}, {"_days", 86400},
	    {"_weeks", 604800}};
	struct lookup *l = arg;

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		struct span base = span_head(name, name.len - MIN(name.len, strlen(units[i].name)));
		int64_t time;

		if (!span_ends(name, units[i].name))
			continue;
		if (span_equal_str(base, "maximal_queue_lifetime"))
			time = conf_time(l->conf, CONF_maximal_queue_lifetime);
		else if (span_equal_str(base, "delay_warning_time"))
			time = conf_time(l->conf, CONF_delay_warning_time);
		else
			return NULL;
		(void)snprintf(l->text, sizeof(l->text), "%lld",
		    (long long)(time / CLOCK_SECOND / units[i].seconds));
		return l->text;
	}
	return NULL;
}

static bool
expand(const struct conf *conf, struct span text, struct buf *out)
{
	struct lookup l = {.conf = conf};
	const struct macro_source source = {.lookup = lookup_time, .arg = &l};
	struct err err;

	if (conf_expand(conf, text, &source, out, &err))
		return true;
	log_warn("bounce_template_file: %s", err.text);
	return false;
}

/* ---- one template ------------------------------------------------------------------------------------------------ */

/* Addresses without a domain are ours. */
static char *
complete_from(const struct conf *conf, struct span value)
{
	struct mail_addr_list list;
	struct mail_addr_item item;
	struct buf out = {0};
	const char *at = value.ptr;

	mail_addr_list_start(&list, value);
	while (mail_addr_list_next(&list, &item)) {
		struct span bare = mail_addr_list_bare(item.addr);

		if (bare.len == 0 || span_find(bare, '@') < bare.len)
			continue;
		buf_add(&out, at, (size_t)(bare.ptr + bare.len - at));
		buf_printf(&out, "@%s", conf_str(conf, CONF_myorigin));
		at = bare.ptr + bare.len;
	}
	buf_add(&out, at, (size_t)(value.ptr + value.len - at));
	return buf_take(&out);
}

static void
free_one(struct mail_report_template *t)
{
	mem_free((void *)(uintptr_t)t->charset);
	mem_free((void *)(uintptr_t)t->from);
	mem_free((void *)(uintptr_t)t->subject);
	mem_free((void *)(uintptr_t)t->postmaster_subject);
	mem_free((void *)(uintptr_t)t->text);
	*t = (struct mail_report_template){0};
}

/* The field that a header sets; NULL: there is no such header. */
static const char **
field_of(struct mail_report_template *t, struct span name)
{
	if (span_equal_nocase_str(name, "Charset"))
		return &t->charset;
	if (span_equal_nocase_str(name, "From"))
		return &t->from;
	if (span_equal_nocase_str(name, "Subject"))
		return &t->subject;
	return span_equal_nocase_str(name, "Postmaster-Subject") ? &t->postmaster_subject : NULL;
}

static bool
read_headers(const struct conf *conf, const char *name, struct span text,
    struct mail_report_template *t, struct span *ret_body)
{
	struct mail_header_iter iter;
	struct mail_header h;

	mail_header_start(&iter, text);
	while (mail_header_next(&iter, &h)) {
		const char **field = field_of(t, h.name);

		if (field == NULL) {
			log_warn("bounce_template_file: %s: unknown header %.*s", name,
			    SPAN_ARG(h.name));
			return false;
		}
		mem_free((void *)(uintptr_t)*field);
		*field = field == &t->from ? complete_from(conf, span_trim(h.value))
					   : span_dup(span_trim(h.value));
	}
	*ret_body = span_from(text, iter.body);
	if (iter.blank && t->from != NULL && t->subject != NULL)
		return true;
	log_warn(
	    "bounce_template_file: %s: From:, Subject: or the empty line behind them is missing",
	    name);
	return false;
}

static void
read_one(const struct conf *conf, enum mail_report_kind kind, struct span text,
    struct bounce_templates *t)
{
	struct mail_report_template one = {0};
	struct buf body CLEANUP(buf_done) = {0};
	struct span raw;
	bool good = read_headers(conf, names[kind], text, &one, &raw) && expand(conf, raw, &body);

	if (good && !utf8_is_ascii(raw) &&
	    (one.charset == NULL || span_equal_nocase_str(span_str(one.charset), "us-ascii"))) {
		log_warn("bounce_template_file: %s: 8-bit text in charset us-ascii", names[kind]);
		good = false;
	}
	if (!good) {
		free_one(&one);
		return;
	}
	/* With SMTPUTF8 addresses in the text may be more than ASCII. */
	if (one.charset == NULL || conf_bool(conf, CONF_smtputf8_enable)) {
		mem_free((void *)(uintptr_t)one.charset);
		one.charset =
		    mem_strdup(conf_bool(conf, CONF_smtputf8_enable) ? "utf-8" : "us-ascii");
	}
	one.text = buf_take(&body);
	free_one(&t->list[kind]);
	t->list[kind] = one;
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

static struct span
next_line(struct span *rest)
{
	size_t lf = span_find(*rest, '\n');
	struct span line = span_head(*rest, lf);

	*rest = span_from(*rest, lf + 1);
	return line;
}

/* "name = <<WORD", lines, "WORD". */
static void
read_assignment(
    const struct conf *conf, struct span line, struct span *rest, struct bounce_templates *t)
{
	size_t equals = span_find(line, '=');
	struct span name = span_trim(span_head(line, equals));
	struct span mark = span_trim(span_from(line, equals + 1));
	struct span text = span_head(*rest, 0);
	bool closed = false;

	if (!span_starts(mark, "<<")) {
		log_warn(
		    "bounce_template_file: expecting \"name = <<WORD\", not: %.*s", SPAN_ARG(line));
		return;
	}
	mark = span_trim(span_from(mark, 2));
	while (!closed && rest->len != 0) {
		struct span next = next_line(rest);

		closed = span_equal(span_trim(next), mark);
		if (!closed)
			text.len = (size_t)(next.ptr + next.len + 1 - text.ptr);
	}
	if (!closed) {
		log_warn("bounce_template_file: no line \"%.*s\" ends %.*s", SPAN_ARG(mark),
		    SPAN_ARG(name));
		return;
	}
	for (size_t i = 0; i < KINDS; i++)
		if (span_equal_str(name, names[i]))
			return read_one(conf, (enum mail_report_kind)i, text, t);
	log_warn("bounce_template_file: unknown template %.*s", SPAN_ARG(name));
}

static bool
read_file(const char *path, struct buf *ret)
{
	FILE *f = fopen(path, "re");
	size_t n = 1;

	while (f != NULL && n > 0 && ret->len < FILE_MAX) {
		n = fread(buf_room(ret, 4096), 1, 4096, f);
		buf_added(ret, n);
	}
	if (f != NULL && !ferror(f) && fclose(f) == 0)
		return true;
	log_warn("bounce_template_file: open %s: %s", path, strerror(errno));
	return false;
}

struct bounce_templates *
bounce_template_load(const struct conf *conf)
{
	const char *path = conf_str(conf, CONF_bounce_template_file);
	struct buf text CLEANUP(buf_done) = {0};
	struct bounce_templates *t;
	struct span rest;

	if (path[0] == '\0' || !read_file(path, &text))
		return NULL;
	t = mem_new(struct bounce_templates);
	rest = buf_span(&text);
	while (rest.len != 0) {
		struct span line = span_trim(next_line(&rest));

		if (line.len != 0 && line.ptr[0] != '#')
			read_assignment(conf, line, &rest, t);
	}
	return t;
}

void
bounce_template_free(struct bounce_templates **t)
{
	if (*t == NULL)
		return;
	for (size_t i = 0; i < KINDS; i++)
		free_one(&(*t)->list[i]);
	mem_free(*t);
	*t = NULL;
}

const struct mail_report_template *
bounce_template_of(const struct bounce_templates *t, enum mail_report_kind kind)
{
	return t != NULL && t->list[kind].text != NULL ? &t->list[kind] : NULL;
}
