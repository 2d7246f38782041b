/*
 * main_cf.h - main.cf as lines: name, value, where. Knows nothing of what names mean. Later lines win; the earlier
 * ones are reported, as Postfix does.
 */
#ifndef CONF_MAIN_CF_H
#define CONF_MAIN_CF_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct main_cf_entry {
	char *name;    /* owned */
	char *value;   /* owned; continuation lines joined by their own white space, trimmed */
	int line;      /* where the logical line starts */
	int last_line; /* where it ends */
};

struct main_cf {
	struct main_cf_entry
	    *entries; /* owned; in the order of the file, each name once, the last one's value */
	size_t count;
	char *
	    warnings; /* owned; lines in Postfix's words, each with a newline, or NULL: entries overridden */
};

/* Reads the file. False with ERR_CONFIG when it cannot be read or a line is no assignment. */
bool main_cf_load(const char *file, struct main_cf *ret, struct err *err) MUST_CHECK;

/* The same from `text`; `file` is for messages. */
bool main_cf_parse(
    struct span text, const char *file, struct main_cf *ret, struct err *err) MUST_CHECK;

void main_cf_done(struct main_cf *m);

/* Adds "name = value" as if it stood at the end of the file (line 0), without a warning when it overrides. */
bool main_cf_assign(struct main_cf *m, struct span text, struct err *err) MUST_CHECK;

/* Appends the whole text of a configuration file, main.cf or another, to `ret`. */
bool main_cf_read(const char *file, struct buf *ret, struct err *err) MUST_CHECK;

/* The entry of that name, or NULL. */
const struct main_cf_entry *main_cf_find(const struct main_cf *m, struct span name);

/*
 * Cuts the next logical line off `*rest`: comment and empty lines are skipped, lines that start with white space join.
 * Returns false at the end. `*line` is the number of the last physical line read so far (0 before the first call);
 * ret_first is where this logical line starts. main.cf and master.cf share it.
 */
bool main_cf_line(struct span *rest, int *line, struct buf *ret_text, int *ret_first) MUST_CHECK;

#endif
