/*
 * pickup.c - the process that empties maildrop; started by master.
 */
#include "pickup/pickup.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return service_main(argc, argv, &pickup_kind);
}
