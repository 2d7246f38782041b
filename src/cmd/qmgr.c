/*
 * qmgr.c - the scheduler process; started by master.
 */
#include "qmgr/qmgr.h"

int
main(int argc, char **argv)
{
	return service_main(argc, argv, &qmgr_kind);
}
