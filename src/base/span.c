/*
 * span.c - comparing, cutting and searching slices: see span.h.
 */
#include "base/span.h"

#include <strings.h>

#include "base/mem.h"

bool
span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool
span_equal_str(struct span a, const char *b)
{
	return span_equal(a, span_str(b));
}

bool
span_equal_nocase(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

bool
span_equal_nocase_str(struct span a, const char *b)
{
	return span_equal_nocase(a, span_str(b));
}

bool
span_starts(struct span s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && span_equal(span_head(s, len), span_of(prefix, len));
}

bool
span_starts_nocase(struct span s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && span_equal_nocase(span_head(s, len), span_of(prefix, len));
}

bool
span_ends(struct span s, const char *suffix)
{
	size_t len = strlen(suffix);

	return s.len >= len && span_equal(span_from(s, s.len - len), span_of(suffix, len));
}

bool
span_ends_nocase(struct span s, const char *suffix)
{
	size_t len = strlen(suffix);

	return s.len >= len && span_equal_nocase(span_from(s, s.len - len), span_of(suffix, len));
}

size_t
span_find(struct span s, char c)
{
	const char *hit = s.len != 0 ? memchr(s.ptr, c, s.len) : NULL;

	return hit != NULL ? (size_t)(hit - s.ptr) : s.len;
}

size_t
span_find_last(struct span s, char c)
{
	const char *hit = s.len != 0 ? memrchr(s.ptr, c, s.len) : NULL;

	return hit != NULL ? (size_t)(hit - s.ptr) : s.len;
}

static bool
span_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct span
span_trim(struct span s)
{
	while (s.len != 0 && span_is_space(s.ptr[0]))
		s = span_from(s, 1);
	while (s.len != 0 && span_is_space(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

bool
span_word(struct span *rest, const char *separators, struct span *ret_word)
{
	struct span s = *rest;
	size_t n = 0;

	while (s.len != 0 && s.ptr[0] != '\0' && strchr(separators, s.ptr[0]) != NULL)
		s = span_from(s, 1);
	while (n < s.len && (s.ptr[n] == '\0' || strchr(separators, s.ptr[n]) == NULL))
		n++;
	*rest = span_from(s, n);
	if (n == 0)
		return false;
	*ret_word = span_head(s, n);
	return true;
}

bool
span_number(struct span s, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(s.ptr[i] - '0'), &value) ||
		    value > max)
			return false;
	}
	*ret_value = value;
	return true;
}

char *
span_dup(struct span s)
{
	return mem_dup(s.ptr, s.len);
}
