/*
 * bounce_template.c - see bounce_template.h. A template is read as it stands in the file; what it does not say is taken from
 * the built-in one. With a mistake it is left out as a whole, so that no half of it is sent.
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

#define KINDS      4
#define FILE_MAX   (1u << 20)
#define VALUE_MANY 9999 /* more than so many of a unit of time: the unit is too small */

struct bounce_templates {
	struct mail_report_template list[KINDS]; /* texts owned; `text` NULL: built in */
};

/* In the order of the file. */
static const enum mail_report_kind kinds[KINDS] = {
    MAIL_REPORT_FAILURE, MAIL_REPORT_DELAY, MAIL_REPORT_SUCCESS, MAIL_REPORT_VERIFY};

static const char *const names[KINDS] = {
    [MAIL_REPORT_FAILURE] = "failure",
    [MAIL_REPORT_DELAY] = "delay",
    [MAIL_REPORT_SUCCESS] = "success",
    [MAIL_REPORT_VERIFY] = "verify",
};

#define FROM  "Mail Delivery System <MAILER-DAEMON>"
#define HELLO "This is the mail system at host $myhostname.\n\n"
#define HELP                                                                                       \
	"For further assistance, please send mail to postmaster.\n\n"                              \
	"If you do so, please include this problem report. You can\n"                              \
	"delete your own text from the attached returned message.\n\n"
#define SIGNATURE "                   The mail system\n"
#define FRAME     "####################################################################\n"

static const struct mail_report_template built_in[KINDS] = {
    [MAIL_REPORT_FAILURE] = {"us-ascii", FROM, "Undelivered Mail Returned to Sender",
	"Postmaster Copy: Undelivered Mail",
	HELLO "I'm sorry to have to inform you that your message could not\n"
	      "be delivered to one or more recipients. It's attached below.\n\n" HELP SIGNATURE},
    [MAIL_REPORT_DELAY] = {"us-ascii", FROM, "Delayed Mail (still being retried)",
	"Postmaster Warning: Delayed Mail",
	HELLO FRAME
	"# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n" FRAME
	"\nYour message could not be delivered for more than $delay_warning_time_hours hour(s).\n"
	"It will be retried until it is $maximal_queue_lifetime_days day(s) old.\n\n" HELP
	    SIGNATURE},
    [MAIL_REPORT_SUCCESS] = {"us-ascii", FROM, "Successful Mail Delivery Report", NULL,
	HELLO "Your message was successfully delivered to the destination(s)\n"
	      "listed below. If the message was delivered to mailbox you will\n"
	      "receive no further notifications. Otherwise you may still receive\n"
	      "notifications of mail delivery errors from other systems.\n\n" SIGNATURE},
    [MAIL_REPORT_VERIFY] = {"us-ascii", FROM, "Mail Delivery Status Report", NULL,
	HELLO "Enclosed is the mail delivery report that you requested.\n\n" SIGNATURE},
};

/* ---- $name ----------------------------------------------------------------------------------------------------- */

struct lookup {
	const struct conf *conf;
	const char *path, *template; /* for messages */
	char text[32];
};

static void
warn_many(const struct lookup *l, struct span name, const char *unit)
{
	log_warn("%s: excessive result \"%s\" in %s template conversion of parameter \"%.*s\"",
	    l->path, l->text, l->template, SPAN_ARG(name));
	log_warn("please increase time unit \"%s\" of \"%.*s\" in %s template", unit + 1,
	    SPAN_ARG(name), l->template);
	log_warn("for instructions see the bounce(5) manual");
}

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
		time = time / CLOCK_SECOND / units[i].seconds;
		(void)snprintf(l->text, sizeof(l->text), "%lld", (long long)time);
		if (time > VALUE_MANY && units[i].seconds < 604800)
			warn_many(l, name, units[i].name);
		return l->text;
	}
	return NULL;
}

static bool
expand(const struct conf *conf, const char *path, enum mail_report_kind kind, struct span text,
    struct buf *out)
{
	struct lookup l = {.conf = conf, .path = path, .template = names[kind]};
	const struct macro_source source = {.lookup = lookup_time, .arg = &l};
	struct err err;

