/*
 * newaliases.c - rebuild the alias databases (newaliases(1)): sendmail under another name.
 */
#include "backend/backend.h"
#include "pickup/sendmail.h"

int
main(int argc, char **argv)
{
	backend_link();
	return sendmail_main(argc, argv);
}
