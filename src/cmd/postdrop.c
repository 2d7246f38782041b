/*
 * postdrop.c - put a message into maildrop (postdrop(1)).
 */
#include "pickup/postdrop.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return postdrop_main(argc, argv);
}
