/*
 * pipe.c - the agent that delivers to commands; started by master.
 */
#include "mailbox/pipe.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link_all();
	return agent_main(argc, argv, &pipe_agent_kind);
}
