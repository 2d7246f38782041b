/*
 * smtpd.c - the SMTP server process; started by master.
 */
#include "smtpd/smtpd.h"

int
main(int argc, char **argv)
{
	return service_main(argc, argv, &smtpd_kind);
}
