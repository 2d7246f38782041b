/*
 * mail_addr.c - forms of an address, host names and literals: see mail_addr.h. Syntax of lists is in mail_addr_list.c.
 */
#include "mail/mail_addr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "mail/mail_addr_list.h"

/* RFC 5322 section 3.2.3: these end an atom. */
static const bool mail_addr_special[256] = {
    ['('] = true,
    [')'] = true,
    ['<'] = true,
    ['>'] = true,
    ['@'] = true,
    [','] = true,
    [';'] = true,
    [':'] = true,
    ['\\'] = true,
    ['"'] = true,
    ['['] = true,
    [']'] = true,
};

struct mail_addr
mail_addr_split(struct span internal)
{
	size_t at = span_find_last(internal, '@');

	return (struct mail_addr){
	    .local = span_head(internal, at),
	    .domain = span_from(internal, at + 1),
	    .has_domain = at < internal.len,
	};
}

void
mail_addr_join(struct buf *out, const struct mail_addr *addr)
{
	buf_add_span(out, addr->local);
	if (!addr->has_domain)
		return;
	buf_add_char(out, '@');
	buf_add_span(out, addr->domain);
}

bool
mail_addr_needs_quotes(struct span local)
{
	if (local.len == 0 || local.ptr[0] == '.' || local.ptr[local.len - 1] == '.')
		return true;
	for (size_t i = 0; i < local.len; i++) {
		unsigned char c = (unsigned char)local.ptr[i];

		if (c <= ' ' || c == 127 || mail_addr_special[c])
			return true;
		if (c == '.' && local.ptr[i + 1] == '.')
			return true;
	}
	return false;
}

void
mail_addr_quote(struct buf *out, struct span internal)
{
	struct mail_addr addr = mail_addr_split(internal);

	if (internal.len == 0)
		return;
	if (!mail_addr_needs_quotes(addr.local)) {
		buf_add_span(out, internal);
		return;
	}
	buf_add_char(out, '"');
	for (size_t i = 0; i < addr.local.len; i++) {
		char c = addr.local.ptr[i];

		if (c == '"' || c == '\\' || c == '\r' || c == '\n')
			buf_add_char(out, '\\');
		buf_add_char(out, c);
	}
	buf_add_char(out, '"');
	buf_add_span(out, span_from(internal, addr.local.len));
}

/* ---- external to internal ---- */

/* Length of the comment at the front of `s`, nested ones included; 0 when it is not closed. */
static size_t
mail_addr_comment(struct span s)
{
	size_t depth = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == '(')
			depth++;
		else if (s.ptr[i] == ')' && --depth == 0)
			return i + 1;
	}
	return 0;
}

/* Appends what stands in the quoted string at the front of `s`; returns its length, 0 when it is not closed. */
static size_t
mail_addr_unquote_string(struct buf *out, struct span s)
{
	for (size_t i = 1; i < s.len; i++) {
		if (s.ptr[i] == '"')
			return i + 1;
		/* a fold inside the string (RFC 5322 section 3.2.4) */
		if (s.ptr[i] == '\n' || s.ptr[i] == '\r')
			continue;
		if (s.ptr[i] == '\\' && i + 1 < s.len)
			i++;
		buf_add_char(out, s.ptr[i]);
	}
	return 0;
}

/* Domain literal: kept with its brackets; a missing "]" is supplied, as Postfix does. */
static size_t
mail_addr_unquote_literal(struct buf *out, struct span s)
{
	size_t end = span_find(s, ']');

	buf_add_span(out, span_head(s, end));
	buf_add_char(out, ']');
	return end < s.len ? end + 1 : s.len;
}

/* An atom, quoted pairs included. */
static size_t
mail_addr_unquote_atom(struct buf *out, struct span s)
{
	size_t i = 0;

	for (; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c == '\\' && i + 1 < s.len)
			i++;
		else if (i > 0 &&
			 (isspace(c) || c == '.' || (mail_addr_special[c] && c != ')' && c != ']')))
			break;
		buf_add_char(out, s.ptr[i]);
	}
	return i;
}

