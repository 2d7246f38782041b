/*
 * virtual.c - the virtual mailbox delivery agent; started by master.
 */
#include "mailbox/virtual.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link_all();
	return agent_main(argc, argv, &virtual_agent_kind);
}
