/*
 * sendmail.c - submit mail, and what else sendmail(1) does.
 */
#include "pickup/sendmail.h"

int
main(int argc, char **argv)
{
	return sendmail_main(argc, argv);
}
