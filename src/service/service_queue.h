/*
 * service_queue.h - a service's connections to the queue databases: where they are and what the configuration says of them, from
 * here; what the statements need in a session, from room queue. Services without a role there (agents) do not come here.
 */
#ifndef SERVICE_SERVICE_QUEUE_H
#define SERVICE_SERVICE_QUEUE_H

#include "db/db.h"
#include "service/service.h"

/* Connections to shard `shard` (below service_database_count()), by the role of the service's privilege. Does not connect. */
struct db_pool *service_queue_pool(const struct service *s, size_t shard, size_t connections);

#endif
