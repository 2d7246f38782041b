/*
 * rewrite_map.c - see rewrite_map.h. The limits are those of Postfix: ten rounds of canonical tables, and the virtual_alias_
 * limits.
 */
#include "rewrite/rewrite_map.h"

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_param.h"
#include "mail/mail_addr.h"
#include "mail/mail_addr_list.h"
#include "rewrite/domain_list.h"
#include "rewrite/rewrite_int.h"

#define REWRITE_CANONICAL_ROUNDS 10

/* One table parameter and the places it counts for. */
struct rewrite_canonical {
	struct table_list *tables;
	const char *name;
	unsigned places; /* bits (1 << enum rewrite_place) */
};

enum {
	REWRITE_CANONICAL_SENDER,
	REWRITE_CANONICAL_RECIPIENT,
	REWRITE_CANONICAL_ALL,
	REWRITE_CANONICAL_COUNT,
};

struct rewrite_map {
	struct conf *conf;             /* counted */
	const struct rewrite *rewrite; /* borrowed */
	struct rewrite_canonical canonical[REWRITE_CANONICAL_COUNT];
	struct domain_list *spared; /* masquerade_exceptions */
	bool canonical_extends;     /* propagate_unmatched_extensions */
	bool virtual_extends;
	unsigned masquerade_places;
	struct table_list *virtual;
	struct table_list *sender_bcc;
	struct table_list *recipient_bcc;
	const char *always_bcc;
	size_t expansion_limit;
	size_t recursion_limit;
	size_t length_limit;
};

/* The mapping of one address. */
struct rewrite_mapping {
	const struct rewrite_map *map;
	struct arena *arena;
	const char *queue_id;
	struct table_list *tables;
	const char *name; /* of the parameter */
	bool extends;
	struct err *err;
	const char
	    *asked; /* the address that all began with, for the log; NULL: the one looked up */
};

static unsigned
rewrite_places(const struct conf *conf, enum conf_param p)
{
	static const char *const words[] = {
	    "envelope_sender", "envelope_recipient", "header_sender", "header_recipient"};
	unsigned places = 0;

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (conf_has(conf, p, words[i]))
			places |= 1u << i;
	return places;
}

static struct rewrite_canonical
rewrite_canonical_of(struct conf *conf, enum conf_param maps, enum conf_param classes)
{
	return (struct rewrite_canonical){table_list_of(conf, maps, TABLE_OF_CLEANUP),
	    conf_param_info(maps)->name, rewrite_places(conf, classes)};
}

struct rewrite_map *
rewrite_map_new(struct conf *conf, const struct rewrite *rewrite)
{
	struct rewrite_map *m = mem_new(struct rewrite_map);
	struct err err;

	m->conf = conf_ref(conf);
	m->rewrite = rewrite;
	m->canonical[REWRITE_CANONICAL_SENDER] =
	    rewrite_canonical_of(conf, CONF_sender_canonical_maps, CONF_sender_canonical_classes);
	m->canonical[REWRITE_CANONICAL_RECIPIENT] = rewrite_canonical_of(
	    conf, CONF_recipient_canonical_maps, CONF_recipient_canonical_classes);
	m->canonical[REWRITE_CANONICAL_ALL] =
	    rewrite_canonical_of(conf, CONF_canonical_maps, CONF_canonical_classes);
	m->canonical_extends = conf_has(conf, CONF_propagate_unmatched_extensions, "canonical");
	m->virtual_extends = conf_has(conf, CONF_propagate_unmatched_extensions, "virtual");
	if (conf_str(conf, CONF_masquerade_domains)[0] != '\0')
		m->masquerade_places = rewrite_places(conf, CONF_masquerade_classes);
	if (!domain_list_parse(conf, conf_str(conf, CONF_masquerade_exceptions),
		"masquerade_exceptions", DOMAIN_LIST_EXACT, &m->spared, &err))
		log_warn("%s", err.text);
	m->virtual = table_list_of(conf, CONF_virtual_alias_maps, TABLE_OF_CLEANUP);
	m->sender_bcc = table_list_of(conf, CONF_sender_bcc_maps, TABLE_OF_CLEANUP);
	m->recipient_bcc = table_list_of(conf, CONF_recipient_bcc_maps, TABLE_OF_CLEANUP);
	m->always_bcc = conf_str(conf, CONF_always_bcc);
	m->expansion_limit = conf_size(conf, CONF_virtual_alias_expansion_limit);
	m->recursion_limit = conf_size(conf, CONF_virtual_alias_recursion_limit);
	m->length_limit = conf_size(conf, CONF_virtual_alias_address_length_limit);
	return m;
}

