/*
 * sendmail.c - submit mail, and what else sendmail(1) does.
 */
#include "pickup/sendmail.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return sendmail_main(argc, argv);
}
