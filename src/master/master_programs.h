/*
 * master_programs.h - where our programs are.
 */
#ifndef MASTER_MASTER_PROGRAMS_H
#define MASTER_MASTER_PROGRAMS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

/*
 * The directory of the service programs: daemon_directory when main.cf sets it and our programs are there, else the
 * directory of the running program. A main.cf that was written for Postfix names Postfix's directory, with programs of
 * the same names; ours are told by the `rowpost` beside them.
 */
bool master_programs_dir(const struct conf *c, struct buf *ret, struct err *err) MUST_CHECK;

#endif
