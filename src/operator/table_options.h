/*
 * table_options.h - the command lines of postmap(1) and postalias(1). Trouble with the words ends the program with Postfix's
 * words and exit status 1.
 */
#ifndef OPERATOR_TABLE_OPTIONS_H
#define OPERATOR_TABLE_OPTIONS_H

#include "base/base.h"
#include "operator/table_command.h"

struct table_options {
	struct table_command command; /* without conf */
	const char *conf_dir;         /* -c, or NULL */
	const char *query;            /* -q, or NULL */
	const char *remove;           /* -d, or NULL */
	bool list;                    /* -s */
	bool incremental;             /* -i */
	int verbose;
};

/* Reads the words; the result borrows from argv. `aliases`: postalias. */
void table_options_parse(int argc, char **argv, bool aliases, struct table_options *ret);

/* Does what they say with `conf`; *ret_status is the exit status. May wait. False: `err` is what to end with. */
bool table_options_run(
    struct table_options *o, struct conf *conf, int *ret_status, struct err *err) MUST_CHECK;

#endif