void
rewrite_map_free(struct rewrite_map **map)
{
	struct rewrite_map *m = *map;

	if (m == NULL)
		return;
	for (size_t i = 0; i < REWRITE_CANONICAL_COUNT; i++)
		table_list_close(&m->canonical[i].tables);
	table_list_close(&m->virtual);
	table_list_close(&m->sender_bcc);
	table_list_close(&m->recipient_bcc);
	domain_list_free(&m->spared);
	conf_unref(&m->conf);
	mem_free(m);
	*map = NULL;
}

bool
rewrite_map_touches_headers(const struct rewrite_map *m)
{
	const unsigned headers = 1u << REWRITE_HEADER_SENDER | 1u << REWRITE_HEADER_RECIPIENT;
	unsigned places = m->masquerade_places;

	for (size_t i = 0; i < REWRITE_CANONICAL_COUNT; i++)
		if (!table_list_is_empty(m->canonical[i].tables))
			places |= m->canonical[i].places;
	return (places & headers) != 0;
}

/* ---- what a table says ---------------------------------------------------------------------------------------------- */

/* A table that failed: the client is to try again. `addr` NULL: the name of the table says enough. */
static bool
rewrite_mapping_fail(const struct rewrite_mapping *g, const char *addr)
{
	if (addr != NULL && g->asked != NULL)
		addr = g->asked;
	log_info_as("cleanup",
	    "warning: %s: %s map lookup problem%s%s -- message not accepted, try again later",
	    g->queue_id, g->name, addr != NULL ? " for " : "", addr != NULL ? addr : "");
	return err_set_smtp(g->err, ERR_TEMP, 451, "4.3.0", "Error: queue file write error");
}

/* Does an address end behind a quoted string, or before one? Only a dot or an operator joins the two. */
static bool
rewrite_word_ends(struct span s, size_t at, bool in_quotes)
{
	if (in_quotes)
		return at + 1 < s.len && strchr("@.%!:, \t\r\n", s.ptr[at + 1]) == NULL;
	return at != 0 && strchr("@.%!:", s.ptr[at - 1]) == NULL;
}

/* The next address of "a@b, c@d e": quotes, comments and brackets hold together. */
static bool
rewrite_next_word(struct span *rest, struct span *ret)
{
	bool quoted = false;
	size_t depth = 0, n = 0;

	while (rest->len > 0 && strchr(", \t\r\n", rest->ptr[0]) != NULL)
		*rest = span_from(*rest, 1);
	for (; n < rest->len; n++) {
		char c = rest->ptr[n];

		if (c == '\\' && n + 1 < rest->len)
			n++;
		else if (c == '"' && depth == 0 && rewrite_word_ends(*rest, n, quoted)) {
			n += quoted ? 1 : 0;
			break;
		} else if (c == '"' && depth == 0)
			quoted = !quoted;
		else if (c == '(' && !quoted)
			depth++;
		else if (c == ')' && !quoted && depth > 0)
			depth--;
		else if (!quoted && depth == 0 && strchr(", \t\r\n", c) != NULL)
			break;
	}
	*ret = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return ret->len != 0;
}

/* One address of a result in standard form, with the extension of the address that was asked for. */
static const char *
rewrite_result_address(const struct rewrite_mapping *g, struct span word, struct span extension)
{
	struct buf internal CLEANUP(buf_done) = {0};
	struct mail_addr parts;
	const char *addr;

	if (!mail_addr_unquote(&internal, mail_addr_strip_route(mail_addr_strip_brackets(word))) ||
	    internal.len == 0)
		return NULL;
	addr = rewrite_address(g->map->rewrite, g->arena, buf_span(&internal));
	if (extension.len == 0)
		return addr;
	parts = mail_addr_split(span_str(addr));
	return arena_printf(g->arena, "%.*s%.*s%s%.*s", SPAN_ARG(parts.local), SPAN_ARG(extension),
	    parts.has_domain ? "@" : "", SPAN_ARG(parts.domain));
}

