/*
 * local.c - the local delivery agent; started by master.
 */
#include "mailbox/local.h"
#include "table/table_backend.h"

int
main(int argc, char **argv)
{
	table_backend_link();
	return agent_main(argc, argv, &local_agent_kind);
}
