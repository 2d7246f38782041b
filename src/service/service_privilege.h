/*
 * service_privilege.h - the users that processes run as, and the step down to them.
 */
#ifndef SERVICE_SERVICE_PRIVILEGE_H
#define SERVICE_SERVICE_PRIVILEGE_H

#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"

/* What an intruder in the process would get: the user it runs as. */
enum service_privilege {
	SERVICE_FRONT_END, /* mail_owner */
	SERVICE_SCHEDULER, /* scheduler_owner */
	SERVICE_AGENT,     /* agent_owner */
	SERVICE_ROOT,      /* stays root, drops per delivery (local, virtual, pipe) */
	SERVICE_CONSOLE,   /* console_owner */
	SERVICE_DATABASE,  /* database_owner: the embedded PostgreSQL */
};

/* The parameter that names the user: "mail_owner"; "root" for SERVICE_ROOT. */
const char *service_privilege_parameter(enum service_privilege p);

/* The user's name as configured. Borrowed from `c`. */
const char *service_privilege_user(const struct conf *c, enum service_privilege p);

/*
 * Its ids. False with ERR_CONFIG when the user does not exist, the text names parameter and user. Blocks in NSS: for start
 * and reload only.
 */
bool service_privilege_ids(const struct conf *c, enum service_privilege p, uid_t *ret_uid,
    gid_t *ret_gid, struct err *err) MUST_CHECK;

/*
 * Becomes that user for good: ids, no supplementary groups except the one that opens its directory below queue_directory,
 * not dumpable, no new privileges through exec (SERVICE_ROOT keeps all this). A process that is not root must already be
 * the user. Trouble: log_fatal().
 */
void service_privilege_drop(const struct conf *c, enum service_privilege p);

#endif