/* "<>" or an empty quoted string: an address that nobody has. */
static bool
rewrite_result_is_nobody(struct span word)
{
	return word.len == 0 || span_equal_str(word, "<>") || span_equal_str(word, "\"\"");
}

static void
rewrite_addresses_add(struct rewrite_addresses *a, struct arena *arena, const char *addr)
{
	/* Grown by doubling; the arena keeps the smaller ones until it goes. */
	if ((a->count & (a->count - 1)) == 0) {
		const char **list = arena_alloc(arena, MAX(a->count * 2, 1) * sizeof(*list));

		if (a->count != 0)
			memcpy(list, a->list, a->count * sizeof(*list));
		a->list = list;
	}
	a->list[a->count++] = addr;
}

/* What a result lists, as in a header: "a@b, Name <c@d>"; words that are addresses may do without commas. */
static void
rewrite_results(const struct rewrite_mapping *g, struct span text, struct span extension,
    struct rewrite_addresses *ret)
{
	struct mail_addr_list list;
	struct mail_addr_item item;

	mail_addr_list_start(&list, text);
	while (mail_addr_list_next(&list, &item)) {
		struct span rest = item.addr, word;
		const char *one = rewrite_result_address(g, rest, extension);

		ret->nobody = ret->nobody || rewrite_result_is_nobody(rest);

		if (one != NULL) {
			rewrite_addresses_add(ret, g->arena, one);
			continue;
		}
		while (rewrite_next_word(&rest, &word)) {
			one = rewrite_result_address(g, word, extension);
			if (one != NULL)
				rewrite_addresses_add(ret, g->arena, one);
		}
	}
}

/* "@domain" keeps the user of `addr`, whose extension comes back where extensions are kept. */
static void
rewrite_keep_user(struct buf *value, const char *addr, struct span extension)
{
	struct mail_addr parts = mail_addr_split(span_str(addr));
	struct buf user CLEANUP(buf_done) = {0};
	struct buf quoted CLEANUP(buf_done) = {0};

	if (value->len == 0 || value->ptr[0] != '@')
		return;
	buf_add_span(&user, span_head(parts.local, parts.local.len - extension.len));
	buf_add_span(&user, buf_span(value));
	mail_addr_quote(&quoted, buf_span(&user));
	buf_clear(value);
	buf_add_span(value, buf_span(&quoted));
}

/* The address of nobody stands in a table as an empty quoted string. */
static enum table_result
rewrite_mapping_lookup(
    const struct rewrite_mapping *g, const char *addr, struct buf *value, struct buf *extension)
{
	struct table_address_rules rules = rewrite_rules(g->map->rewrite);

	if (addr[0] == '\0')
		return table_list_lookup(
		    g->tables, SPAN_LIT("\"\""), TABLE_KEY_FULL, value, g->err);
	return table_address_lookup(g->tables, &rules, span_str(addr), value, extension, g->err);
}

/* Looks `addr` up. ret->count is 0 when there is nothing in the tables. False on trouble, also with what they say. */
static bool
rewrite_mapping_ask(
    const struct rewrite_mapping *g, const char *addr, struct rewrite_addresses *ret)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct buf extension CLEANUP(buf_done) = {0};

	*ret = (struct rewrite_addresses){0};
	switch (rewrite_mapping_lookup(g, addr, &value, &extension)) {
	case TABLE_ERROR:
		return rewrite_mapping_fail(g, addr);
	case TABLE_NOT_FOUND:
		return true;
	case TABLE_FOUND:
		break;
	}
	if (!g->extends)
		buf_clear(&extension);
	rewrite_keep_user(&value, addr, buf_span(&extension));
	rewrite_results(g, buf_span(&value), buf_span(&extension), ret);
	if (ret->count != 0 || ret->nobody)
		return true;
	log_info_as("cleanup", "warning: %s lookup of %s returns non-address result \"%s\"",
	    g->name, addr, buf_str(&value));
	return rewrite_mapping_fail(g, addr);
}

/* ---- canonical ------------------------------------------------------------------------------------------------------ */

