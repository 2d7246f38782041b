/*
 * utf8.h - the one door for foreign text on its way to the database (protocol rule 5a.12): PostgreSQL takes valid
 * UTF-8 without NUL, and nothing else.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* True if `s` is valid UTF-8 (RFC 3629: no overlong forms, no surrogates) without NUL. */
bool utf8_is_valid(struct span s);

/* True if every byte is below 0x80. */
bool utf8_is_ascii(struct span s);

/*
 * Appends `s` to `out` as valid UTF-8 of at most `max` bytes: each bad byte and each NUL becomes '?', a text too long
 * is cut between characters.
 */
void utf8_add_clean(struct buf *out, struct span s, size_t max);

/* The character at the front of `s`; its length, 0 when there is none, or none that is valid. */
size_t utf8_get(struct span s, uint32_t *ret_c);

/* Appends a character; false: there is none with this number. */
bool utf8_put(struct buf *out, uint32_t c);

#endif
