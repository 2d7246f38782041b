/*
 * buf.c - the growable buffer: see buf.h.
 */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define BUF_FIRST_SIZE 64

void
buf_done(struct buf *b)
{
	mem_free(b->ptr);
	*b = (struct buf){.max = b->max};
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	b->overflow = false;
	if (b->ptr != NULL)
		b->ptr[0] = '\0';
}

char *
buf_room(struct buf *b, size_t more)
{
	size_t need;

	MUST(!__builtin_add_overflow(b->len, more, &need) && need < SIZE_MAX / 2);
	if (need + 1 > b->size) {
		size_t size = b->size != 0 ? b->size : BUF_FIRST_SIZE;

		while (size < need + 1)
			size *= 2;
		b->ptr = mem_resize(b->ptr, size, 1);
		b->size = size;
	}
	return b->ptr + b->len;
}

void
buf_added(struct buf *b, size_t n)
{
	MUST(b->len + n < b->size || (n == 0 && b->ptr == NULL));
	b->len += n;
	if (b->ptr != NULL)
		b->ptr[b->len] = '\0';
}

/* How many of `len` bytes fit below the maximum; notes the overflow. */
static size_t
buf_fit(struct buf *b, size_t len)
{
	if (b->max == 0 || len <= b->max - MIN(b->len, b->max))
		return len;
	b->overflow = true;
	return b->max - MIN(b->len, b->max);
}

void
buf_add(struct buf *b, const void *ptr, size_t len)
{
	len = buf_fit(b, len);
	if (len == 0)
		return;
	memcpy(buf_room(b, len), ptr, len);
	buf_added(b, len);
}

void
buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_add_span(struct buf *b, struct span s)
{
	buf_add(b, s.ptr, s.len);
}

void
buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
	char small[256];
	va_list again;
	int len;

	va_copy(again, args);
	len = vsnprintf(small, sizeof(small), fmt, args);
	MUST(len >= 0);
	if ((size_t)len < sizeof(small)) {
		buf_add(b, small, (size_t)len);
	} else {
		char *text = mem_alloc((size_t)len + 1);

		MUST(vsnprintf(text, (size_t)len + 1, fmt, again) == len);
		buf_add(b, text, (size_t)len);
		mem_free(text);
	}
	va_end(again);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	buf_vprintf(b, fmt, args);
	va_end(args);
}

static void
buf_add_be(struct buf *b, uint64_t v, size_t bytes)
{
	char out[8];

	for (size_t i = 0; i < bytes; i++)
		out[i] = (char)(v >> (8 * (bytes - 1 - i)));
	buf_add(b, out, bytes);
}

void
buf_add_u8(struct buf *b, uint8_t v)
{
	buf_add_be(b, v, 1);
}

void
buf_add_u16(struct buf *b, uint16_t v)
{
	buf_add_be(b, v, 2);
}

void
buf_add_u32(struct buf *b, uint32_t v)
{
	buf_add_be(b, v, 4);
}

void
buf_add_u64(struct buf *b, uint64_t v)
{
	buf_add_be(b, v, 8);
}

void
buf_consume(struct buf *b, size_t n)
{
	MUST(n <= b->len);
	if (n == 0)
		return;
	memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
	b->ptr[b->len] = '\0';
}

void
buf_truncate(struct buf *b, size_t len)
{
	MUST(len <= b->len);
	b->len = len;
	if (b->ptr != NULL)
		b->ptr[len] = '\0';
}

void
buf_mask_controls(struct buf *b, size_t from, char instead)
{
	for (size_t i = from; i < b->len; i++)
		if ((unsigned char)b->ptr[i] < ' ' || b->ptr[i] == 127)
			b->ptr[i] = instead;
}

const char *
buf_str(const struct buf *b)
{
	return b->ptr != NULL ? b->ptr : "";
}

struct span
buf_span(const struct buf *b)
{
	return span_of(buf_str(b), b->len);
}

char *
buf_take(struct buf *b)
{
	char *text = b->ptr != NULL ? b->ptr : mem_dup("", 0);

	*b = (struct buf){.max = b->max};
	return text;
}
