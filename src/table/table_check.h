/*
 * table_check.h - which tables of a configuration cannot be used, for `rowpost check`.
 */
#ifndef TABLE_TABLE_CHECK_H
#define TABLE_TABLE_CHECK_H

#include "base/base.h"
#include "conf/conf.h"

/*
 * Opens every table with a file that main.cf names, and calls `found` for each that cannot be used: parameter, "type:name",
 * reason. Rules that are wrong go to the log as ever.
 */
void table_check(struct conf *conf,
    void (*found)(void *arg, const char *parameter, const char *table, const char *why), void *arg);

/* Calls `found` for each table of main.cf that services ask through proxymap: parameter, "type:name". */
void table_check_proxied(struct conf *conf,
    void (*found)(void *arg, const char *parameter, const char *table), void *arg);

#endif
