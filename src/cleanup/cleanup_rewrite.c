/*
 * cleanup_rewrite.c - addresses in headers, brought into standard form for local clients (local_header_rewrite_clients), or with
 * remote_header_rewrite_domain for strangers. A header in which nothing changes stays as it is, byte for byte; one that
 * changes is written anew as Postfix writes it: an address a line, lines joined as long as they are short.
 */
#include <string.h>

#include "cleanup/cleanup_int.h"
#include "mail/mail_addr.h"
#include "mail/mail_addr_list.h"
#include "rewrite/rewrite.h"
#include "rewrite/rewrite_map.h"

#define LINE_MAX_JOINED 70

bool
cleanup_rewrite_wanted(const struct cleanup *c)
{
	const char *domain = c->settings->remote_domain;

	return c->envelope.complete_headers || (domain != NULL && domain[0] != '\0');
}

/* What the tables make of the address; after trouble the message is refused, and the address does not matter. */
static const char *
map_one(struct cleanup *c, struct arena *arena, enum mail_header_id id, const char *addr)
{
	enum rewrite_place place = (mail_header_flags(id) & MAIL_HEADER_SENDERS) != 0
				       ? REWRITE_HEADER_SENDER
				       : REWRITE_HEADER_RECIPIENT;
	const char *mapped;

	if (c->settings->map == NULL || c->failed)
		return addr;
	if (rewrite_map_address(
		c->settings->map, arena, c->envelope.queue_id, place, addr, &mapped, &c->err))
		return mapped;
	cleanup_fail(c);
	return addr;
}

/* The standard form of one address of a header; false: it is that already. */
static bool
rewrite_one(
    struct cleanup *c, enum mail_header_id id, const struct mail_addr_item *item, struct buf *ret)
{
	struct buf internal CLEANUP(buf_done) = {0};
	struct arena arena CLEANUP(arena_done) = {0};
	const char *now;

	if (item->addr.len == 0 || !mail_addr_list_internal(item, &internal) || internal.len == 0)
		return false;
	now = c->envelope.complete_headers
		  ? rewrite_address(c->settings->rewrite, &arena, buf_span(&internal))
		  : rewrite_address_in(c->settings->rewrite, &arena, buf_span(&internal),
			c->settings->remote_domain);
	now = map_one(c, &arena, id, now);
	/* A source route goes, whatever it leads to (RFC 5321 appendix C). */
	if (span_equal_str(buf_span(&internal), now) && !span_starts(item->addr, "@"))
		return false;
	mail_addr_quote(ret, span_str(now));
	return true;
}

/* Line ends of the old header become blanks, runs of white space one. */
static void
add_plain(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';

		if (!blank)
			buf_add_char(out, c);
		else if (out->len != 0 && out->ptr[out->len - 1] != ' ' &&
			 out->ptr[out->len - 1] != '\n')
			buf_add_char(out, ' ');
	}
}

/* Commas outside of strings and comments end a line. */
static void
break_lines(struct buf *out, struct span value)
{
	bool quoted = false;
	size_t depth = 0;

	for (size_t i = 0; i < value.len; i++) {
		char c = value.ptr[i];

		if (out->len != 0 && out->ptr[out->len - 1] == '\n' && c == ' ')
			continue;
		/* An empty group. */
		if (c == ';' && !quoted && depth == 0 && out->len != 0 &&
		    out->ptr[out->len - 1] == ':')
			buf_add_char(out, ' ');
		buf_add_char(out, c);
		if (c == '\\' && (quoted || depth > 0) && i + 1 < value.len)
			buf_add_char(out, value.ptr[++i]);
		else if (c == '"' && depth == 0)
			quoted = !quoted;
		else if (c == '(' && !quoted)
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == ',' && !quoted && depth == 0)
			buf_add_char(out, '\n');
	}
}

/* Joins lines while they are short; later ones begin with a tab. */
static void
join_lines(struct buf *out, struct span text)
{
	size_t start = 0;

	for (size_t at = 0; at < text.len;) {
		struct span rest = span_from(text, at);
		size_t end = at + span_find(rest, '\n');

		if (at > 0 && end - start < LINE_MAX_JOINED) {
			buf_add_char(out, ' ');
		} else if (at > 0) {
			buf_add_str(out, "\n\t");
			start = at;
		}
		buf_add_span(out, span_head(rest, end - at));
		at = end + 1;
	}
	buf_add_char(out, '\n');
}

/* Length of the quoted string, comment or literal that begins `s`. */
static size_t
quoted_length(struct span s, char close)
{
	char open = s.ptr[0];
	size_t depth = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == open && (open != close || depth == 0))
			depth++;
		else if (s.ptr[i] == close && --depth == 0)
			return i + 1;
	}
	return s.len;
}

static size_t
token_length(struct span s)
{
	static const char specials[] = "()<>@,;:\\\".[]";
	size_t len = 0;

	if (s.ptr[0] == '"')
		return quoted_length(s, '"');
	if (s.ptr[0] == '(')
		return quoted_length(s, ')');
	if (s.ptr[0] == '[')
		return quoted_length(s, ']');
	while (len < s.len && strchr(" \t\r\n", s.ptr[len]) == NULL &&
	       strchr(specials, s.ptr[len]) == NULL)
		len++;
	return MAX(len, (size_t)1);
}

/* The first header_address_token_limit tokens: what is behind them goes, if the header is written anew. */
static struct span
limit_tokens(struct span value, size_t limit)
{
	size_t at = 0;
	size_t count = 0;

	if (limit == 0 || value.len <= limit)
		return value;
	while (at < value.len) {
		if (strchr(" \t\r\n", value.ptr[at]) != NULL) {
			at++;
			continue;
		}
		if (count++ == limit)
			return span_head(value, at);
		at += token_length(span_from(value, at));
	}
	return value;
}

bool
cleanup_rewrite_header(struct cleanup *c, const struct mail_header *h, struct buf *ret)
{
	struct buf value CLEANUP(buf_done) = {0};
	struct buf lines CLEANUP(buf_done) = {0};
	struct span all = limit_tokens(h->value, c->settings->token_limit);
	struct mail_addr_list list;
	struct mail_addr_item item;
	const char *from = all.ptr;
	bool changed = false;

	if (!cleanup_rewrite_wanted(c) || c->settings->rewrite == NULL)
		return false;
	mail_addr_list_start(&list, all);
	while (mail_addr_list_next(&list, &item)) {
		struct buf now CLEANUP(buf_done) = {0};

		struct span bare = mail_addr_list_bare(item.addr);
		struct span lead;

		if (!rewrite_one(c, h->id, &item, &now))
			continue;
		/* A comment before an address goes behind it. */
		lead = span_trim(span_of(item.addr.ptr, (size_t)(bare.ptr - item.addr.ptr)));
		add_plain(&value, span_of(from, (size_t)(item.addr.ptr - from)));
		buf_add_span(&value, buf_span(&now));
		if (lead.len != 0) {
			buf_add_char(&value, ' ');
			add_plain(&value, lead);
		}
		from = bare.ptr + bare.len;
		changed = true;
	}
	if (!changed)
		return false;
	add_plain(&value, span_of(from, (size_t)(all.ptr + all.len - from)));
	buf_printf(&lines, "%.*s: ", SPAN_ARG(h->name));
	break_lines(&lines, buf_span(&value));
	join_lines(ret, buf_span(&lines));
	return true;
}
