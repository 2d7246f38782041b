/*
 * queue_session.h - settings that our statements need in each database session, given as startup options because ALTER
 * ROLE ... SET has no effect on SET ROLE. Behind a transaction pooler they must be set for the login user in the
 * database instead (`rowpost schema` prints them).
 */
#ifndef QUEUE_QUEUE_SESSION_H
#define QUEUE_QUEUE_SESSION_H

enum queue_session {
	QUEUE_SESSION_FRONT,     /* smtpd, qmqpd, pickup: role rowpost_front */
	QUEUE_SESSION_SCHEDULER, /* qmgr: role rowpost_scheduler */
	QUEUE_SESSION_OPERATOR,  /* postqueue, postsuper, console: role rowpost_operator */
	QUEUE_SESSION_OWNER,     /* rowpost schema: no role */
};

struct db_settings;

/* Sets role, options and the check of the schema: what every connection of that kind to a queue database needs. */
void queue_session_settings(enum queue_session s, struct db_settings *ret);

/* "-c enable_seqscan=off -c ..." for db_settings.options. */
const char *queue_session_options(enum queue_session s);

/* "rowpost_front", ...; NULL for the owner: for db_settings.role. */
const char *queue_session_role(enum queue_session s);

#endif
