/*
 * table_query.c - templates of queries and results: see table_query.h. One value knows what all templates of a table need of
 * a key together, so that a key which lacks a part for the result is not even asked for.
 */
#include "table/table_query.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_value.h"
#include "conf/main_cf.h"
#include "table/table_type.h"

/* The most labels of a domain that templates reach. */
#define TABLE_QUERY_PARTS 9

/* A file of domains may name a file; this stops two that name each other. */
#define TABLE_QUERY_DEPTH 20

struct table_query_domain {
	char *name;          /* owned */
	struct table *table; /* owned; NULL: a name */
	bool negated;
};

struct table_query {
	char *spec;          /* owned */
	char *result_format; /* owned */
	int64_t limit;       /* expansion_limit */
	bool key_user, key_domain;
	bool found_user, found_domain;      /* what the results must have */
	size_t parts;                       /* labels that the key's domain must have */
	struct conf *conf;                  /* counted */
	struct table_query_domain *domains; /* owned */
	size_t domain_count;
};

/* A key or a result, cut at its last '@'. */
struct table_query_parts {
	struct span all;
	struct span user; /* all of it without '@' */
	struct span domain;
	bool has_at;
};

static struct table_query_parts
table_query_cut(struct span text)
{
	size_t at = span_find_last(text, '@');

	return (struct table_query_parts){
	    .all = text,
	    .user = span_head(text, at),
	    .domain = span_from(text, at + 1),
	    .has_at = at < text.len,
	};
}

/* ---- templates -------------------------------------------------------------------------------------------------- */

/* Notes what `letter` needs; false when there is no such letter. */
static bool
table_query_need(struct table_query *q, char letter, bool result)
{
	switch (letter) {
	case '%':
	case 's':
	case 'S':
		return true;
	case 'u':
		*(result ? &q->found_user : &q->key_user) = true;
		return true;
	case 'd':
		*(result ? &q->found_domain : &q->key_domain) = true;
		return true;
	case 'U':
		return q->key_user = true;
	case 'D':
		return q->key_domain = true;
	default:
		break;
	}
	if (letter < '1' || letter > '0' + TABLE_QUERY_PARTS)
		return false;
	if (q->parts < (size_t)(letter - '0'))
		q->parts = (size_t)(letter - '0');
	return q->key_domain = true;
}

static bool
table_query_learn_any(struct table_query *q, const struct table_settings *s, const char *setting,
    const char *text, bool result, struct err *err)
{
	for (const char *at = text; *at != '\0'; at++)
		if (*at == '%' && !table_query_need(q, *++at, result))
			return table_query_bad(s, setting, err, "invalid %s template: %s",
			    result ? "result" : "query", text);
	return true;
}

bool
table_query_learn(struct table_query *q, const struct table_settings *s, const char *setting,
    const char *text, struct err *err)
{
	return table_query_learn_any(q, s, setting, text, false, err);
}

/* ---- the list of domains ---------------------------------------------------------------------------------------- */

static bool table_query_add_domains(
    struct table_query *q, struct span list, bool negated, unsigned depth, struct err *err);

static bool
table_query_add_file(
    struct table_query *q, struct span path, bool negated, unsigned depth, struct err *err)
{
	char *name CLEANUP(mem_free_str) = span_dup(path);
	struct buf text CLEANUP(buf_done) = {0};
	struct buf line CLEANUP(buf_done) = {0};
	int read = 0, first;
	struct span rest;

	if (depth == TABLE_QUERY_DEPTH)
		return err_set(err, ERR_CONFIG, "4.3.5", "%s: files nested too deeply", name);
	if (!main_cf_read(name, &text, err))
		return false;
	rest = buf_span(&text);
	while (main_cf_line(&rest, &read, &line, &first))
		if (!table_query_add_domains(q, buf_span(&line), negated, depth + 1, err))
			return err_prefix(err, "%s, line %d", name, first);
	return true;
}

static bool
table_query_add_domains(
    struct table_query *q, struct span list, bool negated, unsigned depth, struct err *err)
{
	struct span item;

	while (conf_value_item(&list, &item)) {
		bool no = negated;

		for (; span_starts(item, "!"); item = span_from(item, 1))
			no = !no;
		if (item.len == 0)
			return err_set(err, ERR_CONFIG, "4.3.5", "no domain after \"!\"");
		if (item.ptr[0] == '/') {
			if (!table_query_add_file(q, item, no, depth, err))
				return false;
			continue;
		}
		q->domains = mem_resize(q->domains, q->domain_count + 1, sizeof(*q->domains));
		q->domains[q->domain_count++] = (struct table_query_domain){
		    .name = span_dup(item),
		    .table = table_is_spec(item) ? table_open(q->conf, item, 0) : NULL,
		    .negated = no,
		};
	}
	return true;
}

static enum table_result
table_query_domain_is(const struct table_query_domain *d, struct span domain, struct err *err)
{
	struct buf value CLEANUP(buf_done) = {0};

	if (d->table != NULL)
		return table_lookup_any(d->table, domain, TABLE_KEY_FULL, &value, err);
	return span_equal_nocase_str(domain, d->name) ? TABLE_FOUND : TABLE_NOT_FOUND;
}

