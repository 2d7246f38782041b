/*
 * base.c - where a bug of our own ends: one log line, then abort, so that a core shows the state.
 */
#include "base/base.h"

#include <stdlib.h>

#include "base/log.h"

void
base_bug(const char *file, int line, const char *what)
{
	log_line(LOG_LEVEL_PANIC, "%s:%d: %s", file, line, what);
	log_flush();
	abort();
}
