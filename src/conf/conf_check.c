/*
 * conf_check.c - judging a configuration directory: see conf_check.h. Each check is one function that adds findings;
 * the order in which they run does not matter, findings are sorted at the end.
 */
#include "conf/conf_check.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf_check_int.h"
#include "conf/conf_host.h"
#include "conf/conf_int.h"
#include "conf/conf_level.h"
#include "conf/conf_net_list.h"
#include "conf/conf_param.h"
#include "conf/conf_usage.h"
#include "conf/conf_value.h"
#include "conf/master_cf.h"

#define NEWEST_LEVEL "3.11" /* the newest compatibility level whose defaults we know */

void
conf_check_add(
    struct check *k, enum conf_severity severity, const char *file, int line, const char *fmt, ...)
{
	struct conf_findings *f = k->findings;
	struct buf text CLEANUP(buf_done) = {0};
	va_list args;

	va_start(args, fmt);
	buf_vprintf(&text, fmt, args);
	va_end(args);
	f->list = mem_resize(f->list, f->count + 1, sizeof(*f->list));
	f->list[f->count++] = (struct conf_finding){
	    .severity = severity, .file = mem_strdup(file), .line = line, .text = buf_take(&text)};
	f->errors += severity == CONF_ERROR;
}

int
conf_check_line(const struct check *k, const char *name)
{
	const struct main_cf_entry *e = main_cf_find(&k->main_cf, span_str(name));

	return e != NULL ? e->line : 0;
}

/* ---- values ---- */

static void
on_problem(void *arg, const char *name, int line, const char *text)
{
	struct check *k = arg;

	/* A default goes wrong only through what it refers to, and that has been told. */
	if (k->service == NULL && line == 0 && k->findings->errors > 0)
		return;
	if (k->service == NULL) {
		conf_check_add(k, CONF_ERROR, k->main_file, line, "%s", text);
		return;
	}
	/* A service repeats the mistakes of main.cf; only its own count. */
	for (size_t i = 0; i < k->service->override_count; i++)
		if (strcmp(k->service->overrides[i].name, name) == 0) {
			conf_check_add(k, CONF_ERROR, k->master_file, k->service->line,
			    "service %s: %s", k->service->fields[MASTER_CF_FIELD_NAME], text);
			return;
		}
}

static void
check_not_yet(struct check *k, const char *file, int line, const char *name, const char *value)
{
	enum conf_param p;

	if (!conf_param_find(span_str(name), &p) || strcmp(conf_param_info(p)->def, value) == 0)
		return;
	if (conf_param_info(p)->status == CONF_BUILTIN &&
	    span_ends(span_str(name), "_service_name"))
		conf_check_add(k, CONF_WARN, file, line,
		    "parameter %s has no effect: this service is built in", name);
	/* Nobody is told of new mail: who does not want it gets what he asks for. */
	if (conf_param_info(p)->status != CONF_NOTYET ||
	    (p == CONF_biff && strcmp(value, "no") == 0))
		return;
	conf_check_add(
	    k, CONF_WARN, file, line, "parameter %s is not supported yet and has no effect", name);
}

static void
check_all_not_yet(struct check *k)
{
	for (size_t i = 0; i < k->main_cf.count; i++) {
		const struct main_cf_entry *e = &k->main_cf.entries[i];

		check_not_yet(k, k->main_file, e->line, e->name, e->value);
	}
	for (size_t i = 0; i < k->master_cf.count; i++) {
		const struct master_service *s = &k->master_cf.services[i];

		for (size_t o = 0; o < s->override_count; o++)
			check_not_yet(k, k->master_file, s->line, s->overrides[o].name,
			    s->overrides[o].value);
	}
}

static void
check_read_only(struct check *k)
{
	static const enum conf_param own[] = {
	    CONF_process_id, CONF_process_name, CONF_service_name};

	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		const char *name = conf_param_info(own[i])->name;

		if (conf_check_line(k, name) != 0)
			ADD_PARAM(k, CONF_WARN, own[i], "read-only parameter assignment: %s", name);
	}
}

