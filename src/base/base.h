/*
 * base.h - the only header that every file may take for granted: attributes, small macros, the banned list and
 * assertions that stay on in production.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK             __attribute__((warn_unused_result))
#define NO_RETURN              __attribute__((noreturn))
#define UNUSED                 __attribute__((unused))
#define CLEANUP(fn)            __attribute__((cleanup(fn)))
#define LIKELY(x)              __builtin_expect(!!(x), 1)
#define UNLIKELY(x)            __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of type `type` whose member `member` is at `ptr`. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b) ((a) < (b) ? (a) : (b)) /* evaluates its arguments twice */
#define MAX(a, b) ((a) > (b) ? (a) : (b)) /* evaluates its arguments twice */

/*
 * Assertions for our own bugs, compiled in always: log file, line and condition, then abort; master restarts the
 * process. Never for anything a peer, an operator or the environment can cause.
 */
#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (UNLIKELY(!(cond)))                                                             \
			base_bug(__FILE__, __LINE__, #cond);                                       \
	} while (0)
#define UNREACHED() base_bug(__FILE__, __LINE__, "unreached")

/* Reports a bug through the log and aborts. */
NO_RETURN void base_bug(const char *file, int line, const char *what);

#endif
