/*
 * local.c - the local delivery agent; started by master.
 */
#include "mailbox/local.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link_all();
	return agent_main(argc, argv, &local_agent_kind);
}
