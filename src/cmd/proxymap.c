/*
 * proxymap.c - the lookup service; started by master.
 */
#include "proxymap/proxymap.h"
#include "table/table_backend.h"

int
main(int argc, char **argv)
{
	table_backend_link();
	return service_main(argc, argv, &proxymap_kind);
}
