/*
 * conf_usage.c - names that are used and names that are not: see conf_usage.h.
 */
#include "conf/conf_usage.h"

#include "base/mem.h"
#include "conf/conf_value.h"
#include "conf/macro.h"

#define TEMPLATE "transport_"

/* Settings of one table: its types and the suffixes its parameters end in, when they stand in main.cf. */
struct table_kind {
	const char *types; /* separated by blanks */
	const char *suffixes;
};

static const struct table_kind table_kinds[] = {
    {"ldap",
	"bind bind_dn bind_pw cache cache_expiry cache_size chase_referrals debuglevel dereference domain "
	"expansion_limit leaf_result_attribute query_filter recursion_limit result_attribute result_filter "
	"result_format sasl_authz_id sasl_mechs sasl_minssf sasl_realm scope search_base server_host "
	"server_port size_limit special_result_attribute start_tls terminal_result_attribute timeout "
	"tls_ca_cert_dir tls_ca_cert_file tls_cert tls_cipher_suite tls_key tls_random_file "
	"tls_require_cert version"},
    {"mysql",
	"additional_conditions charset dbname domain expansion_limit hosts idle_interval option_file "
	"option_group password query require_result_set result_format retry_interval select_field table "
	"tls_CAfile tls_CApath tls_cert_file tls_ciphers tls_key_file tls_verify_cert user where_field"},
    {"pgsql",
	"additional_conditions dbname domain encoding expansion_limit hosts idle_interval password query "
	"result_format retry_interval select_field select_function table user where_field"},
    {"sqlite",
	"additional_conditions dbpath domain expansion_limit query result_format select_field table "
	"where_field"},
    {"memcache",
	"backup data_size_limit domain flags key_format line_size_limit max_try memcache retry_pause "
	"timeout ttl"},
    {"mongodb",
	"auth_tls collection dbname domain expansion_limit filter options projection require_result_set "
	"result_attribute result_format uri"},
};

struct scan {
	const struct main_cf *main_cf;
	const struct master_cf *master_cf;
	const struct master_service *service; /* where we are; NULL: main.cf */
	int line;
	struct conf_usage *usage;
	struct hmap
	    defined; /* service parameters and restriction classes: names without a row that are known */
	struct hmap in_service; /* names of the current service's -o that are used */
};

static bool
is_known(struct span name)
{
	enum conf_param p;

	return conf_param_find(name, &p);
}

static const struct conf_override *
find_override(const struct master_service *s, struct span name)
{
	for (size_t i = s != NULL ? s->override_count : 0; i > 0; i--)
		if (span_equal_str(name, s->overrides[i - 1].name))
			return &s->overrides[i - 1];
	return NULL;
}

/* `name` is used where the scan stands: by the service's own setting if it has one, else by that of main.cf. */
static bool
use(struct scan *scan, struct span name)
{
	const struct conf_override *o = find_override(scan->service, name);
	const struct main_cf_entry *e = main_cf_find(scan->main_cf, name);

	if (o != NULL) {
		(void)hmap_put(&scan->in_service, name, (void *)(uintptr_t)o);
		return true;
	}
	if (e != NULL)
		(void)hmap_put(&scan->usage->names, name, (void *)(uintptr_t)e);
	return e != NULL;
}

static void
add_stray(struct conf_stray **list, size_t *count, const struct scan *scan, const char *name,
    const char *value)
{
	*list = mem_resize(*list, *count + 1, sizeof(**list));
	(*list)[(*count)++] = (struct conf_stray){
	    .service = scan->service, .line = scan->line, .name = name, .value = value};
}

static void
on_name(void *arg, struct span name)
{
	struct scan *scan = arg;

	if (is_known(name) || use(scan, name) || hmap_get(&scan->defined, name) != NULL)
		return;
	for (size_t i = 0; i < scan->usage->undefined_count; i++)
		if (span_equal_str(name, scan->usage->undefined[i].name))
			return;
	add_stray(
	    &scan->usage->undefined, &scan->usage->undefined_count, scan, span_dup(name), NULL);
}

/* In "proxy:ldap:name" or "ldap:name": marks name_<suffix>, unless `name` is a file. */
static void
on_table(struct scan *scan, struct span item)
{
	struct span word;

	if (span_starts(item, "proxy:"))
		item = span_from(item, 6);
	size_t colon = span_find(item, ':');
	struct span name = span_from(item, colon + 1);
	if (name.len == 0 || name.ptr[0] == '/' || name.ptr[0] == '.' || name.ptr[0] == '{')
		return;
	for (size_t i = 0; i < ARRAY_LEN(table_kinds); i++) {
		struct span suffixes = span_str(table_kinds[i].suffixes);

		if (!span_equal_str(span_head(item, colon), table_kinds[i].types))
			continue;
		while (span_word(&suffixes, " ", &word)) {
			char *full CLEANUP(mem_free_str) =
			    mem_printf("%.*s_%.*s", SPAN_ARG(name), SPAN_ARG(word));

			(void)use(scan, span_str(full));
		}
	}
}

