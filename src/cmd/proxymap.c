/*
 * proxymap.c - the lookup service; started by master.
 */
#include "proxymap/proxymap.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link_all();
	return service_main(argc, argv, &proxymap_kind);
}
