/*
 * table_alias.c - see table_alias.h.
 */
#include "table/table_alias.h"

#include <ctype.h>

/* One token at the front of `*rest`: a quoted string, a comment, or a single byte (with the one a backslash quotes). */
static struct span
table_alias_token(struct span *rest)
{
	char open = rest->ptr[0];
	size_t n = 1, depth = 1;

	if (open == '\\' && rest->len > 1)
		n = 2;
	else if (open == '"' || open == '(')
		for (; n < rest->len && depth > 0; n++) {
			char c = rest->ptr[n];

			if (c == '\\' && n + 1 < rest->len)
				n++;
			else if (c == (open == '"' ? '"' : ')'))
				depth--;
			else if (open == '(' && c == '(')
				depth++;
		}
	struct span token = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return token;
}

/* A token without its quotes and backslashes; comments go. */
static void
table_alias_add_internal(struct buf *out, struct span token)
{
	bool quoted = token.ptr[0] == '"';

	if (token.ptr[0] == '(')
		return;
	for (size_t i = quoted; i < token.len; i++) {
		if (token.ptr[i] == '\\' && i + 1 < token.len)
			i++;
		else if (quoted && token.ptr[i] == '"')
			continue;
		buf_add_char(out, token.ptr[i]);
	}
}

/* The name: up to the colon. False: there is none. */
static bool
table_alias_name(struct span *rest, struct buf *name, bool *ret_local)
{
	bool space = false;

	*ret_local = true;
	while (rest->len > 0) {
		struct span token = table_alias_token(rest);

		if (token.ptr[0] == ':')
			return true;
		if (isspace((unsigned char)token.ptr[0])) {
			space = true;
			continue;
		}
		if (space && name->len != 0)
			buf_add_char(name, ' ');
		space = false;
		*ret_local = *ret_local && token.ptr[0] != '@';
		table_alias_add_internal(name, token);
	}
	return false;
}

static void
table_alias_value(struct span rest, struct buf *value)
{
	bool space = false;

	while (rest.len > 0) {
		struct span token = table_alias_token(&rest);

		if (isspace((unsigned char)token.ptr[0])) {
			space = true;
			continue;
		}
		if (token.ptr[0] == ',') {
			buf_add_char(value, ',');
			space = true;
			continue;
		}
		if (space && value->len != 0)
			buf_add_char(value, ' ');
		space = false;
		buf_add_span(value, token);
		/* A string that is not closed ends here. */
		if (token.ptr[0] == '"' && (token.len == 1 || token.ptr[token.len - 1] != '"'))
			buf_add_char(value, '"');
	}
}

enum table_alias_result
table_alias_parse(struct span line, struct buf *name, struct buf *value)
{
	bool local;

	if (!table_alias_name(&line, name, &local))
		return TABLE_ALIAS_NO_PAIR;
	table_alias_value(span_trim(line), value);
	if (name->len == 0 || value->len == 0)
		return TABLE_ALIAS_NO_PAIR;
	return local ? TABLE_ALIAS_OK : TABLE_ALIAS_NOT_LOCAL;
}