static void
scan_value(struct scan *scan, const char *name, const char *value)
{
	struct span rest = span_str(value), item;
	enum conf_param p;

	/* RAW values are expanded with other names than those of main.cf. */
	if (conf_param_find(span_str(name), &p) && conf_param_info(p)->type == CONF_TYPE_RAW)
		return;
	macro_names(span_str(value), on_name, scan);
	while (conf_value_item(&rest, &item))
		on_table(scan, item);
	if (strcmp(name, "smtpd_restriction_classes") != 0)
		return;
	rest = span_str(value);
	while (conf_value_item(&rest, &item))
		on_name(scan, item);
}

bool
conf_usage_is_template(enum conf_param p)
{
	switch ((int)p) {
	case CONF_transport_maps:
	case CONF_transport_retry_time:
		return false;
	default:
		return strncmp(conf_param_info(p)->name, TEMPLATE, sizeof(TEMPLATE) - 1) == 0;
	}
}

static bool
is_word_of(const char *list, const char *word)
{
	struct span rest = span_str(list), one;

	while (span_word(&rest, " ", &one))
		if (span_equal_str(one, word))
			return true;
	return false;
}

void
conf_usage_services(const struct master_cf *master_cf,
    void (*found)(void *arg, const char *name, enum conf_param template_row), void *arg)
{
	for (size_t i = 0; i < master_cf->count; i++) {
		const struct master_service *s = &master_cf->services[i];
		const char *command = master_cf_command(s);

		for (size_t p = CONF_transport_delivery_slot_cost; p < CONF_COUNT; p++) {
			enum conf_param row = (enum conf_param)p;

			if (!conf_usage_is_template(row) ||
			    !is_word_of(row == CONF_transport_time_limit
					    ? "pipe spawn"
					    : "smtp lmtp local virtual error pipe",
				command))
				continue;
			char *name CLEANUP(mem_free_str) =
			    mem_printf("%s_%s", s->fields[MASTER_CF_FIELD_NAME],
				conf_param_info(row)->name + sizeof(TEMPLATE) - 1);
			if (!is_known(span_str(name)))
				found(arg, name, row);
		}
	}
}

static void
on_service_parameter(void *arg, const char *name, enum conf_param template_row)
{
	struct scan *scan = arg;

	(void)hmap_put(
	    &scan->defined, span_str(name), (void *)(uintptr_t)conf_param_info(template_row));
	(void)use(scan, span_str(name));
}

static void
scan_service(struct scan *scan, const struct master_service *s)
{
	scan->service = s;
	scan->line = s->line;
	for (size_t i = 0; i < s->override_count; i++)
		scan_value(scan, s->overrides[i].name, s->overrides[i].value);
	for (size_t i = s->option_count; i < s->arg_count; i++) {
		/* A command's ${recipient} is no parameter, but policy servers and pipes may name tables. */
		on_table(scan, span_str(s->args[i]));
	}
	for (size_t i = 0; i < s->override_count; i++) {
		struct span name = span_str(s->overrides[i].name);

		if (!is_known(name) && hmap_get(&scan->in_service, name) == NULL &&
		    hmap_get(&scan->defined, name) == NULL)
			add_stray(&scan->usage->unused, &scan->usage->unused_count, scan,
			    s->overrides[i].name, s->overrides[i].value);
	}
	hmap_done(&scan->in_service);
}

static void
find_unused_in_main(struct scan *scan)
{
	for (size_t i = 0; i < scan->main_cf->count; i++) {
		const struct main_cf_entry *e = &scan->main_cf->entries[i];

		scan->line = e->line;
		if (!is_known(span_str(e->name)) &&
		    hmap_get(&scan->usage->names, span_str(e->name)) == NULL)
			add_stray(&scan->usage->unused, &scan->usage->unused_count, scan, e->name,
			    e->value);
	}
}

void
conf_usage_find(
    const struct main_cf *main_cf, const struct master_cf *master_cf, struct conf_usage *ret)
{
	struct scan scan = {.main_cf = main_cf, .master_cf = master_cf, .usage = ret};

	*ret = (struct conf_usage){0};
	conf_usage_services(master_cf, on_service_parameter, &scan);
	for (size_t i = 0; i < main_cf->count; i++) {
		scan.line = main_cf->entries[i].line;
		scan_value(&scan, main_cf->entries[i].name, main_cf->entries[i].value);
	}
	/* What only a service refers to is used as well. */
	for (size_t i = 0; i < master_cf->count; i++)
		scan_service(&scan, &master_cf->services[i]);
	size_t in_master = ret->unused_count;
	struct conf_stray *masters = ret->unused;
	ret->unused = NULL;
	ret->unused_count = 0;
	scan.service = NULL;
	find_unused_in_main(&scan);
	for (size_t i = 0; i < in_master; i++) {
		scan.service = masters[i].service;
		scan.line = masters[i].line;
		add_stray(
		    &ret->unused, &ret->unused_count, &scan, masters[i].name, masters[i].value);
	}
	mem_free(masters);
	hmap_done(&scan.defined);
}

void
conf_usage_done(struct conf_usage *u)
{
	for (size_t i = 0; i < u->undefined_count; i++)
		mem_free((void *)(uintptr_t)u->undefined[i].name);
	mem_free(u->unused);
	mem_free(u->undefined);
	hmap_done(&u->names);
	*u = (struct conf_usage){0};
}
