/*
 * conf.c - loading main.cf and overrides into a struct conf, and the getters: see conf.h.
 *
 * Loading takes the values as written first, then fills in what the host decides (myhostname, mydomain, mynetworks),
 * then expands every row of the table and checks it. What is not in the table (restriction classes, settings of
 * lookup tables) is kept as written and expanded when it is asked for.
 */
#include "conf/conf.h"

#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "conf/conf_host.h"
#include "conf/conf_int.h"
#include "conf/conf_level.h"
#include "conf/conf_param.h"
#include "conf/conf_value.h"

struct conf_value {
	char *written;  /* owned; NULL: the default of the table */
	char *text;     /* owned; expanded; RAW: as written */
	int64_t number; /* see conf_value_parse() */
	int line;       /* in main.cf; 0: not from there */
	bool is_set;    /* by main.cf or an override */
};

struct conf {
	size_t refs;
	char *dir; /* owned */
	struct conf_value values[CONF_COUNT];
	struct hmap
	    user; /* name -> value as written, owned: parameters that are not in the table */
};

struct builder {
	struct conf *conf;
	const struct conf_source *source;
	conf_problem_fn *problem;
	void *arg;
};

/* ---- names and values as written ---- */

const char *
conf_written(const struct conf *c, enum conf_param p)
{
	const char *written = c->values[p].written;

	return written != NULL ? written : conf_param_info(p)->def;
}

bool
conf_is_set(const struct conf *c, enum conf_param p)
{
	return c->values[p].is_set;
}

const char *
conf_lookup_written(const struct conf *c, struct span name)
{
	enum conf_param p;

	if (conf_param_find(name, &p))
		return conf_written(c, p);
	return hmap_get(&c->user, name);
}

static void
set_written(struct conf *c, enum conf_param p, const char *value)
{
	mem_free(c->values[p].written);
	c->values[p].written = mem_strdup(value);
}

static void
assign(struct conf *c, const char *name, const char *value, int line)
{
	enum conf_param p;

	if (!conf_param_find(span_str(name), &p)) {
		mem_free(hmap_put(&c->user, span_str(name), mem_strdup(value)));
		return;
	}
	set_written(c, p, value);
	c->values[p].is_set = true;
	c->values[p].line = line;
}

/* ---- expansion ---- */

static const char *
lookup_written(void *arg, struct span name)
{
	return conf_lookup_written(arg, name);
}

bool
conf_expand(const struct conf *c, struct span text, const struct macro_source *extra,
    struct buf *out, struct err *err)
{
	struct macro_source params = {
	    .lookup = lookup_written, .arg = (void *)(uintptr_t)c, .recursive = true};
	struct macro_source first;

	if (extra == NULL)
		return macro_expand(text, &params, out, err);
	MUST(extra->fallback == NULL);
	first = *extra;
	first.fallback = &params;
	return macro_expand(text, &first, out, err);
}

bool
conf_lookup(const struct conf *c, struct span name, struct buf *ret, struct err *err)
{
	const char *written = conf_lookup_written(c, name);

	return written != NULL && conf_expand(c, span_str(written), NULL, ret, err);
}

/* ---- loading ---- */

static void
tell(const struct builder *b, enum conf_param p, const char *text)
{
	b->problem(b->arg, conf_param_info(p)->name, b->conf->values[p].line, text);
}

/* The expanded text of `p` as a fresh string; an empty one, and a problem told, when it cannot be expanded. */
static char *
expand_param(const struct builder *b, enum conf_param p)
{
	struct buf out CLEANUP(buf_done) = {0};
	struct err err;

	if (!conf_expand(b->conf, span_str(conf_written(b->conf, p)), NULL, &out, &err)) {
		tell(b, p, err.text);
		buf_clear(&out);
	}
	return mem_strdup(buf_str(&out));
}