enum table_result
table_query_wants(const struct table_query *q, struct span key, struct err *err)
{
	struct table_query_parts cut = table_query_cut(key);

	if (key.len == 0)
		return TABLE_NOT_FOUND;
	if (q->domain_count == 0)
		return TABLE_FOUND;
	if (!cut.has_at || cut.domain.len == 0 || cut.user.len == 0)
		return TABLE_NOT_FOUND;
	for (size_t i = 0; i < q->domain_count; i++) {
		enum table_result r = table_query_domain_is(&q->domains[i], cut.domain, err);

		if (r == TABLE_FOUND && q->domains[i].negated)
			return TABLE_NOT_FOUND;
		if (r != TABLE_NOT_FOUND)
			return r;
	}
	return TABLE_NOT_FOUND;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static bool
table_query_fill(struct table_query *q, const struct table_settings *s, struct err *err)
{
	/* result_filter is what it was called before Postfix 2.2. */
	const char *old = table_query_str(s, "result_filter", "%s");
	const char *format = table_query_str(s, "result_format", old);
	const char *domains = table_query_str(s, "domain", "");

	q->result_format = mem_strdup(format);
	if (!table_query_number(s, "expansion_limit", 0, 0, INT32_MAX, &q->limit, err) ||
	    !table_query_learn_any(q, s, "result_format", format, true, err))
		return false;
	if (!table_query_add_domains(q, span_str(domains), false, 0, err)) {
		struct err inner = *err;

		return table_query_bad(s, "domain", err, "%s", inner.text);
	}
	return true;
}

bool
table_query_open(struct conf *conf, const char *spec, const struct table_settings *s,
    struct table_query **ret, struct err *err)
{
	struct table_query *q = mem_new(struct table_query);

	q->spec = mem_strdup(spec);
	q->conf = conf_ref(conf);
	if (!table_query_fill(q, s, err)) {
		table_query_free(&q);
		return false;
	}
	*ret = q;
	return true;
}

void
table_query_free(struct table_query **query)
{
	struct table_query *q = *query;

	*query = NULL;
	if (q == NULL)
		return;
	for (size_t i = 0; i < q->domain_count; i++) {
		table_close(&q->domains[i].table);
		mem_free(q->domains[i].name);
	}
	mem_free(q->domains);
	mem_free(q->result_format);
	conf_unref(&q->conf);
	mem_free(q->spec);
	mem_free(q);
}

size_t
table_query_limit(const struct table_query *q)
{
	return (size_t)q->limit;
}

/* ---- expansion -------------------------------------------------------------------------------------------------- */

/* The `number`th label of `domain` from its end, 1 the last; empty when there is none. Runs of dots end nothing twice. */
static struct span
table_query_label(struct span domain, size_t number)
{
	for (;;) {
		size_t dot = span_find_last(domain, '.');

		if (--number == 0)
			return dot == domain.len ? domain : span_from(domain, dot + 1);
		if (dot == domain.len)
			return (struct span){0};
		domain = span_head(domain, dot);
	}
}

static bool
table_query_key_suits(const struct table_query *q, const struct table_query_parts *key)
{
	if (key->all.len == 0 || (q->key_domain && key->domain.len == 0))
		return false;
	if (key->has_at && key->user.len == 0 && q->key_user)
		return false;
	for (size_t i = 1; i <= q->parts; i++)
		if (table_query_label(key->domain, i).len == 0)
			return false;
	return true;
}

/* What the letter stands for: the small ones for `value`, the large ones and digits for the key. */
static struct span
table_query_part(
    char letter, const struct table_query_parts *key, const struct table_query_parts *value)
{
	switch (letter) {
	case 's':
		return value->all;
	case 'u':
		return value->user;
	case 'd':
		return value->domain;
	case 'S':
		return key->all;
	case 'U':
		return key->user;
	case 'D':
		return key->domain;
	default:
		return table_query_label(key->domain, (size_t)(letter - '0'));
	}
}

static void
table_query_fill_in(const char *text, const struct table_query_parts *key,
    const struct table_query_parts *value, table_query_quote *quote, void *arg, struct buf *out)
{
	for (const char *at = text; *at != '\0'; at++) {
		if (*at != '%')
			buf_add_char(out, *at);
		else if (*++at == '%')
			buf_add_char(out, '%');
		else if (quote != NULL)
			quote(arg, table_query_part(*at, key, value), out);
		else
			buf_add_span(out, table_query_part(*at, key, value));
	}
}

bool
table_query_expand(const struct table_query *q, const char *text, struct span key,
    table_query_quote *quote, void *arg, struct buf *out)
{
	struct table_query_parts cut = table_query_cut(key);

	if (!table_query_key_suits(q, &cut))
		return false;
	table_query_fill_in(text, &cut, &cut, quote, arg, out);
	return true;
}

bool
table_query_add(const struct table_query *q, struct span key, struct span found,
    struct table_query_result *r, struct err *err)
{
	struct table_query_parts cut = table_query_cut(key);
	struct table_query_parts value = table_query_cut(found);

	if (found.len == 0) {
		log_warn("table \"%s\": empty lookup result for: \"%.*s\" -- ignored", q->spec,
		    SPAN_ARG(span_head(key, 100)));
		return true;
	}
	if ((q->found_domain && value.domain.len == 0) ||
	    (q->found_user && value.has_at && value.user.len == 0) ||
	    !table_query_key_suits(q, &cut))
		return true;
	if (q->limit > 0 && ++r->count > (size_t)q->limit)
		return err_set(err, ERR_TEMP, "4.3.0", "expansion limit exceeded for key: '%.*s'",
		    SPAN_ARG(span_head(key, 100)));
	if (r->out->len != 0)
		buf_add_char(r->out, ',');
	table_query_fill_in(q->result_format, &cut, &value, NULL, NULL, r->out);
	if (r->out->len > TABLE_VALUE_MAX)
		return err_set(err, ERR_TEMP, "4.3.0", "result too large for key: '%.*s'",
		    SPAN_ARG(span_head(key, 100)));
	return true;
}