/* One token at the front of `s`; *word tells whether it is one that must not stand beside another. 0 = broken. */
static size_t
mail_addr_unquote_token(struct buf *out, struct span s, bool *word)
{
	*word = false;
	switch (s.ptr[0]) {
	case '\0':
		return 0;
	case ' ':
	case '\t':
	case '\r':
	case '\n':
	case '<':
	case '>':
		return 1;
	case '(':
		return mail_addr_comment(s);
	case '.':
	case '@':
	case ':':
	case ',':
	case ';':
		buf_add_char(out, s.ptr[0]);
		return 1;
	case '"':
		*word = true;
		return mail_addr_unquote_string(out, s);
	case '[':
		*word = true;
		return mail_addr_unquote_literal(out, s);
	default:
		*word = true;
		return mail_addr_unquote_atom(out, s);
	}
}

bool
mail_addr_unquote(struct buf *out, struct span external)
{
	size_t begin = out->len;
	bool after_word = false;

	while (external.len != 0) {
		size_t before = out->len;
		bool word;
		size_t n = mail_addr_unquote_token(out, external, &word);

		/* "a b@c": two words and no operator between */
		if (n == 0 || (word && after_word)) {
			buf_truncate(out, begin);
			return false;
		}
		if (word || out->len != before)
			after_word = word;
		external = span_from(external, n);
	}
	return true;
}

struct span
mail_addr_strip_brackets(struct span s)
{
	if (s.len >= 2 && s.ptr[0] == '<' && s.ptr[s.len - 1] == '>')
		return span_of(s.ptr + 1, s.len - 2);
	return s;
}

struct span
mail_addr_strip_route(struct span s)
{
	size_t colon;

	if (s.len == 0 || s.ptr[0] != '@')
		return s;
	colon = span_find(s, ':');
	return colon < s.len ? span_from(s, colon + 1) : s;
}

/* strict_rfc821_envelopes: <path> and nothing else. */
static bool
mail_addr_parse_strict(struct span text, struct buf *out, struct span *ret_given)
{
	struct span inner = mail_addr_strip_brackets(text);
	size_t begin = out->len;

	if (inner.len == text.len)
		return false;
	*ret_given = inner;
	if (!mail_addr_unquote(out, mail_addr_strip_route(inner)))
		return false;
	if (inner.len != 0 && (out->len == begin || out->ptr[begin] == '@')) {
		buf_truncate(out, begin);
		return false;
	}
	return true;
}

bool
mail_addr_parse_path(struct span text, bool strict, struct buf *out, struct span *ret_given)
{
	struct mail_addr_list list;
	struct mail_addr_item item;
	size_t begin = out->len;
	unsigned found = 0;
	bool good = true;

	text = span_trim(text);
	if (strict)
		return mail_addr_parse_strict(text, out, ret_given);
	/* What follows the null address is passed over. */
	if (span_starts(text, "<>"))
		text = span_head(text, 2);
	*ret_given = mail_addr_strip_brackets(text);
	mail_addr_list_start(&list, *ret_given);
	while (good && mail_addr_list_next(&list, &item)) {
		if (item.addr.len == 0 && !item.trailer)
			continue;
		found++;
		good = found == 1 && !item.trailer &&
		       mail_addr_unquote(out, mail_addr_strip_route(item.addr));
	}
	if (good && !list.broken)
		return true;
	buf_truncate(out, begin);
	return false;
}

void
mail_addr_fold(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			s[i] = (char)(s[i] + ('a' - 'A'));
}

void
mail_addr_fold_domain(char *internal, size_t len)
{
	size_t at = span_find_last(span_of(internal, len), '@');

	if (at < len)
		mail_addr_fold(internal + at, len - at);
}

/* ---- extensions ---- */

static bool
mail_addr_never_extended(struct span local)
{
	return span_equal_nocase_str(local, "mailer-daemon") ||
	       span_equal_nocase_str(local, "double-bounce") ||
	       span_equal_nocase_str(local, "postmaster");
}

size_t
mail_addr_extension(struct span local, const char *delimiters, bool owner_request_split)
{
	if (delimiters == NULL || delimiters[0] == '\0' || mail_addr_never_extended(local))
		return local.len;
	if (!owner_request_split && strchr(delimiters, '-') != NULL &&
	    (span_starts_nocase(local, "owner-") || span_ends_nocase(local, "-request")))
		return local.len;
	for (size_t i = 1; i < local.len; i++)
		if (local.ptr[i] != '\0' && strchr(delimiters, local.ptr[i]) != NULL)
			return i;
	return local.len;
}