/* What only the program knows; nothing else can set it. */
static void
set_program_values(const struct builder *b)
{
	static const enum conf_param own[] = {
	    CONF_config_directory, CONF_process_name, CONF_service_name, CONF_process_id};
	const struct conf_source *source = b->source;
	char pid[16];

	(void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	set_written(b->conf, CONF_config_directory, b->conf->dir);
	set_written(b->conf, CONF_process_name, source->program != NULL ? source->program : "");
	set_written(b->conf, CONF_service_name, source->service != NULL ? source->service : "");
	set_written(b->conf, CONF_process_id, pid);
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		b->conf->values[own[i]].is_set = false;
}

/*
 * myhostname is the host's name, completed by $mydomain; mydomain is what follows the first dot of myhostname. Either
 * may be set, both or none.
 */
static void
set_names(const struct builder *b)
{
	struct conf *c = b->conf;
	struct buf host CLEANUP(buf_done) = {0};

	if (!conf_is_set(c, CONF_myhostname)) {
		conf_host_name(&host);
		if (strchr(buf_str(&host), '.') == NULL)
			buf_add_str(&host, ".$mydomain");
		set_written(c, CONF_myhostname, buf_str(&host));
	}
	if (conf_is_set(c, CONF_mydomain))
		return;
	/* "host.$mydomain" with nothing known of mydomain must not end in nothing. */
	set_written(c, CONF_mydomain, "localdomain");
	char *name CLEANUP(mem_free_str) = expand_param(b, CONF_myhostname);
	const char *dot = strchr(name, '.');
	if (dot != NULL && dot[1] != '\0')
		set_written(c, CONF_mydomain, dot + 1);
}

static void
set_networks(const struct builder *b)
{
	struct conf_addresses own CLEANUP(conf_addresses_done) = {0};
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	if (conf_is_set(b->conf, CONF_mynetworks))
		return;
	char *interfaces CLEANUP(mem_free_str) = expand_param(b, CONF_inet_interfaces);
	char *protocols CLEANUP(mem_free_str) = expand_param(b, CONF_inet_protocols);
	char *style CLEANUP(mem_free_str) = expand_param(b, CONF_mynetworks_style);
	if (!conf_host_own_from(interfaces, protocols, &own, &err))
		tell(b, CONF_inet_interfaces, err.text);
	conf_host_networks(&own, style, &text);
	set_written(b->conf, CONF_mynetworks, buf_str(&text));
}

/* Before anything else: a dozen defaults compare with it. */
static void
check_level(const struct builder *b)
{
	char *text CLEANUP(mem_free_str) = expand_param(b, CONF_compatibility_level);
	int64_t level;

	struct buf trouble CLEANUP(buf_done) = {0};

	if (conf_level_parse(span_str(text), &level))
		return;
	buf_printf(&trouble, "malformed compatibility level syntax: \"%s\"", text);
	tell(b, CONF_compatibility_level, buf_str(&trouble));
}

/* Debian's Postfix takes a value of myorigin that begins with "/" for the file that has it in its first line. */
static char *
read_origin(const struct builder *b, char *value)
{
	struct buf text CLEANUP(buf_done) = {0};
	struct err err;

	if (value[0] != '/')
		return value;
	if (!main_cf_read(value, &text, &err))
		tell(b, CONF_myorigin, err.text);
	mem_free(value);
	return span_dup(span_trim(span_head(buf_span(&text), span_find(buf_span(&text), '\n'))));
}

static void
evaluate(const struct builder *b, enum conf_param p)
{
	const struct conf_param_info *info = conf_param_info(p);
	struct conf_value *v = &b->conf->values[p];
	struct err err;

	if (info->type == CONF_TYPE_RAW) {
		v->text = mem_strdup(conf_written(b->conf, p));
		return;
	}
	v->text = expand_param(b, p);
	if (p == CONF_myorigin)
		v->text = read_origin(b, v->text);
	if (!conf_value_parse(info, info->name, v->text, &v->number, &err))
		tell(b, p, err.text);
}

static char *
dir_without_slash(const char *dir)
{
	struct span s = span_str(dir);

	while (s.len > 1 && s.ptr[s.len - 1] == '/')
		s = span_head(s, s.len - 1);
	return span_dup(s);
}

struct conf *
conf_build(const struct conf_source *source, const struct main_cf *main_cf,
    conf_problem_fn *problem, void *arg)
{
	struct conf *c = mem_new(struct conf);
	struct builder b = {.conf = c, .source = source, .problem = problem, .arg = arg};

	c->refs = 1;
	c->dir = dir_without_slash(source->dir != NULL ? source->dir : "");
	for (size_t i = 0; i < main_cf->count; i++)
		assign(c, main_cf->entries[i].name, main_cf->entries[i].value,
		    main_cf->entries[i].line);
	for (size_t i = 0; i < source->override_count; i++)
		assign(c, source->overrides[i].name, source->overrides[i].value, 0);
	set_program_values(&b);
	check_level(&b);
	set_names(&b);
	set_networks(&b);
	/* What is set comes first, so that a mistake is told where it was made, not where it is referred to. */
	for (size_t p = 0; p < CONF_COUNT; p++)
		if (conf_is_set(c, (enum conf_param)p))
			evaluate(&b, (enum conf_param)p);
	for (size_t p = 0; p < CONF_COUNT; p++)
		if (!conf_is_set(c, (enum conf_param)p))
			evaluate(&b, (enum conf_param)p);
	return c;
}

struct first_problem {
	const char *file;
	struct err *err;
	bool found;
};

static void
keep_first(void *arg, const char *name, int line, const char *text)
{
	struct first_problem *first = arg;

	if (first->found)
		return;
	first->found = true;
	/* In Postfix's words where these name the parameter; rowpost check names the line in any case. */
	if (line > 0 && strstr(text, name) != NULL)
		(void)err_set(first->err, ERR_CONFIG, "4.3.5", "%s", text);
	else if (line > 0)
		(void)err_set(
		    first->err, ERR_CONFIG, "4.3.5", "%s, line %d: %s", first->file, line, text);
	else
		(void)err_set(first->err, ERR_CONFIG, "4.3.5", "parameter %s: %s", name, text);
}

bool
conf_load(const struct conf_source *source, struct conf **ret_conf, struct err *err)
{
	struct main_cf main_cf CLEANUP(main_cf_done) = {0};
	char *file CLEANUP(mem_free_str) =
	    mem_printf("%s/main.cf", source->dir != NULL ? source->dir : ".");
	struct first_problem first = {.file = file, .err = err};

	if (source->main_text != NULL
		? !main_cf_parse(span_str(source->main_text), file, &main_cf, err)
		: !main_cf_load(file, &main_cf, err))
		return false;
	struct conf *c = conf_build(source, &main_cf, keep_first, &first);
	if (first.found) {
		conf_unref(&c);
		return false;
	}
	*ret_conf = c;
	return true;
}

struct conf *
conf_from_text(const char *main_text)
{
	struct conf_source source = {.dir = "/nowhere", .main_text = main_text};
	struct conf *c = NULL;
	struct err err;

	if (!conf_load(&source, &c, &err))
		base_bug(__FILE__, __LINE__, err.text);
	return c;
}

struct conf *
conf_ref(struct conf *c)
{
	c->refs++;
	return c;
}

void
conf_unref(struct conf **ref)
{
	struct hmap_cursor at = {0};
	struct span name;
	void *value;

	if (ref == NULL || *ref == NULL)
		return;
	struct conf *c = *ref;
	*ref = NULL;
	MUST(c->refs > 0);
	if (--c->refs > 0)
		return;
	while (hmap_next(&c->user, &at, &name, &value))
		mem_free(value);
	hmap_done(&c->user);
	for (size_t p = 0; p < CONF_COUNT; p++) {
		mem_free(c->values[p].written);
		mem_free(c->values[p].text);
	}
	mem_free(c->dir);
	mem_free(c);
}

/* ---- getters ---- */

const char *
conf_dir(const struct conf *c)
{
	return c->dir;
}

const char *
conf_str(const struct conf *c, enum conf_param p)
{
	enum conf_type type = conf_param_info(p)->type;

	MUST(type != CONF_TYPE_BOOL && type != CONF_TYPE_INT && type != CONF_TYPE_TIME);
	return c->values[p].text;
}

bool
conf_bool(const struct conf *c, enum conf_param p)
{
	MUST(conf_param_info(p)->type == CONF_TYPE_BOOL);
	return c->values[p].number != 0;
}

int
conf_int(const struct conf *c, enum conf_param p)
{
	const struct conf_param_info *info = conf_param_info(p);

	MUST(info->type == CONF_TYPE_INT && info->hi <= INT32_MAX);
	return (int)c->values[p].number;
}

size_t
conf_size(const struct conf *c, enum conf_param p)
{
	MUST(conf_param_info(p)->type == CONF_TYPE_INT);
	return c->values[p].number > 0 ? (size_t)c->values[p].number : 0;
}

int64_t
conf_time(const struct conf *c, enum conf_param p)
{
	MUST(conf_param_info(p)->type == CONF_TYPE_TIME);
	return c->values[p].number;
}

bool
conf_is(const struct conf *c, enum conf_param p, const char *word)
{
	return strcasecmp(conf_str(c, p), word) == 0;
}

bool
conf_has(const struct conf *c, enum conf_param p, const char *word)
{
	struct span rest = span_str(conf_str(c, p)), item;

	while (conf_value_item(&rest, &item))
		if (span_equal_nocase_str(item, word))
			return true;
	return false;
}

/* ---- parameters of one delivery service ---- */

/*
 * The value of <service>_<suffix> as written: set in main.cf, or the default of a row of its own, or the template's.
 * Gives the name for messages too.
 */
static const char *
service_written(const struct conf *c, const char *service, enum conf_param p, char **ret_name)
{
	const char *name = conf_param_info(p)->name;

	MUST(strncmp(name, "transport_", 10) == 0);
	*ret_name = mem_printf("%s_%s", service, name + 10);
	const char *written = conf_lookup_written(c, span_str(*ret_name));
	return written != NULL ? written : conf_written(c, p);
}

static bool
service_value(const struct conf *c, const char *service, enum conf_param p, struct buf *text,
    int64_t *number, struct err *err)
{
	char *name CLEANUP(mem_free_str) = NULL;
	const char *written = service_written(c, service, p, &name);

	if (!conf_expand(c, span_str(written), NULL, text, err))
		return err_prefix(err, "parameter %s", name);
	return conf_value_parse(conf_param_info(p), name, buf_str(text), number, err);
}

bool
conf_service_int(
    const struct conf *c, const char *service, enum conf_param p, int *ret, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};
	int64_t number;

	MUST(conf_param_info(p)->type == CONF_TYPE_INT);
	if (!service_value(c, service, p, &text, &number, err))
		return false;
	*ret = (int)number;
	return true;
}

bool
conf_service_time(
    const struct conf *c, const char *service, enum conf_param p, int64_t *ret, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};

	MUST(conf_param_info(p)->type == CONF_TYPE_TIME);
	return service_value(c, service, p, &text, ret, err);
}

bool
conf_service_str(
    const struct conf *c, const char *service, enum conf_param p, struct buf *ret, struct err *err)
{
	int64_t number;

	MUST(conf_param_info(p)->type == CONF_TYPE_STR);
	return service_value(c, service, p, ret, &number, err);
}