static bool
rewrite_canonical(const struct rewrite_mapping *g, const char **addr)
{
	for (unsigned round = 0; round < REWRITE_CANONICAL_ROUNDS; round++) {
		struct rewrite_addresses found;
		const char *before = *addr;

		if (!rewrite_mapping_ask(g, before, &found))
			return false;
		if (found.count == 0 && !found.nobody)
			return true;
		if (found.count > 1)
			log_info_as("cleanup", "warning: %s: multi-valued %s entry for %s",
			    g->queue_id, g->name, before);
		*addr = found.count != 0 ? found.list[0] : "";
		if (span_equal_nocase(span_str(before), span_str(*addr)))
			return true;
	}
	log_info_as("cleanup",
	    "warning: %s: unreasonable %s map nesting for %s -- message not accepted, try again later",
	    g->queue_id, g->name, *addr);
	return true;
}

/* ---- masquerading --------------------------------------------------------------------------------------------------- */

static bool
rewrite_masquerade_spares(const struct rewrite_map *m, struct span user)
{
	struct err err;

	return user.len != 0 && domain_list_has(m->spared, user, &err) == TABLE_FOUND;
}

/* The first domain in the list that is the address's or above it decides; '!' leaves the address alone. */
static const char *
rewrite_masquerade(const struct rewrite_map *m, struct arena *arena, const char *addr)
{
	struct span rest = span_str(conf_str(m->conf, CONF_masquerade_domains));
	struct mail_addr parts = mail_addr_split(span_str(addr));
	struct span domain = parts.domain;
	struct span name;

	if (!parts.has_domain || rewrite_masquerade_spares(m, parts.local))
		return addr;
	while (span_word(&rest, ", \t\r\n", &name)) {
		bool cut = true;

		for (; span_starts(name, "!"); name = span_from(name, 1))
			cut = !cut;
		if (span_equal_nocase(name, domain))
			return addr;
		if (name.len + 1 >= domain.len || domain.ptr[domain.len - name.len - 1] != '.' ||
		    !span_equal_nocase(name, span_from(domain, domain.len - name.len)))
			continue;
		return cut ? arena_printf(arena, "%.*s@%.*s", SPAN_ARG(parts.local), SPAN_ARG(name))
			   : addr;
	}
	return addr;
}

bool
rewrite_map_address(const struct rewrite_map *m, struct arena *arena, const char *queue_id,
    enum rewrite_place place, const char *addr, const char **ret, struct err *err)
{
	for (size_t i = 0; i < REWRITE_CANONICAL_COUNT; i++) {
		const struct rewrite_canonical *c = &m->canonical[i];
		struct rewrite_mapping g = {
		    m, arena, queue_id, c->tables, c->name, m->canonical_extends, err, NULL};

		if ((c->places >> place & 1) == 0 || table_list_is_empty(c->tables))
			continue;
		if (!rewrite_canonical(&g, &addr))
			return false;
	}
	if ((m->masquerade_places >> place & 1) != 0)
		addr = rewrite_masquerade(m, arena, addr);
	*ret = addr;
	return true;
}

/* ---- virtual aliases ------------------------------------------------------------------------------------------------ */

/* One expansion under way. */
struct rewrite_aliases {
	struct rewrite_mapping mapping;
	struct rewrite_addresses *out;
	const char *asked;  /* what all comes from */
	struct hmap selves; /* addresses that are among their own aliases */
};

static bool
rewrite_aliases_refuse(const struct rewrite_aliases *a, const char *what, const char *addr)
{
	log_info_as("cleanup",
	    "warning: %s: unreasonable %s %s %s -- message not accepted, try again later",
	    a->mapping.queue_id, a->mapping.name, what, addr);
	return err_set_smtp(a->mapping.err, ERR_TEMP, 451, "4.6.0", "Alias expansion error");
}

static bool
rewrite_aliases_is_self(struct rewrite_aliases *a, const char *addr, bool remember)
{
	struct buf key CLEANUP(buf_done) = {0};

	buf_add_str(&key, addr);
	mail_addr_fold(key.ptr, key.len);
	if (remember)
		return hmap_put(&a->selves, buf_span(&key), a) != NULL;
	return hmap_get(&a->selves, buf_span(&key)) != NULL;
}

