/*
 * mem.h - memory. Allocation never returns NULL: running out ends the process with a panic line. Therefore every
 * size that a peer, a table or an operator controls must be limited before it comes here.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/base.h"

/* Fresh memory of `size` bytes (may be 0), not cleared. Release with mem_free(). */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));

/* Fresh memory of `size` bytes, all zero. */
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull));

/* Grows or shrinks `ptr` (NULL: fresh) to `count` elements of `size` bytes; a product that overflows is a bug. */
void *mem_resize(void *ptr, size_t count, size_t size) __attribute__((returns_nonnull));

/* A copy of `len` bytes at `ptr` followed by a NUL. */
char *mem_dup(const void *ptr, size_t len) __attribute__((malloc, returns_nonnull));

/* A copy of the string `s`; NULL gives NULL. */
char *mem_strdup(const char *s) __attribute__((malloc));

/* A fresh string made like printf(). */
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((malloc, returns_nonnull));

/* Releases memory from this file; accepts NULL. */
void mem_free(void *ptr);

/* Releases `*ptr` and sets it to NULL: the shape for CLEANUP() of a `char *`. */
void mem_free_str(char **ptr);

#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))

#endif
