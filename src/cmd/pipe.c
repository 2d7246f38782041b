/*
 * pipe.c - the agent that delivers to commands; started by master.
 */
#include "mailbox/pipe.h"
#include "table/table_backend.h"

int
main(int argc, char **argv)
{
	table_backend_link();
	return agent_main(argc, argv, &pipe_agent_kind);
}
