/*
 * master_dirs.h - the directories and users of an installation: made where missing, mended by `rowpost set-permissions`.
 *
 *	queue_directory            root          0755
 *	  pid                      root          0755   pid file, locks, control socket
 *	  private                  root:mail     0710   sockets between our own processes
 *	  public                   root:drop     2710   sockets for the set-gid commands
 *	  maildrop                 mail:drop     1730   what sendmail(1) leaves
 *	data_directory             mail          0755
 *	  database, its sockets    database_owner
 */
#ifndef MASTER_MASTER_DIRS_H
#define MASTER_MASTER_DIRS_H

#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"
#include "service/service_privilege.h"

/*
 * Makes `path` (its parents too, for root) with this owner and mode; one that exists is given them, unless it is a
 * symbolic link or no directory: then false with ERR_CONFIG.
 */
bool master_dirs_make(const struct conf *c, const char *path, enum service_privilege owner,
    unsigned mode, struct err *err) MUST_CHECK;

/* All of the above, without the cluster. */
bool master_dirs_prepare(const struct conf *c, struct err *err) MUST_CHECK;

/*
 * True when all users and the group of set-gid commands exist; else ERR_CONFIG names the missing ones and the command
 * that makes them.
 */
bool master_dirs_users_exist(const struct conf *c, struct err *err) MUST_CHECK;

/*
 * Gives postdrop, beside our own program, the group that may write into maildrop (set-gid): so that users who are not root can submit
 * mail. A postdrop that is not there is no trouble.
 */
bool master_dirs_set_gid(const struct conf *c, struct err *err) MUST_CHECK;

/* Makes the missing ones, by useradd and groupadd. */
bool master_dirs_make_users(const struct conf *c, struct err *err) MUST_CHECK;

/* The id of setgid_group. */
bool master_dirs_drop_group(const struct conf *c, gid_t *ret, struct err *err) MUST_CHECK;

#endif
