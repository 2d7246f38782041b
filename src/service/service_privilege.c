/*
 * service_privilege.c - see service_privilege.h.
 */
#include "service/service_privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"

static const struct {
	const char *name;
	enum conf_param param;
} owners[] = {
    [SERVICE_FRONT_END] = {"mail_owner", CONF_mail_owner},
    [SERVICE_SCHEDULER] = {"scheduler_owner", CONF_scheduler_owner},
    [SERVICE_AGENT] = {"agent_owner", CONF_agent_owner},
    [SERVICE_ROOT] = {"root", CONF_mail_owner},
    [SERVICE_CONSOLE] = {"console_owner", CONF_console_owner},
    [SERVICE_DATABASE] = {"database_owner", CONF_database_owner},
};

const char *
service_privilege_parameter(enum service_privilege p)
{
	return owners[p].name;
}

const char *
service_privilege_user(const struct conf *c, enum service_privilege p)
{
	return p == SERVICE_ROOT ? "root" : conf_str(c, owners[p].param);
}

bool
service_privilege_ids(
    const struct conf *c, enum service_privilege p, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
	const char *user = service_privilege_user(c, p);
	struct passwd pw, *found = NULL;
	char room[16384];
	int error = getpwnam_r(user, &pw, room, sizeof(room), &found);

	if (found == NULL)
		return err_set(err, ERR_CONFIG, "", "%s = %s: %s", owners[p].name, user,
		    error != 0 ? strerror(error) : "no such user");
	if (p != SERVICE_ROOT && pw.pw_uid == 0)
		return err_set(err, ERR_CONFIG, "", "%s = %s: must not have the rights of root",
		    owners[p].name, user);
	*ret_uid = pw.pw_uid;
	*ret_gid = pw.pw_gid;
	return true;
}

/*
 * The one group that opens a directory below queue_directory: private/ is passable for the group of mail_owner, which
 * lets the scheduler and the agents reach their sockets; public/ and maildrop/ for setgid_group, which lets front ends
 * poke the scheduler and empty maildrop. -1: none.
 */
static gid_t
extra_group(const struct conf *c, enum service_privilege p)
{
	struct group gr, *found = NULL;
	char room[16384];
	uid_t uid;
	gid_t gid;
	struct err err;

	switch (p) {
	case SERVICE_SCHEDULER:
	case SERVICE_AGENT:
		if (!service_privilege_ids(c, SERVICE_FRONT_END, &uid, &gid, &err))
			log_fatal(EX_CONFIG, "%s", err.text);
		return gid;
	case SERVICE_FRONT_END:
		(void)getgrnam_r(conf_str(c, CONF_setgid_group), &gr, room, sizeof(room), &found);
		if (found == NULL)
			log_fatal(EX_CONFIG, "setgid_group = %s: no such group",
			    conf_str(c, CONF_setgid_group));
		return gr.gr_gid;
	case SERVICE_ROOT:
	case SERVICE_CONSOLE:
	case SERVICE_DATABASE:
		break;
	}
	return (gid_t)-1;
}

static void
take_groups(const struct conf *c, enum service_privilege p)
{
	gid_t gid = extra_group(c, p);
	bool some = gid != (gid_t)-1;

	if (setgroups(some ? 1 : 0, some ? &gid : NULL) != 0)
		log_fatal(EX_OSERR, "cannot set groups: %s", strerror(errno));
}

void
service_privilege_drop(const struct conf *c, enum service_privilege p)
{
	uid_t uid;
	gid_t gid;
	struct err err;

	if (p == SERVICE_ROOT)
		return;
	if (!service_privilege_ids(c, p, &uid, &gid, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	if (geteuid() == 0) {
		take_groups(c, p);
		if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
			log_fatal(EX_OSERR, "cannot become user %s: %s",
			    service_privilege_user(c, p), strerror(errno));
	}
	if (geteuid() != uid || getuid() != uid)
		log_fatal(EX_NOPERM, "must be started as root or as user %s",
		    service_privilege_user(c, p));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		log_fatal(EX_OSERR, "cannot give up privileges: %s", strerror(errno));
}
