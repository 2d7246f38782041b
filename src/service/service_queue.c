/*
 * service_queue.c - see service_queue.h.
 */
#include "service/service_queue.h"

#include "base/buf.h"
#include "queue/queue_session.h"
#include "service/service_database.h"

static enum queue_session
service_queue_session(enum service_privilege p)
{
	switch (p) {
	case SERVICE_FRONT_END:
		return QUEUE_SESSION_FRONT;
	case SERVICE_SCHEDULER:
		return QUEUE_SESSION_SCHEDULER;
	case SERVICE_CONSOLE:
		return QUEUE_SESSION_OPERATOR;
	case SERVICE_AGENT:
	case SERVICE_ROOT:
	case SERVICE_DATABASE:
		break;
	}
	UNREACHED();
}

struct db_pool *
service_queue_pool(const struct service *s, size_t shard, size_t connections)
{
	enum service_privilege privilege = s->kind->privilege;
	struct buf conninfo CLEANUP(buf_done) = {0};
	struct buf name CLEANUP(buf_done) = {0};
	struct db_settings settings;

	service_database_settings(s->conf, &settings);
	queue_session_settings(service_queue_session(privilege), &settings);
	service_database_conninfo(s->conf, privilege, shard, &conninfo);
	buf_printf(&name, "rowpost/%s", s->kind->program);
	settings.conninfo = buf_str(&conninfo);
	settings.application_name = buf_str(&name);
	settings.connections = connections;
	return db_pool_new(&settings);
}
