/*
 * table_backend_link.c - brings the libraries of ldap, mysql and sqlite tables into the program that calls it, if there were any
 * when it was built.
 */
#include "table/table_backend.h"

#include "table/table_int.h"

void
table_backend_link(void)
{
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
