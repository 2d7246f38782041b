/*
 * qmqpd.c - the QMQP server process; started by master.
 */
#include "qmqpd/qmqpd.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return service_main(argc, argv, &qmqpd_kind);
}
