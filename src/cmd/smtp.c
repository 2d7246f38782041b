/*
 * smtp.c - the SMTP delivery agent; started by master.
 */
#include "client/smtp.h"

int
main(int argc, char **argv)
{
	return agent_main(argc, argv, &smtp_agent_kind);
}
