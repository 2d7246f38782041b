/*
 * conf_int.h - loading a configuration with all its mistakes told, not only the first: what conf_load() and
 * conf_check() share.
 */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include "base/base.h"
#include "conf/conf.h"
#include "conf/main_cf.h"

/* Told of each mistake: the parameter's name, the line of main.cf (0: an override or a default) and what is wrong. */
typedef void conf_problem_fn(void *arg, const char *name, int line, const char *text);

/* Builds a configuration from the lines of main.cf. Where there is a problem the value is the default, or nothing. */
struct conf *conf_build(const struct conf_source *source, const struct main_cf *main_cf,
    conf_problem_fn *problem, void *arg);

#endif
