/*
 * postconf_names.c - the parameters of main.cf: which there are, their values, their expansion. See postconf_int.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_int.h"
#include "conf/macro.h"
#include "conf/postconf_int.h"

/* Names to show; each once, sorted. */
struct names {
	struct postconf *pc;
	char **list; /* owned, texts too */
	size_t count;
};

static void
add_name(struct names *n, const char *name)
{
	n->list = mem_resize(n->list, n->count + 1, sizeof(*n->list));
	n->list[n->count++] = mem_strdup(name);
}

static void
ignore_problem(void *arg UNUSED, const char *name UNUSED, int line UNUSED, const char *text UNUSED)
{
}

/* What the host decides, in the light of main.cf unless defaults are wanted. */
static const struct conf *
host_conf(struct postconf *pc)
{
	static const struct main_cf nothing;
	struct conf_source source = {.dir = pc->dir, .program = "postconf"};

	if (pc->host == NULL)
		pc->host = conf_build(
		    &source, pc->defaults ? &nothing : &pc->main_cf, ignore_problem, NULL);
	return pc->host;
}

static const char *
row_default(struct postconf *pc, enum conf_param p)
{
	switch ((int)p) {
	case CONF_myhostname:
	case CONF_mydomain:
	case CONF_mynetworks:
	case CONF_process_name:
	case CONF_process_id:
	case CONF_service_name:
		return conf_str(host_conf(pc), p);
	case CONF_config_directory:
		return pc->defaults ? conf_param_info(p)->def : conf_str(host_conf(pc), p);
	default:
		return conf_param_info(p)->def;
	}
}

struct service_search {
	struct span name;
	const char *def;
};

static void
match_service_parameter(void *arg, const char *name, enum conf_param template_row)
{
	struct service_search *search = arg;

	if (span_equal_str(search->name, name))
		search->def = conf_param_info(template_row)->def;
}

const char *
postconf_value(struct postconf *pc, const struct master_service *service, struct span name)
{
	struct service_search search = {.name = name};
	enum conf_param p;

	for (size_t i = service != NULL ? service->override_count : 0; i > 0; i--)
		if (span_equal_str(name, service->overrides[i - 1].name))
			return service->overrides[i - 1].value;
	if (service != NULL && span_equal_str(name, "service_name"))
		return service->fields[MASTER_CF_FIELD_NAME];
	const struct main_cf_entry *e = pc->defaults ? NULL : main_cf_find(&pc->main_cf, name);
	if (e != NULL)
		return e->value;
	if (conf_param_find(name, &p))
		return row_default(pc, p);
	conf_usage_services(&pc->master_cf, match_service_parameter, &search);
	return search.def;
}

struct expand_arg {
	struct postconf *pc;
	const struct master_service *service;
};

static const char *
lookup(void *arg, struct span name)
{
	struct expand_arg *x = arg;

	return postconf_value(x->pc, x->service, name);
}

void
postconf_expand(
    struct postconf *pc, const struct master_service *service, const char *text, struct buf *ret)
{
	struct expand_arg x = {.pc = pc, .service = service};
	struct macro_source source = {.lookup = lookup, .arg = &x, .recursive = true};
	struct err err;

	if (macro_expand(span_str(text), &source, ret, &err))
		return;
	log_warn("%s", err.text);
	log_fatal(1, "macro processing error");
}

/* A name that may be shown: of the table, of a service, or of a user and used. */
static bool
is_shown(struct postconf *pc, struct span name)
{
	struct service_search search = {.name = name};
	enum conf_param p;

	if (conf_param_find(name, &p))
		return !conf_usage_is_template(p) && p != CONF_domain_to_ascii;
	conf_usage_services(&pc->master_cf, match_service_parameter, &search);
	return search.def != NULL || (!pc->defaults && hmap_get(&pc->usage.names, name) != NULL);
}

static void
show_one(struct postconf *pc, const char *name)
{
	struct buf value CLEANUP(buf_done) = {0};
	const char *written;
	enum conf_param p;

	if (!is_shown(pc, span_str(name))) {
		log_warn("%s: unknown parameter", name);
		return;
	}
	if (pc->only_set && main_cf_find(&pc->main_cf, span_str(name)) == NULL &&
	    (strcmp(name, "config_directory") != 0 || !pc->dir_is_given))
		return;
	written = postconf_value(pc, NULL, span_str(name));
	bool raw = conf_param_find(span_str(name), &p) && conf_param_info(p)->type == CONF_TYPE_RAW;
	if (pc->expand && !raw)
		postconf_expand(pc, NULL, written, &value);
	else
		buf_add_str(&value, written);
	postconf_setting(pc, name, buf_str(&value));
}

static void
add_service_name(void *arg, const char *name, enum conf_param template_row UNUSED)
{
	add_name(arg, name);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
collect(struct names *n)
{
	struct postconf *pc = n->pc;
	struct hmap_cursor at = {0};
	struct span name;
	void *value;

	for (size_t p = 0; (pc->classes & POSTCONF_CLASS_BUILTIN) != 0 && p < CONF_COUNT; p++)
		if (is_shown(pc, span_str(conf_param_info((enum conf_param)p)->name)))
			add_name(n, conf_param_info((enum conf_param)p)->name);
	if ((pc->classes & POSTCONF_CLASS_SERVICE) != 0)
		conf_usage_services(&pc->master_cf, add_service_name, n);
	while ((pc->classes & POSTCONF_CLASS_USER) != 0 && !pc->defaults &&
	       hmap_next(&pc->usage.names, &at, &name, &value)) {
		const struct main_cf_entry *e = value;
		struct service_search search = {.name = name};

		conf_usage_services(&pc->master_cf, match_service_parameter, &search);
		if (search.def == NULL)
			add_name(n, e->name);
	}
	if (n->count > 0)
		qsort(n->list, n->count, sizeof(*n->list), by_text);
}

static void
show_all(struct postconf *pc)
{
	struct names n = {.pc = pc};

	collect(&n);
	for (size_t i = 0; i < n.count; i++) {
		/* One service may stand in master.cf under several types. */
		if (i == 0 || strcmp(n.list[i], n.list[i - 1]) != 0)
			show_one(pc, n.list[i]);
	}
	for (size_t i = 0; i < n.count; i++)
		mem_free(n.list[i]);
	mem_free(n.list);
}

void
postconf_show_main(struct postconf *pc)
{
	for (size_t i = 0; i < pc->arg_count; i++)
		show_one(pc, pc->args[i]);
	if (pc->arg_count == 0)
		show_all(pc);
}

void
postconf_warn_unused(const struct postconf *pc)
{
	for (size_t i = 0; i < pc->usage.undefined_count; i++)
		log_warn("%s/%s: undefined parameter: %s", pc->dir,
		    pc->usage.undefined[i].service != NULL ? "master.cf" : "main.cf",
		    pc->usage.undefined[i].name);
	for (size_t i = 0; i < pc->usage.unused_count; i++)
		log_warn("%s/%s: unused parameter: %s=%s", pc->dir,
		    pc->usage.unused[i].service != NULL ? "master.cf" : "main.cf",
		    pc->usage.unused[i].name, pc->usage.unused[i].value);
}
