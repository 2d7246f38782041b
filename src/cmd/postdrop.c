/*
 * postdrop.c - put a message into maildrop (postdrop(1)).
 */
#include "pickup/postdrop.h"

int
main(int argc, char **argv)
{
	return postdrop_main(argc, argv);
}