static void
check_usage(struct check *k)
{
	struct conf_usage usage CLEANUP(conf_usage_done) = {0};

	conf_usage_find(&k->main_cf, &k->master_cf, &usage);
	for (size_t i = 0; i < usage.unused_count; i++) {
		const struct conf_stray *s = &usage.unused[i];
		const char *near = conf_param_nearest(span_str(s->name));

		conf_check_add(k, CONF_WARN, s->service != NULL ? k->master_file : k->main_file,
		    s->line, "unused parameter: %s=%s%s%s%s", s->name, s->value,
		    near != NULL ? "; did you mean " : "", near != NULL ? near : "",
		    near != NULL ? "?" : "");
	}
	for (size_t i = 0; i < usage.undefined_count; i++) {
		const struct conf_stray *s = &usage.undefined[i];

		conf_check_add(k, CONF_WARN, s->service != NULL ? k->master_file : k->main_file,
		    s->line, "undefined parameter: %s", s->name);
	}
}

/*
 * " name = value" continues the line before, whatever was meant. A word and "=" on their own are no part of any parameter's
 * value when the word is a parameter.
 */
static void
check_indented(struct check *k)
{
	for (size_t i = 0; i < k->main_cf.count; i++) {
		const struct main_cf_entry *e = &k->main_cf.entries[i];
		struct span rest = span_str(e->value), word, name = {0};
		enum conf_param p;

		while (span_word(&rest, " \t\r\n", &word)) {
			if (span_equal_str(word, "=") && conf_param_find(name, &p))
				conf_check_add(k, CONF_WARN, k->main_file, e->line,
				    "the value of %s goes on with \"%s =\": a line that begins with white "
				    "space continues the one before",
				    e->name, conf_param_info(p)->name);
			name = word;
		}
	}
}

/* ---- this host ---- */

/* RFC 1123 section 2.1, RFC 5321 section 2.3.5: labels of letters, digits and inner hyphens. */
static bool
is_host_name(const char *name)
{
	size_t label = 0;

	for (const char *c = name; *c != '\0'; c++) {
		bool last = c[1] == '\0' || c[1] == '.';

		if (*c == '.') {
			if (label == 0 || c[1] == '\0')
				return false;
			label = 0;
			continue;
		}
		if (!isalnum((unsigned char)*c) && *c != '_' && (*c != '-' || label == 0 || last))
			return false;
		if (++label > 63)
			return false;
	}
	return label > 0 && strlen(name) < 256;
}

static void
check_names(struct check *k, const struct conf *c)
{
	static const enum conf_param names[] = {CONF_myhostname, CONF_mydomain};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!is_host_name(conf_str(c, names[i]))) {
			ADD_PARAM(k, CONF_ERROR, names[i], "parameter %s: bad parameter value: %s",
			    conf_param_info(names[i])->name, conf_str(c, names[i]));
			return; /* the domain follows from the name */
		}
}

static void
check_networks(struct check *k, const struct conf *c)
{
	struct conf_net_list *list CLEANUP(conf_net_list_free) = NULL;
	struct conf_addresses own CLEANUP(conf_addresses_done) = {0};
	bool everybody;
	struct err err;

	/* Where mynetworks is not set, loading has asked for the addresses and told what was wrong. */
	if (conf_is_set(c, CONF_mynetworks) && !conf_host_own(c, &own, &err))
		ADD_PARAM(k, CONF_ERROR, CONF_inet_interfaces, "%s", err.text);
	if (!conf_net_list_parse(
		span_str(conf_str(c, CONF_mynetworks)), "mynetworks", &list, &err)) {
		ADD_PARAM(k, CONF_ERROR, CONF_mynetworks, "%s", err.text);
		return;
	}
	/* An address of TEST-NET-3 (RFC 5737), which is nobody's network. */
	if (conf_net_list_match_text(list, SPAN_LIT("203.0.113.77"), NULL, &everybody, &err) &&
	    everybody)
		ADD_PARAM(k, CONF_WARN, CONF_mynetworks,
		    "mynetworks holds 203.0.113.77, which is nobody's network: is this an open relay?");
}

static void
check_level(struct check *k, const struct conf *c)
{
	int64_t level, newest;

	if (conf_level_parse(span_str(conf_str(c, CONF_compatibility_level)), &level) &&
	    conf_level_parse(SPAN_LIT(NEWEST_LEVEL), &newest) && level > newest)
		ADD_PARAM(k, CONF_WARN, CONF_compatibility_level,
		    "compatibility_level %s is newer than %s",
		    conf_str(c, CONF_compatibility_level), NEWEST_LEVEL);
}

