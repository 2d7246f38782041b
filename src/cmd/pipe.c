/*
 * pipe.c - the agent that delivers to commands; started by master.
 */
#include "mailbox/pipe.h"

int
main(int argc, char **argv)
{
	return agent_main(argc, argv, &pipe_agent_kind);
}
