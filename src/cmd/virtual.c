/*
 * virtual.c - the virtual mailbox delivery agent; started by master.
 */
#include "mailbox/virtual.h"

int
main(int argc, char **argv)
{
	return agent_main(argc, argv, &virtual_agent_kind);
}
