/*
 * buf.h - a growable byte buffer, always followed by a NUL that does not count, so that buf_str() is a C string.
 * `struct buf b = {0};` is a valid empty buffer. A buffer with a maximum drops what does not fit and remembers it
 * (`overflow`), so that code builds freely and checks once.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/base.h"
#include "base/span.h"

struct buf {
	char *ptr;     /* owned; NULL while nothing was ever added */
	size_t len;    /* bytes in use */
	size_t size;   /* bytes allocated, the NUL included */
	size_t max;    /* largest len allowed; 0 = no limit */
	bool overflow; /* something did not fit below max; sticky until buf_clear() */
};

/* Releases the memory; the buffer is then empty and usable (max is kept). Also the shape for CLEANUP(buf_done). */
void buf_done(struct buf *b);

/* Empties the buffer, keeps its memory. */
void buf_clear(struct buf *b);

/* Makes room for `more` further bytes and returns where they go; the caller then adds to b->len (see buf_added). */
char *buf_room(struct buf *b, size_t more);

/* Counts `n` bytes that the caller wrote at buf_room(). */
void buf_added(struct buf *b, size_t n);

void buf_add(struct buf *b, const void *ptr, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_span(struct buf *b, struct span s);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

/* Numbers in network byte order, for binary protocols. */
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_u16(struct buf *b, uint16_t v);
void buf_add_u32(struct buf *b, uint32_t v);
void buf_add_u64(struct buf *b, uint64_t v);

/* Drops the first `n` bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);

/* Shortens to `len` bytes (len <= b->len). */
void buf_truncate(struct buf *b, size_t len);

/* Puts `instead` in place of each control character (below space, and DEL) from offset `from` on. */
void buf_mask_controls(struct buf *b, size_t from, char instead);

/* The contents as a C string, never NULL; valid until the next change. */
const char *buf_str(const struct buf *b);

/* The contents as a span; valid until the next change. */
struct span buf_span(const struct buf *b);

/* Hands the contents over as a fresh string (mem_free); the buffer is then empty. Never NULL. */
char *buf_take(struct buf *b);

#endif
