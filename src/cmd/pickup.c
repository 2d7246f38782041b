/*
 * pickup.c - the process that empties maildrop; started by master.
 */
#include "pickup/pickup.h"

int
main(int argc, char **argv)
{
	return service_main(argc, argv, &pickup_kind);
}
