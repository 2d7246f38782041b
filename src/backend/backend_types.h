/*
 * backend_types.h - the types of this room, for who has to know them apart.
 */
#ifndef BACKEND_BACKEND_TYPES_H
#define BACKEND_BACKEND_TYPES_H

#include "table/table_type.h"

extern const struct table_type table_cluster_type, table_ldap_type, table_memcache_type,
    table_mysql_type, table_pgsql_type, table_socketmap_type, table_sqlite_type, table_tcp_type;

#endif
