/*
 * conf_check_int.h - what the files of `rowpost check` in this room share.
 */
#ifndef CONF_CONF_CHECK_INT_H
#define CONF_CONF_CHECK_INT_H

#include "base/base.h"
#include "conf/conf.h"
#include "conf/conf_check.h"
#include "conf/conf_param.h"
#include "conf/main_cf.h"
#include "conf/master_cf.h"

struct check {
	const char *dir;
	char *main_file;   /* owned */
	char *master_file; /* owned */
	struct main_cf main_cf;
	struct master_cf master_cf;
	bool master_read; /* master.cf could be read: what is not in it is not there */
	struct conf_findings *findings;
	/* While a configuration is built: whose mistakes these are. */
	const struct master_service *service; /* NULL: main.cf */
};

/* Adds a finding; `line` 0: the file as a whole. */
void conf_check_add(struct check *k, enum conf_severity severity, const char *file, int line,
    const char *fmt, ...) PRINTF_LIKE(5, 6);

/* The line of main.cf that sets a parameter; 0: none. */
int conf_check_line(const struct check *k, const char *name);

/* About parameter `p`, at the line that sets it. */
#define ADD_PARAM(k, severity, p, ...)                                                             \
	conf_check_add((k), (severity), (k)->main_file,                                            \
	    conf_check_line((k), conf_param_info(p)->name), __VA_ARGS__)

/* Where mail is to go: transports that no line of master.cf has, next hops and domains that can be none. */
void conf_check_routes(struct check *k, const struct conf *c);

/* The cleanup service of a service (`c`: its configuration) that takes mail in. */
void conf_check_cleanup(struct check *k, const struct conf *c, const struct master_service *s);

#endif
