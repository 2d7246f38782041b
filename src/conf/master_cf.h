/*
 * master_cf.h - master.cf: which services run, where they listen, how many of each. Only reads; what the services are
 * is known by the room master.
 *
 * Postfix's rules: a line that starts with white space continues the one before; '#' in the first column or after
 * white space at the start of a line makes a comment; { } around an argument protect white space in it; "-" asks for
 * the default; of two lines with the same name and type the last one counts.
 */
#ifndef CONF_MASTER_CF_H
#define CONF_MASTER_CF_H

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"

enum master_cf_type {
	MASTER_CF_INET, /* TCP: name is port or host:port */
	MASTER_CF_UNIX,
	MASTER_CF_UNIX_DGRAM,
	MASTER_CF_FIFO,
	MASTER_CF_PASS, /* UNIX socket over which another service hands open connections */
};

/* The columns before the command, as written. */
enum master_cf_field {
	MASTER_CF_FIELD_NAME,
	MASTER_CF_FIELD_TYPE,
	MASTER_CF_FIELD_PRIVATE,
	MASTER_CF_FIELD_UNPRIV,
	MASTER_CF_FIELD_CHROOT,
	MASTER_CF_FIELD_WAKEUP,
	MASTER_CF_FIELD_MAXPROC,
	MASTER_CF_FIELD_COMMAND,
	MASTER_CF_FIELD_COUNT
};

#define MASTER_CF_DEFAULT (-1) /* maxproc "-": default_process_limit, smtpd_session_limit, ... */

struct master_service {
	char *fields[MASTER_CF_FIELD_COUNT]; /* owned; as written, "-" included */
	enum master_cf_type type;
	bool is_private;     /* default y */
	bool unpriv;         /* default y */
	bool chroot;         /* default n */
	int wakeup;          /* seconds between wake-ups, 0: none */
	bool wakeup_if_used; /* "60?": only after the service was used */
	int maxproc;         /* 0: no limit; MASTER_CF_DEFAULT */
	char **
	    args; /* owned; words after the command; name=value of -o without its braces, others as written */
	size_t arg_count;
	size_t
	    option_count; /* how many of the args are options and their values: the rest is the service's own */
	struct conf_override *overrides; /* owned, texts too; of -o, in order */
	size_t override_count;
	int verbose;   /* number of -v */
	int line;      /* where its line starts in master.cf */
	int last_line; /* where it ends */
};

struct master_cf {
	struct master_service *services; /* owned; in the order of the file */
	size_t count;
	char *
	    warnings; /* owned; lines in Postfix's words, each with a newline, or NULL: nothing odd */
};

/* Reads DIR/master.cf. False with ERR_CONFIG "file F: line N: ..." for a line that cannot be understood. */
bool master_cf_load(const char *dir, struct master_cf *ret, struct err *err) MUST_CHECK;

/* The same from `text`; `file` is for messages. */
bool master_cf_parse(
    struct span text, const char *file, struct master_cf *ret, struct err *err) MUST_CHECK;

/* The same, but lines that later ones override stay in: what postconf shows. */
bool master_cf_parse_all(
    struct span text, const char *file, struct master_cf *ret, struct err *err) MUST_CHECK;

void master_cf_done(struct master_cf *m);

/* The service, or NULL. `type` is the text of field 2. */
const struct master_service *master_cf_find(
    const struct master_cf *m, const char *name, const char *type);

/* The command without directories: "smtpd". Borrowed from `s`. */
const char *master_cf_command(const struct master_service *s);

/* What a service gets to see of one of its `args`: without outer braces and the white space inside them. Fresh. */
char *master_cf_argument(const char *arg);

#endif
