/*
 * local.c - the local delivery agent; started by master.
 */
#include "mailbox/local.h"

int
main(int argc, char **argv)
{
	return agent_main(argc, argv, &local_agent_kind);
}
