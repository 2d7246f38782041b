/*
 * conf_check.h - what `rowpost check` (and start and reload, for the errors) has to say about a configuration
 * directory: mistakes that stop the service, and settings that do not do what they seem to. What becomes of each line of
 * master.cf (started, built in, unknown command) is said by the room master, which knows the programs.
 */
#ifndef CONF_CONF_CHECK_H
#define CONF_CONF_CHECK_H

#include "base/base.h"
#include "base/buf.h"

enum conf_severity {
	CONF_INFO,  /* for `rowpost check` only */
	CONF_WARN,  /* also logged at start */
	CONF_ERROR, /* refuses start and reload */
};

struct conf_finding {
	enum conf_severity severity;
	char *file; /* owned */
	int line;   /* 0: the file as a whole */
	char *text; /* owned; one line */
};

struct conf_findings {
	struct conf_finding *list; /* owned; main.cf before master.cf, each in the order of lines */
	size_t count;
	size_t errors; /* how many of them are CONF_ERROR */
};

/* Reads DIR/main.cf and DIR/master.cf and judges them. The result is released with conf_findings_done(). */
void conf_check(const char *dir, struct conf_findings *ret);

void conf_findings_done(struct conf_findings *f);

/* Appends "DIR/main.cf, line 5: warning: text", without a newline. */
void conf_finding_print(const struct conf_finding *f, struct buf *ret);

/* "error", "warning", "info". */
const char *conf_severity_name(enum conf_severity severity);

#endif
