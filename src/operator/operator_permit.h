/*
 * operator_permit.h - what main.cf allows whom: authorized_mailq_users, authorized_flush_users, fast_flush_domains.
 */
#ifndef OPERATOR_OPERATOR_PERMIT_H
#define OPERATOR_OPERATOR_PERMIT_H

#include "base/base.h"
#include "base/err.h"
#include "operator/operator_session.h"

/*
 * May the caller do what the list in `users` (CONF_authorized_...) guards? root and mail_owner may in any case. False: ERR_PERM,
 * "User NAME(UID) is not allowed to `what`", or trouble with the list. May wait.
 */
bool operator_permit_user(struct operator_session *s, enum conf_param users, const char *what,
    struct err *err) MUST_CHECK;

/* Is `domain` in fast_flush_domains? False: ERR_TEMP says so, or what is wrong. May wait. */
bool operator_permit_site(
    struct operator_session *s, const char *domain, struct err *err) MUST_CHECK;

#endif
