/*
 * queue_login.h - the database and the login roles of the embedded PostgreSQL: one role a system user, member of the group
 * role that the schema made. Outside databases get theirs from their administrator.
 */
#ifndef QUEUE_QUEUE_LOGIN_H
#define QUEUE_QUEUE_LOGIN_H

#include "base/base.h"
#include "base/err.h"
#include "db/db.h"

/* Creates database `name` unless it is there. The connection is to another database, as superuser. Waits. */
bool queue_login_create_database(
    struct db_conn *c, const char *name, int64_t deadline, struct err *err) MUST_CHECK;

/* Makes `user` able to log in, as a member of `role`; harmless when it is so. As superuser. Waits. */
bool queue_login_grant(struct db_conn *c, const char *user, const char *role, int64_t deadline,
    struct err *err) MUST_CHECK;

#endif
