/*
 * err.h - what went wrong, where the fault was seen: temporary or permanent is decided there, once. A fixed-size
 * value: no ownership, setting it cannot fail.
 *
 *	bool f(..., T *ret_x, struct err *err) MUST_CHECK;
 *	return err_set(err, ERR_TEMP, "4.4.1", "connect to %s: %s", host, strerror(errno));
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/base.h"

enum err_kind {
	ERR_NONE,
	ERR_TEMP, /* may work later: 4xx to the outside, defer inside. All database trouble is this. */
	ERR_PERM,   /* will not work later: 5xx, bounce */
	ERR_CONFIG, /* an operator must mend something; temporary to the outside */
	ERR_GONE,   /* the peer, the lease or the task is gone: nobody is there to be told */
};

struct err {
	enum err_kind kind;
	int smtp_code;  /* reply code that goes with it, 0 = take the default of the place */
	char dsn[12];   /* enhanced status code, RFC 3463, as "4.3.0"; may be empty */
	char text[400]; /* one line for an operator, without the code */
};

/* Fills `err` and returns false, so that a function can `return err_set(...)`. A text too long is cut. */
bool err_set(struct err *err, enum err_kind kind, const char *dsn, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* The same with an SMTP reply code. */
bool err_set_smtp(struct err *err, enum err_kind kind, int smtp_code, const char *dsn,
    const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Puts "fmt: " in front of the text that is there, and returns false. */
bool err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ERR_NONE, empty texts. */
void err_clear(struct err *err);

/* "temporary", "permanent", ... for logs and tests. */
const char *err_kind_name(enum err_kind kind);

#endif
