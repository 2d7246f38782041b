/*
 * proxymap_tables.c - tables of the cluster, for processes that do not log in to the queue database: the agents.
 */
#include "cluster/cluster_table.h"
#include "db/db.h"
#include "proxymap/proxymap_int.h"
#include "queue/queue_session.h"
#include "service/service_database.h"

/* One for lookups, one to look whether a table has changed. */
#define CONNECTIONS 2

void
proxymap_tables_start(const struct service *s)
{
	struct buf conninfo CLEANUP(buf_done) = {0};
	struct buf name CLEANUP(buf_done) = {0};
	struct db_settings settings;

	service_database_settings(
	    s->conf, SERVICE_FRONT_END, 0, s->kind->program, &conninfo, &name, &settings);
	queue_session_settings(QUEUE_SESSION_FRONT, &settings);
	settings.connections = CONNECTIONS;
	cluster_table_start(&(struct cluster_table_settings){.pool = db_pool_new(&settings)});
}
