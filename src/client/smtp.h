/*
 * smtp.h - the SMTP client as a service of master: what src/cmd/smtp.c starts.
 */
#ifndef CLIENT_SMTP_H
#define CLIENT_SMTP_H

#include "agent/agent.h"

extern const struct agent_kind smtp_agent_kind;

#endif