static void
ignore_problem(void *arg UNUSED, const char *name UNUSED, int line UNUSED, const char *text UNUSED)
{
}

/* Defaults that a low compatibility level keeps as they were; Postfix logs each when it is used. */
static void
check_old_defaults(struct check *k, const struct conf *c)
{
	static const struct conf_override newest = {"compatibility_level", NEWEST_LEVEL};
	struct conf_source source = {.dir = k->dir, .overrides = &newest, .override_count = 1};
	struct conf *later CLEANUP(conf_unref) =
	    conf_build(&source, &k->main_cf, ignore_problem, NULL);

	for (size_t i = 0; i < CONF_COUNT; i++) {
		const struct conf_param_info *info = conf_param_info((enum conf_param)i);
		struct buf now CLEANUP(buf_done) = {0};
		struct buf then CLEANUP(buf_done) = {0};
		struct err err;

		if (strstr(info->def, "$compatibility_level") == NULL ||
		    conf_is_set(c, (enum conf_param)i) ||
		    !conf_lookup(c, span_str(info->name), &now, &err) ||
		    !conf_lookup(later, span_str(info->name), &then, &err) ||
		    span_equal(buf_span(&now), buf_span(&then)))
			continue;
		ADD_PARAM(k, CONF_INFO, CONF_compatibility_level,
		    "using backwards-compatible default setting %s=%s", info->name, buf_str(&now));
	}
}

/* Privileges are worth nothing when two of them are one user. */
static void
check_owners(struct check *k, const struct conf *c)
{
	static const enum conf_param owners[] = {CONF_mail_owner, CONF_scheduler_owner,
	    CONF_agent_owner, CONF_database_owner, CONF_console_owner};

	for (size_t i = 0; i < ARRAY_LEN(owners); i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(conf_str(c, owners[i]), conf_str(c, owners[j])) == 0)
				ADD_PARAM(k, CONF_WARN, owners[i],
				    "%s and %s are the same user: %s",
				    conf_param_info(owners[j])->name,
				    conf_param_info(owners[i])->name, conf_str(c, owners[i]));
}

/* ---- settings that contradict each other ---- */

static void
check_limits(struct check *k, const struct conf *c)
{
	static const enum conf_param mailboxes[] = {
	    CONF_mailbox_size_limit, CONF_virtual_mailbox_limit};
	size_t message = conf_size(c, CONF_message_size_limit);

	for (size_t i = 0; i < ARRAY_LEN(mailboxes); i++) {
		size_t limit = conf_size(c, mailboxes[i]);

		if (limit > 0 && (message == 0 || limit < message))
			ADD_PARAM(k, CONF_WARN, mailboxes[i],
			    "%s is smaller than message_size_limit",
			    conf_param_info(mailboxes[i])->name);
	}
	if (conf_time(c, CONF_minimal_backoff_time) > conf_time(c, CONF_maximal_backoff_time))
		ADD_PARAM(k, CONF_WARN, CONF_minimal_backoff_time,
		    "minimal_backoff_time is longer than maximal_backoff_time");
	/* A set is emptied three rotations after it was closed: until then whoever is in doubt finds what he stored (docs/queue.md). */
	if (conf_time(c, CONF_ring_rotate_time) * 3 <
	    conf_time(c, CONF_queue_database_commit_timeout))
		ADD_PARAM(k, CONF_WARN, CONF_ring_rotate_time,
		    "ring_rotate_time is less than a third of queue_database_commit_timeout: mail "
		    "whose commit was in doubt could be stored twice");
}

/* Is `domain`, a plain name, an item of the list too? */
static bool
lists_domain(const char *list, struct span domain)
{
	struct span rest = span_str(list), item;

	while (conf_value_item(&rest, &item))
		if (span_equal_nocase(item, domain))
			return true;
	return false;
}

