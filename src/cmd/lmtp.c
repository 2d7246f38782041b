/*
 * lmtp.c - the LMTP delivery agent; started by master.
 */
#include "client/lmtp.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return agent_main(argc, argv, &lmtp_agent_kind);
}