/* ---- hosts and literals ---- */

static enum mail_addr_host
mail_addr_check_label(struct span label)
{
	if (label.len == 0)
		return MAIL_ADDR_HOST_DELIMITER;
	if (label.len > 63)
		return MAIL_ADDR_HOST_LABEL_LONG;
	if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
		return MAIL_ADDR_HOST_HYPHEN;
	for (size_t i = 0; i < label.len; i++) {
		unsigned char c = (unsigned char)label.ptr[i];

		if (!isalnum(c) && c != '-' && c != '_' && c < 128)
			return MAIL_ADDR_HOST_CHARACTER;
	}
	return MAIL_ADDR_HOST_OK;
}

enum mail_addr_host
mail_addr_check_host(struct span host)
{
	struct span rest = host;
	bool numeric = true;

	if (host.len == 0)
		return MAIL_ADDR_HOST_EMPTY;
	for (;;) {
		size_t dot = span_find(rest, '.');
		enum mail_addr_host why = mail_addr_check_label(span_head(rest, dot));

		if (why != MAIL_ADDR_HOST_OK)
			return why;
		for (size_t i = 0; i < dot; i++)
			numeric = numeric && rest.ptr[i] >= '0' && rest.ptr[i] <= '9';
		if (dot == rest.len)
			break;
		rest = span_from(rest, dot + 1);
	}
	if (numeric)
		return MAIL_ADDR_HOST_NUMERIC;
	return host.len > 255 ? MAIL_ADDR_HOST_LONG : MAIL_ADDR_HOST_OK;
}

bool
mail_addr_is_host(struct span host)
{
	return mail_addr_check_host(host) == MAIL_ADDR_HOST_OK;
}

const char *
mail_addr_host_text(enum mail_addr_host why)
{
	switch (why) {
	case MAIL_ADDR_HOST_OK:
		return "ok";
	case MAIL_ADDR_HOST_EMPTY:
		return "empty hostname";
	case MAIL_ADDR_HOST_LABEL_LONG:
		return "hostname label too long";
	case MAIL_ADDR_HOST_CHARACTER:
		return "invalid character";
	case MAIL_ADDR_HOST_DELIMITER:
		return "misplaced delimiter";
	case MAIL_ADDR_HOST_HYPHEN:
		return "misplaced hyphen";
	case MAIL_ADDR_HOST_NUMERIC:
		return "numeric hostname";
	case MAIL_ADDR_HOST_LONG:
		return "bad length";
	}
	UNREACHED();
}

static bool
mail_addr_is_address(int family, struct span s)
{
	unsigned char address[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN];

	if (s.len >= sizeof(text) || memchr(s.ptr, '\0', s.len) != NULL)
		return false;
	memcpy(text, s.ptr, s.len);
	text[s.len] = '\0';
	return inet_pton(family, text, address) == 1;
}

bool
mail_addr_is_ipv4(struct span s)
{
	return s.len != 0 && mail_addr_is_address(AF_INET, s);
}

bool
mail_addr_is_ipv6(struct span s)
{
	return s.len != 0 && mail_addr_is_address(AF_INET6, s);
}

bool
mail_addr_is_literal(struct span domain, struct span *ret_address)
{
	struct span inner;
	bool good;

	if (domain.len < 3 || domain.ptr[0] != '[' || domain.ptr[domain.len - 1] != ']')
		return false;
	inner = span_of(domain.ptr + 1, domain.len - 2);
	if (span_starts_nocase(inner, "IPv6:")) {
		inner = span_from(inner, 5);
		good = mail_addr_is_ipv6(inner);
	} else {
		good = mail_addr_is_ipv4(inner);
	}
	if (good && ret_address != NULL)
		*ret_address = inner;
	return good;
}

bool
mail_addr_is_domain(struct span domain)
{
	if (domain.len != 0 && domain.ptr[0] == '[')
		return mail_addr_is_literal(domain, NULL);
	return mail_addr_is_host(domain);
}

int
mail_addr_compare(const char *a, const char *b)
{
	const char *at_a = strrchr(a, '@');
	const char *at_b = strrchr(b, '@');
	int domains = strcasecmp(at_a != NULL ? at_a : "", at_b != NULL ? at_b : "");

	return domains != 0 ? domains : strcasecmp(a, b);
}
