/*
 * smtp_generic.c - see smtp_generic.h.
 */
#include "client/smtp_generic.h"

#include "base/mem.h"
#include "mail/mail_addr.h"
#include "mail/mail_addr_field.h"
#include "mail/mail_header.h"
#include "table/table.h"
#include "table/table_address.h"

struct smtp_generic {
	struct conf *conf; /* borrowed from the setup */
	struct table_list *tables;
	bool extensions; /* propagate_unmatched_extensions */
};

struct smtp_generic *
smtp_generic_new(struct conf *conf, bool lmtp)
{
	struct smtp_generic *g = mem_new(struct smtp_generic);

	g->conf = conf;
	g->tables = table_list_of(conf, lmtp ? CONF_lmtp_generic_maps : CONF_smtp_generic_maps, 0);
	g->extensions = conf_has(conf, CONF_propagate_unmatched_extensions, "generic");
	return g;
}

void
smtp_generic_free(struct smtp_generic **generic)
{
	struct smtp_generic *g = *generic;

	*generic = NULL;
	if (g == NULL)
		return;
	table_list_close(&g->tables);
	mem_free(g);
}

bool
smtp_generic_is_on(const struct smtp_generic *g)
{
	return !table_list_is_empty(g->tables);
}

/* ---- addresses ------------------------------------------------------------------------------------------------ */

/* The domains whose local parts stand in the tables alone. */
static enum table_result
smtp_generic_is_local(void *arg, struct span domain, struct err *err UNUSED)
{
	const struct smtp_generic *g = arg;
	char *name = span_dup(domain);
	bool local = span_equal_nocase_str(domain, conf_str(g->conf, CONF_myorigin)) ||
		     conf_has(g->conf, CONF_mydestination, name);

	mem_free(name);
	return local ? TABLE_FOUND : TABLE_NOT_FOUND;
}

/* A result may be a domain alone ("@other"), or a local part alone. */
static void
smtp_generic_add_result(const struct smtp_generic *g, struct span addr, struct span result,
    struct span extension, struct buf *out)
{
	size_t at = span_find_last(result, '@');
	struct span local = span_head(result, at);

	if (at == 0)
		local = span_head(addr, span_find_last(addr, '@'));
	buf_add_span(out, local);
	if (at != 0 && g->extensions)
		buf_add_span(out, extension);
	if (at < result.len)
		buf_add_span(out, span_from(result, at));
	else if (conf_bool(g->conf, CONF_append_at_myorigin))
		buf_printf(out, "@%s", conf_str(g->conf, CONF_myorigin));
}

/* *ret_changed: `out` has another address now; else nothing was appended. */
static bool
smtp_generic_map(struct smtp_generic *g, struct span addr, struct buf *out, bool *ret_changed)
{
	const struct table_address_rules rules = {
	    .forms = TABLE_ADDRESS_REWRITE,
	    .delimiters = conf_str(g->conf, CONF_recipient_delimiter),
	    .owner_request_split = !conf_bool(g->conf, CONF_owner_request_special),
	    .is_local = smtp_generic_is_local,
	    .arg = g,
	};
	struct buf value CLEANUP(buf_done) = {0};
	struct buf extension CLEANUP(buf_done) = {0};
	struct buf result CLEANUP(buf_done) = {0};
	struct err err;

	*ret_changed = false;
	if (addr.len == 0 || !smtp_generic_is_on(g))
		return true;
	switch (table_address_lookup(g->tables, &rules, addr, &value, &extension, &err)) {
	case TABLE_NOT_FOUND:
		return true;
	case TABLE_ERROR:
		return false;
	case TABLE_FOUND:
		break;
	}
	smtp_generic_add_result(g, addr, buf_span(&value), buf_span(&extension), &result);
	*ret_changed = !span_equal(buf_span(&result), addr);
	if (*ret_changed)
		buf_add_span(out, buf_span(&result));
	return true;
}

bool
smtp_generic_address(struct smtp_generic *g, struct span addr, struct buf *out)
{
	bool changed;

	if (!smtp_generic_map(g, addr, out, &changed))
		return false;
	if (!changed)
		buf_add_span(out, addr);
	return true;
}

/* ---- headers -------------------------------------------------------------------------------------------------- */

static bool
smtp_generic_change(void *arg, struct span internal, struct buf *ret)
{
	bool changed;

	return smtp_generic_map(arg, internal, ret, &changed);
}

static bool
smtp_generic_one_header(struct smtp_generic *g, const struct mail_header *h, struct buf *out)
{
	bool changed;

	if (!mail_addr_field_rewrite(h->name, h->value,
		conf_size(g->conf, CONF_header_address_token_limit), smtp_generic_change, g, out,
		&changed))
		return false;
	if (!changed)
		buf_add_span(out, h->raw);
	return true;
}

bool
smtp_generic_header(struct smtp_generic *g, struct span content, struct buf *out, size_t *ret_len)
{
	struct mail_header_iter iter;
	struct mail_header h;

	mail_header_start(&iter, content);
	while (mail_header_next(&iter, &h)) {
		if ((mail_header_flags(h.id) & (MAIL_HEADER_SENDERS | MAIL_HEADER_RECIPIENTS)) == 0)
			buf_add_span(out, h.raw);
		else if (!smtp_generic_one_header(g, &h, out))
			return false;
	}
	*ret_len = iter.at;
	return true;
}

bool
smtp_generic_has_header(struct span content)
{
	struct mail_header_iter iter;
	struct mail_header h;

	mail_header_start(&iter, content);
	while (mail_header_next(&iter, &h))
		continue;
	return iter.body < content.len || iter.blank;
}
