/*
 * smtp.c - the SMTP delivery agent; started by master.
 */
#include "client/smtp.h"
#include "backend/backend.h"

int
main(int argc, char **argv)
{
	backend_link();
	return agent_main(argc, argv, &smtp_agent_kind);
}
