/*
 * mail_mime.c - see mail_mime.h.
 */
#include "mail/mail_mime.h"

#include <ctype.h>

static bool
mail_mime_is_special(char c)
{
	return strchr("()<>@,;:\\\"/[]?=", c) != NULL && c != '\0';
}

/* White space and comments at the front. */
static struct span
mail_mime_skip(struct span s)
{
	size_t depth = 0;

	while (s.len != 0) {
		char c = s.ptr[0];

		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == '\\' && depth > 0 && s.len > 1)
			s = span_from(s, 1);
		else if (depth == 0 && !isspace((unsigned char)c))
			break;
		s = span_from(s, 1);
	}
	return s;
}

/* A token (RFC 2045 section 5.1); may be empty. */
static struct span
mail_mime_token(struct span *rest)
{
	struct span s = mail_mime_skip(*rest);
	size_t n = 0;

	while (n < s.len && s.ptr[n] > ' ' && s.ptr[n] != 127 && !mail_mime_is_special(s.ptr[n]))
		n++;
	*rest = mail_mime_skip(span_from(s, n));
	return span_head(s, n);
}

/* Takes `c` from the front, if it is there. */
static bool
mail_mime_take(struct span *rest, char c)
{
	struct span s = mail_mime_skip(*rest);

	if (s.len == 0 || s.ptr[0] != c)
		return false;
	*rest = span_from(s, 1);
	return true;
}

/* A parameter's value, token or quoted string, goes to `out` (NULL: nowhere), as far as it fits. */
static void
mail_mime_value(struct span *rest, struct buf *out)
{
	struct span s = mail_mime_skip(*rest);
	size_t i = 1;

	if (s.len == 0 || s.ptr[0] != '"') {
		struct span token = mail_mime_token(rest);

		if (out != NULL)
			buf_add_span(out, span_head(token, MAIL_MIME_BOUNDARY_MAX));
		return;
	}
	for (; i < s.len && s.ptr[i] != '"'; i++) {
		if (s.ptr[i] == '\\' && i + 1 < s.len)
			i++;
		if (out != NULL && out->len < MAIL_MIME_BOUNDARY_MAX)
			buf_add_char(out, s.ptr[i]);
	}
	*rest = span_from(s, i + 1);
}

/*
 * The first boundary among the parameters. White space and comments are gone from the front at each step: looked at again behind
 * each byte of junk, a comment that never ends would cost the square of its length.
 */
static void
mail_mime_boundary(struct span rest, struct buf *boundary)
{
	for (; (rest = mail_mime_skip(rest)).len != 0;) {
		struct span name;
		bool wanted;

		if (!mail_mime_take(&rest, ';')) {
			rest = span_from(rest, 1); /* junk */
			continue;
		}
		name = mail_mime_token(&rest);
		wanted = span_equal_nocase_str(name, "boundary") && boundary->len == 0;
		if (mail_mime_take(&rest, '='))
			mail_mime_value(&rest, wanted ? boundary : NULL);
	}
}

enum mail_mime_type
mail_mime_parse_type(struct span value, struct buf *boundary)
{
	struct span type = mail_mime_token(&value);
	struct span subtype = {0};

	buf_clear(boundary);
	if (mail_mime_take(&value, '/'))
		subtype = mail_mime_token(&value);
	if (span_equal_nocase_str(type, "multipart")) {
		mail_mime_boundary(value, boundary);
		return span_equal_nocase_str(subtype, "digest") ? MAIL_MIME_DIGEST
								: MAIL_MIME_MULTIPART;
	}
	if (!span_equal_nocase_str(type, "message"))
		return MAIL_MIME_LEAF;
	return span_equal_nocase_str(subtype, "rfc822")   ? MAIL_MIME_MESSAGE
	       : span_equal_nocase_str(subtype, "global") ? MAIL_MIME_GLOBAL
							  : MAIL_MIME_LEAF;
}

enum mail_mime_encoding
mail_mime_parse_encoding(struct span value)
{
	struct span token = mail_mime_token(&value);

	if (span_equal_nocase_str(token, "8bit") || span_equal_nocase_str(token, "binary"))
		return MAIL_MIME_8BIT;
	return MAIL_MIME_7BIT;
}
