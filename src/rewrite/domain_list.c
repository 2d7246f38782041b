/*
 * domain_list.c - see domain_list.h.
 */
#include "rewrite/domain_list.h"

#include "base/mem.h"
#include "conf/conf_param.h"
#include "conf/conf_value.h"
#include "conf/main_cf.h"
#include "table/table_address.h"

/* A file may name a file; this stops two that name each other. */
#define DOMAIN_LIST_DEPTH 20

struct domain_pattern {
	char *name;          /* owned */
	struct table *table; /* owned; NULL: a name */
	bool negated;
};

struct domain_list {
	struct domain_pattern *patterns; /* owned */
	size_t count;
	enum domain_list_parents parents;
};

/* The text of a list being read. */
struct domain_list_source {
	struct conf *conf;
	const char *what;
	struct span rest;
	bool negated;
	unsigned depth;
};

static bool domain_list_read(
    struct domain_list *list, struct domain_list_source *source, struct err *err);

static void
domain_list_add(
    struct domain_list *list, struct span name, bool negated, struct domain_list_source *source)
{
	struct table *table = NULL;

	if (name.ptr[0] != '[' && span_find(name, ':') < name.len)
		table = table_open(source->conf, name, 0);
	list->patterns = mem_resize(list->patterns, list->count + 1, sizeof(*list->patterns));
	list->patterns[list->count++] = (struct domain_pattern){span_dup(name), table, negated};
}

/* The patterns in a file, '#' starting a comment line. */
static bool
domain_list_add_file(struct domain_list *list, struct span path, bool negated,
    const struct domain_list_source *outer, struct err *err)
{
	struct domain_list_source source = *outer;
	char *name CLEANUP(mem_free_str) = span_dup(path);
	struct buf text CLEANUP(buf_done) = {0};
	struct buf line CLEANUP(buf_done) = {0};
	int read = 0, first;
	struct span rest;

	if (++source.depth > DOMAIN_LIST_DEPTH)
		return err_set(
		    err, ERR_CONFIG, "4.3.5", "%s: %s: files nested too deeply", outer->what, name);
	if (!main_cf_read(name, &text, err))
		return err_prefix(err, "%s", outer->what);
	rest = buf_span(&text);
	source.negated = negated;
	while (main_cf_line(&rest, &read, &line, &first)) {
		source.rest = buf_span(&line);
		if (!domain_list_read(list, &source, err))
			return err_prefix(err, "%s, line %d", name, first);
	}
	return true;
}

static bool
domain_list_read(struct domain_list *list, struct domain_list_source *source, struct err *err)
{
	struct span word;

	while (conf_value_item(&source->rest, &word)) {
		bool negated = source->negated;

		for (; span_starts(word, "!"); word = span_from(word, 1))
			negated = !negated;
		if (word.len == 0)
			return err_set(
			    err, ERR_CONFIG, "4.3.5", "%s: no domain after \"!\"", source->what);
		if (word.ptr[0] != '/')
			domain_list_add(list, word, negated, source);
		else if (!domain_list_add_file(list, word, negated, source, err))
			return false;
	}
	return true;
}

bool
domain_list_parse(struct conf *conf, const char *text, const char *what,
    enum domain_list_parents parents, struct domain_list **ret, struct err *err)
{
	struct domain_list_source source = {.conf = conf, .what = what, .rest = span_str(text)};
	struct domain_list *list = mem_new(struct domain_list);

	list->parents = parents;
	if (!domain_list_read(list, &source, err)) {
		domain_list_free(&list);
		return false;
	}
	*ret = list;
	return true;
}

bool
domain_list_of(struct conf *conf, enum conf_param p, struct domain_list **ret, struct err *err)
{
	const char *name = conf_param_info(p)->name;
	enum domain_list_parents parents =
	    conf_has(conf, CONF_parent_domain_matches_subdomains, name) ? DOMAIN_LIST_SUBDOMAINS
									: DOMAIN_LIST_EXACT;

	return domain_list_parse(conf, conf_str(conf, p), name, parents, ret, err);
}

void
domain_list_free(struct domain_list **list)
{
	if (*list == NULL)
		return;
	for (size_t i = 0; i < (*list)->count; i++) {
		table_close(&(*list)->patterns[i].table);
		mem_free((*list)->patterns[i].name);
	}
	mem_free((*list)->patterns);
	mem_free(*list);
	*list = NULL;
}

static bool
domain_pattern_is(
    const struct domain_pattern *p, enum domain_list_parents parents, struct span domain)
{
	struct span name = span_str(p->name);

	if (span_equal_nocase(name, domain))
		return true;
	if (parents == DOMAIN_LIST_EXACT)
		return name.ptr[0] == '.' && domain.len > name.len &&
		       span_ends_nocase(domain, p->name);
	return domain.len > name.len + 1 && domain.ptr[domain.len - name.len - 1] == '.' &&
	       span_ends_nocase(domain, p->name);
}

static enum table_result
domain_pattern_matches(const struct domain_pattern *p, enum domain_list_parents parents,
    struct span domain, struct err *err)
{
	if (p->table != NULL)
		return table_knows_domain(p->table, domain, parents == DOMAIN_LIST_SUBDOMAINS, err);
	return domain_pattern_is(p, parents, domain) ? TABLE_FOUND : TABLE_NOT_FOUND;
}

enum table_result
domain_list_has(const struct domain_list *list, struct span domain, struct err *err)
{
	for (size_t i = 0; list != NULL && i < list->count; i++) {
		const struct domain_pattern *p = &list->patterns[i];
		enum table_result r = domain_pattern_matches(p, list->parents, domain, err);

		if (r == TABLE_FOUND && p->negated)
			return TABLE_NOT_FOUND;
		if (r != TABLE_NOT_FOUND)
			return r;
	}
	return TABLE_NOT_FOUND;
}

bool
domain_list_is_empty(const struct domain_list *list)
{
	return list == NULL || list->count == 0;
}
