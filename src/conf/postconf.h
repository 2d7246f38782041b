/*
 * postconf.h - the command postconf(1): shows and edits main.cf and master.cf as Postfix's does. What other rooms know
 * (types of tables, of SASL, bounce templates) comes in through `struct postconf_lists`.
 */
#ifndef CONF_POSTCONF_H
#define CONF_POSTCONF_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

/* Each text ends in a newline; NULL: nothing to show. */
struct postconf_lists {
	const char *map_types;         /* -m */
	const char *lock_types;        /* -l */
	const char *server_sasl_types; /* -a */
	const char *client_sasl_types; /* -A */
	/* -b and -t: appends the templates of `file` ("": the built-in ones; NULL: those of bounce_template_file). */
	bool (*templates)(
	    const struct conf *c, const char *file, bool expand, struct buf *ret, struct err *err);
	/* -T compile-version, run-version, public-key-algorithms; NULL for a mode it does not know. */
	const char *(*tls)(const char *mode);
};

/* The whole program; returns its exit status. Errors go to the log, which must lead to standard error. */
int postconf_main(int argc, char **argv, const struct postconf_lists *lists);

#endif
