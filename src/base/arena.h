/*
 * arena.h - memory that is dropped as a whole: one arena per SMTP transaction and per delivery attempt. Nothing in
 * it is released singly. `struct arena a = {0};` is valid and empty.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/base.h"
#include "base/span.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* owned, newest first */
	size_t total;               /* bytes handed out, for limits */
};

/* `size` zero bytes, aligned for any type; valid until arena_done(). */
void *arena_alloc(struct arena *a, size_t size) __attribute__((returns_nonnull));

/* Copies, NUL-terminated. NULL gives NULL. */
char *arena_strdup(struct arena *a, const char *s);
char *arena_dup(struct arena *a, struct span s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Drops everything; the arena is empty and usable. The shape for CLEANUP(arena_done). */
void arena_done(struct arena *a);

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))

#endif
