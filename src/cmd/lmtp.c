/*
 * lmtp.c - the LMTP delivery agent; started by master.
 */
#include "client/lmtp.h"

int
main(int argc, char **argv)
{
	return agent_main(argc, argv, &lmtp_agent_kind);
}
