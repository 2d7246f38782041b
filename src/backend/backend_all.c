/*
 * backend_all.c - see backend.h: what brings the foreign libraries into the program that calls it.
 */
#include "backend/backend.h"

#include "backend/backend_types.h"

void
backend_link_all(void)
{
	backend_link();
#ifdef HAVE_LDAP
	table_backend_add(&table_ldap_type);
#endif
#ifdef HAVE_MYSQL
	table_backend_add(&table_mysql_type);
#endif
#ifdef HAVE_SQLITE
	table_backend_add(&table_sqlite_type);
#endif
}
