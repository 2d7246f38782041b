/*
 * err.c - filling a struct err: see err.h.
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static void err_fill(struct err *err, enum err_kind kind, int smtp_code, const char *dsn,
    const char *fmt, va_list args) PRINTF_LIKE(5, 0);

static void
err_fill(struct err *err, enum err_kind kind, int smtp_code, const char *dsn, const char *fmt,
    va_list args)
{
	char text[sizeof(err->text)];

	/* The arguments may point into `err` itself. */
	(void)vsnprintf(text, sizeof(text), fmt, args);
	err->kind = kind;
	err->smtp_code = smtp_code;
	(void)snprintf(err->dsn, sizeof(err->dsn), "%s", dsn);
	(void)snprintf(err->text, sizeof(err->text), "%s", text);
}

bool
err_set(struct err *err, enum err_kind kind, const char *dsn, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	err_fill(err, kind, 0, dsn, fmt, args);
	va_end(args);
	return false;
}

bool
err_set_smtp(
    struct err *err, enum err_kind kind, int smtp_code, const char *dsn, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	err_fill(err, kind, smtp_code, dsn, fmt, args);
	va_end(args);
	return false;
}

bool
err_prefix(struct err *err, const char *fmt, ...)
{
	char front[sizeof(err->text)];
	char text[2 * sizeof(err->text) + 2];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(front, sizeof(front), fmt, args);
	va_end(args);
	(void)snprintf(text, sizeof(text), "%s: %s", front, err->text);
	(void)snprintf(err->text, sizeof(err->text), "%.*s", (int)sizeof(err->text) - 1, text);
	return false;
}

void
err_clear(struct err *err)
{
	*err = (struct err){.kind = ERR_NONE};
}

const char *
err_kind_name(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE:
		return "none";
	case ERR_TEMP:
		return "temporary";
	case ERR_PERM:
		return "permanent";
	case ERR_CONFIG:
		return "configuration";
	case ERR_GONE:
		return "gone";
	}
	UNREACHED();
}
