/*
 * conf_param.h - the parameter table as data: what conf/params.def says of each parameter. For `postconf -d`,
 * `rowpost check`, the reference page and the checks on the table itself; programs that only want a value use conf.h.
 */
#ifndef CONF_CONF_PARAM_H
#define CONF_CONF_PARAM_H

#include "base/base.h"
#include "base/span.h"
#include "conf/conf.h"

enum conf_type {
	CONF_TYPE_STR,
	CONF_TYPE_RAW,
	CONF_TYPE_ENUM,
	CONF_TYPE_SET,
	CONF_TYPE_BOOL,
	CONF_TYPE_INT,
	CONF_TYPE_TIME,
};

enum conf_status {
	CONF_SAME,    /* works as in Postfix */
	CONF_DIFFERS, /* works, or has a default, that departs from Postfix: see the ADR */
	CONF_BUILTIN, /* accepted, means nothing here because it is built in */
	CONF_NOTYET,  /* accepted, does nothing yet */
	CONF_OWN,     /* Rowpost's own, works */
};

struct conf_param_info {
	const char *name;
	const char *def;     /* default as written, unexpanded; "" for those taken from the host */
	const char *values;  /* ENUM, SET: the words, separated by '|'; else NULL */
	const char *meaning; /* one line of English */
	int64_t lo;          /* INT: the number, TIME: seconds; 0: what is below counts as 0 */
	int64_t hi;          /* 0: as large as the type allows */
	enum conf_type type;
	enum conf_status status;
	int adr; /* CONF_DIFFERS: number of the record in docs/adr */
};

/* The row of `p`. */
const struct conf_param_info *conf_param_info(enum conf_param p);

/* Finds a row by name. */
bool conf_param_find(struct span name, enum conf_param *ret_param) MUST_CHECK;

/* The row, and if need be the user-defined parameter, nearest in spelling to `name`; NULL when none is near. */
const char *conf_param_nearest(struct span name);

/* "same", "differs", "built in", "not yet", "own". */
const char *conf_param_status_name(enum conf_status status);

/* 's', 'm', 'h', 'd' or 'w': what a TIME without a unit counts, which is the unit of its default. */
char conf_param_unit(const struct conf_param_info *info);

#endif
