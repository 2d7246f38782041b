/*
 * operator_permit.c - see operator_permit.h.
 */
#include "operator/operator_permit.h"

#include <pwd.h>
#include <unistd.h>

#include "base/mem.h"
#include "rewrite/domain_list.h"

/* Lists of users have the form of lists of domains: names, '!', /file, type:table. */
static bool
is_listed(
    struct operator_session *s, enum conf_param p, const char *name, bool *ret, struct err *err)
{
	struct conf *conf = conf_ref((struct conf *)(uintptr_t)operator_session_conf(s));
	struct domain_list *list = NULL;
	enum table_result found = TABLE_ERROR;

	if (domain_list_of(conf, p, &list, err))
		found = domain_list_has(list, span_str(name), err);
	domain_list_free(&list);
	conf_unref(&conf);
	*ret = found == TABLE_FOUND;
	return found != TABLE_ERROR;
}

bool
operator_permit_user(
    struct operator_session *s, enum conf_param users, const char *what, struct err *err)
{
	const char *owner = conf_str(operator_session_conf(s), CONF_mail_owner);
	struct passwd pw, *me = NULL;
	char room[16384];
	const char *name;
	bool listed;

	if (getuid() == 0)
		return true;
	(void)getpwuid_r(getuid(), &pw, room, sizeof(room), &me);
	name = me != NULL ? me->pw_name : "unknown";
	if (strcmp(name, owner) == 0)
		return true;
	if (!is_listed(s, users, name, &listed, err))
		return false;
	return listed || err_set(err, ERR_PERM, "", "User %s(%ld) is not allowed to %s", name,
			     (long)getuid(), what);
}

bool
operator_permit_site(struct operator_session *s, const char *domain, struct err *err)
{
	bool listed;

	if (!is_listed(s, CONF_fast_flush_domains, domain, &listed, err))
		return false;
	return listed || err_set(err, ERR_PERM, "",
			     "Flush service is not configured for destination \"%s\"", domain);
}
