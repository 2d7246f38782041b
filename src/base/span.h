/*
 * span.h - a slice of bytes that somebody else owns: pointer and length, no terminator. Parsers take spans.
 * A zero span is the empty slice. Case folding is ASCII only, as SMTP wants it (RFC 5321 section 2.4).
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <string.h>

#include "base/base.h"

struct span {
	const char *ptr; /* borrowed; may be NULL when len is 0 */
	size_t len;
};

/* For printf's "%.*s": SPAN_ARG(s). */
#define SPAN_ARG(s) (int)(s).len, ((s).ptr != NULL ? (s).ptr : "")

/* The span over a string literal. */
#define SPAN_LIT(lit) ((struct span){(lit), sizeof(lit) - 1})

/* The span over `len` bytes at `ptr`. */
static inline struct span
span_of(const char *ptr, size_t len)
{
	return (struct span){ptr, len};
}

/* The span over the C string `s` (NULL: empty). */
static inline struct span
span_str(const char *s)
{
	return (struct span){s, s != NULL ? strlen(s) : 0};
}

/* The part from `from` to the end; beyond the end: empty. */
static inline struct span
span_from(struct span s, size_t from)
{
	return from >= s.len ? (struct span){s.len != 0 ? s.ptr + s.len : s.ptr, 0}
			     : (struct span){s.ptr + from, s.len - from};
}

/* The first `len` bytes, or all of `s` if it is shorter. */
static inline struct span
span_head(struct span s, size_t len)
{
	return (struct span){s.ptr, len < s.len ? len : s.len};
}

bool span_equal(struct span a, struct span b);
bool span_equal_str(struct span a, const char *b);

/* The same, ASCII letters of either case being equal. */
bool span_equal_nocase(struct span a, struct span b);
bool span_equal_nocase_str(struct span a, const char *b);

bool span_starts(struct span s, const char *prefix);
bool span_starts_nocase(struct span s, const char *prefix);
bool span_ends(struct span s, const char *suffix);
bool span_ends_nocase(struct span s, const char *suffix);

/* Index of the first / last `c`, or s.len if there is none. */
size_t span_find(struct span s, char c);
size_t span_find_last(struct span s, char c);

/* Without white space (space, tab, CR, LF, VT, FF) at both ends. */
struct span span_trim(struct span s);

/*
 * Cuts the next word off the front of `*rest`: bytes up to any of `separators`, runs of which count as one. Returns
 * false when only separators are left. Quotes and braces mean nothing here.
 */
bool span_word(struct span *rest, const char *separators, struct span *ret_word);

/*
 * Decimal number, digits only, the whole span. False when empty, not a number, or above `max`.
 */
bool span_number(struct span s, uint64_t max, uint64_t *ret_value) MUST_CHECK;

/* A fresh C string with the bytes of `s` (mem_free). A NUL byte inside ends what C code sees. */
char *span_dup(struct span s);

#endif
