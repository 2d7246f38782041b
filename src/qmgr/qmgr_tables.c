/*
 * qmgr_tables.c - see qmgr_tables.h.
 */
#include "qmgr/qmgr_tables.h"

#include "base/buf.h"
#include "cluster/cluster_table.h"
#include "db/db.h"
#include "queue/queue_schema.h"
#include "queue/queue_session.h"
#include "service/service.h"
#include "service/service_database.h"

/* One for lookups, one to look whether a table has changed. */
#define CONNECTIONS 2

void
qmgr_tables_start(const struct service *s)
{
	const struct conf *conf = s->conf;
	struct buf conninfo CLEANUP(buf_done) = {0};

	service_database_conninfo(conf, SERVICE_SCHEDULER, 0, &conninfo);
	cluster_table_start(&(struct cluster_table_settings){
	    .pool = db_pool_new(&(struct db_settings){
		.conninfo = buf_str(&conninfo),
		.role = queue_session_role(QUEUE_SESSION_SCHEDULER),
		.application_name = "rowpost/qmgr",
		.pooler = conf_bool(conf, CONF_queue_database_pooler),
		.options = queue_session_options(QUEUE_SESSION_SCHEDULER),
		.connections = CONNECTIONS,
		.connect_timeout = conf_time(conf, CONF_queue_database_connect_timeout),
		.statement_timeout = conf_time(conf, CONF_queue_database_timeout),
		.backoff_min = conf_time(conf, CONF_queue_database_retry_min_time),
		.backoff_max = conf_time(conf, CONF_queue_database_retry_max_time),
		.on_connect = queue_schema_check,
	    }),
	});
}
