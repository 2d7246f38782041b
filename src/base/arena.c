/*
 * arena.c - see arena.h. Blocks double up to 64 KB; a larger request gets a block of its own.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define ARENA_FIRST 1024
#define ARENA_LAST  65536
#define ARENA_ALIGN _Alignof(max_align_t)

struct arena_block {
	struct arena_block *next;
	size_t size; /* bytes in data */
	size_t used;
	_Alignas(max_align_t) char data[];
};

static struct arena_block *
arena_grow(struct arena *a, size_t size)
{
	size_t want = a->blocks != NULL ? MIN(a->blocks->size * 2, ARENA_LAST) : ARENA_FIRST;
	struct arena_block *b = mem_alloc(sizeof(*b) + MAX(want, size));

	b->size = MAX(want, size);
	b->used = 0;
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b = a->blocks;
	void *ptr;

	MUST(size < SIZE_MAX / 2);
	size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (b == NULL || b->size - b->used < size)
		b = arena_grow(a, size);
	ptr = b->data + b->used;
	b->used += size;
	a->total += size;
	memset(ptr, 0, size);
	return ptr;
}

char *
arena_dup(struct arena *a, struct span s)
{
	char *copy = arena_alloc(a, s.len + 1);

	if (s.len != 0)
		memcpy(copy, s.ptr, s.len);
	return copy;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	return s == NULL ? NULL : arena_dup(a, span_str(s));
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	va_list again;
	char *text;
	int len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	MUST(len >= 0);
	text = arena_alloc(a, (size_t)len + 1);
	MUST(vsnprintf(text, (size_t)len + 1, fmt, again) == len);
	va_end(again);
	va_end(args);
	return text;
}

void
arena_done(struct arena *a)
{
	struct arena_block *b = a->blocks;

	while (b != NULL) {
		struct arena_block *next = b->next;

		mem_free(b);
		b = next;
	}
	*a = (struct arena){0};
}