static void
check_pair(struct check *k, const struct conf *c, enum conf_param a, enum conf_param b)
{
	struct span rest = span_str(conf_str(c, a)), item;

	while (conf_value_item(&rest, &item))
		if (item.ptr[0] != '/' && item.ptr[0] != '!' && span_find(item, ':') == item.len &&
		    lists_domain(conf_str(c, b), item))
			ADD_PARAM(k, CONF_WARN, b, "do not list domain %.*s in BOTH %s and %s",
			    SPAN_ARG(item), conf_param_info(a)->name, conf_param_info(b)->name);
}

/* A domain has one address class; the first of these lists that holds it decides. */
static void
check_classes(struct check *k, const struct conf *c)
{
	check_pair(k, c, CONF_mydestination, CONF_virtual_alias_domains);
	check_pair(k, c, CONF_mydestination, CONF_virtual_mailbox_domains);
	check_pair(k, c, CONF_virtual_alias_domains, CONF_virtual_mailbox_domains);
	check_pair(k, c, CONF_virtual_alias_domains, CONF_relay_domains);
	check_pair(k, c, CONF_virtual_mailbox_domains, CONF_relay_domains);
	/* At compatibility level 0 and 1 relay_domains is $mydestination by default. */
	if (conf_is_set(c, CONF_relay_domains))
		check_pair(k, c, CONF_mydestination, CONF_relay_domains);
}

/* smtpd does not start with a class that is only named. */
static void
check_restriction_classes(struct check *k, const struct conf *c)
{
	struct span rest = span_str(conf_str(c, CONF_smtpd_restriction_classes)), name;

	while (conf_value_item(&rest, &name)) {
		const struct main_cf_entry *e = main_cf_find(&k->main_cf, name);

		if (e == NULL || e->value[0] == '\0')
			ADD_PARAM(k, CONF_ERROR, CONF_smtpd_restriction_classes,
			    "restriction class `%.*s' needs a definition", SPAN_ARG(name));
	}
}

/* ---- services ---- */

