/*
 * table_alias.c - see table_alias.h. A line is taken apart into the tokens of RFC 822 and put together again, which is what
 * makes `\user` of a source a plain `user` of the table, as in Postfix.
 */
#include "operator/table_alias.h"

#include <ctype.h>
#include <string.h>

enum table_alias_kind {
	TABLE_ALIAS_ATOM,
	TABLE_ALIAS_QUOTED,
	TABLE_ALIAS_COMMENT,
	TABLE_ALIAS_LITERAL, /* [1.2.3.4] */
	TABLE_ALIAS_OPERATOR,
};

struct table_alias_token {
	enum table_alias_kind kind;
	char operator;
	struct buf text; /* without the quotes, brackets and backslashes; a comment as it stands */
};

static const char table_alias_specials[] = "|%!()<>@,;:\\\".[]";

static bool
table_alias_is_special(char c)
{
	return c != '\0' && strchr(table_alias_specials, c) != NULL;
}

static void
table_alias_add(struct buf *text, char c)
{
	buf_add_char(text, isspace((unsigned char)c) ? ' ' : c);
}

/* Up to `end`, which is consumed. */
static void
table_alias_enclosed(struct span *rest, char end, struct buf *text)
{
	while (rest->len > 0 && rest->ptr[0] != end) {
		if (rest->ptr[0] == '\\')
			*rest = span_from(*rest, 1);
		if (rest->len > 0)
			table_alias_add(text, rest->ptr[0]);
		*rest = span_from(*rest, 1);
	}
	*rest = span_from(*rest, 1);
}

static void
table_alias_comment(struct span *rest, struct buf *text)
{
	size_t n = 1, depth = 1;

	for (; n < rest->len && depth > 0; n++) {
		if (rest->ptr[n] == '\\' && n + 1 < rest->len)
			n++;
		else if (rest->ptr[n] == '(')
			depth++;
		else if (rest->ptr[n] == ')')
			depth--;
	}
	buf_add_span(text, span_head(*rest, n));
	*rest = span_from(*rest, n);
}

/* An atom; one that a backslash has given a special character has to be quoted from now on. */
static enum table_alias_kind
table_alias_atom(struct span *rest, struct buf *text)
{
	enum table_alias_kind kind = TABLE_ALIAS_ATOM;

	while (rest->len > 0) {
		char c = rest->ptr[0];

		if (c == '\\' && rest->len > 1) {
			c = rest->ptr[1];
			if (table_alias_is_special(c) || isspace((unsigned char)c))
				kind = TABLE_ALIAS_QUOTED;
			*rest = span_from(*rest, 1);
		} else if (c != '\\' && (isspace((unsigned char)c) || table_alias_is_special(c))) {
			break;
		}
		if (c != '\\' || kind == TABLE_ALIAS_QUOTED)
			table_alias_add(text, c);
		*rest = span_from(*rest, 1);
	}
	return kind;
}

/* The next token; false at the end. */
static bool
table_alias_next(struct span *rest, struct table_alias_token *ret)
{
	while (rest->len > 0 && isspace((unsigned char)rest->ptr[0]))
		*rest = span_from(*rest, 1);
	if (rest->len == 0)
		return false;
	buf_clear(&ret->text);
	ret->operator= '\0';
	switch (rest->ptr[0]) {
	case '"':
		ret->kind = TABLE_ALIAS_QUOTED;
		*rest = span_from(*rest, 1);
		table_alias_enclosed(rest, '"', &ret->text);
		return true;
	case '[':
		ret->kind = TABLE_ALIAS_LITERAL;
		*rest = span_from(*rest, 1);
		table_alias_enclosed(rest, ']', &ret->text);
		return true;
	case '(':
		ret->kind = TABLE_ALIAS_COMMENT;
		table_alias_comment(rest, &ret->text);
		return true;
	default:
		break;
	}
	if (rest->ptr[0] == '\\' || !table_alias_is_special(rest->ptr[0])) {
		ret->kind = table_alias_atom(rest, &ret->text);
		return true;
	}
	ret->kind = TABLE_ALIAS_OPERATOR;
	ret->operator= rest->ptr[0];
	*rest = span_from(*rest, 1);
	return true;
}

/* Words do not run into one another, nor into the '<' of an address. */
static void
table_alias_space(struct buf *out, bool after_word, const struct table_alias_token *token)
{
	if (after_word && (token->kind != TABLE_ALIAS_OPERATOR || token->operator== '<'))
		buf_add_char(out, ' ');
}

static void
table_alias_escaped(struct buf *out, const struct table_alias_token *token, char open, char close)
{
	buf_add_char(out, open);
	for (size_t i = 0; i < token->text.len; i++) {
		char c = token->text.ptr[i];

		if (c == '\\' || c == open || c == close)
			buf_add_char(out, '\\');
		buf_add_char(out, c);
	}
	buf_add_char(out, close);
}

static void
table_alias_put(struct buf *out, const struct table_alias_token *token)
{
	switch (token->kind) {
	case TABLE_ALIAS_QUOTED:
		table_alias_escaped(out, token, '"', '"');
		return;
	case TABLE_ALIAS_LITERAL:
		table_alias_escaped(out, token, '[', ']');
		return;
	case TABLE_ALIAS_ATOM:
	case TABLE_ALIAS_COMMENT:
		buf_add_span(out, buf_span(&token->text));
		return;
	case TABLE_ALIAS_OPERATOR:
		buf_add_char(out, token->operator);
		if (token->operator== ',')
			buf_add_char(out, ' ');
		return;
	}
}

/* The name, up to the colon and without quotes. */
static enum table_alias_result
table_alias_name(struct span *rest, struct table_alias_token *token, struct buf *name)
{
	enum table_alias_result result = TABLE_ALIAS_OK;
	bool after_word = false;

	while (table_alias_next(rest, token)) {
		if (token->operator== ':')
			return name->len == 0 ? TABLE_ALIAS_NO_PAIR : result;
		if (token->operator== ',')
			return TABLE_ALIAS_NO_PAIR;
		if (token->operator== '@' || token->operator== '%')
			result = TABLE_ALIAS_NOT_LOCAL;
		table_alias_space(name, after_word, token);
		after_word = token->kind != TABLE_ALIAS_OPERATOR;
		if (token->kind == TABLE_ALIAS_QUOTED)
			buf_add_span(name, buf_span(&token->text));
		else
			table_alias_put(name, token);
	}
	return TABLE_ALIAS_NO_PAIR;
}

enum table_alias_result
table_alias_parse(struct span line, struct buf *name, struct buf *value)
{
	struct table_alias_token token = {0};
	bool after_word = false;
	enum table_alias_result result = table_alias_name(&line, &token, name);

	while (result != TABLE_ALIAS_NO_PAIR && table_alias_next(&line, &token)) {
		table_alias_space(value, after_word, &token);
		after_word = token.kind != TABLE_ALIAS_OPERATOR;
		table_alias_put(value, &token);
	}
	buf_done(&token.text);
	return value->len == 0 ? TABLE_ALIAS_NO_PAIR : result;
}
