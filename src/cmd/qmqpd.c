/*
 * qmqpd.c - the QMQP server process; started by master.
 */
#include "qmqpd/qmqpd.h"

int
main(int argc, char **argv)
{
	return service_main(argc, argv, &qmqpd_kind);
}
