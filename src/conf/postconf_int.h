/*
 * postconf_int.h - what the parts of postconf share: the request, the files, and how a line is printed.
 *
 *	postconf.c         options and dispatch
 *	postconf_names.c   main.cf: which names there are and what their values are
 *	postconf_master.c  master.cf: lines, fields, -o settings
 *	postconf_edit.c    changing either file line by line
 *	postconf_print.c   words, folding, columns
 */
#ifndef CONF_POSTCONF_INT_H
#define CONF_POSTCONF_INT_H

#include "base/base.h"
#include "base/buf.h"
#include "conf/conf_param.h"
#include "conf/conf_usage.h"
#include "conf/main_cf.h"
#include "conf/master_cf.h"

enum postconf_view {
	POSTCONF_MAIN,   /* parameters of main.cf */
	POSTCONF_MASTER, /* -M: lines of master.cf */
	POSTCONF_FIELDS, /* -F: fields of master.cf */
	POSTCONF_PARAMS, /* -P: -o settings of master.cf */
};

enum postconf_action {
	POSTCONF_SHOW,
	POSTCONF_SET,     /* -e, or name=value without an option */
	POSTCONF_EXCLUDE, /* -X */
	POSTCONF_COMMENT, /* -# */
};

#define POSTCONF_CLASS_BUILTIN 1u
#define POSTCONF_CLASS_SERVICE 2u
#define POSTCONF_CLASS_USER    4u

struct postconf {
	const char *dir;
	bool dir_is_given;
	enum postconf_view view;
	enum postconf_action action;
	bool defaults;    /* -d */
	bool only_set;    /* -n */
	bool expand;      /* -x */
	bool fold;        /* -f */
	bool hide_names;  /* -h */
	bool hide_values; /* -H */
	bool failed;      /* something could not be shown: exit status 1 */
	unsigned classes; /* -C */
	char **args;      /* borrowed: words after the options */
	size_t arg_count;
	struct main_cf main_cf; /* with the overrides of -o */
	struct master_cf master_cf;
	struct conf_usage usage;
	struct conf *host; /* for the defaults that the host decides; made when first needed */
	struct buf out;
};

/* ---- postconf_names.c ---- */

/* Shows the parameters asked for, or all. */
void postconf_show_main(struct postconf *pc);

/*
 * The value of `name` as written; NULL: no such parameter. `service`: its -o settings come first; may be NULL.
 */
const char *postconf_value(
    struct postconf *pc, const struct master_service *service, struct span name);

/* Appends `text` with its $name expanded; ends the program when that cannot be done. */
void postconf_expand(
    struct postconf *pc, const struct master_service *service, const char *text, struct buf *ret);

/* Warnings about what nobody uses. */
void postconf_warn_unused(const struct postconf *pc);

/* ---- postconf_master.c ---- */

/* "name/type/rest" with "*" for any; parts left out are "*". */
struct postconf_pattern {
	char *name, *type, *rest; /* owned */
	bool has_type, has_rest;
	bool is_mixed; /* a "*" stands beside other characters: no request may have that */
};
void postconf_pattern_parse(struct span text, struct postconf_pattern *ret);
void postconf_pattern_done(struct postconf_pattern *p);
bool postconf_pattern_is(const struct postconf_pattern *p, const struct master_service *s);

/* -M, -F, -P. */
void postconf_show_master(struct postconf *pc);

/* Appends the line of a service as -M shows it. `pc` NULL: nothing is expanded. */
void postconf_service_line(
    struct postconf *pc, const struct master_service *s, bool fold, struct buf *ret);

/* What is wrong with a line of master.cf; as in Postfix without its place where a field is invalid. */
const char *postconf_master_problem(const struct err *err);

/* The number of the field called `name`, as in -F; ends the program for an unknown one. */
enum master_cf_field postconf_field(const char *name);

/* ---- postconf_edit.c ---- */

/* -e, -X, -# for any view. */
void postconf_edit(struct postconf *pc);

/* ---- postconf_print.c ---- */

/* Where lines of main.cf are folded; those of master.cf are one character shorter. */
#define POSTCONF_LINE ((size_t)80)

/*
 * Appends the words of `text` with one blank between them, folded so that no line is longer than `limit` (0: one line).
 * `*column` is where the line is, and stays up to date.
 */
void postconf_words(struct buf *ret, const char *text, size_t limit, size_t *column);

/* Appends "name = value" and a newline, in the form asked for. */
void postconf_setting(struct postconf *pc, const char *name, const char *value);

#endif
