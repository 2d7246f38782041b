/*
 * virtual.c - the virtual mailbox delivery agent; started by master.
 */
#include "mailbox/virtual.h"
#include "table/table_backend.h"

int
main(int argc, char **argv)
{
	table_backend_link();
	return agent_main(argc, argv, &virtual_agent_kind);
}
