/*
 * backend.c - see backend.h. The libraries of ldap, mysql and sqlite are loaded by the programs that call backend_link_all(), if there
 * were any when it was built (backend_all.c).
 */
#include "backend/backend.h"

#include "backend/backend_types.h"

void
backend_link(void)
{
	table_backend_add(&table_cluster_type);
	table_backend_add(&table_memcache_type);
	table_backend_add(&table_pgsql_type);
	table_backend_add(&table_socketmap_type);
	table_backend_add(&table_tcp_type);
}
