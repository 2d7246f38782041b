/*
 * submit_conf.h - the start of the commands that anybody may run: sendmail and postdrop, the latter perhaps set-gid. Which
 * configuration they take, where they log, and who may submit mail at all (authorized_submit_users).
 */
#ifndef PICKUP_SUBMIT_CONF_H
#define PICKUP_SUBMIT_CONF_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

#define SUBMIT_CONF_DIR "/etc/rowpost"

/*
 * Loads the configuration from `dir` (NULL: $MAIL_CONFIG, then the standard place), sets up the log as `program`, and changes to
 * queue_directory. With more rights than its caller it takes only a directory named in alternate_config_directories, and keeps no
 * more of the environment than import_environment names. Trouble: log_fatal(`failure`).
 */
struct conf *submit_conf_start(const char *program, const char *dir, int verbose, int failure);

/*
 * May this user submit? `ret_name` gets the login name, or "unknown". False: a table of authorized_submit_users cannot be asked.
 */
bool submit_conf_allows(
    struct conf *conf, unsigned uid, struct buf *ret_name, bool *ret, struct err *err) MUST_CHECK;

/* May he use this sender address (local_login_sender_maps)? `login` as submit_conf_allows() gave it. False: as there. */
bool submit_conf_allows_sender(struct conf *conf, unsigned uid, const char *login,
    struct span sender, bool *ret, struct err *err) MUST_CHECK;

/* Appends the path of another of our programs: it is where this one is. */
bool submit_conf_program(const char *name, struct buf *ret, struct err *err) MUST_CHECK;

#endif
