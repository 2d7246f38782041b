/*
 * newaliases.c - rebuild the alias databases (newaliases(1)): sendmail under another name.
 */
#include "pickup/sendmail.h"

int
main(int argc, char **argv)
{
	return sendmail_main(argc, argv);
}
