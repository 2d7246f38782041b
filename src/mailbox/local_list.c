/*
 * local_list.c - see local_list.h.
 */
#include "mailbox/local_list.h"

#include <string.h>

#include "base/buf.h"
#include "mail/mail_addr.h"

/*
 * Length of the member at the front: up to a comma, a line end or the end of a group outside of quotes, comments and brackets;
 * with `words` up to white space too.
 */
static size_t
local_member_length(struct span s, bool words)
{
	size_t depth = 0;
	bool quoted = false, angle = false;

	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (c == '\\' && i + 1 < s.len && (quoted || depth > 0))
			i++;
		else if (c == '"' && depth == 0)
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (depth == 0 && (c == '<' || c == '>'))
			angle = c == '<';
		else if (depth == 0 && !angle &&
			 (c == ',' || c == ';' || c == '\n' || (words && (c == ' ' || c == '\t'))))
			return i;
	}
	return s.len;
}

/* Without comments; with `unquote` without quotes and the backslashes inside them. */
static void
local_member_clean(struct span s, bool unquote, struct buf *out)
{
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (c == '\\' && i + 1 < s.len && (quoted || depth > 0)) {
			if (depth == 0 && !unquote)
				buf_add_char(out, c);
			if (depth == 0)
				buf_add_char(out, s.ptr[i + 1]);
			i++;
		} else if (c == '"' && depth == 0) {
			quoted = !quoted;
			if (!unquote)
				buf_add_char(out, c);
		} else if (!quoted && c == '(') {
			depth++;
		} else if (!quoted && c == ')' && depth > 0) {
			depth--;
		} else if (depth == 0) {
			buf_add_char(out, c);
		}
	}
}

/* Is it a command, a file or an include directive, quotes aside? */
static bool
local_member_is_special(struct span s)
{
	if (s.len > 0 && s.ptr[0] == '"')
		s = span_from(s, 1);
	return s.len > 0 && (strchr("|/", s.ptr[0]) != NULL || span_starts(s, "~/") ||
				span_starts_nocase(s, ":include:"));
}

/* Without the name of a group, "name:", in front of its first member. */
static struct span
local_member_of_group(struct span s)
{
	bool quoted = false;

	for (size_t i = 0; i < s.len && strchr("<[@", s.ptr[i]) == NULL; i++) {
		if (s.ptr[i] == '"')
			quoted = !quoted;
		else if (s.ptr[i] == ':' && !quoted)
			return span_trim(span_from(s, i + 1));
	}
	return s;
}

static struct span
local_member_address(struct span s)
{
	size_t open = span_find_last(s, '<');

	if (open < s.len && s.ptr[s.len - 1] == '>')
		return span_trim(span_of(s.ptr + open + 1, s.len - open - 2));
	return s;
}

/* "Name <address>" is one member; other words side by side are members of their own. */
static bool
local_has_brackets(struct span s)
{
	bool quoted = false;

	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '"')
			quoted = !quoted;
		else if (s.ptr[i] == '<' && !quoted)
			return true;
	}
	return false;
}

const char *
local_list_next(struct span *rest, struct arena *arena)
{
	while (rest->len > 0) {
		struct buf clean CLEANUP(buf_done) = {0};
		struct span member, text;
		size_t len;
		bool special;

		while (rest->len > 0 && strchr(" \t\r\n,;", rest->ptr[0]) != NULL)
			*rest = span_from(*rest, 1);
		len = local_member_length(*rest, false);
		if (!local_has_brackets(span_head(*rest, len)))
			len = local_member_length(*rest, true);
		member = span_trim(span_head(*rest, len));
		special = local_member_is_special(member);
		*rest = span_from(*rest, len);
		local_member_clean(member, special, &clean);
		text = span_trim(buf_span(&clean));
		if (!special)
			text = local_member_address(local_member_of_group(text));
		if (text.len > 0)
			return arena_dup(arena, text);
	}
	return NULL;
}
