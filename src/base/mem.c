/*
 * mem.c - allocation that cannot fail: see mem.h.
 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
mem_checked(void *ptr)
{
	MUST(ptr != NULL);
	return ptr;
}

void *
mem_alloc(size_t size)
{
	return mem_checked(malloc(size != 0 ? size : 1));
}

void *
mem_zalloc(size_t size)
{
	return mem_checked(calloc(1, size != 0 ? size : 1));
}

void *
mem_resize(void *ptr, size_t count, size_t size)
{
	size_t bytes;

	MUST(!__builtin_mul_overflow(count, size, &bytes));
	return mem_checked(realloc(ptr, bytes != 0 ? bytes : 1));
}

char *
mem_dup(const void *ptr, size_t len)
{
	size_t bytes;
	char *copy;

	MUST(!__builtin_add_overflow(len, 1, &bytes));
	copy = mem_alloc(bytes);
	if (len != 0)
		memcpy(copy, ptr, len);
	copy[len] = '\0';
	return copy;
}

char *
mem_strdup(const char *s)
{
	return s == NULL ? NULL : mem_dup(s, strlen(s));
}

char *
mem_printf(const char *fmt, ...)
{
	va_list args;
	char *text = NULL;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	MUST(len >= 0);
	return mem_checked(text);
}

void
mem_free(void *ptr)
{
	free(ptr);
}

void
mem_free_str(char **ptr)
{
	free(*ptr);
	*ptr = NULL;
}
