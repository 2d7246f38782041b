/*
 * mail_addr_list.c - see mail_addr_list.h. One pass over the value, byte by byte; nothing is copied.
 */
#include "mail/mail_addr_list.h"

#include "mail/mail_addr.h"

/* Length of what must not be looked into at the front of `s`: quoted string, comment, literal, quoted pair, or one byte.
 * An unclosed one reaches to the end and sets *broken. */
static size_t
mail_addr_list_unit(struct span s, bool *broken)
{
	char open = s.ptr[0];
	char close = open == '"' ? '"' : open == '(' ? ')' : open == '[' ? ']' : '\0';
	size_t depth = 1;

	if (open == '\\')
		return s.len >= 2 ? 2 : 1;
	if (close == '\0')
		return 1;
	for (size_t i = 1; i < s.len; i++) {
		if (s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == close && --depth == 0)
			return i + 1;
		else if (open == '(' && s.ptr[i] == '(')
			depth++;
	}
	/* Postfix closes a literal by itself, but neither strings nor comments. */
	*broken = *broken || open != '[';
	return s.len;
}

/* Index of the first of `stops` outside quotes, comments and literals; s.len if there is none. */
static size_t
mail_addr_list_find(struct span s, const char *stops)
{
	bool broken = false;

	for (size_t i = 0; i < s.len; i += mail_addr_list_unit(span_from(s, i), &broken))
		if (s.ptr[i] != '\0' && strchr(stops, s.ptr[i]) != NULL)
			return i;
	return s.len;
}

void
mail_addr_list_start(struct mail_addr_list *list, struct span value)
{
	*list = (struct mail_addr_list){.rest = value};
}

/* "@a,@b:user@c": length of the route including the colon, 0 if there is none at the front. A search without success is
 * remembered, so that a value full of '@' costs no more than one. */
static size_t
mail_addr_list_route(struct mail_addr_list *list)
{
	size_t colon;

	if (list->rest.ptr[0] != '@' || list->no_route)
		return 0;
	colon = mail_addr_list_find(list->rest, ":;<");
	if (colon < list->rest.len && list->rest.ptr[colon] == ':')
		return colon + 1;
	list->no_route = colon == list->rest.len;
	return 0;
}

/* Does a ';' follow, so that a ':' here is the one of a group? */
static bool
mail_addr_list_in_group(struct mail_addr_list *list)
{
	size_t at;

	if (list->no_semicolon)
		return false;
	if (list->semicolon != NULL && list->semicolon >= list->rest.ptr)
		return true;
	at = mail_addr_list_find(list->rest, ";");
	list->no_semicolon = at == list->rest.len;
	list->semicolon = list->rest.ptr + at;
	return !list->no_semicolon;
}

/* The "<...>" at the front of `s`: its length. Brackets in it nest ("<<a@b>>"). */
static size_t
mail_addr_list_bracket(struct span s, bool *broken)
{
	size_t depth = 0;

	for (size_t i = 0; i < s.len; i += mail_addr_list_unit(span_from(s, i), broken)) {
		if (s.ptr[i] == '<')
			depth++;
		else if (s.ptr[i] == '>' && --depth == 0)
			return i + 1;
	}
	*broken = true;
	return s.len;
}

/* What stands between the innermost brackets of "<...>". */
static struct span
mail_addr_list_inner(struct span bracket)
{
	for (;;) {
		struct span inner = mail_addr_strip_brackets(bracket);
		size_t next;

		if (inner.len == bracket.len && inner.ptr == bracket.ptr)
			return span_trim(inner);
		next = mail_addr_list_find(inner, "<");
		if (next == inner.len)
			return span_trim(inner);
		bracket = span_trim(span_from(inner, next));
	}
}

/* One step through an item: takes what is at list->rest; false when the item ends here. */
static bool
mail_addr_list_step(struct mail_addr_list *list, struct mail_addr_item *item, const char **begin)
{
	char c = list->rest.ptr[0];
	size_t n;

	if (c == ',' || c == ';')
		return false;
	if (c == ':' && !item->bracketed && mail_addr_list_in_group(list)) {
		*begin = NULL; /* what stood before was a group's name */
		list->rest = span_from(list->rest, 1);
		return true;
	}
	if (c == '<') {
		n = mail_addr_list_bracket(list->rest, &list->broken);
		item->trailer = item->trailer || item->bracketed;
		item->addr = mail_addr_list_inner(span_head(list->rest, n));
		item->bracketed = true;
	} else {
		bool space =
		    c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '>' || c == '(';

		n = *begin == NULL ? mail_addr_list_route(list) : 0;
		if (n == 0)
			n = mail_addr_list_unit(list->rest, &list->broken);
		item->trailer = item->trailer || (item->bracketed && !space);
		if (*begin == NULL && !space)
			*begin = list->rest.ptr;
	}
	list->rest = span_from(list->rest, n);
	return true;
}

bool
mail_addr_list_next(struct mail_addr_list *list, struct mail_addr_item *ret)
{
	while (list->rest.len != 0) {
		struct mail_addr_item item = {0};
		const char *begin = NULL;

		while (list->rest.len != 0 && mail_addr_list_step(list, &item, &begin))
			continue;
		if (begin != NULL && !item.bracketed)
			item.addr = span_trim(span_of(begin, (size_t)(list->rest.ptr - begin)));
		list->rest = span_from(list->rest, 1); /* the comma */
		if (item.bracketed || item.addr.len != 0) {
			*ret = item;
			return true;
		}
	}
	return false;
}

bool
mail_addr_list_internal(const struct mail_addr_item *item, struct buf *out)
{
	return mail_addr_unquote(out, mail_addr_strip_route(item->addr));
}

struct span
mail_addr_list_bare(struct span addr)
{
	size_t depth = 0, from = addr.len, to = 0;
	bool quoted = false;

	for (size_t i = 0; i < addr.len; i++) {
		char c = addr.ptr[i];
		bool outside = depth == 0 && !quoted;

		if (c == '"' && depth == 0)
			quoted = !quoted;
		else if (c == '(' && !quoted)
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == '\\' && i + 1 < addr.len)
			i++;
		if (depth > 0 || c == ')' || (outside && strchr(" \t\r\n", c) != NULL))
			continue;
		from = MIN(from, i);
		to = i + 1;
	}
	return from < to ? span_of(addr.ptr + from, to - from) : span_head(addr, 0);
}
