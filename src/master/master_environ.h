/*
 * master_environ.h - the environment of all our processes: what import_environment lets through, a safe PATH, and in test
 * builds what the tools of the build need.
 */
#ifndef MASTER_MASTER_ENVIRON_H
#define MASTER_MASTER_ENVIRON_H

#include "conf/conf.h"

/* Makes this process's environment so; children inherit it. */
void master_environ_clean(const struct conf *c);

#endif