/* Takes what the address at `at` stands for: the first in its place, the others at the end. */
static bool
rewrite_aliases_take(struct rewrite_aliases *a, size_t at, const struct rewrite_addresses *found)
{
	const char *before = a->out->list[at];

	for (size_t i = 0; i < found->count; i++) {
		if (strlen(found->list[i]) > a->mapping.map->length_limit)
			return rewrite_aliases_refuse(a, "result",
			    arena_printf(a->mapping.arena, "%.100s...", found->list[i]));
		if (i == 0)
			a->out->list[at] = found->list[i];
		else
			rewrite_addresses_add(a->out, a->mapping.arena, found->list[i]);
		/* An address may expand into itself once: "user" to "user, copy". */
		if (span_equal_nocase(span_str(before), span_str(found->list[i])))
			(void)rewrite_aliases_is_self(a, before, true);
	}
	return true;
}

/* Expands the address at `at` until it stays, or is nobody's. */
static bool
rewrite_aliases_expand(struct rewrite_aliases *a, size_t at)
{
	for (size_t round = 0; !rewrite_aliases_is_self(a, a->out->list[at], false); round++) {
		struct rewrite_addresses found;

		if (round >= a->mapping.map->recursion_limit)
			return rewrite_aliases_refuse(a, "map nesting for", a->asked);
		if (!rewrite_mapping_ask(&a->mapping, a->out->list[at], &found))
			return false;
		if (found.count == 0) {
			if (found.nobody)
				a->out->list[at] = NULL;
			return true;
		}
		if (!rewrite_aliases_take(a, at, &found))
			return false;
	}
	return true;
}

static void
rewrite_addresses_pack(struct rewrite_addresses *a)
{
	size_t kept = 0;

	for (size_t i = 0; i < a->count; i++)
		if (a->list[i] != NULL)
			a->list[kept++] = a->list[i];
	a->count = kept;
}

bool
rewrite_map_aliases(const struct rewrite_map *m, struct arena *arena, const char *queue_id,
    const char *addr, struct rewrite_addresses *ret, struct err *err)
{
	struct rewrite_aliases a = {
	    .mapping = {m, arena, queue_id, m->virtual, "virtual_alias_maps", m->virtual_extends,
		err, addr},
	    .out = ret,
	    .asked = addr,
	};
	bool ok = true;

	*ret = (struct rewrite_addresses){0};
	rewrite_addresses_add(ret, arena, addr);
	if (table_list_is_empty(m->virtual))
		return true;
	for (size_t i = 0; ok && i < ret->count; i++) {
		if (ret->count > m->expansion_limit)
			ok = rewrite_aliases_refuse(&a, "map expansion size for", addr);
		else
			ok = rewrite_aliases_expand(&a, i);
	}
	hmap_done(&a.selves);
	rewrite_addresses_pack(ret);
	return ok;
}

/* ---- copies --------------------------------------------------------------------------------------------------------- */

bool
rewrite_map_bcc(const struct rewrite_map *m, struct arena *arena, const char *queue_id,
    enum rewrite_bcc why, const char *addr, const char **ret, struct err *err)
{
	struct rewrite_mapping g = {.map = m,
	    .arena = arena,
	    .queue_id = queue_id,
	    .tables = why == REWRITE_BCC_SENDER ? m->sender_bcc : m->recipient_bcc,
	    .name = why == REWRITE_BCC_SENDER ? "sender_bcc_maps" : "recipient_bcc_maps",
	    .err = err};
	struct table_address_rules rules = rewrite_rules(m->rewrite);
	struct buf value CLEANUP(buf_done) = {0};

	*ret = NULL;
	if (why == REWRITE_BCC_ALWAYS) {
		*ret = m->always_bcc[0] != '\0' ? m->always_bcc : NULL;
		return true;
	}
	if (addr[0] == '\0' || table_list_is_empty(g.tables))
		return true;
	switch (table_address_lookup(g.tables, &rules, span_str(addr), &value, NULL, err)) {
	case TABLE_ERROR:
		return rewrite_mapping_fail(&g, NULL);
	case TABLE_FOUND:
		*ret = arena_dup(arena, buf_span(&value));
		return true;
	case TABLE_NOT_FOUND:
		return true;
	}
	UNREACHED();
}
