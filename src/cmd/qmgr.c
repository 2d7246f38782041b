/*
 * qmgr.c - the scheduler process; started by master.
 */
#include "qmgr/qmgr.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return service_main(argc, argv, &qmgr_kind);
}