static bool
has_reject(const struct conf *c, enum conf_param p)
{
	static const char *const words[] = {"reject_unauth_destination", "defer_unauth_destination",
	    "reject", "defer", "defer_if_permit"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (conf_has(c, p, words[i]))
			return true;
	return false;
}

/* What Postfix's smtpd says when mail for any destination would be accepted from anybody. */
static void
check_relay(struct check *k, const struct conf *c, const struct master_service *s)
{
	if (has_reject(c, CONF_smtpd_relay_restrictions) ||
	    has_reject(c, CONF_smtpd_recipient_restrictions))
		return;
	int line = conf_check_line(k, "smtpd_relay_restrictions");
	bool own = s->override_count > 0 || line == 0;
	conf_check_add(k, CONF_ERROR, own ? k->master_file : k->main_file, own ? s->line : line,
	    "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working "
	    "instance of: reject_unauth_destination, defer_unauth_destination, reject, defer or defer_if_permit");
}

/* An argument left over is most often the rest of "-o name=a, b": white space without { }. */
static void
check_args(struct check *k, const struct master_service *s)
{
	static const char *const without[] = {"smtpd", "qmqpd", "pickup", "cleanup", "qmgr",
	    "local", "virtual", "error", "discard", "bounce", "trivial-rewrite"};

	for (size_t i = 0; i < ARRAY_LEN(without) && s->arg_count > s->option_count; i++)
		if (strcmp(master_cf_command(s), without[i]) == 0)
			conf_check_add(k, CONF_ERROR, k->master_file, s->line,
			    "service %s: unexpected command-line argument: %s (write -o { name = value } around white "
			    "space)",
			    s->fields[MASTER_CF_FIELD_NAME], s->args[s->option_count]);
}

static void
check_service(struct check *k, const struct master_service *s)
{
	struct conf_source source = {.dir = k->dir,
	    .service = s->fields[MASTER_CF_FIELD_NAME],
	    .program = master_cf_command(s),
	    .overrides = s->overrides,
	    .override_count = s->override_count};

	check_args(k, s);
	k->service = s;
	struct conf *c CLEANUP(conf_unref) = conf_build(&source, &k->main_cf, on_problem, k);
	k->service = NULL;
	if (strcmp(master_cf_command(s), "smtpd") == 0)
		check_relay(k, c, s);
	conf_check_cleanup(k, c, s);
}

/* ---- all together ---- */

static void
check_main(struct check *k)
{
	struct conf_source source = {.dir = k->dir};
	struct conf *c CLEANUP(conf_unref) = conf_build(&source, &k->main_cf, on_problem, k);

	check_names(k, c);
	check_networks(k, c);
	check_level(k, c);
	check_old_defaults(k, c);
	check_owners(k, c);
	/* Where a value is wrong there is none to compare with. */
	if (k->findings->errors == 0) {
		check_limits(k, c);
		check_classes(k, c);
		conf_check_routes(k, c);
		check_restriction_classes(k, c);
	}
	check_indented(k);
	check_read_only(k);
	check_all_not_yet(k);
	check_usage(k);
}

/*
 * Messages of the parsers begin with their place: "FILE, line N: text", "file FILE: line N: text" or "FILE: text".
 * Here the place stands apart.
 */
static void
add_placed(struct check *k, enum conf_severity severity, const char *file, struct span text)
{
	struct span rest = span_starts(text, "file ") ? span_from(text, 5) : text;
	uint64_t line = 0;

	if (span_starts(rest, file)) {
		rest = span_from(rest, strlen(file));
		bool numbered = span_starts(rest, ", line ") || span_starts(rest, ": line ");
		rest = span_from(rest, numbered ? 7 : 0);
		size_t colon = span_find(rest, ':');
		if (numbered && !span_number(span_head(rest, colon), INT32_MAX, &line))
			line = 0;
		text = span_trim(span_from(rest, colon + 1));
	}
	conf_check_add(k, severity, file, (int)line, "%.*s", SPAN_ARG(text));
}

static void
add_warnings(struct check *k, const char *file, const char *lines)
{
	struct span rest = span_str(lines), line;

	while (span_word(&rest, "\n", &line))
		add_placed(k, CONF_WARN, file, line);
}

static int
by_place(const void *a, const void *b)
{
	const struct conf_finding *x = a, *y = b;
	int order =
	    strcmp(x->file, y->file); /* main.cf comes before master.cf by luck of the alphabet */

	return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

void
conf_check(const char *dir, struct conf_findings *ret)
{
	struct check k = {.dir = dir, .findings = ret};
	bool main_ok, master_ok;
	struct err err;

	*ret = (struct conf_findings){0};
	k.main_file = mem_printf("%s/main.cf", dir);
	k.master_file = mem_printf("%s/master.cf", dir);
	main_ok = main_cf_load(k.main_file, &k.main_cf, &err);
	if (!main_ok)
		add_placed(&k, CONF_ERROR, k.main_file, span_str(err.text));
	master_ok = master_cf_load(dir, &k.master_cf, &err);
	if (!master_ok)
		add_placed(&k, CONF_ERROR, k.master_file, span_str(err.text));
	k.master_read = master_ok;
	add_warnings(&k, k.main_file, k.main_cf.warnings);
	add_warnings(&k, k.master_file, k.master_cf.warnings);
	if (main_ok)
		check_main(&k);
	for (size_t i = 0; main_ok && i < k.master_cf.count; i++)
		check_service(&k, &k.master_cf.services[i]);
	if (ret->count > 0)
		qsort(ret->list, ret->count, sizeof(*ret->list), by_place);
	main_cf_done(&k.main_cf);
	master_cf_done(&k.master_cf);
	mem_free(k.main_file);
	mem_free(k.master_file);
}

void
conf_findings_done(struct conf_findings *f)
{
	for (size_t i = 0; i < f->count; i++) {
		mem_free(f->list[i].file);
		mem_free(f->list[i].text);
	}
	mem_free(f->list);
	*f = (struct conf_findings){0};
}

void
conf_finding_print(const struct conf_finding *f, struct buf *ret)
{
	if (f->line > 0)
		buf_printf(ret, "%s, line %d: %s: %s", f->file, f->line,
		    conf_severity_name(f->severity), f->text);
	else
		buf_printf(ret, "%s: %s: %s", f->file, conf_severity_name(f->severity), f->text);
}

const char *
conf_severity_name(enum conf_severity severity)
{
	switch (severity) {
	case CONF_INFO:
		return "info";
	case CONF_WARN:
		return "warning";
	case CONF_ERROR:
		return "error";
	}
	UNREACHED();
}
