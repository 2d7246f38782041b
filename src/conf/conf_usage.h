/*
 * conf_usage.h - which names that are not in the parameter table mean something all the same, as Postfix decides it:
 *
 *	<service>_<suffix>        for the delivery services of master.cf
 *	a word of smtpd_restriction_classes
 *	a name that some value refers to as $name
 *	<name>_<suffix>           where a value has ldap:<name>, mysql:<name> and the like
 *
 * All other names are unused: most often typing errors.
 */
#ifndef CONF_CONF_USAGE_H
#define CONF_CONF_USAGE_H

#include "base/base.h"
#include "base/hmap.h"
#include "conf/conf_param.h"
#include "conf/main_cf.h"
#include "conf/master_cf.h"

/* A setting nobody uses, or a $name nobody defines. */
struct conf_stray {
	const struct master_service *service; /* in master.cf; NULL: in main.cf */
	int line;
	const char
	    *name; /* borrowed from the files' structs; for undefined names owned by the usage */
	const char *value; /* borrowed; NULL for undefined names */
};

struct conf_usage {
	struct hmap
	    names; /* names in main.cf that are used, beyond the table; values: the entries of main.cf */
	struct conf_stray *unused; /* owned; main.cf first, in the order of the files */
	size_t unused_count;
	struct conf_stray *undefined; /* owned, names too */
	size_t undefined_count;
};

/* Both files must outlive the result. */
void conf_usage_find(
    const struct main_cf *main_cf, const struct master_cf *master_cf, struct conf_usage *ret);

void conf_usage_done(struct conf_usage *u);

/*
 * Calls `found` with every <service>_<suffix> that master.cf makes a parameter and that has no row of its own, and
 * the template row for its default.
 */
void conf_usage_services(const struct master_cf *master_cf,
    void (*found)(void *arg, const char *name, enum conf_param template_row), void *arg);

/* True for a row transport_<suffix>, which is no parameter itself. */
bool conf_usage_is_template(enum conf_param p);

#endif
