/*
 * utf8.c - see utf8.h.
 */
#include "base/utf8.h"

size_t
utf8_get(struct span s, uint32_t *ret_c)
{
	const unsigned char *p = (const unsigned char *)s.ptr;
	uint32_t code;
	size_t len;

	if (s.len == 0)
		return 0;
	*ret_c = p[0];
	if (p[0] < 0x80)
		return p[0] != 0;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (s.len < len)
		return 0;
	code = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if ((len == 3 && code < 0x800) || (len == 4 && (code < 0x10000 || code > 0x10ffff)))
		return 0;
	*ret_c = code;
	return code >= 0xd800 && code <= 0xdfff ? 0 : len;
}

/* Length of the valid character at the front of `s`, 0 if there is none. NUL is not valid. */
static size_t
utf8_char(struct span s)
{
	uint32_t c;

	return utf8_get(s, &c);
}

bool
utf8_put(struct buf *out, uint32_t c)
{
	char bytes[4];
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	uint32_t again;

	if (c > 0x10ffff)
		return false;
	if (len == 1)
		bytes[0] = (char)c;
	for (size_t i = len; len > 1 && i > 0; i--, c >>= 6)
		bytes[i - 1] = (char)(i > 1 ? 0x80 | (c & 0x3f) : (0xf00u >> len) | c);
	if (utf8_get(span_of(bytes, len), &again) != len)
		return false;
	buf_add(out, bytes, len);
	return true;
}

bool
utf8_is_valid(struct span s)
{
	while (s.len != 0) {
		size_t n = utf8_char(s);

		if (n == 0)
			return false;
		s = span_from(s, n);
	}
	return true;
}

bool
utf8_is_ascii(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] >= 0x80)
			return false;
	return true;
}

void
utf8_add_clean(struct buf *out, struct span s, size_t max)
{
	while (s.len != 0) {
		size_t n = utf8_char(s);
		size_t add = n != 0 ? n : 1;

		if (add > max)
			return;
		if (n != 0)
			buf_add(out, s.ptr, n);
		else
			buf_add_char(out, '?');
		max -= add;
		s = span_from(s, add);
	}
}
