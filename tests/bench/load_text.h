/*
 * load_text.h - message bodies that look like mail to a compressor: words of unequal frequency, quoted lines, links
 * and some incompressible tokens, about 2:1. One pool is made at the start; a message is a slice of it at a place of
 * its own, so that a body costs the generator nothing but the write.
 */
#ifndef BENCH_LOAD_TEXT_H
#define BENCH_LOAD_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Make the pool, large enough for bodies of `max_body` bytes. No line of it begins with a dot. */
void load_text_init(size_t max_body);

/*
 * A body for message number `seq`: `*len` bytes at the return value, not ending in a lone CR (`*len` is lowered by
 * one where it would), with no line end of its own at its end: the caller's CRLF "." CRLF follows.
 */
const char *load_text_slice(uint64_t seq, size_t *len);

#endif