	if (conf_expand(conf, text, &source, out, &err))
		return true;
	log_warn("%s: %s", path, err.text);
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

/* The headers at the front of `text`, if there are any; the body is the rest. */
static bool
read_headers(const char *path, enum mail_report_kind kind, struct span text,
    struct mail_report_template *t, struct span *ret_body)
{
	struct mail_header_iter iter;
	struct mail_header h;

	mail_header_start(&iter, text);
	while (mail_header_next(&iter, &h)) {
		const char **field = field_of(t, h.name);

		if (field == NULL) {
			log_warn(
			    "%s: unknown \"%.*s\" header label in %s template -- ignoring this "
			    "template",
			    path, SPAN_ARG(h.name), names[kind]);
			return false;
		}
		if (!utf8_is_ascii(h.value)) {
			log_warn(
			    "%s: non-ASCII \"%.*s\" header value in %s template -- ignoring this "
			    "template",
			    path, SPAN_ARG(h.name), names[kind]);
			return false;
		}
		mem_free((void *)(uintptr_t)*field);
		*field = span_dup(span_trim(h.value));
	}
	*ret_body = span_from(text, iter.body);
	if (span_trim(*ret_body).len != 0)
		return true;
	log_warn(
	    "%s: missing message text in %s template -- ignoring this template", path, names[kind]);
	return false;
}

static void
set_default(const char **field, const char *value)
{
	if (*field == NULL && value != NULL)
		*field = mem_strdup(value);
}

/* A template as the file has it. */
static void
read_one(const char *path, enum mail_report_kind kind, struct span text, struct bounce_templates *t)
{
	struct mail_report_template one = {0};
	struct span body;
	bool good = read_headers(path, kind, text, &one, &body);

	if (good && !utf8_is_ascii(body) &&
	    (one.charset == NULL || span_equal_nocase_str(span_str(one.charset), "us-ascii"))) {
		log_warn("%s: 8-bit message text in %s template", path, names[kind]);
		log_warn("please specify a charset value other than us-ascii -- ignoring this "
			 "template");
		good = false;
	}
	if (!good) {
		free_one(&one);
		return;
	}
	set_default(&one.charset, built_in[kind].charset);
	set_default(&one.from, built_in[kind].from);
	set_default(&one.subject, built_in[kind].subject);
	set_default(&one.postmaster_subject, built_in[kind].postmaster_subject);
	one.text = span_dup(body);
	free_one(&t->list[kind]);
	t->list[kind] = one;
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

struct source {
	const char *path;
	struct span rest;
	int line; /* of what is read next */
};

static bool
next_line(struct source *s, struct span *ret)
{
	size_t lf = span_find(s->rest, '\n');

	if (s->rest.len == 0)
		return false;
	*ret = span_head(s->rest, lf);
	s->rest = span_from(s->rest, lf + 1);
	s->line++;
	return true;
}

/* "name = <<WORD", lines, "WORD"; or "name = text". */
static void
read_assignment(struct source *s, struct span line, struct bounce_templates *t)
{
	size_t equals = span_find(line, '=');
	struct span name = span_trim(span_head(line, equals));
	struct span mark = span_trim(span_from(line, equals + 1)), next;
	struct buf text CLEANUP(buf_done) = {0};

	if (span_starts(mark, "<<")) {
		bool closed = false;

		mark = span_trim(span_from(mark, 2));
		while (!closed && next_line(s, &next)) {
			closed = span_equal(span_trim(next), mark);
			if (!closed)
				buf_printf(&text, "%.*s\n", SPAN_ARG(next));
		}
		if (!closed)
			log_warn("%s, line %d: missing \"%.*s\" end marker", s->path, s->line,
			    SPAN_ARG(mark));
	} else {
		buf_printf(&text, "%.*s\n", SPAN_ARG(mark));
	}
	for (size_t i = 0; i < KINDS; i++)
		if (span_ends(name, "_template") &&
		    span_equal_str(span_head(name, name.len - strlen("_template")), names[i]))
			return read_one(s->path, (enum mail_report_kind)i, buf_span(&text), t);
	log_warn("%s, line %d: unknown template name: %.*s -- ignoring this template", s->path,
	    s->line, SPAN_ARG(name));
}

static bool
read_file(const char *path, struct buf *ret, struct err *err)
{
	FILE *f = fopen(path, "re");
	size_t n = 1;

	while (f != NULL && n > 0 && ret->len < FILE_MAX) {
		n = fread(buf_room(ret, 4096), 1, 4096, f);
		buf_added(ret, n);
	}
	if (f != NULL && !ferror(f) && fclose(f) == 0)
		return true;
	return err_set(err, ERR_CONFIG, "4.3.5", "open %s: %s", path, strerror(errno));
}

/* The templates of the file, unexpanded; none without a file. */
static bool
read_templates(const char *path, struct bounce_templates *t, struct err *err)
{
	struct source source = {.path = path, .line = 1};
	struct buf text CLEANUP(buf_done) = {0};
	struct span line;

	if (path[0] == '\0')
		return true;
	if (!read_file(path, &text, err))
		return false;
	source.rest = buf_span(&text);
	while (next_line(&source, &line)) {
		line = span_trim(line);
		if (line.len != 0 && line.ptr[0] != '#')
			read_assignment(&source, line, t);
	}
	return true;
}

/* What a template says of this host. */
static void
make_ready(const struct conf *conf, const char *path, enum mail_report_kind kind,
    struct mail_report_template *t)
{
	struct buf body CLEANUP(buf_done) = {0};
	char *from;

	if (!expand(conf, path, kind, span_str(t->text), &body)) {
		free_one(t);
		return;
	}
	from = complete_from(conf, span_str(t->from));
	mem_free((void *)(uintptr_t)t->from);
	t->from = from;
	mem_free((void *)(uintptr_t)t->text);
	t->text = buf_take(&body);
	/* With SMTPUTF8 addresses in the text may be more than ASCII. */
	if (conf_bool(conf, CONF_smtputf8_enable)) {
		mem_free((void *)(uintptr_t)t->charset);
		t->charset = mem_strdup("utf-8");
	}
}

struct bounce_templates *
bounce_template_load(const struct conf *conf)
{
	const char *path = conf_str(conf, CONF_bounce_template_file);
	struct bounce_templates *t = mem_new(struct bounce_templates);
	struct err err;

	if (!read_templates(path, t, &err))
		log_warn("%s", err.text);
	for (size_t i = 0; i < KINDS; i++)
		if (t->list[i].text != NULL)
			make_ready(conf, path, (enum mail_report_kind)i, &t->list[i]);
	return t;
}

/* ---- postconf -b and -t -------------------------------------------------------------------------------------------- */

static void
show_one(const char *name, const struct mail_report_template *t, struct buf *ret)
{
	buf_printf(ret, "%s_template = <<EOF\nCharset: %s\nFrom: %s\nSubject: %s\n", name,
	    t->charset, t->from, t->subject);
	if (t->postmaster_subject != NULL)
		buf_printf(ret, "Postmaster-Subject: %s\n", t->postmaster_subject);
	buf_printf(ret, "\n%sEOF\n", t->text);
}

bool
bounce_template_show(
    const struct conf *conf, const char *path, bool expanded, struct buf *ret, struct err *err)
{
	struct bounce_templates t = {0};
	bool ok;

	if (path == NULL)
		path = conf_str(conf, CONF_bounce_template_file);
	log_act_as("bounce");
	ok = read_templates(path, &t, err);
	log_act_as(NULL);
	if (!ok)
		return false;
	for (size_t i = 0; i < KINDS; i++) {
		enum mail_report_kind kind = kinds[i];
		const struct mail_report_template *one =
		    t.list[kind].text != NULL ? &t.list[kind] : &built_in[kind];

		if (i > 0)
			buf_add_char(ret, '\n');
		if (!expanded) {
			show_one(names[kind], one, ret);
			continue;
		}
		buf_printf(ret, "expanded_%s_text = <<EOF\n", names[kind]);
		(void)expand(conf, path, kind, span_str(one->text), ret);
		buf_add_str(ret, "EOF\n");
	}
	for (size_t i = 0; i < KINDS; i++)
		free_one(&t.list[i]);
	return true;
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
